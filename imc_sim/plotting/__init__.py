"""Figures: `*_data` makes the table of a figure, `plot_*` draws a table, `draw*` writes both. No torch."""

from imc_sim.plotting import _backend  # noqa: F401  # before anything that imports matplotlib
from imc_sim.plotting._cdf import draw_cdf
from imc_sim.plotting._cells import draw_cells
from imc_sim.plotting._comparison import compares, comparison_data, comparison_figure, plot_comparison
from imc_sim.plotting._confusion import confusion_data, draw_confusion, plot_confusion
from imc_sim.plotting._convergence import convergence_data, convergence_figure
from imc_sim.plotting._converter import converter_data, draw_converters, levels_data, plot_converter
from imc_sim.plotting._cost import cost_data, cost_figure, draw_cost, plot_cost
from imc_sim.plotting._device import draw_device
from imc_sim.plotting._fgsm import attack_data, draw_fgsm, fgsm_data, fgsm_figure, plot_fgsm
from imc_sim.plotting._figure import new_figure, save_figure, save_table, style, svg_text, write_drawn
from imc_sim.plotting._fits import FIT_FIGURES, draw_fit
from imc_sim.plotting._forgetting import curves_of, draw_forgetting, forgetting_data, forgetting_table
from imc_sim.plotting._heatmap import heatmap_data, heatmap_figure, plot_heatmap
from imc_sim.plotting._labels import heading, is_number, shown
from imc_sim.plotting._metric import Metric
from imc_sim.plotting._pareto import has_costs, on_front, pareto_data, pareto_figure, plot_pareto, programming_data
from imc_sim.plotting._probes import draw_flips, draw_quadratic, flips_data, quadratic_data
from imc_sim.plotting._robustness import figure_height, plot_robustness, robustness_data, robustness_figure
from imc_sim.plotting._sensitivity import draw_sensitivity, plot_sensitivity, sensitivity_data
from imc_sim.plotting._study import STUDY_FIGURES, draw, figures_of
from imc_sim.plotting._tables import chip_count, distinct, numbers
from imc_sim.plotting._training import draw_training, plot_training, training_data
from imc_sim.plotting._trainings import draw_trainings, trainings_data, trainings_figure
from imc_sim.plotting._tsne import draw_tsne, plot_tsne, tsne_data, tsne_figure, tsne_shares

__all__ = [
    "FIT_FIGURES",
    "STUDY_FIGURES",
    "Metric",
    "attack_data",
    "chip_count",
    "compares",
    "comparison_data",
    "comparison_figure",
    "confusion_data",
    "convergence_data",
    "convergence_figure",
    "converter_data",
    "cost_data",
    "cost_figure",
    "curves_of",
    "distinct",
    "draw",
    "draw_cdf",
    "draw_cells",
    "draw_confusion",
    "draw_converters",
    "draw_cost",
    "draw_device",
    "draw_fgsm",
    "draw_fit",
    "draw_flips",
    "draw_forgetting",
    "draw_quadratic",
    "draw_sensitivity",
    "draw_training",
    "draw_trainings",
    "draw_tsne",
    "fgsm_data",
    "fgsm_figure",
    "figure_height",
    "figures_of",
    "flips_data",
    "forgetting_data",
    "forgetting_table",
    "has_costs",
    "heading",
    "heatmap_data",
    "heatmap_figure",
    "is_number",
    "levels_data",
    "new_figure",
    "numbers",
    "on_front",
    "pareto_data",
    "pareto_figure",
    "plot_comparison",
    "plot_confusion",
    "plot_converter",
    "plot_cost",
    "plot_fgsm",
    "plot_heatmap",
    "plot_pareto",
    "plot_robustness",
    "plot_sensitivity",
    "plot_training",
    "plot_tsne",
    "programming_data",
    "quadratic_data",
    "robustness_data",
    "robustness_figure",
    "save_figure",
    "save_table",
    "sensitivity_data",
    "shown",
    "style",
    "svg_text",
    "training_data",
    "trainings_data",
    "trainings_figure",
    "tsne_data",
    "tsne_figure",
    "tsne_shares",
    "write_drawn",
]
