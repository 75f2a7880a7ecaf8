"""A queue of trainings, each in its own folder, with resume."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim._errors import ImcSimError, InputError
from imc_sim._files import append, complete_lines, write_folder
from imc_sim._typing import PathLike
from imc_sim.config import Spec, build, find_content, read_yaml, write_yaml
from imc_sim.nn.store import load_card, verify_weights
from imc_sim.train._checkpoint import Progress
from imc_sim.train._sweep import training_id
from imc_sim.train._train import changed_card, recipe_of, train_model

QUEUE, LOG = "queue.yaml", "queue.jsonl"
_NAME = r"^[A-Za-z0-9_.-]+$"
_START = "recipe.start_from"


@final
class QueueEntry(Spec):
    """A training: a card with some settings changed, in pieces of at most two hours so that a lost machine costs one.

    start_from: the name of an earlier entry, whose trained weights this one starts from.
    """

    name: str = Field(pattern=_NAME, description="also the folder of the trained model")
    model: str = Field(description="name or path of a card")
    set: dict[str, Any] = Field(default_factory=dict, description="recipe.… or arch.args.… -> value")
    start_from: str | None = Field(default=None, description="entry before this one whose weights are the start")


@final
class Queue(Spec):
    """Trainings that run one after the other."""

    name: str = Field(pattern=_NAME)
    summary: str = ""
    entries: tuple[QueueEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _entries_follow_what_they_start_from(self) -> Self:
        before: set[str] = set()
        for entry in self.entries:
            if entry.name in before:
                raise ValueError(f"entries with different names (here two named {entry.name!r})")
            if entry.start_from is not None and entry.start_from not in before:
                raise ValueError(f"start_from of {entry.name!r} naming an entry before it, not {entry.start_from!r}")
            if entry.start_from is not None and _START in entry.set:
                raise ValueError(f"one start for {entry.name!r}: start_from or {_START}")
            before.add(entry.name)
        return self


@final
@dataclass(frozen=True)
class QueueRow:
    """The outcome of an entry: a line of queue.jsonl.

    state: `done`, `failed` (see error) or `waiting` for an entry that failed. seconds: of the call that ended it.
    """

    entry: str
    state: Literal["done", "failed", "waiting"]
    id: str = ""
    seconds: float = 0.0
    device: str = ""
    error: str = ""
    trace: str = ""


#: (number from 1, entry, its folder) -> a context that gives what is called after every step of its training
QueueProgress = Callable[[int, QueueEntry, Path], AbstractContextManager[Progress | None]]


def load_queue(name: PathLike) -> Queue:
    """Load a queue by name (studies/queues/) or path."""
    path = find_content("queue", name)
    return build(Queue, read_yaml(path), str(path))


def run_queue(
    queue: Queue, out: Path, device: str = "cpu", progress: QueueProgress | None = None
) -> Iterator[QueueRow]:
    """Train every entry that `out` does not hold yet; yields the outcome of each as it ends.

    `out` receives queue.yaml, queue.jsonl (a line for each training that ended) and the folder of each entry, as
    `train_model` writes it. A later call continues from there, to the same weights, and tries failed entries again.

    Raises:
        InputError: before anything is trained, for a card, setting or recipe that is not valid.
    """
    for entry in queue.entries:
        _checked(entry, queue)
    write_folder(out, {QUEUE: write_yaml(queue.to_dict()).encode()})
    known, done = _stored(out), set[str]()
    for number, entry in enumerate(queue.entries, 1):
        if entry.start_from is not None and entry.start_from not in done:
            yield QueueRow(entry.name, "waiting", error=f"not started: {entry.start_from!r} is not trained")
            continue
        row = known.get(entry.name)
        if row is None or not _is_finished(row, entry, out):
            context = progress(number, entry, out / entry.name) if progress is not None else nullcontext()
            row = _trained(entry, out, device, context)
            _store(out, row)
        if row.state == "done":
            done.add(entry.name)
        yield row


def _checked(entry: QueueEntry, queue: Queue) -> None:
    """Raise InputError if the entry has no valid recipe; the weights that it starts from need not exist yet."""
    where = f"{queue.name}, entry {entry.name!r}"
    recipe_of(changed_card(load_card(entry.model)[0], entry.set.items(), where), where)


def _trained(entry: QueueEntry, out: Path, device: str, context: AbstractContextManager[Progress | None]) -> QueueRow:
    """Train an entry, or continue it. An error is part of the row."""
    began = time.monotonic()
    try:
        settings = [f"{path}={json.dumps(value)}" for path, value in _settings(entry, out).items()]
        with context as told:
            train_model(entry.model, out / entry.name, True, device, told, settings)
        found: dict[str, Any] = {"state": "done", "id": _id(entry, out)}
    except Exception as error:
        text = str(error) if isinstance(error, ImcSimError) else f"{type(error).__name__}: {error}"
        found = {"state": "failed", "error": text, "trace": traceback.format_exc()}
    return QueueRow(entry=entry.name, seconds=round(time.monotonic() - began, 1), device=device, **found)


def _settings(entry: QueueEntry, out: Path) -> dict[str, Any]:
    """Return the settings of an entry, including the weights that it starts from."""
    return entry.set if entry.start_from is None else entry.set | {_START: str(out / entry.start_from)}


def _id(entry: QueueEntry, out: Path) -> str:
    card = changed_card(load_card(entry.model)[0], _settings(entry, out).items(), entry.name)
    return training_id(card, recipe_of(card, entry.name))


def _is_finished(row: QueueRow, entry: QueueEntry, out: Path) -> bool:
    """Tell whether this row is of the training that the entry requests now, and its weights exist."""
    if row.state != "done" or row.id != _id(entry, out):
        return False
    try:
        verify_weights(*load_card(out / entry.name))
    except ImcSimError:
        return False
    return True


def _stored(out: Path) -> dict[str, QueueRow]:
    """Return the last row of every entry; a last line that was cut off is removed from the file."""
    path = out / LOG
    lines = complete_lines(path)
    try:
        rows = [QueueRow(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        step = "Move the file away: finished trainings are then only measured again."
        raise InputError(str(path), f"a line that cannot be read ({error})", "one JSON object a line", step) from error
    return {row.entry: row for row in rows}


def _store(out: Path, row: QueueRow) -> None:
    append(out / LOG, f"{json.dumps(vars(row))}\n".encode())
