"""Convergence with the number of chips: the running mean of a point, and the half width of its interval."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import Categorical, DataFrame
from scipy.special import stdtrit

from imc_sim._errors import ResultsError
from imc_sim.plotting._figure import LogLabels, legend_label, mark_level, new_panels
from imc_sim.plotting._labels import place
from imc_sim.plotting._metric import Metric
from imc_sim.plotting._tables import numbers, where
from imc_sim.runs import Array

if TYPE_CHECKING:
    from imc_sim.study import Results

#: half widths below this are the rounding of equal chips, in points
_ROUNDING = 1e-6
#: points drawn in colour
_SHOWN = 4
#: chips of a point of many that have a row each, and the number of rows for all others
_EACH = 100
_COLUMNS = ["point", "chips", "accuracy", "mean", "half_width"]


def convergence_data(results: Results) -> DataFrame:
    """Return a row per point and chip, in the order of chip numbers: point, chips, accuracy, mean, half_width (in
    %; of scores in their unit, with the column `score`).

    accuracy is of that chip alone; mean and half_width, of the 95 % t interval, are over the first `chips` chips, and
    the half width starts at two. Of more than 200 chips, rows are of the first 100 and of 100 numbers of chips in equal
    ratios. attrs: target, the half width at which the study stops, or None; metric.

    Args:
        results: of the study.

    Raises:
        ResultsError: no point has two chips.
    """
    metric, axes, names = Metric.of(results.study), results.study["axes"], dict[str, int]()
    found = zip(results.points, results.accuracies, strict=True)
    each = [(point, values) for point, values in found if len(values) > 1]
    if not each:
        raise ResultsError(str(results.folder), "no point of two chips", "one at least", "Run it with more chips.")
    counts = [_counts(len(accuracies)) for _, accuracies in each]
    ends = np.cumsum([len(count) for count in counts])
    of_row, chips, values = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.int64), np.empty((3, ends[-1]))
    for (point, accuracies), count, end in zip(each, counts, ends.tolist(), strict=True):
        where = [place(v, axis) for v, axis in zip(point["values"], axes, strict=True)]
        some = slice(end - len(count), end)
        of_row[some] = names.setdefault(", ".join([point["case"], *where]), len(names))
        chips[some], *values[:, some] = (column[count - 1] for column in _running(metric.factor * np.array(accuracies)))
    points = Categorical.from_codes(of_row, list(names))  # names alone would take 60 bytes a row
    columns = _COLUMNS if metric.is_share else ["score" if name == "accuracy" else name for name in _COLUMNS]
    data = DataFrame(dict(zip(columns, (points, chips, *values), strict=True)))
    target = results.study["chips"]["half_width"]
    data.attrs = {"target": None if target is None else metric.factor * target, "metric": metric}
    return data


def _counts(chips: int) -> Array:
    """Return the numbers of chips of the rows of a point."""
    if chips <= 2 * _EACH:
        return np.arange(1, chips + 1)
    ratios = np.geomspace(_EACH, chips, _EACH + 1)[1:]
    return np.concatenate([np.arange(1, _EACH + 1), np.unique(ratios.round().astype(np.int64))])


def _running(values: Array) -> tuple[Array, ...]:
    """Return the columns of a point: `mean_interval` of the first 1, 2, … accuracies."""
    n = np.arange(1, len(values) + 1)
    centred = values - values.mean()  # the squares of numbers that differ little would cancel
    mean = centred.cumsum() / n
    variance = ((centred**2).cumsum() - n * mean**2)[1:].clip(0.0) / (n[1:] - 1)
    half = stdtrit(n[1:] - 1, 0.975) * np.sqrt(variance / n[1:])
    return n, values, mean + values.mean(), np.concatenate([[np.nan], half])


def slowest(data: DataFrame, count: int = _SHOWN) -> list[str]:
    """Return the points with the widest final intervals, widest first."""
    last = data.groupby("point", sort=False, observed=True).tail(1)
    return [str(p) for p in last.sort_values("half_width", ascending=False, kind="stable")["point"].head(count)]


def plot_means(ax: Axes, data: DataFrame, points: list[str]) -> None:
    """Draw running means with their 95 % intervals."""
    for number, point in enumerate(points):
        part = where(data, "point", point)
        ax.plot(part["chips"], part["mean"], color=f"C{number}", marker="", label=legend_label(point))
        low, high = part["mean"] - part["half_width"], part["mean"] + part["half_width"]
        ax.fill_between(part["chips"], low, high, color=f"C{number}", alpha=0.18, linewidth=0)
    mean, half, chips = (numbers(data, name) for name in ("mean", "half_width", "chips"))
    fewest = min(float(numbers(where(data, "point", point), "chips").max()) for point in points)
    shown = data["point"].isin(points).to_numpy() & (chips >= min(5, fewest))  # the first intervals would fill the axis
    low, high = float(np.nanmin((mean - half)[shown])), float(np.nanmax((mean + half)[shown]))
    metric = Metric.shown_in(data)
    margin = 1.0 if metric.is_share else 0.05 * (high - low)
    if metric.is_share:
        low, high = max(low, 0.0), min(high, 100.0)
    if margin > 0:
        ax.set_ylim(low - margin, high + margin)
    ax.set_ylabel(f"mean {metric.label}")


def plot_widths(ax: Axes, data: DataFrame, points: list[str]) -> None:
    """Draw the half width of every interval, in grey except for the chosen points, and the target of the study."""
    metric = Metric.shown_in(data)
    least = _ROUNDING if metric.is_share else _ROUNDING * 1e-6 * float(np.abs(numbers(data, "mean")).max())
    columns = [data[name].to_numpy() for name in ("chips", "half_width")]
    for point, rows in data.groupby("point", sort=False, observed=True).indices.items():
        chips, half = (column[rows] for column in columns)
        chosen = points.index(str(point)) if point in points else None
        colour, width = ("0.75", 0.6) if chosen is None else (f"C{chosen}", 1.2)
        seen = half > least
        ax.plot(chips[seen], half[seen], color=colour, linewidth=width, marker="", zorder=2 + (width > 1))
    if data.attrs["target"] is not None:
        mark_level(ax, data.attrs["target"], "stops here", "0.2", 0.9)
    if np.nanmax(numbers(data, "half_width")) > least:
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(LogLabels())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("chips")
    ax.set_ylabel(f"95 % half width ({metric.difference})" if metric.difference else "95 % half width")


def convergence_figure(data: DataFrame) -> Figure:
    """Return the figure: running means above, half widths below. Call it inside `style()`.

    Args:
        data: table of `convergence_data`.
    """
    points = slowest(data)
    lines = sum(len(textwrap.wrap(p, 62)) for p in points)
    figure, (above, below) = new_panels(2, 1, 3.4, 3.5 + 0.13 * lines)
    plot_means(above, data, points)
    plot_widths(below, data, points)
    for ax in (above, below):
        ax.set_xlim(1, numbers(data, "chips").max())
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))  # no tick at 2.5 chips
    figure.legend(handles=above.get_legend_handles_labels()[0], loc="outside lower center")
    return figure
