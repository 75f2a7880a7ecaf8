"""`imc-sim train`: train a model by its card's recipe, or a queue of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imc_sim.cli._console import Quiet, Update

if TYPE_CHECKING:
    from imc_sim.train import QueueEntry


class Device(StrEnum):
    """Where to train."""

    cpu = "cpu"
    cuda = "cuda"


def train(
    model: Annotated[
        str | None, typer.Argument(help="A model of `imc-sim list models`, or the folder of a card.")
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Train a queue of `imc-sim list queues`, or of a YAML file, instead.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default runs/NAME.")] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.cpu,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder; a queue always does.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="recipe.key=value or arch.args.key=value, for example recipe.episodes=100."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model by its recipe, or the models of a queue.

    Prints the folder of each trained model. The training curve in it (training.png, .svg) is drawn again at every
    validation, so a run that goes wrong shows early. A queue reports entries that fail, continues with the others and
    ends with exit code 1; the same command again continues after a stop of any kind.
    """
    from imc_sim._errors import InputError

    if (model is None) == (queue is None):
        got = "neither a model nor --queue" if model is None else "a model and --queue"
        raise InputError("imc-sim train", got, "one of both", "Give a model, or --queue QUEUE.")
    if model is not None:
        _train_one(model, out, device.value, resume, settings or [])
        return
    if settings:
        step = "Write them into the queue, as `set:` of an entry."
        raise InputError("imc-sim train --queue", f"--set {settings[0]}", "settings in the queue's file", step)
    _train_queue(str(queue), out, device.value)


def _train_one(model: str, out: Path | None, device: str, resume: bool, settings: list[str]) -> None:
    from imc_sim.cli._console import progress_bar, say

    folder = out or Path("runs") / Path(model).name
    try:
        with progress_bar(f"training {model}") as update:
            from imc_sim.train import train_model

            train_model(model, folder, resume, device, _with_curve(update, folder), settings)
        _draw(folder)
    except KeyboardInterrupt:
        sets = [word for setting in settings for word in ("--set", setting)]
        again = shlex.join(["imc-sim", "train", model, "--out", str(folder), "--resume", *sets])
        kept = f"kept in {folder}; to go on: {again}"
        say(f"stopped; {kept if (folder / 'checkpoint.pt').exists() else 'nothing was reached that could be kept'}")
        raise typer.Exit(2) from None
    print(folder)


def _train_queue(name: str, out: Path | None, device: str) -> None:
    """Train a queue; exit code 1 where an entry is not trained at the end."""
    from imc_sim.cli._console import progress_bar, say, working

    with working(f"reading {name}"):
        from imc_sim._files import make_folder
        from imc_sim.study._lock import FolderLock
        from imc_sim.train import load_queue, run_queue

        queue = load_queue(name)
    folder = out or Path("runs") / queue.name

    @contextmanager
    def shown(number: int, entry: QueueEntry, where: Path) -> Iterator[Update]:
        with progress_bar(f"{queue.name} {number}/{len(queue.entries)} {entry.name}") as update:
            yield _with_curve(update, where)
        _draw(where)

    make_folder(folder)
    lock = FolderLock(folder)
    lock.take()
    failed = 0
    try:
        for row in run_queue(queue, folder, device, shown):
            if row.state == "done":
                print(folder / row.entry, flush=True)
                continue
            failed += 1
            say(f"{queue.name}, {row.entry}: {row.state}: {row.error}")
    except KeyboardInterrupt:
        again = shlex.join(["imc-sim", "train", "--queue", name, "--out", str(folder)])
        say(f"stopped; kept in {folder}; to go on: {again}")
        raise typer.Exit(2) from None
    finally:
        lock.release()
    if failed:
        say(f"{failed} of {len(queue.entries)} entries are not trained; details in {folder / 'queue.jsonl'}")
        raise typer.Exit(1)


def _with_curve(update: Update, folder: Path) -> Update:
    """Return `update` extended by drawing the training curve whenever the log has a new row."""
    drawn: dict[str, float] = {}

    def show(done: int, total: int, row: dict[str, float]) -> None:
        update(done, total, row)
        if row and row != drawn:
            _draw(folder)
            drawn.update(row)

    return show


def _draw(folder: Path) -> None:
    """Draw the training curve of all that the log now holds; the last row comes after the last step."""
    from imc_sim.plotting import draw_training

    draw_training(folder)
