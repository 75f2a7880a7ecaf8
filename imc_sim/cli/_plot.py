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
        typer.Option("--kind", help="comparison, robustness, heatmap or convergence; default: all that there are."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw the figures of a results folder.

    Accuracy against the first axis, a map where two axes are swept, and how the estimate settles over chips.
    Prints the files written: PNG, SVG and each figure's data as CSV. See `imc-sim figure` for a model on a chip.
    """
    from imc_sim.cli._console import working

    with working(f"drawing {results}"):
        from imc_sim.plotting import draw
        from imc_sim.study import Results

        written = draw(Results.load(results), kind)
    for path in written:
        print(path)
