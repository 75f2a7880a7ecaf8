"""`imc-sim report`: write a results folder as a page, as a table of trials, or as tables in other pages."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet


class Format(StrEnum):
    """A file format of the table of trials."""

    csv = "csv"
    parquet = "parquet"
    all = "all"


def report(
    results: Annotated[list[Path] | None, typer.Argument(help="Results folders of `imc-sim run`.")] = None,
    trials: Annotated[
        list[Format] | None,
        typer.Option(
            "--trials", help="Write a table with a row for each trial instead; all: csv, and parquet where installed."
        ),
    ] = None,
    pages: Annotated[
        list[Path] | None,
        typer.Option("--page", help="Write comparison tables into this Markdown page instead. Repeat it for more."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for --trials; required with several results folders.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write the report of a results folder.

    The report is a single HTML file. Prints its path and the answer to the question of the study.

    With --trials, writes all trials as CSV or Parquet instead. Several folders of one study are first merged into the
    folder --out, which is then a results folder too.

    With --page, writes the comparison table of study NAME between the lines `<!-- table NAME -->` and
    `<!-- end of table -->` of the page, and a copy as tables/NAME.csv next to the page. Without results folders,
    fills the page from these copies.

    Examples:
      imc-sim report results/quickstart
      imc-sim report results/quickstart --trials csv
      imc-sim report results/a results/b --out results/both --trials csv
      imc-sim report results/batmann_mnist --page docs/batmann.md
    """
    from imc_sim._errors import InputError

    folders = results or []
    if trials and pages:
        raise InputError("imc-sim report", "--trials and --page", "one of them", "Run the command once for each.")
    if out is not None and not trials:
        step = "Add --trials csv, or leave --out out."
        raise InputError("imc-sim report", "--out without --trials", "--out together with --trials", step)
    if not folders and not pages:
        step = "Name a folder that `imc-sim run` wrote."
        raise InputError("imc-sim report", "no results folder", "one results folder or more", step)
    if trials:
        _write_trials(folders, out, trials)
    elif pages:
        _write_tables(folders, pages)
    else:
        for folder in folders:
            _write_page(folder)


def _write_page(folder: Path) -> None:
    """Write the HTML report, and print its path and the conclusion."""
    from imc_sim.cli._console import working

    with working(f"writing the report of {folder}"):
        from imc_sim.report import Conclusion, write_report
        from imc_sim.study import Results

        loaded = Results.load(folder)
        found = Conclusion.of(loaded)
        page = write_report(loaded, concluded=found)
    print(page)
    print(found.text)


def _write_trials(folders: list[Path], out: Path | None, formats: list[Format]) -> None:
    """Write the trials of these folders in these formats, and print the files."""
    from imc_sim.cli._console import print_paths, say, working

    with working(f"combining {', '.join(map(str, folders))}"):
        from imc_sim import study
        from imc_sim.study import has_parquet

        every = Format.all in formats
        written = study.combine(folders, out, None if every else [each.value for each in formats])
    print_paths(written)
    if every and not has_parquet():
        say("Parquet is not written: it needs pip install 'imc-sim[parquet]'")


def _write_tables(folders: list[Path], pages: list[Path]) -> None:
    """Write comparison tables into the pages, and print the files."""
    from imc_sim.cli._console import print_paths, working

    with working("writing tables"):
        from imc_sim.report import fill_pages
        from imc_sim.study import Results

        written = fill_pages(pages, [Results.load(folder) for folder in folders])
    print_paths(written)
