"""`imc-sim report`: the page of a results folder, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet


def report(
    results: Annotated[Path, typer.Argument(help="A results folder of `imc-sim run`.")], quiet: Quiet = False
) -> None:
    """Write the report of a results folder.

    One page that stands alone; prints its path, then the answer that it gives to the study's question.
    """
    from imc_sim.cli._console import working

    with working(f"writing the report of {results}"):
        from imc_sim.report import conclusion, write_report
        from imc_sim.study import Results

        loaded = Results.load(results)
        page = write_report(loaded)
    print(page)
    print(conclusion(loaded))
