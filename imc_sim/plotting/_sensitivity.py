"""Bars of the accuracy that each layer costs when it alone is on crossbars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from pandas import DataFrame

from imc_sim._stats import band_label
from imc_sim.plotting._figure import new_figure, save_figure, save_table, style
from imc_sim.plotting._tables import chip_count

if TYPE_CHECKING:
    from imc_sim.evaluate import LayerAccuracy


def sensitivity_data(rows: Sequence[LayerAccuracy]) -> DataFrame:
    """Return a row per layer: layer, chips, median, p05, p95, digital (accuracies in %)."""
    columns = ["layer", "chips", "median", "p05", "p95", "digital"]
    values = [(r.layer, len(r.accuracies), 100 * r.median, *(100 * b for b in r.band()), 100 * r.digital) for r in rows]
    return DataFrame(values, columns=columns)


def plot_sensitivity(ax: Axes, data: DataFrame) -> None:
    """Draw points of accuracy against digital: bar to the median, line over the band of chips; the last bar, all,
    dark.
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
    figure = ax.get_figure(root=True)
    if figure is not None:
        bar = Line2D(
            [], [], color="C0", linewidth=4, alpha=0.85, marker="", label=f"median of {chip_count(data)} chips"
        )
        band = Line2D([], [], color="C1", linewidth=1.1, marker="", label=band_label(data["chips"], named=False))
        figure.legend(handles=[bar, band], loc="outside lower center", ncols=2)


def draw_sensitivity(rows: Sequence[LayerAccuracy], stem: Path) -> list[Path]:
    """Write stem.png, .svg and .csv; returns the paths."""
    data = sensitivity_data(rows)
    table = save_table(data, stem)
    with style():
        figure, ax = new_figure(3.4, 0.85 + 0.2 * len(data))
        plot_sensitivity(ax, data)
        return [*save_figure(figure, stem), table]
