"""Figures of fits to measured cells, one for each name in the fit of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.axes import Axes
from pandas import DataFrame

from imc_sim.plotting._cdf import cdf_height, plot_cdf, plot_sigma
from imc_sim.plotting._figure import with_axes, write_figure
from imc_sim.plotting._law_panels import plot_endurance, plot_iv_fit, plot_noise, plot_pulse_trains, plot_retention

#: name of a figure -> how its data is drawn, and its height in inches, a number or a function of the data
FIT_FIGURES: dict[str, tuple[Callable[[Axes, DataFrame], None], float | Callable[[DataFrame], float]]] = {
    "cdf": (plot_cdf, cdf_height),
    "sigma": (plot_sigma, 2.6),
    "retention": (plot_retention, 2.9),
    "endurance": (plot_endurance, 2.9),
    "pulses": (plot_pulse_trains, 2.7),
    "iv": (plot_iv_fit, 2.8),
    "noise": (plot_noise, 2.7),
}


def draw_fit(figures: Mapping[str, DataFrame], stem: Path) -> list[Path]:
    """Write the figures of a fit as stem_NAME.png, .svg and .csv.

    Args:
        figures: name -> data, as in `figures` of a fit.
        stem: path without the name and the extension.

    Returns:
        The paths of the files.
    """
    paths = []
    for name, data in figures.items():
        plot, height = FIT_FIGURES[name]
        figure = with_axes(plot, height=height(data) if callable(height) else height)
        paths += write_figure(data, stem.with_name(f"{stem.name}_{name}"), figure)
    return paths
