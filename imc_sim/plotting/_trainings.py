"""Figure of a training sweep: a panel per setting, the mean over seeds with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from imc_sim._stats import mean_interval
from imc_sim.plotting._figure import accuracy_panels, legend_label, write_figure
from imc_sim.plotting._tables import distinct, numbers, where

#: accuracies of a training log, the one to compare first
_MEASURES = ("mean", "ensemble", "accuracy")
#: distance of the points of different curves at the same value
_APART = 0.06


def trainings_data(trainings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Return a row per panel, value and case: setting, value, case, mean, half_width (95 %, over seeds; in %), seeds.

    Continual training adds a column per task, its mean accuracy over seeds.

    Args:
        trainings: specification of the sweep as plain data.
        rows: of `imc_sim.train.run_trainings`; those that failed are left out.
    """
    found: dict[tuple[int, int, str], list[Mapping[str, float]]] = {}
    for row in (row for row in rows if row["row"] is not None):
        found.setdefault((row["panel"], row["value"], row["case"]), []).append(row["row"])
    return DataFrame([_summary(trainings, *key, logs) for key, logs in found.items()])


def _summary(
    trainings: Mapping[str, Any], number: int, place: int, case: str, logs: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    """Return the row of one panel, value and case: means over its seeds."""
    panel = trainings["panels"][number]
    measure = trainings["measure"] or next(name for name in _MEASURES if name in logs[0])
    values = [100 * log[measure] for log in logs]
    mean, low, _ = mean_interval(values)
    names = [key for key in logs[0] if key.startswith("task") and key != "task"]
    tasks = {name: 100 * float(np.mean([log[name] for log in logs])) for name in names}
    figures = {"mean": mean, "half_width": mean - low if math.isfinite(low) else math.nan} | tasks
    place_of = {"setting": panel["label"] or panel["path"], "value": _shown(panel, place), "case": case}
    return place_of | {key: round(value, 3) for key, value in figures.items()} | {"seeds": len(logs)}


def _shown(panel: Mapping[str, Any], place: int) -> str:
    value = panel["values"][place]
    return str(panel["labels"][place]) if panel["labels"] else f"{value:g}" if isinstance(value, float) else str(value)


def plot_trainings(ax: Axes, data: DataFrame) -> None:
    """Draw one panel: a curve per case over the values in their order."""
    values, cases = distinct(data, "value"), distinct(data, "case")
    for number, case in enumerate(cases):
        part = where(data, "case", case)
        x = np.array([values.index(value) for value in part["value"]]) + _APART * (number - (len(cases) - 1) / 2)
        half = np.nan_to_num(numbers(part, "half_width"))
        ax.errorbar(x, part["mean"], yerr=half, fmt="o-", ms=3, lw=1, capsize=1.8, color=f"C{number}",
                    label=legend_label(case))  # fmt: skip
    ax.set_xticks(range(len(values)), values)
    ax.set_xlabel(str(data["setting"].iloc[0]))
    ax.margins(x=0.08)


def trainings_figure(data: DataFrame) -> Figure:
    """Return the figure of a training sweep. Call it inside `style()`.

    Args:
        data: table of `trainings_data`.
    """
    settings = distinct(data, "setting")
    figure, axes = accuracy_panels(len(settings), 2.3, 1.9)
    half = np.nan_to_num(numbers(data, "half_width"))
    low = 10 * math.floor(float(np.min(numbers(data, "mean") - half)) / 10)
    high = min(100.0, 10 * math.ceil(float(np.max(numbers(data, "mean") + half)) / 10))
    for ax, setting in zip(axes, settings, strict=True):
        plot_trainings(ax, where(data, "setting", setting))
        ax.set_ylim(max(0, low), high)
    seeds = int(numbers(data, "seeds").max())
    handles = axes[0].get_legend_handles_labels()[0]
    over = f"mean and 95 % interval over {seeds} seeds" if seeds > 1 else "one seed"
    figure.legend(handles=handles, loc="outside lower center", ncols=2, title=over, title_fontsize=7)
    return figure


def draw_trainings(trainings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write trainings.png, .svg and .csv into a folder.

    Args:
        trainings: specification of the sweep as plain data.
        rows: of `imc_sim.train.run_trainings`.
        folder: of the sweep.

    Returns:
        The paths of the files.
    """
    return write_figure(trainings_data(trainings, rows), folder / "trainings", trainings_figure)
