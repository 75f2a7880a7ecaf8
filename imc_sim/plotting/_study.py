"""The figures of a results folder: those that exist, those that a study has, and their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from matplotlib.figure import Figure
from pandas import DataFrame

from imc_sim._errors import InputError, nearest
from imc_sim.plotting._comparison import compares, comparison_data, comparison_figure
from imc_sim.plotting._convergence import convergence_data, convergence_figure
from imc_sim.plotting._fgsm import attack_data, attacks, fgsm_figure
from imc_sim.plotting._figure import save_figure, save_table, style
from imc_sim.plotting._heatmap import heatmap_data, heatmap_figure, two_axes
from imc_sim.plotting._robustness import robustness_data, robustness_figure
from imc_sim.plotting._tables import numbers
from imc_sim.plotting._tsne import has_tsne, stored_tsne, tsne_figure

if TYPE_CHECKING:
    from pathlib import Path

    from imc_sim.study import Results


@final
@dataclass(frozen=True)
class StudyFigure:
    """A figure of a study: its table, its drawing, whether a study has it, and how to read it."""

    data: Callable[[Results], DataFrame]
    figure: Callable[[DataFrame], Figure]
    applies: Callable[[Results], bool]
    caption: str


def _chips(results: Results) -> bool:
    return len(results.table) > 0 and numbers(results.table, "chips").max() >= 2


STUDY_FIGURES = {
    "comparison": StudyFigure(
        comparison_data, comparison_figure, compares,
        "Every setting as published and as found here, with 95 % intervals: of the digital network over its test, on "
        "chips over chips.",
    ),
    "robustness": StudyFigure(
        robustness_data, robustness_figure, lambda results: len(results.study["axes"]) > 0 and not attacks(results),
        "Line: median over chips; band: 5 to 95 % of chips, of fewer than 19 the lowest to the highest (left out "
        "beyond seven cases); dashed: the digital network. Chips share their random numbers along the axis.",
    ),
    "fgsm": StudyFigure(
        attack_data, fgsm_figure, attacks,
        "Accuracy against the strength of the attack, a panel a procedure; dashed: the digital network.",
    ),
    "heatmap": StudyFigure(
        heatmap_data, heatmap_figure, lambda results: len(two_axes(results.study)) == 2,
        "Median accuracy over chips for every pair of values; framed: within 1 point of the digital network.",
    ),
    "convergence": StudyFigure(
        convergence_data, convergence_figure, _chips,
        "Mean over chips with its 95 % interval as chips are added, and the half width of that interval. "
        "Coloured: the points with the widest intervals; grey: all others.",
    ),
    "tsne": StudyFigure(
        stored_tsne, tsne_figure, has_tsne,
        "Features in the form of keys, of the digital networks, and how often the nearest image is of the same class.",
    ),
}  # fmt: skip


def figures_of(results: Results, kinds: Sequence[str] | None = None) -> dict[str, StudyFigure]:
    """Return the figures that these results have; `kinds`: these, whether the results have them or not."""
    for kind in kinds or ():
        if kind not in STUDY_FIGURES:
            step = f"{nearest(kind, list(STUDY_FIGURES))}Choose a kind."
            raise InputError("kind of figure", repr(kind), ", ".join(STUDY_FIGURES), step)
    if kinds:
        return {kind: STUDY_FIGURES[kind] for kind in kinds}
    return {kind: figure for kind, figure in STUDY_FIGURES.items() if figure.applies(results)}


def draw(results: Results, kinds: Sequence[str] | None = None) -> list[Path]:
    """Write every figure as .png, .svg and .csv (its data) into the results folder; returns the paths."""
    written = []
    for kind, each in figures_of(results, kinds).items():
        data, stem = each.data(results), results.folder / kind
        table = save_table(data, stem)
        with style():
            written += [*save_figure(each.figure(data), stem), table]
    return written
