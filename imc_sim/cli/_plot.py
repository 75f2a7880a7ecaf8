"""`imc-sim plot`: draw the figures of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._own_network import Trust


def plot(
    results: Annotated[Path, typer.Argument(help="A results folder of `imc-sim run`.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="comparison, robustness, fgsm, heatmap, pareto, programming, convergence or tsne; default: "
            "all that the results allow.",
        ),
    ] = None,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Draw the figures of a results folder.

    Draws the accuracy against the first axis, a map where two axes are swept, the accuracy against the energy of an
    inference where the chip states a cost, and the convergence of the estimate with the number of chips. --kind tsne
    computes the features again (a row for each value of the task's axes, a column for each case) and stores them.
    Prints the files written: PNG, SVG and the data of each figure as CSV. For figures of one model on one chip see
    `imc-sim show`.

    Examples:
      imc-sim plot results/quickstart
      imc-sim plot results/cost_encodings --kind pareto
      imc-sim plot results/batmann_tsne --kind tsne
    """
    from imc_sim.cli._console import print_paths, working

    if "tsne" in (kind or ()):
        _embed(results)
    with working(f"drawing {results}"):
        from imc_sim.plotting import draw
        from imc_sim.study import Results

        written = draw(Results.load(results), kind)
    print_paths(written)


def _embed(folder: Path) -> None:
    """Store the points of the t-SNE grid; print the share of nearest images with the same class for every panel."""
    from imc_sim.cli._console import print_rows, progress_bar

    with progress_bar(f"t-SNE of {folder}") as update:
        from imc_sim.plotting import save_table, tsne_data, tsne_shares
        from imc_sim.study import study_embeddings

        data = tsne_data(study_embeddings(folder, progress=update))
        save_table(data, folder / "tsne")
    print_rows(tsne_shares(data).to_dict("records"))
