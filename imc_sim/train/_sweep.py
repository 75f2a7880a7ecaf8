"""Training sweeps: one card's recipe with some settings swept, several seeds per point, with resume."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from pydantic import Field, model_validator

from imc_sim._typing import PathLike
from imc_sim.config import Spec, build, digest, find_content, read_yaml, write_yaml
from imc_sim.nn.store import ModelCard, load_card
from imc_sim.runs import (
    Executor,
    FolderKind,
    Row,
    RowRules,
    RowStore,
    RunClock,
    Status,
    failure,
    finished_rows,
    holder,
    is_locked,
    make_executor,
    rate_of,
    read_rows,
)
from imc_sim.train._checkpoint import Log, Progress
from imc_sim.train._recipes import Recipe
from imc_sim.train._train import changed_card, initialised, recipe_of, trained_log

ROWS, SWEEP, _WORK = "trainings.jsonl", "trainings.yaml", "unfinished"
_ROOTS = ("recipe.", "arch.args.")
Value = bool | int | float | str | None | tuple[Any, ...]


@final
class SweptValue(Spec):
    """One swept setting of a card: a panel of the figure. labels: shown instead of the values; none: the values."""

    path: str = Field(description="recipe.… or arch.args.…")
    values: tuple[Value, ...] = Field(min_length=1)
    label: str = Field(default="", description="what the quantity is called in the figure")
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _every_value_has_a_label(self) -> Self:
        if self.labels and len(self.labels) != len(self.values):
            raise ValueError(f"labels, one for each of the {len(self.values)} values")
        return self


@final
class SweptCase(Spec):
    """A named variant: settings of the card, path -> value; a curve of every panel."""

    name: str
    set: dict[str, Any] = Field(default_factory=dict)


@final
class Trainings(Spec):
    """A card's training for every value of every panel, case and seed; panels are swept one at a time, not crossed.

    set: settings of all, path -> value. seeds: of the recipe, which sample the first weights, the images, their order
    and the cells. measure: the column of the training log whose last value is compared.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    summary: str = ""
    question: str = ""
    model: str = Field(description="name or path of a card")
    set: dict[str, Any] = Field(default_factory=dict)
    cases: tuple[SweptCase, ...] = (SweptCase(name="all"),)
    panels: tuple[SweptValue, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    measure: str = "mean"

    @model_validator(mode="after")
    def _paths_are_of_the_card(self) -> Self:
        paths = [*self.set, *(p for case in self.cases for p in case.set), *(panel.path for panel in self.panels)]
        wrong = next((p for p in paths if not p.startswith(_ROOTS)), None)
        if wrong is not None:
            raise ValueError(f"paths that start with {' or '.join(_ROOTS)} (here {wrong!r})")
        return self


@final
@dataclass(frozen=True)
class Point:
    """One training: its place in the figure, and all that decides it."""

    panel: int
    value: int
    case: str
    seed: int
    card: ModelCard
    recipe: Recipe
    base: Path

    @property
    def id(self) -> str:
        """Return the SHA-256 of all that decides the weights: points with the same training share it."""
        return training_id(self.card, self.recipe)


def training_id(card: ModelCard, recipe: Recipe) -> str:
    """Return the SHA-256 of architecture and recipe, all that decides the weights of a training."""
    return digest({"arch": card.arch.to_dict(), "recipe": recipe.training_digest()})


def load_trainings(name: PathLike) -> Trainings:
    """Load trainings by name (studies/trainings/) or path."""
    path = find_content("training", name)
    return build(Trainings, read_yaml(path), str(path))


def points_of(trainings: Trainings) -> Iterator[Point]:
    """Yield every training, panel by panel."""
    card, base = load_card(trainings.model)
    for number, panel in enumerate(trainings.panels):
        for place, value in enumerate(panel.values):
            for case in trainings.cases:
                for seed in trainings.seeds:
                    said = {**trainings.set, **case.set, panel.path: value, "recipe.seed": seed}
                    made = changed_card(card, said.items(), trainings.name)
                    yield Point(number, place, case.name, seed, made, recipe_of(made, trainings.name), base)


def run_trainings(
    trainings: Trainings, out: Path, device: str = "cpu", progress: Callable[[str], Progress] | None = None, *,
    executor: str = "inline", workers: int | None = None, retry_failed: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train every point that `out` does not hold yet.

    `out` receives trainings.yaml, trainings.jsonl (a row per training, by its id) and a folder for each training under
    way, from whose last checkpoint a later call continues. A training that fails is stored with its error.

    Args:
        trainings: what is trained.
        out: results folder.
        device: cpu or cuda.
        progress: given what is trained, returns the progress of that training; with several workers, that of all.
        executor: where trainings run, one of EXECUTORS.
        workers: number of worker processes; None: one per core.
        retry_failed: train again what failed in an earlier call.

    Returns:
        A mapping per point: panel, value, case, seed, and row, the last row of its log; None where it failed.

    Raises:
        InputError: a card or setting is not valid; nothing has been written then.
        ResultsError: another process writes to the folder, or its files were changed during the run.
    """
    points = list(points_of(trainings))
    unique = {point.id: point for point in points}
    engine = make_executor(executor, workers)
    kind = FolderKind("trainings", SWEEP, ROWS, write_yaml(trainings.to_dict()), RULES, lambda _: False)
    try:
        with RowStore(out, kind) as store:
            missing = [point for key, point in unique.items() if store.is_missing(key, retry_failed)]
            _Run(out, device, progress, engine, len(missing)).complete(missing, store)
            shutil.rmtree(out / _WORK, ignore_errors=True)
            rows = store.rows
    finally:
        engine.close()
    return [
        {"panel": p.panel, "value": p.value, "case": p.case, "seed": p.seed, "row": rows[p.id].get("row")}
        for p in points
    ]


@final
@dataclass
class _Run:
    """One call of `run_trainings`. inline: each training has a progress of its own."""

    out: Path
    device: str
    progress: Callable[[str], Progress] | None
    executor: Executor
    count: int
    begun: int = 0

    def complete(self, missing: list[Point], store: RowStore) -> None:
        """Train these points and store a row for each."""
        clock, inline = RunClock(self.device), self.executor.width == 1
        told = self.progress(f"{self.count} trainings") if self.progress and missing and not inline else None

        def done(points: list[Point], result: tuple[dict[str, float], float]) -> list[Row]:
            return [{"id": points[0].id, "state": "done", "row": result[0], "meta": clock.meta(result[1])}]

        def failed(point: Point, error: BaseException) -> Row:
            return {"id": point.id, **failure(error), "meta": clock.meta(0.0)}

        batches = deque([point] for point in missing)
        for number, rows in enumerate(finished_rows(batches, self.executor, self._start, done, failed), 1):
            store.add(rows)
            shutil.rmtree(self._folder(rows[0]["id"]), ignore_errors=True)
            if told is not None:
                told(number, self.count, {})

    def _start(self, points: list[Point]) -> Future[Any]:
        self.begun += 1
        inline = self.executor.width == 1 and self.progress is not None
        told = self.progress(f"training {self.begun} of {self.count}") if inline and self.progress else None
        return self.executor.submit(_train, points[0], self._folder(points[0].id), self.device, told)

    def _folder(self, key: str) -> Path:
        return self.out / _WORK / key[:16]


def _train(point: Point, folder: Path, device: str, progress: Progress | None) -> tuple[dict[str, float], float]:
    """Train a point, or continue it; returns the last row of its log and the seconds of this call."""
    began = time.monotonic()
    model = initialised(point.card, point.recipe, point.base)
    log: Log = trained_log(model, point.recipe, folder, device, True, progress)[0]
    return log[-1], time.monotonic() - began


def sweep_status(folder: Path) -> Status:
    """Return how many trainings of a results folder are done, failed and left. Reads only.

    Raises:
        InputError: the folder holds no training sweep.
    """
    trainings = build(Trainings, read_yaml(folder / SWEEP), str(folder / SWEEP))
    writing = is_locked(folder)
    found = read_rows(folder / ROWS, RULES)
    wanted = {point.id for point in points_of(trainings)}
    rows = [row for key, row in found.rows.items() if key in wanted]
    failed = sum(row["state"] == "failed" for row in rows)
    left, rate = len(wanted) - len(rows), rate_of(rows)
    writer = (holder(folder) or "another process") if writing else None
    eta = left / rate if writing and rate else None
    damaged = tuple(map(str, found.damaged))
    return Status(trainings.name, len(rows) - failed, failed, left, False, writer, rate, eta, damaged)


def _fault(row: Row) -> str | None:
    """Return what is wrong with a stored training."""
    if row["state"] == "failed":
        return None if isinstance(row.get("error"), str) else "a failed training without its error"
    held = row.get("row")
    sound = row["state"] == "done" and isinstance(held, dict) and all(isinstance(v, int | float) for v in held.values())
    return None if sound else "no row of a training"


#: rows of earlier versions have neither a state nor a checksum
RULES = RowRules(("row",), _fault, sealed=False, complete=lambda row: {"state": "done", **row})
