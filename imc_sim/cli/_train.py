"""`imc-sim train`: train a model by the recipe of its card, a queue of models, or a training sweep."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imc_sim.cli._console import Quiet, Update
from imc_sim.cli._help import complete_model
from imc_sim.cli._own_network import Trust

if TYPE_CHECKING:
    from imc_sim.train import QueueEntry


#: seconds between two drawings of a training curve, which take half a second each
_DRAW_EVERY_S = 20.0


class Device(StrEnum):
    """Where to train."""

    cpu = "cpu"
    cuda = "cuda"


def train(
    model: Annotated[
        str | None,
        typer.Argument(help="A model of `imc-sim list models`, or its folder.", autocompletion=complete_model),
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Train a queue of `imc-sim list queues`, or of a YAML file, instead.")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(help="Run a training sweep of `imc-sim list sweeps`, or of a YAML file, instead."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default runs/NAME, of a sweep results/NAME.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.cpu,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the last checkpoint in the folder; queues and sweeps always do."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="recipe.key=value or arch.args.key=value, for example recipe.episodes=100."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes of a sweep; default: 1.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Train again what failed in an earlier run of a sweep.")
    ] = False,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Train a model, a queue of models or a sweep.

    Prints the folder of each trained model. The training curve in it (training.png, .svg) is drawn at the first
    validation and then every 20 seconds, so that problems show early. A queue reports entries that fail, continues
    with the others and ends with exit code 1. After a stop, the same command continues. A training sweep trains one
    model once for every setting and seed, and draws what its settings change.

    Examples:
      imc-sim train batmann_small_xnor --out runs/small
      imc-sim train batmann_small_xnor --set recipe.episodes=100 --resume
      imc-sim train --queue published_sizes
      imc-sim train --sweep metaplastic_cells --workers 2
    """
    from imc_sim._errors import InputError

    given = [each for each, value in (("a model", model), ("--queue", queue), ("--sweep", sweep)) if value is not None]
    if len(given) != 1:
        step = "Give a model, --queue QUEUE or --sweep SWEEP."
        raise InputError("imc-sim train", " and ".join(given) or "nothing to train", "one of the three", step)
    if sweep is None and (workers is not None or retry_failed):
        step = "Leave it out; queues always try failed entries again."
        what = "--workers" if workers is not None else "--retry-failed"
        raise InputError("imc-sim train", f"{what} without --sweep", "an option of training sweeps", step)
    if model is not None:
        _train_one(model, out, device.value, resume, settings or [])
        return
    if settings:
        kind, step = ("sweep", "set:") if sweep is not None else ("queue", "`set:` of an entry")
        step = f"Write them into the file, as {step}."
        raise InputError(f"imc-sim train --{kind}", f"--set {settings[0]}", f"settings in the {kind}'s file", step)
    if sweep is None:
        _train_queue(str(queue), out, device.value)
        return
    from imc_sim.cli._train_sweep import train_sweep

    train_sweep(sweep, out, device.value, workers, retry_failed)


def _train_one(model: str, out: Path | None, device: str, resume: bool, settings: list[str]) -> None:
    """Train one model, and print its folder; on Ctrl-C name the command that continues."""
    from imc_sim.cli._console import progress_bar, say
    from imc_sim.config import run_folder

    folder = out or run_folder(model)
    try:
        with progress_bar(f"training {model}") as update:
            from imc_sim.train import train_model

            train_model(model, folder, resume, device, _with_curve(update, folder), settings)
        _draw(folder)
    except KeyboardInterrupt:
        sets = [word for setting in settings for word in ("--set", setting)]
        again = _command(model, "--out", str(folder), "--resume", *sets, device=device)
        kept = f"kept in {folder}; to go on: {again}"
        say(f"stopped; {kept if (folder / 'checkpoint.pt').exists() else 'nothing was reached that could be kept'}")
        raise typer.Exit(2) from None
    print(folder)


def _train_queue(name: str, out: Path | None, device: str) -> None:
    """Train a queue; exit code 1 where an entry is not trained at the end."""
    from imc_sim.cli._console import progress_bar, say, working

    with working(f"reading {name}"):
        from imc_sim.train import load_queue, run_queue

        queue = load_queue(name)
    folder = out or Path("runs") / queue.name

    @contextmanager
    def shown(number: int, entry: QueueEntry, where: Path) -> Iterator[Update]:
        with progress_bar(f"{queue.name} {number}/{len(queue.entries)} {entry.name}") as update:
            yield _with_curve(update, where)
        _draw(where)

    failed = 0
    try:
        for row in run_queue(queue, folder, device, shown):
            if row.state == "done":
                print(folder / row.entry, flush=True)
                continue
            failed += 1
            say(f"{queue.name}, {row.entry}: {row.state}: {row.error}")
    except KeyboardInterrupt:
        again = _command("--queue", name, "--out", str(folder), device=device)
        say(f"stopped; kept in {folder}; to go on: {again}")
        raise typer.Exit(2) from None
    if failed:
        say(f"{failed} of {len(queue.entries)} entries are not trained; details in {folder / 'queue.jsonl'}")
        raise typer.Exit(1)


def _command(*words: str, device: str) -> str:
    """Return the command that continues a training."""
    return shlex.join(["imc-sim", "train", *words, *([] if device == Device.cpu else ["--device", device])])


def _with_curve(update: Update, folder: Path) -> Update:
    """Return `update` extended by drawing the training curve: at the first row of the log, then at most every 20 s."""
    drawn, due_s = dict[str, float](), 0.0

    def show(done: int, total: int, row: dict[str, float]) -> None:
        nonlocal due_s
        update(done, total, row)
        if row and row != drawn and time.monotonic() >= due_s:
            _draw(folder)
            drawn.update(row)
            due_s = time.monotonic() + _DRAW_EVERY_S

    return show


def _draw(folder: Path) -> None:
    """Draw the training curve of all that the log now holds; the last row comes after the last step."""
    from imc_sim.plotting import draw_training

    draw_training(folder)
