"""Accuracy against the energy of an inference, with the points that no other one beats in both."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from pandas import DataFrame

from imc_sim._errors import ResultsError
from imc_sim.plotting._figure import legend_label, new_figure
from imc_sim.plotting._labels import place, shown
from imc_sim.plotting._metric import Metric
from imc_sim.plotting._tables import distinct, numbers, where

if TYPE_CHECKING:
    from imc_sim.study import Results

Energy = Literal["energy_J", "programming_J"]
_NAMES = {"energy_J": "energy per inference", "programming_J": "energy of programming"}
_MARKS = "osD^vPX*"
#: points up to which every one has its band; beyond, those of the front
_BANDED = 30
#: front points that are labelled in the figure
_LABELLED = 16


def has_costs(results: Results) -> bool:
    """Tell whether a study has points with an energy.

    Args:
        results: of the study.

    Returns:
        Whether there is one.
    """
    table = results.table
    return "energy_J" in table and bool(table["energy_J"].notna().any())


def varies(results: Results, of: Energy = "energy_J") -> bool:
    """Tell whether points differ by more than a tenth in an energy.

    Args:
        results: of the study.
        of: energy of an inference or of programming.

    Returns:
        Whether they differ.
    """
    if not has_costs(results):
        return False
    values = results.table[of].dropna().tolist()
    return len(values) > 1 and max(values) > 1.1 * min(values)


def programming_data(results: Results) -> DataFrame:
    """Return the table of `pareto_data` with the energy that programs all cells instead of that of an inference.

    Args:
        results: of the study.
    """
    return pareto_data(results, "programming_J")


def pareto_data(results: Results, of: Energy = "energy_J") -> DataFrame:
    """Return a row per point with an energy: label, series, mark, name, chips, energy_J, energy_p05_J, energy_p95_J,
    latency_s, median, p05, p95, digital (in %; of scores in their unit) and front.

    `front` is true where no other point has an equal or better median at equal or less energy. attrs: metric; energy,
    the name of the energy.

    Args:
        results: of the study.
        of: energy of an inference or of programming, which has no band.

    Raises:
        ResultsError: no point has an energy.
    """
    if not has_costs(results):
        step = "Take a chip with a part `cost`; docs/cost.md lists those that have one."
        raise ResultsError(str(results.folder), "no energies", "points whose chip states a cost", step)
    metric, axes = Metric.of(results.study), results.study["axes"]
    table = results.table.dropna(subset=[of])
    several = len(distinct(table, "case")) > 1
    swept = [
        axis
        for k, axis in enumerate(axes)
        if not axis.get("zip") or axis["zip"] not in {a.get("zip") for a in axes[:k]}
    ]
    first, rest = (None, swept) if several or not swept else (swept[0], swept[1:])
    named = swept if several else rest or swept
    rows = [
        {
            "label": ", ".join([*([str(row["case"])] if several else []), *(place(row[a["path"]], a) for a in swept)]),
            "series": str(row["case"]) if first is None else place(row[first["path"]], first),
            "mark": place(row[rest[-1]["path"]], rest[-1]) if rest else "",
            "name": ", ".join(_short(row[a["path"]], a, len(named) == 1) for a in named),
            "chips": int(row["chips"]), "energy_J": row[of],
            "energy_p05_J": row.get(f"{of}_p05"), "energy_p95_J": row.get(f"{of}_p95"), "latency_s": row["latency_s"],
            **{key: metric.factor * row[key] for key in ("median", "p05", "p95", "digital")},
        }
        for row in table.to_dict("records")
    ]  # fmt: skip
    data = DataFrame(rows)
    data["front"] = on_front(numbers(data, "energy_J"), numbers(data, "median"), metric.lower)
    data.attrs = {"metric": metric, "energy": _NAMES[of]}
    return data


def _short(value: Any, axis: dict[str, Any], alone: bool) -> str:
    """Return a value with its unit, after the name of its axis where there are several axes and it has no unit."""
    return f"{shown(value, axis)} {axis['unit']}".strip() if axis["unit"] or alone else place(value, axis)


def on_front(energy: NDArray[np.float64], result: NDArray[np.float64], lower: bool = False) -> NDArray[np.bool_]:
    """Tell which points no other point beats: none has as good a result at less energy, or a better one at as little.

    Args:
        energy: of each point.
        result: accuracy or score of each point.
        lower: whether lower results are better.

    Returns:
        Whether each point is on the front.
    """
    good = -result if lower else result
    at_most, at_least = energy[:, None] <= energy, good[:, None] >= good
    strictly = (energy[:, None] < energy) | (good[:, None] > good)
    return np.logical_not((at_most & at_least & strictly).any(axis=0))


def plot_pareto(ax: Axes, data: DataFrame) -> None:
    """Draw medians against energies on a logarithmic axis, the bands over chips, and the front.

    Args:
        ax: axes to draw into.
        data: table of `pareto_data`.
    """
    metric, series, marks = Metric.shown_in(data), distinct(data, "series"), distinct(data, "mark")
    front = where(data, "front", True).sort_values("energy_J")
    ax.plot(front["energy_J"], front["median"], color="0.35", linewidth=0.9, marker="", zorder=1.5)
    for number, each in enumerate(series):
        for which, mark in enumerate(marks):
            part = where(where(data, "series", each), "mark", mark)
            for chosen, alpha in ((False, 0.45), (True, 1.0)):
                some = where(part, "front", chosen)
                ax.plot(
                    some["energy_J"], some["median"], alpha=alpha, color=f"C{number % 10}", linestyle="none",
                    marker=_MARKS[which % len(_MARKS)], markersize=5.0 if chosen else 3.4, zorder=3 if chosen else 2,
                    markeredgecolor="black" if chosen else "none", markeredgewidth=0.6,
                )  # fmt: skip
                if chosen or len(data) <= _BANDED:
                    _draw_bands(ax, some, f"C{number % 10}", alpha)
    if _one_digital(data):
        ax.axhline(data["digital"].iloc[0], color="0.4", linestyle="--", linewidth=0.8, marker="", zorder=1)
    ax.set_xscale("log")
    ax.set_xlabel(data.attrs["energy"])
    ax.set_ylabel(metric.label)
    _limits(ax, data)
    _label_front(ax, front)


def _one_digital(data: DataFrame) -> bool:
    """Tell whether all points have the same digital network."""
    return bool(np.ptp(numbers(data, "digital")) == 0.0)  # NaN where one is unknown


def _draw_bands(ax: Axes, data: DataFrame, color: str, alpha: float) -> None:
    """Draw the bands over chips of accuracies and of energies."""
    x, y = numbers(data, "energy_J"), numbers(data, "median")
    ax.vlines(x, data["p05"], data["p95"], color=color, linewidth=0.8, alpha=0.7 * alpha, zorder=1.8)
    ax.hlines(y, data["energy_p05_J"], data["energy_p95_J"], color=color, linewidth=0.8, alpha=0.7 * alpha, zorder=1.8)


def _limits(ax: Axes, data: DataFrame) -> None:
    """Leave space for the labels to the left of the front, and label the axis of energies in steps."""
    x = numbers(data, "energy_J")
    low, high = x.min(), x.max()
    ax.set_xlim(low / max(1.1, (high / low) ** 0.35), high * max(1.03, (high / low) ** 0.06))
    marks = (1.0,) if high > 1000.0 * low else (1.0, 2.0, 5.0)
    ax.xaxis.set_major_locator(LogLocator(subs=marks) if high > 4.0 * low else MaxNLocator(4))
    ax.xaxis.set_major_formatter(EngFormatter("J"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _label_front(ax: Axes, front: DataFrame) -> None:
    """Label the front above and to the left of its points, where no others can be; extend the axis if needed."""
    figure = cast("Figure", ax.get_figure(root=True))
    figure.canvas.draw()
    line, front = 8.5 * figure.dpi / 72.0, front.tail(_LABELLED)
    up = _heights(ax, front, line)
    while max(up) > ax.bbox.y1 - 0.6 * line:
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.05 * (high - low))
        up = _heights(ax, front, line)
    for (_, row), height in zip(front.iterrows(), up, strict=True):
        at = row["energy_J"], row["median"]
        offset = -9.0, (height - ax.transData.transform(at)[1]) * 72.0 / figure.dpi
        ax.annotate(
            str(row["name"]), at, offset, textcoords="offset points", ha="right", va="center", fontsize=6, zorder=4,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": "0.5", "linewidth": 0.4, "shrinkA": 0.0, "shrinkB": 2.0},
        )  # fmt: skip


def _heights(ax: Axes, front: DataFrame, line: float) -> list[float]:
    """Return the heights of labels in pixels: each at least a line above those before that it would overlap."""
    found: list[float] = []
    places: list[float] = []
    for at, name in zip(front[["energy_J", "median"]].to_numpy(), front["name"], strict=True):
        x, y = ax.transData.transform(at)
        left = x - 0.45 * line * (len(str(name)) + 2)
        below = [height for place, height in zip(places, found, strict=True) if place > left]
        found.append(max([y + 0.8 * line, *(height + line for height in below)]))
        places.append(x)
    return found


def pareto_figure(data: DataFrame) -> Figure:
    """Return the figure. Call it inside `style()`.

    Args:
        data: table of `pareto_data`.
    """
    series, marks = distinct(data, "series"), distinct(data, "mark")
    entries = [Line2D([], [], color=f"C{k % 10}", marker="o", linestyle="none", label=legend_label(each))
               for k, each in enumerate(series)]  # fmt: skip
    if len(marks) > 1:
        style: dict[str, Any] = {"color": "0.4", "linestyle": "none"}
        entries += [Line2D([], [], marker=_MARKS[k % len(_MARKS)], label=legend_label(mark), **style)
                    for k, mark in enumerate(marks)]  # fmt: skip
    entries.append(Line2D([], [], color="0.35", linewidth=0.9, marker="", label="front"))
    if _one_digital(data):
        entries.append(Line2D([], [], color="0.4", linestyle="--", linewidth=0.8, marker="", label="digital"))
    longest = max(len(str(each.get_label())) for each in entries)
    columns = 3 if longest <= 16 else 2 if longest <= 30 else 1
    lines = sum(len(textwrap.wrap(str(each.get_label()), 62)) for each in entries) / columns
    figure, ax = new_figure(4.4, 3.1 + 0.14 * lines)
    figure.legend(handles=entries, loc="outside lower center", ncols=columns)  # first: its height moves labels
    plot_pareto(ax, data)
    return figure
