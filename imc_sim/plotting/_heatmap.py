"""Heat maps: the median accuracy or score for every pair of values of two axes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from pandas import DataFrame

from imc_sim._errors import ResultsError
from imc_sim.plotting._figure import new_panels, plain_bar
from imc_sim.plotting._labels import further, heading, place, shown
from imc_sim.plotting._metric import Metric
from imc_sim.plotting._tables import chip_count, distinct, numbers

if TYPE_CHECKING:
    from imc_sim.study import Results

_MAP = "cividis"  # one hue order for every kind of colour vision, and for print in grey


def two_axes(study: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the first two crossed axes with more than one value; fewer if the study has no heat map."""
    swept = [axis for axis in study["axes"] if len(axis["values"]) > 1]
    return [*swept[:1], *(axis for axis in further(study, *swept[:1]) if axis in swept)][:2]


def heatmap_data(results: Results) -> DataFrame:
    """Return a row per pair of values: panel, x, y, chips, median, p05, p95, digital (accuracies in %, or
    scores).

    A panel is a case with the values of further axes. attrs: x_label, y_label and metric.

    Args:
        results: of a study with two crossed axes.

    Raises:
        ResultsError: fewer than two axes have more than one value.
    """
    swept = two_axes(results.study)
    if len(swept) < 2:
        got = f"{len(swept)} axis with more than one value"
        raise ResultsError(str(results.folder), got, "two for a map", "Draw the robustness curve.")
    x, y = swept
    others, metric = further(results.study, x, y), Metric.of(results.study)
    rows = [
        {"panel": ", ".join([str(row["case"]), *(place(row[a["path"]], a) for a in others)])}
        | {"x": shown(row[x["path"]], x), "y": shown(row[y["path"]], y), "chips": int(row["chips"])}
        | {name: metric.factor * row[name] for name in ("median", "p05", "p95", "digital")}
        for row in results.table.to_dict("records")
    ]
    data = DataFrame(rows, columns=["panel", "x", "y", "chips", "median", "p05", "p95", "digital"])
    data.attrs = {"x_label": heading(x), "y_label": heading(y), "metric": metric}
    return data


def plot_heatmap(ax: Axes, data: DataFrame, limits: tuple[float, float]) -> None:
    """Draw one panel: medians as colours and numbers, framed where they are close to digital.

    Args:
        ax: axes to draw into.
        data: rows of one panel.
        limits: numbers at the ends of the colour scale.
    """
    columns, rows = distinct(data, "x"), distinct(data, "y")
    values = np.full((len(rows), len(columns)), np.nan)
    norm, metric = Normalize(*limits), Metric.shown_in(data)
    small = max(len(columns), 2 * len(rows) // 3) > 8
    for record, close in zip(data.to_dict("records"), _close(data), strict=True):
        i, j, median = rows.index(record["y"]), columns.index(record["x"]), record["median"]
        values[i, j] = median
        colour = "white" if norm(median) < 0.55 else "black"
        weight = "bold" if close else "normal"
        text = f"{median:.0f}" if metric.is_share else f"{median:.3g}"
        ax.text(j, i, text, ha="center", va="center", fontsize=5 if small else 6.5, color=colour, fontweight=weight)
        if close:
            x, y = np.array([-1, 1, 1, -1, -1]) * 0.44, np.array([-1, -1, 1, 1, -1]) * 0.44
            ax.plot(j + x, i + y, color=colour, linewidth=0.8, marker="")
    edges = [np.arange(n + 1) - 0.5 for n in (len(columns), len(rows))]
    ax.pcolormesh(
        *edges, values, cmap=_MAP, norm=norm, edgecolors="face", linewidth=0.1
    )  # paths, where imshow is a bitmap
    ax.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) * len(columns) > 36 else 0)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.set_xlabel(str(data.attrs["x_label"]))
    ax.set_ylabel(str(data.attrs["y_label"]))


def heatmap_figure(data: DataFrame) -> Figure:
    """Return all panels above one another with one scale of colours. Call it inside `style()`.

    Args:
        data: table of `heatmap_data`.
    """
    panels = list(data.groupby("panel", sort=False))
    rows = len(set(data["y"]))
    each = 0.85 + 0.22 * max(rows, 4) + (0.15 if len(panels) > 1 else 0)
    figure, axes = new_panels(len(panels), 1, 3.4, each * len(panels) + 0.25)
    limits = _limits(data)
    for ax, (name, part) in zip(axes, panels, strict=True):
        part.attrs = data.attrs
        plot_heatmap(ax, part, limits)
        if len(panels) > 1:
            ax.set_title(textwrap.fill(str(name), 48), loc="left")
    bar = figure.colorbar(ScalarMappable(Normalize(*limits), _MAP), ax=axes, aspect=25, pad=0.02)
    metric = Metric.shown_in(data)
    label = f"median {metric.name} of {chip_count(data)} chips{metric.in_brackets}"
    bar.set_label(textwrap.fill(label, 18 if rows <= 4 and len(panels) == 1 else 60))
    plain_bar(bar)
    near = f"within {metric.near} of digital"
    note = f"framed: {near}" if any(_close(data)) else f"no value {near}"
    figure.supxlabel(note, fontsize=6.2, color="0.3")
    return figure


def _close(data: DataFrame) -> list[bool]:
    """Return for each row whether its median counts as close to digital."""
    metric, digital = Metric.shown_in(data), numbers(data, "digital")
    return (metric.gap(digital, numbers(data, "median")) <= metric.allowed(digital)).tolist()


def _limits(data: DataFrame) -> tuple[float, float]:
    values = numbers(data, "median")
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 1, high + 1)
