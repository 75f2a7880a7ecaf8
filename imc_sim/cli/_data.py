"""`imc-sim data`: fetch and check the official data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import add_command

data_app = typer.Typer(
    help="Fetch and check data sets.",
    epilog="\b\nExamples:\n  imc-sim data fetch omniglot\n  imc-sim data check omniglot",
    rich_markup_mode=None,
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="A data set of `imc-sim list datasets`.")]
Root = Annotated[
    Path | None, typer.Option(help="Data root; default: $IMC_SIM_DATA, else a folder in the user's cache.")
]


def fetch(
    name: Name,
    root: Root = None,
    mirror: Annotated[str | None, typer.Option(help="URL of a folder with the official files.")] = None,
    quiet: Quiet = False,
) -> None:
    """Download a data set.

    Downloads the official archive, checks its MD5 and unpacks it. Prints the folder.

    Examples:
      imc-sim data fetch omniglot
    """
    from imc_sim.cli._console import progress_bar

    with progress_bar(f"fetching {name}", unit="bytes") as update:
        from imc_sim import data

        folder = data.fetch(name, root=root, progress=update, mirror=mirror)
    print(folder)


def check(name: Name, root: Root = None, quiet: Quiet = False) -> None:
    """Check a data set.

    Compares counts, statistics and checksums with the published ones; exit code 1 if any differs.

    Examples:
      imc-sim data check omniglot
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
    say("complete" if report.ok else f"incomplete or changed; remove it and run `imc-sim data fetch {name}`")
    raise typer.Exit(0 if report.ok else 1)


add_command(data_app, "fetch", fetch)
add_command(data_app, "check", check)
