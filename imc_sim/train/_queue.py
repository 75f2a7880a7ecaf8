"""A queue of trainings, each in its own folder, with resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim._errors import ImcSimError
from imc_sim._typing import PathLike
from imc_sim.config import Spec, build, digest, find_content, read_yaml, write_yaml
from imc_sim.nn.store import load_card, verify_weights
from imc_sim.runs import FolderKind, Row, RowRules, RowStore, RunClock, failure
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
    traceback: str = ""


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
    kind = FolderKind(
        "trainings", QUEUE, LOG, write_yaml(queue.to_dict()), RowRules(("state",), _fault), lambda _: False
    )
    done: set[str] = set()
    with RowStore(out, kind) as store:
        for number, entry in enumerate(queue.entries, 1):
            if entry.start_from is not None and entry.start_from not in done:
                yield QueueRow(entry.name, "waiting", error=f"not started: {entry.start_from!r} is not trained")
                continue
            row = _finished(entry, out, store)
            if row is None:
                context = progress(number, entry, out / entry.name) if progress is not None else nullcontext()
                row = _trained(entry, out, device, context)
                store.add([row])
            if row["state"] == "done":
                done.add(entry.name)
            yield QueueRow(**{name: row[name] for name in vars(QueueRow("", "done")) if name in row})


def _checked(entry: QueueEntry, queue: Queue) -> None:
    """Raise InputError if the entry has no valid recipe; the weights that it starts from need not exist yet."""
    where = f"{queue.name}, entry {entry.name!r}"
    recipe_of(changed_card(load_card(entry.model)[0], entry.set.items(), where), where)


def _trained(entry: QueueEntry, out: Path, device: str, context: AbstractContextManager[Progress | None]) -> Row:
    """Train an entry, or continue it. An error is part of the row."""
    clock = RunClock(device)
    try:
        settings = [f"{path}={json.dumps(value)}" for path, value in _settings(entry, out).items()]
        with context as told:
            train_model(entry.model, out / entry.name, True, device, told, settings)
        found: Row = {"state": "done"}
    except Exception as error:
        found = failure(error)
        if not isinstance(error, ImcSimError):
            found["error"] = f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - clock.started, 1)
    return {"id": _key(entry, out), "entry": entry.name, "device": device, "seconds": seconds, **found}


def _settings(entry: QueueEntry, out: Path) -> dict[str, Any]:
    """Return the settings of an entry, including the weights that it starts from."""
    return entry.set if entry.start_from is None else entry.set | {_START: str(out / entry.start_from)}


def _key(entry: QueueEntry, out: Path) -> str:
    """Return the id of the training that the entry requests now; that of its settings where its data are missing."""
    settings = _settings(entry, out)
    try:
        card = changed_card(load_card(entry.model)[0], settings.items(), entry.name)
        training = training_id(card, recipe_of(card, entry.name))
    except ImcSimError:
        training = digest(settings)
    return digest({"entry": entry.name, "training": training})


def _finished(entry: QueueEntry, out: Path, store: RowStore) -> Row | None:
    """Return the row of the training that the entry requests now, if it is done and its weights exist."""
    row = store.done(_key(entry, out))
    try:
        verify_weights(*load_card(out / entry.name))
    except ImcSimError:
        return None
    return row


def _fault(row: Row) -> str | None:
    """Return what is wrong with a stored row."""
    sound = isinstance(row.get("entry"), str) and row["state"] in ("done", "failed")
    return None if sound else "no row of a queue"
