"""Cumulative distributions of measured cells and of the laws fitted to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from pandas import DataFrame
from scipy.special import ndtri

from imc_sim.plotting._figure import (
    legend_below,
    legend_label,
    log_if_wide,
    probability_axis,
    with_axes,
    write_figure,
)

if TYPE_CHECKING:
    from imc_sim.device import DeviceFit


def plot_cdf(ax: Axes, data: DataFrame) -> None:
    """Draw measured cells as points and the finished chip as a line, on an axis of normal probabilities.

    A normal law is a straight line over linear conductance, a log-normal one over its logarithm.
    """
    limit = float(ndtri(data["measured"].min())) - 0.3
    for number, (state, part) in enumerate(data.groupby("state", sort=False)):
        measured = ndtri(part["measured"].to_numpy(float))
        fitted = ndtri(part["fitted"].to_numpy(float).clip(1e-12, 1 - 1e-12))
        x, label = part["conductance_S"], legend_label(data.attrs.get(str(state), str(state)))
        ax.plot(x, measured, linestyle="", marker="o", markersize=2.4, color=f"C{number}", alpha=0.6, label=label)
        ax.plot(x, fitted, marker="", color="0.15", linewidth=0.9)
    G = data["conductance_S"].to_numpy(float)
    log_if_wide(ax, "x", G if G.min() > 0.0 else [1.0], "S")
    ax.set_ylim(limit, -limit)
    probability_axis(ax, -limit)
    ax.set_xlabel("conductance")
    handles = [*ax.get_legend_handles_labels()[0], Line2D([], [], color="0.15", linewidth=0.9, marker="", label="chip")]
    legend_below(ax, handles)


def plot_sigma(ax: Axes, data: DataFrame) -> None:
    """Draw the standard deviation of each level over its conductance, as measured with intervals and in the chip."""
    G, sigma = data["conductance_S"].to_numpy(float), data["sigma_S"].to_numpy(float)
    (chip,) = ax.plot(G, data["chip_S"], color="0.15", marker="", label="chip")
    ax.vlines(G, data["low_S"], data["high_S"], color="C0", linewidth=1.2)
    (points,) = ax.plot(G, sigma, color="C0", marker="o", markersize=3.0, linestyle="", label="measured, 95 % interval")
    log_if_wide(ax, "x", G, "S")
    log_if_wide(ax, "y", sigma, "S")
    ax.set_xlabel("mean conductance")
    ax.set_ylabel("standard deviation")
    legend_below(ax, [points, chip], ncols=2)


def cdf_height(data: DataFrame) -> float:
    """Return the height in inches, with a line of the legend for each state."""
    return 2.4 + 0.13 * len(set(data["state"]))


def draw_cdf(fit: DeviceFit, stem: Path) -> list[Path]:
    """Write the cumulative distributions of measured cells and of the fitted chip as stem.png, stem.svg and stem.csv.

    Args:
        fit: device fitted to measured levels.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    data = fit.part.figures["cdf"]
    return write_figure(data, stem, with_axes(plot_cdf, height=cdf_height(data)))
