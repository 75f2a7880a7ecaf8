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
from imc_sim._stats import Sample, mean_interval
from imc_sim.plotting._figure import new_figure
from imc_sim.plotting._labels import place, shown
from imc_sim.plotting._tables import chip_count, distinct, numbers

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
#: how far from the middle of its row what belongs to chips is drawn
_APART = 0.17


def compares(results: Results) -> bool:
    """Tell whether the study has accuracies to compare: published ones, or cases alone."""
    return not results.study["axes"] or any(published_of(case) for case in results.study["cases"])


def published_of(case: Mapping[str, Any]) -> list[float]:
    """Return the published accuracies of a case."""
    said = case.get("published")
    return [p for p in (said if isinstance(said, list | tuple) else [said]) if p is not None]


def comparison_data(results: Results) -> DataFrame:
    """Return a row per point: setting, published, digital, same_task (digital too), on_chip, with 95 % intervals (all
    in %).

    digital is on the whole test, digital_over what its interval `digital_low` to `digital_high` is over ("1000
    episodes"); classes_low to classes_high is the interval for new classes, of which `classes` were sampled. same_task
    is the digital network on the task of the chips where that differs (chip_task says how). on_chip is the mean over
    `chips` chips with its t interval over them. trained: from the model's card.
    """
    study, trials = results.study, {}
    for row in sorted(results.rows.values(), key=lambda r: r["chip"]):
        if row["state"] == "done":
            trials.setdefault(row["point"], []).append(row)
    cases = {case["name"]: case for case in study["cases"]}
    rows = [_row(study, cases[point["case"]], point, trials) for point in study["points"]]
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
    study: dict[str, Any], case: dict[str, Any], point: dict[str, Any], trials: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    whole = trials.get(point.get("reference", point["baseline"]), [])
    digital = _digital(whole)
    same = _digital(trials.get(point["baseline"], [])) if "reference" in point else {}
    found = [100 * row["correct"] / row["total"] for row in trials.get(point["id"], [])]
    mean, low, high = mean_interval(found) if found else (math.nan, math.nan, math.nan)
    model = point.get("model", study["model"])
    return {
        "setting": _setting(study, case, point),
        "published": _percent(_published(study, case, point)),
        **{f"digital{key}": value for key, value in digital.items()},
        **{f"same_task{key}": value for key, value in same.items() if key in ("", "_low", "_high")},
        **_over_classes(whole),
        "on_chip": round(mean, _DECIMALS),
        "on_chip_low": round(max(0.0, low), _DECIMALS) if math.isfinite(low) else math.nan,
        "on_chip_high": round(min(100.0, high), _DECIMALS) if math.isfinite(high) else math.nan,
        "chips": len(found),
        "chip": point.get("chip") or study["chip"]["name"],
        "chip_task": ", ".join(f"{key} {shown(value, {'scale': 1})}" for key, value in _shorter(point).items()),
        "model": model,
        "trained": ", ".join(f"{count} {unit}" for unit, count in study.get("trained", {}).get(model, {}).items()),
        "note": case.get("note", ""),
    }


def _setting(study: dict[str, Any], case: dict[str, Any], point: dict[str, Any]) -> str:
    """Return the case, unless it is the only one and unnamed, and the place on every axis."""
    places = [place(value, axis) for value, axis in zip(point["values"], study["axes"], strict=True)]
    alone = places and len(study["cases"]) == 1 and case["name"] == "all"
    return ", ".join(places if alone else [case["name"], *places])


def _published(study: dict[str, Any], case: dict[str, Any], point: dict[str, Any]) -> float | None:
    said = case.get("published")
    if not isinstance(said, list | tuple):
        return said
    first = study["axes"][0]
    return said[list(first.get("labels") or first["values"]).index(point["values"][0])]


def _shorter(point: dict[str, Any]) -> dict[str, Any]:
    """Describe how the task of chips differs from that of the digital network."""
    return point.get("chip_task", {})


def _digital(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the accuracy of a digital network, its interval and what that is over; results of an older version have
    none.
    """
    if not rows:
        return {"": math.nan, "_over": ""}
    mean, sample = rows[0]["correct"] / rows[0]["total"], _sample(rows)
    if sample is None:
        return {"": _percent(mean), "_over": ""}
    low, high = map(_percent, sample.interval(mean))
    return {"": _percent(mean), "_low": low, "_high": high, "_over": f"{sample.count} {sample.of}"}


def _sample(rows: list[dict[str, Any]]) -> Sample | None:
    """Return what the accuracy of a digital network is a mean over, where that was stored."""
    return Sample(**rows[0]["sample"]) if rows and "sample" in rows[0] else None


def _over_classes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many classes were sampled and the interval for new ones, where they were stored."""
    sample = _sample(rows)
    ends = None if sample is None else sample.class_interval(rows[0]["correct"] / rows[0]["total"])
    if sample is None or ends is None:
        return {"classes": 0}
    return {"classes": sample.classes, "classes_low": _percent(ends[0]), "classes_high": _percent(ends[1])}


def _percent(fraction: float | None) -> float:
    return math.nan if fraction is None else round(100 * fraction, _DECIMALS)


def plot_comparison(ax: Axes, data: DataFrame) -> None:
    """Draw a line per setting: published, ours digital, and ours on chips next to digital on the chips' task."""
    at = np.arange(len(data), dtype=float)
    apart = bool(np.isfinite(numbers(data, "same_task")).any())
    up, down = (at - _APART, at + _APART) if apart else (at, at)
    ax.plot(data["published"], up, "D", color="0.1", mfc="none", ms=4.5, ls="", label="published", zorder=4)
    _dots(ax, data, "digital", up, "o", "C0", "ours, digital" + _over(data))
    if apart:
        same = numbers(data, "same_task")
        ax.plot(same, down, "o", color="C0", mfc="none", ms=6, ls="", label="ours, digital, on the task of the chips")
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
    lowest = np.nanmin(np.asarray(data[["published", "digital", "same_task", "on_chip"]], dtype=float))
    low = max(0.0, 10.0 * math.floor((lowest - 2) / 10))
    ax.set_xlim(low, 100 + 0.02 * (100 - low))  # a mark at 100 % must not be cut in half
    ax.set_ylim(len(data) - 0.5, -0.5)
    ax.set_yticks(at, [textwrap.fill(str(name), 34) for name in data["setting"]])
    ax.grid(visible=True, axis="y", linewidth=0.4)
    ax.set_xlabel("accuracy (%)")
    if float(data.attrs.get("chance", math.nan)) >= low:
        ax.axvline(data.attrs["chance"], color="0.4", linestyle=":", linewidth=0.8, marker="", label="chance")


def comparison_figure(data: DataFrame) -> Figure:
    """Return the whole figure. Call it inside `style()`."""
    lines = sum(len(textwrap.wrap(str(name), 34)) for name in data["setting"])
    figure, ax = new_figure(5.2, 1.2 + 0.14 * lines + 0.12 * len(data))
    plot_comparison(ax, data)
    figure.legend(handles=ax.get_legend_handles_labels()[0], loc="outside lower center", ncols=2)
    return figure
