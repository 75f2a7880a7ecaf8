"""Stacked bars of the energy, latency and area of layers, by component."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray
from pandas import DataFrame

from imc_sim.plotting._figure import legend_below, new_panels, write_figure
from imc_sim.plotting._tables import distinct, numbers, where

if TYPE_CHECKING:
    from imc_sim.cost import CostReport

#: quantity -> label of its axis, unit, and factor to it
_PANELS = {
    "energy_J": ("energy per inference", "J", 1.0), "latency_s": ("latency", "s", 1.0),
    "area_m2": ("area (mm²)", "", 1e6),
}  # fmt: skip


def cost_data(report: CostReport) -> DataFrame:
    """Return a row per layer and component: layer, component, action, count, energy_J, latency_s, area_m2.

    Args:
        report: energies, times and areas.
    """
    columns = ["layer", "component", "action", "count", *_PANELS]
    return DataFrame(report.rows(), columns=columns).astype(dict.fromkeys(_PANELS, "float64"))


def cost_figure(data: DataFrame) -> Figure:
    """Draw a bar per layer, stacked by component, for each quantity that is stated.

    Args:
        data: table of `cost_data`.

    Returns:
        The figure.
    """
    panels = [name for name in _PANELS if np.nansum(numbers(data, name)) > 0.0] or ["energy_J"]
    names = [n for n in distinct(data, "component") if any(_bars(data, n, panel).any() for panel in panels)]
    colours = {name: f"C{k}" if k < 7 else f"{0.2 * (k - 6):.1f}" for k, name in enumerate(names)}
    rows = -(-len(names) // 4)
    height = 0.9 + 0.2 * len(distinct(data, "layer")) + 0.16 * rows
    figure, axes = new_panels(1, len(panels), 1.0 + 2.0 * len(panels), height)
    for ax, panel in zip(axes, panels, strict=True):
        plot_cost(ax, data, panel, colours)
        ax.tick_params(axis="y", labelleft=ax is axes[0])
    legend_below(axes[0], [Patch(color=colour, label=name) for name, colour in colours.items()], ncols=4)
    return figure


def plot_cost(ax: Axes, data: DataFrame, panel: str, colours: dict[str, str]) -> None:
    """Draw one quantity of every layer as stacked bars.

    Args:
        ax: axes to draw into.
        data: table of `cost_data`.
        panel: its column, such as energy_J.
        colours: colour of each component.
    """
    label, unit, factor = _PANELS[panel]
    layers = distinct(data, "layer")
    y, left = np.arange(len(layers))[::-1], np.zeros(len(layers))
    for name, colour in colours.items():
        values = factor * _bars(data, name, panel)
        ax.barh(y, values, left=left, height=0.62, color=colour)
        left += values
    ax.set_yticks(y, layers)
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    if unit:
        ax.xaxis.set_major_formatter(EngFormatter(unit))
    ax.grid(visible=False, axis="y")


def _bars(data: DataFrame, component: str, panel: str) -> NDArray[np.float64]:
    """Return one quantity of a component in each layer; 0 where it is not stated."""
    rows = where(data, "component", component)
    return np.array([np.nansum(numbers(where(rows, "layer", layer), panel)) for layer in distinct(data, "layer")])


def draw_cost(report: CostReport, stem: Path) -> list[Path]:
    """Write energy, latency and area of every layer as stem.png, stem.svg and stem.csv.

    Args:
        report: energies, times and areas.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    return write_figure(cost_data(report), stem, cost_figure)
