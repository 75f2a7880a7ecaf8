"""Training sweeps: train one card with some settings swept and several seeds; interrupted sweeps continue."""

from __future__ import annotations

import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, final

from pydantic import Field, model_validator

from imc_sim._arguments import checked
from imc_sim._errors import InputError, ResultsWarning
from imc_sim._files import refuse_link
from imc_sim._memory import within_memory
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
    trusting,
    write_yaml,
)
from imc_sim.nn.store import ModelCard, check_code_of, load_card
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
    is_locked,
    make_executor,
    read_rows,
)
from imc_sim.train._checkpoint import Log, Progress
from imc_sim.train._continual_recipe import ContinualRecipe
from imc_sim.train._recipes import Recipe
from imc_sim.train._train import changed_card, check_models_of, initialised, recipe_of, trained_log

#: what the log of a kind of recipe compares, besides `accuracy`
_MEASURES = {"continual": "mean", "ensemble": "ensemble"}
ROWS, SWEEP, _WORK = "trainings.jsonl", "trainings.yaml", "unfinished"
_ROOTS = ("recipe.", "arch.args.")
Value = bool | int | float | str | None | tuple[Any, ...]


@final
class SweptValue(Spec):
    """One swept setting of a card: a panel of the figure."""

    path: str = Field(description="path of the setting: recipe.… or arch.args.…")
    values: tuple[Value, ...] = Field(min_length=1, description="values of the setting")
    label: str = Field(default="", description="name of the quantity in the figure")
    labels: tuple[str, ...] = Field(default=(), description="names of the values in the figure; empty: the values")

    @model_validator(mode="after")
    def _every_value_has_a_label(self) -> Self:
        if self.labels and len(self.labels) != len(self.values):
            raise ValueError(f"labels, one for each of the {len(self.values)} values")
        return self


@final
class SweptCase(Spec):
    """A named variant of the training: a curve in every panel."""

    name: str = Field(description="name of the case in the figure")
    set: dict[str, Any] = Field(default_factory=dict, description="path of a setting of the card -> value")


@final
class Trainings(FileSpec):
    """A training sweep: a card is trained for every value of every panel, in every case, with every seed.

    Panels are swept one at a time, not crossed.

    Attributes:
        name: name of the sweep and of its default results folder.
        summary: one line for lists.
        question: question that the sweep answers.
        set: path of a setting of the card -> value, in all training runs.
        cases: named variants.
        panels: swept settings.
        seeds: seeds of the recipe.
        measure: accuracy whose last value in the training log is compared; empty: that of the recipe's kind.
    """

    name: FolderName
    summary: str = ""
    question: str = ""
    model: str = Field(description="name or path of a card")
    set: dict[str, Any] = Field(default_factory=dict)
    cases: tuple[SweptCase, ...] = (SweptCase(name="all"),)
    panels: tuple[SweptValue, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    measure: str = Field(default="", description="accuracy, mean, taskN or ensemble; default: by the recipe's kind")

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
    """One training run: its place in the figure, and everything that determines the weights."""

    panel: int
    value: int
    case: str
    seed: int
    card: ModelCard
    recipe: Recipe
    base: Path

    @property
    def id(self) -> str:
        """Return the `training_id`, which points with the same weights share."""
        return training_id(self.card, self.recipe)


def training_id(card: ModelCard, recipe: Recipe) -> str:
    """Return the SHA-256 of architecture and recipe, which determine the trained weights."""
    return digest({"arch": card.arch.to_dict(), "recipe": recipe.training_digest()})


@checked
def load_trainings(name: PathLike) -> Trainings:
    """Load a training sweep.

    Args:
        name: name of a training sweep (in studies/trainings/), or path of a file.

    Returns:
        The training sweep.

    Raises:
        InputError: the sweep is not found or not valid.
    """
    path = find_content("training", name)
    sweep = _from_file(path)
    with sweep.origin.naming():
        check_code_in(sweep.to_dict(), path.parent, str(path), "training")
    return sweep


def _from_file(path: Path) -> Trainings:
    origin = Origin.of(path)
    with origin.naming():
        return build(Trainings, read_yaml(path), str(path)).with_origin(origin)


def points_of(sweep: Trainings) -> Iterator[Point]:
    """Yield every training run, panel by panel."""
    with sweep.origin.naming():
        card, base = load_card(sweep.model)
    for number, panel in enumerate(sweep.panels):
        for place, value in enumerate(panel.values):
            for case in sweep.cases:
                places = list(_places(sweep, case, number, place))
                origin = card.origin.first(*places) if places else Origin()  # settings of Python are in no file
                for seed in sweep.seeds:
                    settings = {**sweep.set, **case.set, panel.path: value, "recipe.seed": seed}
                    made = changed_card(card, settings.items(), sweep.name, origin)
                    recipe = recipe_of(made, sweep.name)
                    with sweep.origin.naming(sweep.name):
                        _check_measure(sweep, recipe)
                    yield Point(number, place, case.name, seed, made, recipe, base)


def _places(sweep: Trainings, case: SweptCase, panel: int, value: int) -> Iterator[Place]:
    """Yield where the settings of a training run are written, those that are set last first."""
    for file in (place.file for place in sweep.origin.places):
        yield Place(file, f"panels.{panel}.values.{value}", sweep.panels[panel].path)
        yield Place(file, f"cases.{sweep.cases.index(case)}.set")
        yield Place(file, "set")


def _check_measure(sweep: Trainings, recipe: Recipe) -> None:
    """Refuse a measure that the log of this recipe does not hold."""
    allowed = list(dict.fromkeys([_MEASURES.get(recipe.kind, "accuracy"), "accuracy"]))
    if isinstance(recipe, ContinualRecipe):
        allowed += [f"task{number}" for number in range(1, len(recipe.tasks) + 1)]
    if sweep.measure and sweep.measure not in allowed:
        where, step = f"{sweep.name}, measure", f"Name one of these, or leave it out for {allowed[0]}."
        raise InputError(where, repr(sweep.measure), ", ".join(allowed), step)


@checked
def run_trainings(
    sweep: Trainings, out: Path, device: str = "cpu", progress: Callable[[str], Progress] | None = None, *,
    executor: str = "inline", workers: int | None = None, retry_failed: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Run every training of a sweep that its results folder does not hold yet.

    A later call continues unfinished training runs from their last checkpoint. One that fails is stored with its error.

    Args:
        sweep: training sweep.
        out: results folder: receives trainings.yaml, trainings.jsonl (a row per training run) and a folder per
            unfinished training run.
        device: device that trains, cpu or cuda.
        progress: called with a description of a training run; returns its progress function. With several workers,
            there is one progress function for all.
        executor: inline, process or dask; see `EXECUTORS`.
        workers: number of worker processes; None: one per core.
        retry_failed: whether training runs that failed in an earlier call are run again.

    Returns:
        A mapping per point: panel, value, case, seed, and row, the last row of its log (None if it failed, or ran out
        of memory; a warning names the latter, and the next call continues it).

    Raises:
        InputError: a card or setting is not valid, or names code that may not run; nothing has been written then.
        ResultsError: another process writes to the folder, or its files were changed during the run.
    """
    check_code_of(*load_card(sweep.model), "arch", "recipe")
    points = list(points_of(sweep))
    check_models_of(point.recipe for point in points)
    unique = {point.id: point for point in points}
    runner = make_executor(executor, workers)
    kind = FolderKind("training runs", SWEEP, ROWS, lambda: write_yaml(sweep.to_dict()), RULES, lambda _: False)
    try:
        with RowStore(out, kind) as store:
            refuse_link(out / _WORK)
            missing = [point for key, point in unique.items() if store.is_missing(key, retry_failed)]
            _Run(out, device, progress, runner, len(missing)).complete(missing, store)
            rows = store.rows
            if all(key in rows for key in unique):
                shutil.rmtree(out / _WORK, ignore_errors=True)
    finally:
        runner.close()
    return [
        {"panel": p.panel, "value": p.value, "case": p.case, "seed": p.seed, "row": rows.get(p.id, {}).get("row")}
        for p in points
    ]


@final
@dataclass
class _Run:
    """State of one call of `run_trainings`."""

    out: Path
    device: str
    progress: Callable[[str], Progress] | None
    executor: Executor
    count: int
    begun: int = 0

    def complete(self, missing: list[Point], store: RowStore) -> None:
        """Train the missing points and store a row for each."""
        clock, inline = RunClock(self.device), self.executor.width == 1
        told = self.progress(f"{self.count} training runs") if self.progress and missing and not inline else None

        def done(points: list[Point], result: tuple[dict[str, float], float]) -> list[Row]:
            return [{"id": points[0].id, "state": "done", "row": result[0], "meta": clock.meta(result[1])}]

        def failed(point: Point, error: BaseException) -> Row:
            return {"id": point.id, **failure(error), "meta": clock.meta(0.0)}

        def left_open(point: Point, error: BaseException) -> None:
            got = error.got if isinstance(error, InputError) else error
            text = f"a training run of case {point.case}, seed {point.seed} is left open: {got}. "
            text += "Take fewer workers, or set a smaller recipe.batch."
            warnings.warn(text, ResultsWarning, stacklevel=2)

        batches = deque([point] for point in missing)
        found = finished_rows(batches, self.executor, self._start, done, failed, left_open=left_open)
        for number, rows in enumerate(found, 1):
            store.add(rows)
            shutil.rmtree(self._folder(rows[0]["id"]), ignore_errors=True)
            if told is not None:
                told(number, self.count, {})

    def _start(self, points: list[Point]) -> Future[Any]:
        self.begun += 1
        inline = self.executor.width == 1 and self.progress is not None
        told = self.progress(f"training run {self.begun} of {self.count}") if inline and self.progress else None
        return self.executor.submit(within_memory, _train, points[0], self._folder(points[0].id), self.device, told)

    def _folder(self, key: str) -> Path:
        return self.out / _WORK / key[:16]


def _train(point: Point, folder: Path, device: str, progress: Progress | None) -> tuple[dict[str, float], float]:
    """Train a point, or continue it; return the last row of its log and the duration of this call in s."""
    began = time.monotonic()
    with trusting():  # the process that runs the sweep has checked the code
        model = initialised(point.card, point.recipe, point.base)
        log: Log = trained_log(model, point.recipe, folder, device, True, progress)[0]
    return log[-1], time.monotonic() - began


def sweep_status(folder: Path) -> Status:
    """Return the progress of the training sweep that writes, or wrote, to a results folder; change nothing.

    Args:
        folder: results folder.

    Raises:
        InputError: the folder holds no training sweep.
    """
    sweep = _from_file(folder / SWEEP)
    writing = is_locked(folder)
    wanted = {point.id: point for point in points_of(sweep)}
    return Status.of(sweep.name, folder, writing, read_rows(folder / ROWS, RULES), list(wanted))


def _fault(row: Row) -> str | None:
    """Return the fault of a stored row, or None."""
    if row["state"] == "failed":
        return None if isinstance(row.get("error"), str) else "a failed training run without its error"
    held = row.get("row")
    sound = row["state"] == "done" and isinstance(held, dict) and all(isinstance(v, int | float) for v in held.values())
    return None if sound else "no row of a training run"


#: rows of earlier versions have neither a state nor a checksum
RULES = RowRules(("row",), _fault, sealed=False, complete=lambda row: {"state": "done", **row})
