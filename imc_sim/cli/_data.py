"""`imc-sim data`: fetch and check the official data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet

data_app = typer.Typer(help="Fetch and check data sets.", rich_markup_mode=None, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A data set of `imc-sim list datasets`.")]
Root = Annotated[Path | None, typer.Option(help="Data root; default $IMC_SIM_DATA, else the user's cache.")]


@data_app.command("fetch")
def fetch(
    name: Name,
    root: Root = None,
    mirror: Annotated[str | None, typer.Option(help="URL of a folder that holds the official files.")] = None,
    quiet: Quiet = False,
) -> None:
    """Download a data set.

    The official archive, checked against its MD5 and unpacked; prints the folder it lies in.
    """
    from imc_sim.cli._console import progress_bar

    with progress_bar(f"fetching {name}", unit="bytes") as update:
        from imc_sim import data

        folder = data.fetch(name, root=root, progress=update, mirror=mirror)
    print(folder)


@data_app.command("check")
def check(name: Name, root: Root = None, quiet: Quiet = False) -> None:
    """Verify what is there.

    Counts, statistics and checksums against what is published; exit code 1 if something is wrong.
    """
    from imc_sim.cli._console import say, working

    with working(f"checking {name}"):
        from imc_sim import data

        report = data.check(name, root=root)
    print(f"{report.name}  {report.folder}")
    for fact, value in report.facts.items():
        print(f"  {fact}: {value}")
    for problem in report.problems:
        print(f"  problem: {problem}")
    say("complete" if report.ok else f"not as it should be; `imc-sim data fetch {name}` gets it anew")
    raise typer.Exit(0 if report.ok else 1)
