"""Figures of a results folder: which kinds exist, which of them a study has, and their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from matplotlib.figure import Figure
from pandas import DataFrame

from imc_sim._arguments import checked
from imc_sim._errors import InputError, nearest
from imc_sim.plotting._comparison import compares, comparison_data, comparison_figure
from imc_sim.plotting._convergence import convergence_data, convergence_figure
from imc_sim.plotting._fgsm import attack_data, attacks, fgsm_figure
from imc_sim.plotting._figure import write_figure
from imc_sim.plotting._heatmap import heatmap_data, heatmap_figure, two_axes
from imc_sim.plotting._pareto import has_costs, pareto_data, pareto_figure, programming_data, varies
from imc_sim.plotting._robustness import robustness_data, robustness_figure
from imc_sim.plotting._tables import numbers
from imc_sim.plotting._tsne import has_tsne, stored_tsne, tsne_figure

if TYPE_CHECKING:
    from pathlib import Path

    from imc_sim.study import Results


@final
@dataclass(frozen=True)
class StudyFigure:
    """A kind of figure of a study.

    Args:
        data: makes its table.
        figure: draws the table.
        applies: tells whether a study has it.
        caption: how to read it.
    """

    data: Callable[[Results], DataFrame]
    figure: Callable[[DataFrame], Figure]
    applies: Callable[[Results], bool]
    caption: str


def _chips(results: Results) -> bool:
    return len(results.table) > 0 and numbers(results.table, "chips").max() >= 2


def _compares_cases(results: Results) -> bool:
    return not results.study["axes"] and compares(results)


def _in_folder(results: Results, kind: str) -> bool:
    """Tell whether a folder with costs has such a figure, which may show earlier prices."""
    return has_costs(results) and (results.folder / f"{kind}.csv").is_file()


STUDY_FIGURES = {
    "comparison": StudyFigure(
        comparison_data, comparison_figure, compares,
        "Every setting as published and as found here, with 95 % intervals: of the digital network over its test, on "
        "chips over chips.",
    ),
    "robustness": StudyFigure(
        robustness_data, robustness_figure, lambda results: not (_compares_cases(results) or attacks(results)),
        "Line: median over chips; band: 5 to 95 % of chips, of fewer than 19 the lowest to the highest (left out "
        "beyond seven cases); dashed: the digital network. Chips share their random numbers along the axis.",
    ),
    "fgsm": StudyFigure(
        attack_data, fgsm_figure, attacks,
        "Accuracy against the strength of the attack, a panel a procedure; dashed: the digital network.",
    ),
    "heatmap": StudyFigure(
        heatmap_data, heatmap_figure, lambda results: len(two_axes(results.study)) == 2,
        "Median over chips for every pair of values; framed: close to the digital network.",
    ),
    "pareto": StudyFigure(
        pareto_data, pareto_figure, lambda results: varies(results) or _in_folder(results, "pareto"),
        "Median over chips against the mean energy of an inference; lines at points: 5 to 95 % of chips, of fewer than "
        "19 the lowest to the highest (beyond 30 points, of the front). Front, edged in black: points that no other "
        "one beats in both; dashed: digital.",
    ),
    "programming": StudyFigure(
        programming_data, pareto_figure,
        lambda results: varies(results, "programming_J") or _in_folder(results, "programming"),
        "Median over chips against the energy that programs all cells, verifying pulses included; as in the figure of "
        "energies of an inference.",
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
    """Return the figures of a study by kind.

    Args:
        results: of the study.
        kinds: kinds to return, whether the study has them or not; None: those that it has.

    Raises:
        InputError: an unknown kind.
    """
    for kind in kinds or ():
        if kind not in STUDY_FIGURES:
            step = f"{nearest(kind, list(STUDY_FIGURES))}Choose a kind."
            raise InputError("kind of figure", repr(kind), ", ".join(STUDY_FIGURES), step)
    if kinds:
        return {kind: STUDY_FIGURES[kind] for kind in kinds}
    return {kind: figure for kind, figure in STUDY_FIGURES.items() if figure.applies(results)}


@checked
def draw(results: Results, kinds: Sequence[str] | None = None) -> list[Path]:
    """Write every figure of a study as .png, .svg and .csv (its data) into the results folder.

    Args:
        results: of the study.
        kinds: see `figures_of`.

    Returns:
        The paths of the files.
    """
    found = figures_of(results, kinds).items()
    return [path for kind, f in found for path in write_figure(f.data(results), results.folder / kind, f.figure)]
