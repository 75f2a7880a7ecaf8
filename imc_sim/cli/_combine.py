"""`imc-sim combine`: every trial as one table; several folders of one study as one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet


class Format(StrEnum):
    """A file format of the table."""

    csv = "csv"
    parquet = "parquet"


def combine(
    results: Annotated[list[Path], typer.Argument(help="Results folders of one study.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: the results folder itself.")] = None,
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="What to write; default: csv, and parquet if installed.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write all trials as CSV and Parquet.

    One row per trial. Several folders of the same study are first merged into the folder that --out names, which
    then is a results folder like them. Prints the files written.
    """
    from imc_sim.cli._console import say, working

    with working(f"combining {', '.join(map(str, results))}"):
        from imc_sim import study
        from imc_sim.study._combine import has_parquet

        written = study.combine(results, out, [f.value for f in formats] if formats else None)
    for path in written:
        print(path)
    if not formats and not has_parquet():
        say("Parquet left out; to have it: pip install 'imc-sim[parquet]'")
