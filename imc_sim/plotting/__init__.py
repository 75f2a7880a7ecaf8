"""Figures: `*_data` makes the table of a figure, `plot_*` draws a table. No torch."""

from imc_sim.plotting._figure import new_figure, save_figure, style
from imc_sim.plotting._robustness import draw, figure_height, plot_robustness, robustness_data
from imc_sim.plotting._training import draw_training, plot_training, training_data

__all__ = [
    "draw",
    "draw_training",
    "figure_height",
    "new_figure",
    "plot_robustness",
    "plot_training",
    "robustness_data",
    "save_figure",
    "style",
    "training_data",
]
