"""`imc-sim plot`: the figures of a results folder, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet


def plot(
    results: Annotated[Path, typer.Argument(help="A results folder of `imc-sim run`.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", help="comparison, robustness, fgsm, heatmap, convergence or tsne; default: all that there are."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw the figures of a results folder.

    Accuracy against the first axis, a map where two axes are swept, and how the estimate settles over chips.
    --kind tsne computes the features again (a row per value of the task's axes, a column per case) and keeps them.
    Prints the files written: PNG, SVG and each figure's data as CSV. See `imc-sim show` for a model on a chip.

    Examples:
      imc-sim plot results/quickstart
      imc-sim plot results/batmann_tsne --kind tsne
    """
    from imc_sim.cli._console import working

    if "tsne" in (kind or ()):
        _embed(results)
    with working(f"drawing {results}"):
        from imc_sim.plotting import draw
        from imc_sim.study import Results

        written = draw(Results.load(results), kind)
    for path in written:
        print(path)


def _embed(folder: Path) -> None:
    """The points of the t-SNE grid into the folder; the share of nearest images of every panel to stdout."""
    from imc_sim.cli._console import print_rows, progress_bar

    with progress_bar(f"t-SNE of {folder}") as update:
        from imc_sim.plotting import save_table, tsne_data, tsne_shares
        from imc_sim.study import study_embeddings

        data = tsne_data(study_embeddings(folder, progress=update))
        save_table(data, folder / "tsne")
    print_rows(tsne_shares(data).to_dict("records"))
