"""Robustness curves: accuracy or score against the strength of an effect, with the band over chips."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray
from pandas import DataFrame

from imc_sim._errors import ResultsError
from imc_sim._stats import band_label
from imc_sim.plotting._figure import (
    UNNAMED,
    LogLabels,
    legend_below,
    legend_label,
    lower_limit,
    named_median,
    with_axes,
)
from imc_sim.plotting._labels import further, heading, is_number, place, shown
from imc_sim.plotting._metric import Metric
from imc_sim.plotting._tables import chip_count, distinct, numbers

if TYPE_CHECKING:
    from imc_sim.study import Results

Values = NDArray[np.float64]
_STATISTICS = ["chips", "median", "p05", "p95", "digital"]
#: colours of the style; series beyond them differ in their dashes
_COLOURS = 7
#: values on a logarithmic axis up to which each has a separate tick
_TICKS = 8
#: ratio of the largest to the smallest value from which ticks are powers of ten: labels of the values would overlap
_WIDE = 1e5
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1, 1, 1)))


def robustness_data(results: Results) -> DataFrame:
    """Return a row per point of the figure: series, x, chips, median, p05, p95, digital (accuracies in %, or scores).

    The first axis is x, in its unit, or as text where its values are not numbers; further axes are part of the name of
    the series. Without axes, x is the case. attrs: x_label, x_name, x_unit, chance, spaced, metric.

    Args:
        results: of the study.

    Raises:
        ResultsError: there is no finished trial.
    """
    table = results.table
    if table.empty:
        raise ResultsError(str(results.folder), "no finished trial", "one at least", "Run the study again.")
    axes, metric = results.study["axes"], Metric.of(results.study)
    first = axes[0] if axes else {"label": "setting", "unit": ""}
    data = _by_axis(results, first, metric) if axes else _by_case(table, metric)
    data.attrs = {
        "x_label": heading(first),
        "x_name": first["label"] or first["path"],
        "x_unit": first["unit"],
        "chance": _chances(results),
        "spaced": first.get("spaced", "linear"),
        "metric": metric,
    }
    return data


def _by_axis(results: Results, first: dict[str, Any], metric: Metric) -> DataFrame:
    """Return the rows of a study over its first axis."""
    table = results.table
    others = further(results.study, first)
    numbers = all(is_number(value) for value in table[first["path"]].tolist())
    unnamed = bool(others) and set(table["case"]) == {UNNAMED}  # the axes alone tell the series apart
    rows = [
        {"series": ", ".join([*named, *(place(row[a["path"]], a) for a in others)])}
        | {"x": row[first["path"]] * first["scale"] if numbers else shown(row[first["path"]], first)}
        | {"chips": int(row["chips"])}
        | {name: metric.factor * row[name] for name in _STATISTICS[1:]}
        for row in table.to_dict("records")
        for named in [[] if unnamed else [str(row["case"])]]
    ]
    return DataFrame(rows, columns=["series", "x", *_STATISTICS])


def _by_case(table: DataFrame, metric: Metric) -> DataFrame:
    """Return the rows of a study without axes."""
    columns = {"series": UNNAMED, "x": table["case"], "chips": table["chips"].astype(int)}
    return DataFrame(columns | {name: metric.factor * table[name] for name in _STATISTICS[1:]})


def _chances(results: Results) -> float | list[float]:
    """Return chance in %: one number, or one per row where axes or cases change it; NaN if unknown."""
    study, paths = results.study, [axis["path"] for axis in results.study["axes"]]
    otherwise = 100 / study["task"]["way"] if "way" in study["task"] else math.nan
    known = {(p["case"], *p["values"]): 100 * p["chance"] for p in study["points"] if "chance" in p}
    places = [(row["case"], *(row[path] for path in paths)) for row in results.table.to_dict("records")]
    found = [known.get(place, otherwise) for place in places]
    return found[0] if len(set(found)) == 1 else found


#: opacity of a band
_BAND = 0.18


def named(data: DataFrame) -> list[str] | None:
    """Return the values of x in their order where they are names, None where they are numbers."""
    values = distinct(data, "x")
    return values if any(isinstance(v, str) for v in values) else None


def plot_robustness(ax: Axes, data: DataFrame) -> None:
    """Draw median and band over chips per series, the digital baseline dashed, chance dotted.

    Series beyond the number of colours differ in their dashes; there are then no bands and baselines, which would hide
    one another.

    Args:
        ax: axes to draw into.
        data: table of `robustness_data`.
    """
    names = named(data)
    parts = list(data.groupby("series", sort=False))
    crowded = len(parts) > _COLOURS
    banded = bool((numbers(data, "chips") > 1).any())
    for number, (series, part) in enumerate(parts):
        x = _places(part, names)
        label, dashes = legend_label(series), _DASHES[number // _COLOURS % len(_DASHES)]
        (line,) = ax.plot(x, part["median"], label=label, linestyle=":" if names else dashes)
        if banded and not crowded:
            _draw_band(ax, x, part, line.get_color(), names is None)
    # One chip a point that is all digital is its own baseline.
    same = not banded and bool((numbers(data, "median") == numbers(data, "digital")).all())
    baselines = not (same or crowded) and _draw_baselines(ax, data, names)
    drawn = np.asarray(data[["median"] if crowded else ["p05", "p95", "digital"]], dtype=float)
    metric = Metric.shown_in(data)
    ax.set_xlabel(str(data.attrs["x_label"]))
    ax.set_ylabel(metric.label)
    if metric.is_share:
        _limit(ax, data, drawn, names, crowded)
    _scale(ax, data, names)
    _legend(ax, data, not crowded if banded else None, baselines)


def _limit(ax: Axes, data: DataFrame, drawn: Values, names: list[str] | None, crowded: bool) -> None:
    """Set the limits of an axis of percentages, and draw chance."""
    low = lower_limit(drawn)
    _draw_chance(ax, data, low, names)
    highest = float(np.nanmax(drawn))
    top = min(100.0, 10.0 * math.ceil((highest + 2) / 10)) if crowded else 100.0
    ax.set_ylim(low, top if highest < 100 else 101)  # a line at 100 % must not be cut in half


def _draw_band(ax: Axes, x: NDArray[Any], part: DataFrame, colour: Any, between: bool) -> None:
    """Draw the band over chips; as bars where x has no values in between."""
    if between:
        ax.fill_between(x, part["p05"], part["p95"], color=colour, alpha=_BAND, linewidth=0)
    else:
        ax.vlines(x, part["p05"], part["p95"], color=colour, alpha=0.5, linewidth=2.2)


def _draw_baselines(ax: Axes, data: DataFrame, names: list[str] | None) -> bool:
    """Draw the digital networks dashed: grey if all series share one, else in the colour of the first series that has
    it.
    """
    courses = _courses(data, "digital", names)
    for x, y, number in courses:
        colour = f"C{number % _COLOURS}" if len(courses) > 1 else "0.3"
        _draw_course(ax, x, y, names is None, {"color": colour, "linestyle": "--", "linewidth": 0.8})
    return bool(courses)


def _scale(ax: Axes, data: DataFrame, names: list[str] | None) -> None:
    """Set ticks and scale of the x axis: names, powers of ten, values or round numbers."""
    ax.margins(x=0.02)
    if names is not None:
        ax.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) * len(names) > 40 else 0)
        ax.margins(x=0.05)
    elif data.attrs["spaced"] == "log":
        ax.set_xscale("log")
        values = sorted(set(numbers(data, "x").tolist()))
        if values[-1] >= _WIDE * values[0]:
            ax.xaxis.set_major_formatter(LogLabels(_power_of_ten))
            ax.xaxis.set_minor_formatter(NullFormatter())
            return
        ax.xaxis.set_major_formatter(LogLabels())
        ax.xaxis.set_minor_formatter(LogLabels())
        if len(values) <= _TICKS:
            ax.set_xticks(values, [f"{value:g}" for value in values])
            ax.xaxis.set_minor_locator(NullLocator())
    else:
        whole = bool((numbers(data, "x") % 1.0 == 0.0).all())  # no tick at 4.5 bits
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=whole))


def _power_of_ten(value: float) -> str:
    """Return a power of ten in superscript, for example 10⁶."""
    return "10" + str(round(math.log10(value))).translate(_RAISED)


def _legend(ax: Axes, data: DataFrame, band: bool | None, baseline: bool) -> None:
    """Draw the legend: the series, then the meaning of band (None: of single chips) and dashes."""
    handles: list[Artist] = [*ax.get_legend_handles_labels()[0]]
    named_median(handles)
    if band:
        colour, alpha = (handles[0].get_color(), _BAND) if len(handles) == 1 else ("0.4", 0.3)  # type: ignore[attr-defined]
        handles.append(Patch(facecolor=colour, alpha=alpha, linewidth=0, label=band_label(data["chips"])))
    elif band is not None:
        handles.append(Line2D([], [], linestyle="", marker="", label=f"medians of {chip_count(data)} chips"))
    if baseline:
        handles.append(Line2D([], [], color="0.4", linestyle="--", linewidth=0.8, marker="", label="digital"))
    legend_below(ax, handles, handlelength=3.5 if band is False else 1.8)


def figure_height(data: DataFrame, axes: float = 2.2) -> float:
    """Return the height of the figure in inches.

    Args:
        data: table of `robustness_data`, whose series are lines of the legend.
        axes: height without the legend.
    """
    return axes + 0.13 * (2 + sum(len(textwrap.wrap(str(s), 62)) for s in set(data["series"])))


def robustness_figure(data: DataFrame, width: float = 3.4, axes: float = 2.2) -> Figure:
    """Return the figure of `plot_robustness`. Call it inside `style()`.

    Args:
        data: table of `robustness_data`.
        width: in inches.
        axes: height in inches without the legend.
    """
    return with_axes(plot_robustness, width, figure_height(data, axes))(data)


def _draw_chance(ax: Axes, data: DataFrame, low: float, names: list[str] | None) -> None:
    """Draw chance: one line, or one curve along x for all series that share it."""
    chance = np.broadcast_to(np.asarray(data.attrs["chance"], dtype=float), len(data))
    look = {"color": "0.4", "linestyle": ":", "linewidth": 0.8}
    for x, y, _ in _courses(data.assign(chance=chance), "chance", names):
        seen = np.flatnonzero(y >= low)
        if len(seen):
            _draw_course(ax, x, y, names is None, look)
            level, last = bool((y == y[0]).all()), (x[seen[-1]] + (0.0 if names is None else 0.3), y[seen[-1]])
            place, along = ((1.0, y[0]), ax.get_yaxis_transform()) if level else (last, ax.transData)
            ax.annotate("chance", place, (-2, 2), along, "offset points", ha="right", fontsize=6, color="0.4")


def _courses(data: DataFrame, column: str, names: list[str] | None) -> list[tuple[Values, Values, int]]:
    """Return the distinct curves of a column along x: x, values, index of the first series that has it."""
    found: dict[bytes, tuple[Values, Values, int]] = {}
    for number, (_, part) in enumerate(data.groupby("series", sort=False)):
        y = numbers(part, column)
        x, y = _places(part, names)[~np.isnan(y)], y[~np.isnan(y)]  # a baseline that is not measured yet is NaN
        level = bool(len(y)) and bool((y == y[0]).all())  # then x does not matter
        found.setdefault((y[:1] if level else np.concatenate([x, y])).tobytes(), (x, y, number))
    return [course for course in found.values() if len(course[1])]


def _places(part: DataFrame, names: list[str] | None) -> Values:
    """Return the positions of the rows along x."""
    return numbers(part, "x") if names is None else np.array([names.index(v) for v in part["x"]], dtype=float)


def _draw_course(ax: Axes, x: Values, y: Values, between: bool, look: dict[str, Any]) -> None:
    """Draw a level across the axes, a curve along x, or dashes where x has no values in between."""
    if (y == y[0]).all():
        ax.axhline(y[0], marker="", **look)
    elif between:
        ax.plot(x, y, marker="", **look)
    else:
        ax.hlines(y, x - 0.3, x + 0.3, **look)
