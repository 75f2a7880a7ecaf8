"""Cumulative distributions of measured cells and of the laws fitted to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from pandas import DataFrame, concat
from scipy.special import ndtri

from imc_sim.plotting._figure import LogLabels, legend_below, legend_label, probability_axis, with_axes, write_figure

if TYPE_CHECKING:
    from imc_sim.device import DeviceFit


def cdf_data(fit: DeviceFit) -> DataFrame:
    """Return a row per cell: state, conductance_S, measured and fitted cumulative probability.

    measured is (rank - 1/2) / n within the state, so that the first and the last cell are on an axis of probabilities.
    attrs: one line per state on its fit.
    """
    parts = []
    for state in fit.states:
        G = state.conductance_S
        columns = {"state": state.name, "conductance_S": G, "measured": (np.arange(len(G)) + 0.5) / len(G)}
        parts.append(DataFrame(columns | {"fitted": state.cdf(G)}))
    data = concat(parts, ignore_index=True)
    laws = {"gaussian": "normal", "log_normal": "log-normal"}
    data.attrs = {s.name: f"{s.name}: {laws[s.law]}, KS {s.distance:.3f}, p = {s.p_value:.2g}" for s in fit.states}
    return data


def plot_cdf(ax: Axes, data: DataFrame) -> None:
    """Draw measured cells as points and the fitted law as a line, on an axis of normal probabilities.

    A normal law is a straight line over linear conductance, a log-normal one over its logarithm.
    """
    limit = float(ndtri(0.5 / len(data))) - 0.3
    for number, (state, part) in enumerate(data.groupby("state", sort=False)):
        measured = ndtri(part["measured"].to_numpy(float))
        fitted = ndtri(part["fitted"].to_numpy(float).clip(1e-12, 1 - 1e-12))
        x, label = part["conductance_S"], legend_label(data.attrs.get(str(state), str(state)))
        ax.plot(x, measured, linestyle="", marker="o", markersize=2.4, color=f"C{number}", alpha=0.6, label=label)
        ax.plot(x, fitted, marker="", color="0.15", linewidth=0.9)
    G = data["conductance_S"].to_numpy(float)
    if G.min() > 0.0 and G.max() / G.min() > 5.0:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(LogLabels(EngFormatter("S")))
    ax.xaxis.set_major_formatter(EngFormatter("S"))
    ax.set_ylim(limit, -limit)
    probability_axis(ax, -limit)
    ax.set_xlabel("conductance")
    handles = [*ax.get_legend_handles_labels()[0], Line2D([], [], color="0.15", linewidth=0.9, marker="", label="fit")]
    legend_below(ax, handles)


def draw_cdf(fit: DeviceFit, stem: Path) -> list[Path]:
    """Write the cumulative distributions of measured cells and of the fitted laws as stem.png, stem.svg and stem.csv.

    Args:
        fit: device fitted to measured cells.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    return write_figure(cdf_data(fit), stem, with_axes(plot_cdf, height=2.4 + 0.13 * len(fit.states)))
