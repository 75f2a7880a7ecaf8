"""`imc-sim plot`: the figures of a results folder, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(results: Annotated[Path, typer.Argument(help="A results folder of `imc-sim run`.")]) -> None:
    """Draw the figures of a results folder.

    Prints the files written: PNG, SVG and the figure's data as CSV.
    """
    from imc_sim.plotting import draw
    from imc_sim.study import Results

    for path in draw(Results.load(results)):
        print(path)
