"""`imc-sim train`: train a model by its card's recipe."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet, Update


class Device(StrEnum):
    """Where to train."""

    cpu = "cpu"
    cuda = "cuda"


def train(
    model: Annotated[str, typer.Argument(help="A model of `imc-sim list models`, or the folder of a card.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default runs/NAME.")] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.cpu,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="recipe.key=value or arch.args.key=value, for example recipe.episodes=100."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model by its card's recipe.

    Prints the folder of the trained model. The training curve in it (training.png, .svg) is drawn anew at every
    validation, so a run that goes wrong shows early.
    """
    from imc_sim.cli._console import progress_bar, say

    folder = out or Path("runs") / Path(model).name
    try:
        with progress_bar(f"training {model}") as update:
            from imc_sim.train import train_model

            update_curve = _with_curve(update, folder)
            train_model(model, folder, resume, device.value, update_curve, settings or ())
    except KeyboardInterrupt:
        sets = [word for setting in settings or () for word in ("--set", setting)]
        again = shlex.join(["imc-sim", "train", model, "--out", str(folder), "--resume", *sets])
        kept = f"kept in {folder}; to go on: {again}"
        say(f"stopped; {kept if (folder / 'checkpoint.pt').exists() else 'nothing was reached that could be kept'}")
        raise typer.Exit(2) from None
    print(folder)


def _with_curve(update: Update, folder: Path) -> Update:
    """`update`, which also draws the training curve whenever the log has a new row."""
    from imc_sim.plotting import draw_training

    drawn: dict[str, float] = {}

    def show(done: int, total: int, row: dict[str, float]) -> None:
        update(done, total, row)
        if row and row != drawn:
            draw_training(folder)
            drawn.update(row)

    return show
