"""ADC inputs of every layer, with the levels of its ADCs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from pandas import DataFrame

from imc_sim.plotting._figure import new_panels, save_figure, save_table, style
from imc_sim.plotting._tables import numbers, where

if TYPE_CHECKING:
    from imc_sim.evaluate import ConverterInputs

#: visible levels that can still be drawn one by one
_LINES = 40


def converter_data(layers: Sequence[ConverterInputs]) -> DataFrame:
    """Return a row per bin of the histograms: layer, low_A, high_A (its edges), share_percent of the layer's inputs.

    Args:
        layers: histograms of layers.
    """
    return DataFrame(
        [
            {"layer": each.layer, "low_A": low, "high_A": high, "share_percent": 100 * count / each.counts.sum()}
            for each in layers
            for low, high, count in zip(each.edges_A[:-1], each.edges_A[1:], each.counts, strict=True)
        ],
        columns=["layer", "low_A", "high_A", "share_percent"],
    )


def levels_data(layers: Sequence[ConverterInputs]) -> DataFrame:
    """Return a row per layer: layer, levels, first_A, step_A, last_A, used (levels within the inputs), clipped_percent.

    With ideal ADCs all columns but the layer are empty.

    Args:
        layers: histograms of layers.
    """
    columns = ["layer", "levels", "first_A", "step_A", "last_A", "used", "clipped_percent"]
    return DataFrame([_levels(each) for each in layers], columns=columns)


def _levels(each: ConverterInputs) -> dict[str, object]:
    """Return the row of one layer."""
    if each.levels is None:
        return {"layer": each.layer}
    grid = each.levels.first_A + each.levels.step_A * np.arange(each.levels.count)
    low, high = each.edges_A[0] - 0.5 * each.levels.step_A, each.edges_A[-1] + 0.5 * each.levels.step_A
    return {
        "layer": each.layer, "levels": each.levels.count, "first_A": each.levels.first_A,
        "step_A": each.levels.step_A, "last_A": each.levels.last_A,
        "used": int(((grid >= low) & (grid <= high)).sum()), "clipped_percent": 100 * each.clipped,
    }  # fmt: skip


def plot_converter(ax: Axes, data: DataFrame, levels: DataFrame) -> None:
    """Draw the inputs of one layer as a histogram, and the levels of its ADCs as lines or, if they are many, as a band.

    Args:
        ax: axes to draw into.
        data: rows of `converter_data` of one layer.
        levels: row of `levels_data` of that layer.
    """
    edges = np.append(numbers(data, "low_A"), numbers(data, "high_A")[-1])
    ax.stairs(data["share_percent"], edges, fill=True, color="C0", alpha=0.85, linewidth=0)
    margin = 0.04 * (edges[-1] - edges[0])
    ax.set_xlim(edges[0] - margin, edges[-1] + margin)
    row, layer = levels.iloc[0], data["layer"].iloc[0]
    if row["levels"] == row["levels"]:  # empty with ideal ADCs
        text = (
            f"{row['used']:.0f} of {row['levels']:.0f} levels used, {_percent(float(row['clipped_percent']))} clipped"
        )
        _draw_levels(ax, int(row["levels"]), float(row["first_A"]), float(row["step_A"]))
    else:
        text = "ideal ADCs"
    ax.set_title(f"{layer}: {text}", loc="left", fontsize=6.5, pad=3)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_formatter(EngFormatter("A"))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.grid(visible=False)


def _percent(value: float) -> str:
    return "< 0.01 %" if 0.0 < value < 0.01 else f"{value:.2g} %"


def _draw_levels(ax: Axes, count: int, first: float, step: float) -> None:
    """Draw every visible level, or the range if there are too many to distinguish."""
    low, high = ax.get_xlim()
    grid = first + step * np.arange(count)
    seen = grid[(grid >= low) & (grid <= high)]
    if len(seen) <= _LINES:
        for x in seen:
            ax.axvline(x, color="C1", linewidth=0.6, marker="", zorder=3)
    else:
        ax.axvspan(max(low, grid[0]), min(high, grid[-1]), color="C1", alpha=0.12, linewidth=0, zorder=0)
    for x in (grid[0], grid[-1]):
        if low < x < high:
            ax.axvline(x, color="C1", linewidth=1.2, marker="", zorder=3)


def converter_figure(data: DataFrame, levels: DataFrame) -> Figure:
    """Return a panel per layer, in one column up to six layers and in two beyond. Call it inside `style()`."""
    parts = list(data.groupby("layer", sort=False))
    cols = 1 if len(parts) <= 6 else 2
    rows = -(-len(parts) // cols)
    figure, axes = new_panels(rows, cols, 3.4 * cols, 0.35 + 0.92 * rows)
    for ax, (layer, part) in zip(axes, parts, strict=False):
        plot_converter(ax, part, where(levels, "layer", layer))
    for ax in axes[len(parts) :]:
        ax.set_axis_off()
    figure.supxlabel("ADC input (orange: the levels of the ADC)", fontsize=7.5)
    figure.supylabel("share of inputs (%)", fontsize=7.5)
    return figure


def draw_converters(layers: Sequence[ConverterInputs], stem: Path) -> list[Path]:
    """Write the ADC inputs of layers as stem.png, stem.svg, stem.csv (histograms) and stem_levels.csv.

    Args:
        layers: histograms of layers.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    data, levels = converter_data(layers), levels_data(layers)
    tables = [save_table(data, stem), save_table(levels, stem.with_name(f"{stem.name}_levels"))]
    with style():
        return [*save_figure(converter_figure(data, levels), stem), *tables]
