"""Published and reproduced accuracies, digital and on chips, with their intervals."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from imc_sim._errors import ResultsError
from imc_sim._stats import Sample, chip_interval, mean_interval
from imc_sim.plotting._figure import lower_limit, new_figure
from imc_sim.plotting._labels import place, shown
from imc_sim.plotting._tables import chip_count, distinct, numbers
from imc_sim.study import finished_trials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imc_sim.study import Results

COLUMNS = [
    "setting", "published", "digital", "digital_low", "digital_high", "digital_over", "classes", "classes_low",
    "classes_high", "same_task", "same_task_low", "same_task_high", "on_chip", "on_chip_low", "on_chip_high", "chips",
    "chip", "chip_task", "model", "trained", "note",
]  # fmt: skip
#: decimals of the table's percentages: more than any test resolves, few enough to be equal wherever they are computed
_DECIMALS = 4
#: distance from the middle of a row at which the values of chips are drawn
_APART = 0.17


def compares(results: Results) -> bool:
    """Tell whether a study has accuracies to compare: published ones, or cases without axes.

    Args:
        results: of the study.

    Returns:
        Whether `comparison_data` has a table for it.
    """
    if results.study.get("metric"):
        return False
    return not results.study["axes"] or any(published_of(case) for case in results.study["cases"])


def published_of(case: Mapping[str, Any]) -> list[float]:
    """Return the published accuracies of a case."""
    found = case.get("published")
    return [p for p in (found if isinstance(found, list | tuple) else [found]) if p is not None]


def comparison_data(results: Results) -> DataFrame:
    """Return a row per point with published, digital and on-chip accuracy, each with its 95 % interval, in %.

    digital is on the whole test; digital_over says what its interval is over ("1000 episodes"). classes_low to
    classes_high is the interval for new classes, of which `classes` were sampled. same_task is the digital
    network on the reduced task of chips, where there is one; chip_task describes it. on_chip is the mean over `chips`
    chips with its t interval, or Wilson's where chips that can differ score the same. trained is from the card of the
    model.

    Args:
        results: of the study.

    Raises:
        ResultsError: there is no finished trial.
    """
    study, (table, numbers) = results.study, finished_trials(results.rows)
    digital = {p[key] for p in study["points"] for key in ("baseline", "reference") if key in p}
    trials = {point: [table.at(n) for n in each.tolist()] for point, each in numbers.items() if point in digital}
    correct, total = table.column("correct"), table.column("total")
    counts = {point: (100 * correct[each] / total[each]).tolist() for point, each in numbers.items()}
    cases = {case["name"]: case for case in study["cases"]}
    rows = [_row(study, cases[point["case"]], point, trials, counts.get(point["id"], [])) for point in study["points"]]
    if not any(row["chips"] or row["digital"] == row["digital"] for row in rows):
        raise ResultsError(str(results.folder), "no finished trial", "one at least", "Run the study again.")
    data = DataFrame(rows, columns=COLUMNS)
    data.attrs = {"chance": _chance(study)}
    return data


def _chance(study: dict[str, Any]) -> float:
    """Return the accuracy of guessing in %, if it is the same for all points."""
    found = {point["chance"] for point in study["points"] if "chance" in point}
    return 100 * found.pop() if len(found) == 1 else math.nan


def _row(
    study: dict[str, Any], case: dict[str, Any], point: dict[str, Any], trials: dict[str, list[dict[str, Any]]],
    found: list[float],
) -> dict[str, Any]:  # fmt: skip
    """Return the row of one point of the study, from the digital trials and the accuracies of its chips in %."""
    whole = trials.get(point.get("reference", point["baseline"]), [])
    digital = _digital(whole)
    same = _digital(trials.get(point["baseline"], [])) if "reference" in point else {}
    mean, low, high = mean_interval(found) if found else (math.nan, math.nan, math.nan)
    if point.get("vary") and len(set(found)) == 1 < len(found):
        low, high = (100 * end for end in chip_interval([x / 100 for x in found])[1:])
    model = point.get("model", study["model"])
    first = next(zip(study["axes"], point["values"], strict=True), (None, None))
    return {
        "setting": _setting(study, case, point),
        "published": _percent(published_at(case, *first)),
        **{f"digital{key}": value for key, value in digital.items()},
        **{f"same_task{key}": value for key, value in same.items() if key in ("", "_low", "_high")},
        **_over_classes(whole),
        "on_chip": round(mean, _DECIMALS),
        "on_chip_low": round(max(0.0, low), _DECIMALS) if math.isfinite(low) else math.nan,
        "on_chip_high": round(min(100.0, high), _DECIMALS) if math.isfinite(high) else math.nan,
        "chips": len(found),
        "chip": point.get("chip") or study["chip"]["name"],
        "chip_task": ", ".join(
            f"{key} {shown(value, {'scale': 1})}" for key, value in point.get("chip_task", {}).items()
        ),
        "model": model,
        "trained": ", ".join(f"{count} {unit}" for unit, count in study.get("trained", {}).get(model, {}).items()),
        "note": case.get("note", ""),
    }


def _setting(study: dict[str, Any], case: dict[str, Any], point: dict[str, Any]) -> str:
    """Return the name of a point: its case, unless it is the only one and unnamed, and its value on every axis."""
    places = [place(value, axis) for value, axis in zip(point["values"], study["axes"], strict=True)]
    alone = places and len(study["cases"]) == 1 and case["name"] == "all"
    return ", ".join(places if alone else [case["name"], *places])


def published_at(case: Mapping[str, Any], axis: Mapping[str, Any] | None, value: Any) -> float | None:
    """Return the published accuracy of a case, where its first axis has this value."""
    found = case.get("published")
    if axis is None or not isinstance(found, list | tuple):
        return found
    return found[list(axis.get("labels") or axis["values"]).index(value)]


def _digital(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a digital accuracy and its interval with what that is over; older results have no interval."""
    if not rows:
        return {"": math.nan, "_over": ""}
    mean, sample = rows[0]["correct"] / rows[0]["total"], _sample(rows)
    if sample is None:
        return {"": _percent(mean), "_over": ""}
    low, high = map(_percent, sample.interval(mean))
    return {"": _percent(mean), "_low": low, "_high": high, "_over": f"{sample.count} {sample.of}"}


def _sample(rows: list[dict[str, Any]]) -> Sample | None:
    """Return the sample that a digital accuracy is a mean over, if it was stored."""
    return Sample(**rows[0]["sample"]) if rows and "sample" in rows[0] else None


def _over_classes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many classes were sampled and the interval for new classes, if they were stored."""
    sample = _sample(rows)
    ends = None if sample is None else sample.class_interval(rows[0]["correct"] / rows[0]["total"])
    if sample is None or ends is None:
        return {"classes": 0}
    return {"classes": sample.classes, "classes_low": _percent(ends[0]), "classes_high": _percent(ends[1])}


def _percent(fraction: float | None) -> float:
    return math.nan if fraction is None else round(100 * fraction, _DECIMALS)


def plot_comparison(ax: Axes, data: DataFrame) -> None:
    """Draw one row per setting: published, digital and on-chip accuracy, and digital accuracy on the reduced task.

    Args:
        ax: axes to draw into.
        data: table of `comparison_data`.
    """
    at = np.arange(len(data), dtype=float)
    apart = bool(np.isfinite(numbers(data, "same_task")).any())
    up, down = (at - _APART, at + _APART) if apart else (at, at)
    ax.plot(data["published"], up, "D", color="0.1", mfc="none", ms=4.5, ls="", label="published", zorder=4)
    _dots(ax, data, "digital", up, "o", "C0", "ours, digital" + _over(data))
    if apart:
        same = numbers(data, "same_task")
        ax.plot(same, down, "o", color="C0", mfc="none", ms=6, ls="", label="ours, digital, reduced task")
    chips = distinct(data, "chip")
    where = chips[0] if len(chips) == 1 else "chips"
    _dots(ax, data, "on_chip", down, "s", "C1", f"ours on {where} (95 % of {chip_count(data)} chips)")
    _scale(ax, data, at)


def _dots(ax: Axes, data: DataFrame, name: str, y: Any, marker: str, colour: str, label: str) -> None:
    """Draw values with their intervals, where they have one."""
    value, low, high = (numbers(data, name + end) for end in ("", "_low", "_high"))
    sides = np.nan_to_num(np.stack([value - low, high - value]))
    ax.errorbar(
        value, y, xerr=np.maximum(sides, 0.0), fmt=marker, color=colour, ms=3.2, lw=0.9, capsize=1.8, label=label
    )


def _over(data: DataFrame) -> str:
    over = [text for text in distinct(data, "digital_over") if text]
    return f" (95 % over {over[0]})" if len(over) == 1 else " (95 %)" if over else ""


def _scale(ax: Axes, data: DataFrame, at: Any) -> None:
    """Set limits, row names and the line of chance."""
    low = lower_limit(data[["published", "digital", "same_task", "on_chip"]])
    ax.set_xlim(low, 100 + 0.02 * (100 - low))  # a mark at 100 % must not be cut in half
    ax.set_ylim(len(data) - 0.5, -0.5)
    ax.set_yticks(at, [textwrap.fill(str(name), 34) for name in data["setting"]])
    ax.grid(visible=True, axis="y", linewidth=0.4)
    ax.set_xlabel("accuracy (%)")
    if float(data.attrs.get("chance", math.nan)) >= low:
        ax.axvline(data.attrs["chance"], color="0.4", linestyle=":", linewidth=0.8, marker="", label="chance")


def comparison_figure(data: DataFrame) -> Figure:
    """Return the figure of `plot_comparison` with its legend. Call it inside `style()`.

    Args:
        data: table of `comparison_data`.
    """
    lines = sum(len(textwrap.wrap(str(name), 34)) for name in data["setting"])
    figure, ax = new_figure(5.2, 1.2 + 0.14 * lines + 0.12 * len(data))
    plot_comparison(ax, data)
    figure.legend(handles=ax.get_legend_handles_labels()[0], loc="outside lower center", ncols=2)
    return figure
