"""A queue of training runs, each in its own folder; an interrupted queue continues where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim._arguments import checked
from imc_sim._errors import ImcSimError
from imc_sim._files import refuse_link
from imc_sim._typing import PathLike
from imc_sim.config import (
    FileSpec,
    FolderName,
    Origin,
    Place,
    Spec,
    build,
    check_code_in,
    digest,
    find_content,
    read_yaml,
    write_yaml,
)
from imc_sim.nn.store import check_code_of, load_card, verify_weights
from imc_sim.runs import FolderKind, Row, RowRules, RowStore, RunClock, failure
from imc_sim.train._checkpoint import Progress
from imc_sim.train._sweep import training_id
from imc_sim.train._train import changed_card, recipe_of, train_model

QUEUE, LOG = "queue.yaml", "queue.jsonl"
_START = "recipe.start_from"


@final
class QueueEntry(Spec):
    """A training run of a queue: a card with some settings changed."""

    name: FolderName = Field(description="name of the entry and of its folder")
    model: str = Field(description="name or path of a card")
    set: dict[str, Any] = Field(default_factory=dict, description="recipe.… or arch.args.… -> value")
    start_from: str | None = Field(
        default=None, description="earlier entry whose trained weights this one starts from; null: new weights"
    )


@final
class Queue(FileSpec):
    """Training runs, one after the other.

    Attributes:
        name: name of the queue.
        summary: one line for lists.
        entries: training runs in order.
    """

    name: FolderName
    summary: str = ""
    entries: tuple[QueueEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _entries_follow_what_they_start_from(self) -> Self:
        """Reject repeated names, and entries that start from one that is not trained before them."""
        before: set[str] = set()
        for entry in self.entries:
            if entry.name in before:
                raise ValueError(f"entries with different names (here two named {entry.name!r})")
            if entry.start_from is not None and entry.start_from not in before:
                raise ValueError(f"start_from of {entry.name!r} naming an entry before it, not {entry.start_from!r}")
            if entry.start_from is not None and _START in entry.set:
                raise ValueError(f"only one of start_from and {_START} (here both in {entry.name!r})")
            before.add(entry.name)
        return self


@final
@dataclass(frozen=True)
class QueueRow:
    """Outcome of an entry, as stored in queue.jsonl.

    Attributes:
        entry: name of the entry.
        state: done, failed, or waiting for an entry that failed.
        id: digest of everything that determines the weights.
        seconds: duration of the call that ended the run.
        device: device that trained, cpu or cuda.
        error: message of the error, if the run failed.
        traceback: traceback of the error.
    """

    entry: str
    state: Literal["done", "failed", "waiting"]
    id: str = ""
    seconds: float = 0.0
    device: str = ""
    error: str = ""
    traceback: str = ""


#: called with (number from 1, entry, its folder); returns a context whose value is called after every training step
QueueProgress = Callable[[int, QueueEntry, Path], AbstractContextManager[Progress | None]]


@checked
def load_queue(name: PathLike) -> Queue:
    """Load a queue.

    Args:
        name: name of a queue (in studies/queues/), or path of a file.

    Returns:
        The queue.

    Raises:
        InputError: the queue is not found or not valid.
    """
    path = find_content("queue", name)
    origin = Origin.of(path)
    with origin.naming():
        queue = build(Queue, read_yaml(path), str(path)).with_origin(origin)
        check_code_in(queue.to_dict(), path.parent, str(path), "queue")
        return queue


@checked
def run_queue(
    queue: Queue, out: Path, device: str = "cpu", progress: QueueProgress | None = None
) -> Iterator[QueueRow]:
    """Train every entry whose trained model is not stored yet.

    A later call continues from the last checkpoint, to the same weights, and tries failed entries again.

    Args:
        queue: training runs.
        out: folder that receives queue.yaml, queue.jsonl (a line per finished run) and a folder per entry, in the form
            of `train_model`.
        device: device that trains, cpu or cuda.
        progress: returns the context of the training of an entry; see `QueueProgress`.

    Yields:
        The outcome of each entry when it ends.

    Raises:
        InputError: a card, setting or recipe is not valid; nothing has been trained then.
        ResultsError: another process writes to the folder, or its files were changed during the run.
    """
    for entry in queue.entries:
        _checked(entry, queue)
    kind = FolderKind(
        "training runs", QUEUE, LOG, lambda: write_yaml(queue.to_dict()), RowRules(("state",), _fault), lambda _: False
    )
    done: set[str] = set()
    with RowStore(out, kind) as store:
        for number, entry in enumerate(queue.entries, 1):
            refuse_link(out / entry.name)
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
    """Reject an entry without a valid recipe; the weights that it starts from need not exist yet."""
    where = f"{queue.name}, entry {entry.name!r}"
    with queue.origin.naming(queue.name):
        card, base = load_card(entry.model)
        check_code_of(card, base, "arch", "recipe")
        number = queue.entries.index(entry)
        own = [Place(place.file, f"entries.{number}.set") for place in queue.origin.places]
        origin = card.origin.first(*own) if own else Origin()  # settings of Python are in no file
        card = changed_card(card, entry.set.items(), where, origin)
    with card.origin.naming(queue.name):
        recipe_of(card, where)


def _trained(entry: QueueEntry, out: Path, device: str, context: AbstractContextManager[Progress | None]) -> Row:
    """Train an entry, or continue it; return its row, which includes an error."""
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
    """Return the settings of an entry, including the model that it starts from."""
    return entry.set if entry.start_from is None else entry.set | {_START: str(out / entry.start_from)}


def _key(entry: QueueEntry, out: Path) -> str:
    """Return the digest of the training run of an entry, or of its settings if its data are missing."""
    settings = _settings(entry, out)
    try:
        card = changed_card(load_card(entry.model)[0], settings.items(), entry.name)
        training = training_id(card, recipe_of(card, entry.name))
    except ImcSimError:
        training = digest(settings)
    return digest({"entry": entry.name, "training": training})


def _finished(entry: QueueEntry, out: Path, store: RowStore) -> Row | None:
    """Return the row of an entry if its present settings have been trained and its weights exist, else None."""
    row = store.done(_key(entry, out))
    try:
        verify_weights(*load_card(out / entry.name))
    except ImcSimError:
        return None
    return row


def _fault(row: Row) -> str | None:
    """Return the fault of a stored row, or None."""
    sound = isinstance(row.get("entry"), str) and row["state"] in ("done", "failed")
    return None if sound else "no row of a queue"
