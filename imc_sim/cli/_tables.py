"""`imc-sim tables`: tables of results put into pages of prose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet


def tables(
    pages: Annotated[list[Path], typer.Option("--page", help="A page of Markdown with places for tables.")],
    results: Annotated[list[Path] | None, typer.Argument(help="Results folders of `imc-sim run`.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write the comparison tables of studies into pages of prose.

    The table of study NAME goes between the lines `<!-- table NAME -->` and `<!-- end of table -->` of a page, and is
    kept as tables/NAME.csv beside it; without results, pages are filled from these. Prints the files written.
    """
    from imc_sim.cli._console import working

    with working("writing tables"):
        from imc_sim.report import fill_pages
        from imc_sim.study import Results

        written = fill_pages(pages, [Results.load(folder) for folder in results or []])
    for path in written:
        print(path)
