"""`imc-sim trainings`: one card trained many times, and what its settings do to what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._train import Device


def trainings(
    name: Annotated[str, typer.Argument(help="Trainings of `imc-sim list trainings`, or their YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default results/NAME.")] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.cpu,
    quiet: Quiet = False,
) -> None:
    """Train a card once for every setting and seed.

    Called again it goes on where it was stopped. Prints the table and the figure written.
    """
    from imc_sim.cli._console import Update, progress_bar
    from imc_sim.plotting import draw_trainings
    from imc_sim.train import load_trainings, run_trainings

    asked = load_trainings(name)
    folder = out or Path("results") / asked.name
    with progress_bar(asked.name) as update:

        def told(which: str) -> Update:
            return lambda done, total, row: update(done, total, {})

        rows = run_trainings(asked, folder, device.value, told)
    for path in draw_trainings(asked.to_dict(), rows, folder):
        print(path)
