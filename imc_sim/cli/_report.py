"""`imc-sim report`: the page of a results folder, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(results: Annotated[Path, typer.Argument(help="A results folder of `imc-sim run`.")]) -> None:
    """Write the report of a results folder.

    One page that stands alone; prints its path.
    """
    from imc_sim.report import write_report
    from imc_sim.study import Results

    print(write_report(Results.load(results)))
