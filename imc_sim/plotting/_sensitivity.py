"""Bars of the accuracy lost when one layer alone is on crossbars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from pandas import DataFrame

from imc_sim._stats import band_label
from imc_sim.plotting._figure import legend_below, with_axes, write_figure
from imc_sim.plotting._tables import chip_count

if TYPE_CHECKING:
    from imc_sim.evaluate import LayerAccuracy


def sensitivity_data(rows: Sequence[LayerAccuracy]) -> DataFrame:
    """Return a row per layer: layer, chips, median, p05, p95, digital (accuracies in %).

    Args:
        rows: accuracies of chips with one layer on crossbars.
    """
    columns = ["layer", "chips", "median", "p05", "p95", "digital"]
    values = [(r.layer, len(r.accuracies), 100 * r.median, *(100 * b for b in r.band()), 100 * r.digital) for r in rows]
    return DataFrame(values, columns=columns)


def plot_sensitivity(ax: Axes, data: DataFrame) -> None:
    """Draw the difference from digital in points: a bar to the median, a line over the band of chips.

    Args:
        ax: axes to draw into.
        data: table of `sensitivity_data`; a row of all layers together has a dark bar.
    """
    y = np.arange(len(data))[::-1]
    change, low, high = (data[name] - data["digital"] for name in ("median", "p05", "p95"))
    colours = ["0.25" if str(layer).startswith("all ") else "C0" for layer in data["layer"]]
    ax.barh(y, change, height=0.62, color=colours, alpha=0.85)
    ax.hlines(y, low, high, color="C1", linewidth=1.1)
    ax.axvline(0.0, color="0.2", linestyle="--", linewidth=0.8, marker="")
    ax.set_yticks(y, [str(layer) for layer in data["layer"]])
    ax.set_xlabel(f"accuracy against digital, {data['digital'].iloc[0]:.1f} % (points)")
    ax.grid(visible=False, axis="y")
    bar = Line2D([], [], color="C0", linewidth=4, alpha=0.85, marker="", label=f"median of {chip_count(data)} chips")
    band = Line2D([], [], color="C1", linewidth=1.1, marker="", label=band_label(data["chips"], named=False))
    legend_below(ax, [bar, band], ncols=2)


def draw_sensitivity(rows: Sequence[LayerAccuracy], stem: Path) -> list[Path]:
    """Write the accuracy lost by each layer as stem.png, stem.svg and stem.csv.

    Args:
        rows: accuracies of chips with one layer on crossbars.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    data = sensitivity_data(rows)
    return write_figure(data, stem, with_axes(plot_sensitivity, height=0.85 + 0.2 * len(data)))
