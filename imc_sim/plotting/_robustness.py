"""The robustness curve: accuracy against the strength of an effect, with the band over chips."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from imc_sim._errors import ResultsError
from imc_sim.plotting._figure import new_figure, save_figure, style

if TYPE_CHECKING:
    from pathlib import Path

    from imc_sim.study import Results

_STATISTICS = ["chips", "median", "p05", "p95", "digital"]


def robustness_data(results: Results) -> DataFrame:
    """The figure's own table: series, x, chips, median, p05, p95, digital (accuracies in %).

    The first axis is x, in its unit; further axes become part of the series' name. attrs: x_label, chance, spaced.
    """
    first, *others = results.study["axes"]
    table = results.table
    if table.empty:
        raise ResultsError(str(results.folder), "no finished trial", "one at least", "Run the study again.")
    rows = [
        {"series": _series(row, others), "x": _number(row[first["path"]]) * first["scale"], "chips": int(row["chips"])}
        | {name: 100 * row[name] for name in _STATISTICS[1:]}
        for row in table.to_dict("records")
    ]
    data = DataFrame(rows, columns=["series", "x", *_STATISTICS])
    unit = f" ({first['unit']})" if first["unit"] else ""
    data.attrs = {
        "x_label": (first["label"] or first["path"]) + unit,
        "chance": 100 / results.study["task"]["way"],
        "spaced": first.get("spaced", "linear"),
    }
    return data


def plot_robustness(ax: Axes, data: DataFrame) -> None:
    """Median line and 5-95 % band per series, digital baseline dashed in its colour, chance dotted.

    The legend stands below the axes, so that no name of a series can cover a curve.
    """
    drawn: set[float] = set()
    for series, part in data.groupby("series", sort=False):
        (line,) = ax.plot(part["x"], part["median"], label=textwrap.fill(str(series), 62))
        colour = line.get_color()
        ax.fill_between(part["x"], part["p05"], part["p95"], color=colour, alpha=0.18, linewidth=0)
        digital = float(part["digital"].iloc[0])
        if digital == digital and digital not in drawn:  # a baseline that is not measured yet is NaN
            ax.axhline(digital, color=colour, linestyle="--", linewidth=0.8, marker="")
            drawn.add(digital)
    low = lower_limit(data)
    _draw_chance(ax, float(data.attrs["chance"]), low)
    ax.set_xlabel(str(data.attrs["x_label"]))
    ax.set_ylabel("accuracy (%)")
    highest = float(np.nanmax(np.asarray(data[["p95", "digital"]], dtype=float)))
    ax.set_ylim(low, 100 if highest < 100 else 101)  # a line at 100 % must not be cut in half
    if data.attrs["spaced"] == "log":
        ax.set_xscale("log")
    else:
        whole = bool((data["x"].to_numpy(float) % 1.0 == 0.0).all())  # no tick at 4.5 bits
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=whole))
    ax.margins(x=0.02)
    _legend(ax, data, bool(drawn))


def _legend(ax: Axes, data: DataFrame, baseline: bool) -> None:
    """The series, then what band and dashes are."""
    handles: list[Artist] = [*ax.get_legend_handles_labels()[0]]
    handles.append(Patch(facecolor="0.4", alpha=0.3, linewidth=0, label=f"5-95 % of {_count(data)} chips"))
    if baseline:
        handles.append(Line2D([], [], color="0.4", linestyle="--", linewidth=0.8, marker="", label="digital"))
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.legend(handles=handles, loc="outside lower center")


def _count(part: DataFrame) -> str:
    least, most = min(part["chips"]), max(part["chips"])
    return f"{least}" if least == most else f"{least}-{most}"


def lower_limit(data: DataFrame) -> float:
    """Where the accuracy axis starts: a multiple of 10 below the lowest band."""
    lowest = float(np.nanmin(np.asarray(data[["p05", "digital"]], dtype=float)))
    return max(0.0, 10.0 * math.floor((lowest - 2) / 10))


def figure_height(data: DataFrame, axes: float = 2.2) -> float:
    """Inches: `axes` for the axes and what the legend's lines need."""
    return axes + 0.13 * (2 + sum(len(textwrap.wrap(str(s), 62)) for s in set(data["series"])))


def _draw_chance(ax: Axes, chance: float, low: float) -> None:
    if chance < low:
        return
    ax.axhline(chance, color="0.4", linestyle=":", linewidth=0.8, marker="")
    place, shift = (1, chance), (-2, 2)
    coordinates = ("axes fraction", "data")
    ax.annotate("chance", place, shift, coordinates, "offset points", ha="right", fontsize=6, color="0.4")


def draw(results: Results) -> list[Path]:
    """Write robustness.png, .svg and .csv (the figure's data) into the results folder; returns the paths."""
    data = robustness_data(results)
    stem = results.folder / "robustness"
    table = stem.with_suffix(".csv")
    data.to_csv(table, index=False, lineterminator="\n")
    with style():
        figure, ax = new_figure(height=figure_height(data))
        plot_robustness(ax, data)
        return [*save_figure(figure, stem), table]


def _series(row: dict[str, Any], axes: list[dict[str, Any]]) -> str:
    further = [f"{axis['label'] or axis['path']} {row[axis['path']]}{axis['unit']}" for axis in axes]
    return ", ".join([str(row["case"]), *further])


def _number(value: Any) -> float:
    return float(value)
