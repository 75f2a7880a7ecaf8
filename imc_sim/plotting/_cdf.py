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

from imc_sim.plotting._figure import LogLabels, legend_label, new_figure, save_figure, save_table, style

if TYPE_CHECKING:
    from imc_sim.device import DeviceFit

#: Probabilities that the axis names, in %.
_TICKS = (0.1, 1, 10, 50, 90, 99, 99.9)


def cdf_data(fit: DeviceFit) -> DataFrame:
    """Return a row per cell: state, conductance_S, measured (share of the state's cells up to it) and fitted, by the
    law.

    measured is (rank - 1/2) / n, so that the first and the last cell have a place on an axis of probabilities. attrs:
    one line on the fit of each state.
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
    ticks = [t for t in _TICKS if abs(ndtri(t / 100)) < -limit]
    ax.set_yticks([float(ndtri(t / 100)) for t in ticks], [f"{t:g}" for t in ticks])
    ax.set_xlabel("conductance")
    ax.set_ylabel("cells up to it (%)")
    handles = [*ax.get_legend_handles_labels()[0], Line2D([], [], color="0.15", linewidth=0.9, marker="", label="fit")]
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.legend(handles=handles, loc="outside lower center")


def draw_cdf(fit: DeviceFit, stem: Path) -> list[Path]:
    """Write stem.png, stem.svg and stem.csv (the figure's data); returns the paths."""
    data = cdf_data(fit)
    table = save_table(data, stem)
    with style():
        figure, ax = new_figure(height=2.4 + 0.13 * len(fit.states))
        plot_cdf(ax, data)
        return [*save_figure(figure, stem), table]
