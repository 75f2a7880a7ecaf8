"""Run a study: trials that its results folder holds are reused, the others are computed and stored."""

from __future__ import annotations

import datetime as dt
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from imc_sim import evaluate
from imc_sim._arguments import checked
from imc_sim._errors import InputError, ResultsWarning, check_whole, reason_of
from imc_sim._files import csv_text, write_file
from imc_sim._memory import memory_of_machine, within_memory
from imc_sim._quantities import number_of
from imc_sim.config import reading_once, user_path
from imc_sim.evaluate import ChipResult, check_device, chip_costs, evaluate_chips
from imc_sim.runs import Array, Executor, Row, RunClock, check_executor, finished_rows, make_executor
from imc_sim.study._acting import check_acting, of_its_model
from imc_sim.study._content import keep_content
from imc_sim.study._memory_use import estimated_memory
from imc_sim.study._origin import named
from imc_sim.study._places import Content
from imc_sim.study._point import Point, Trial, described
from imc_sim.study._points import completed, points_of, resolved
from imc_sim.study._results import Results
from imc_sim.study._rows import Writer
from imc_sim.study._spec import Study, load_study
from imc_sim.study._stopping import by_point, stopping_count, without_gap
from imc_sim.study._store import ResultStore, check_folder
from imc_sim.study._trials_file import measures
from imc_sim.study._work import BATCH, Batch, Evaluator, batch_size, evaluate_batch, evaluator_digest

#: seconds after which a running batch is reported
_LONG_S = 60.0


@final
@dataclass
class Progress:
    """Progress of a run, without trials that were stored before.

    Attributes:
        done: number of trials run, including failed ones.
        total: number of trials that the stopping rule has requested so far.
        failed: number of failed trials.
        left_open: number of trials without a row, since memory did not suffice; the next run tries them again.
        memory_bytes: upper estimate of the memory of a worker; None where it is not known.
        waiting: trials that have run for long while no other finished, and since when; empty once one finishes.
        started: start of the run on a monotonic clock, in s.
    """

    done: int = 0
    total: int = 0
    failed: int = 0
    left_open: int = 0
    memory_bytes: int | None = None
    waiting: str = ""
    started: float = field(default_factory=time.monotonic)


@final
@dataclass
class _Run:
    """State of one call of `run`."""

    study: Study
    store: ResultStore
    executor: Executor
    evaluator: Evaluator
    writer: Writer
    report: Callable[[Progress], None]
    stop: Callable[[], bool]
    batch: int
    retry_failed: bool
    progress: Progress = field(default_factory=Progress)
    reason: str = ""
    _tried: set[str] = field(default_factory=set)
    _stored: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def trials(self, points: list[Point]) -> None:
        """Run the digital baselines, then chips of every point until its stopping rule is satisfied."""
        baselines = {d.id: d for p in points for d in p.digital()}
        wanted = [(p, [-1]) for p in baselines.values()]
        for count in self.study.chips.checkpoints():
            self._read()
            self._complete(wanted + [(p, list(range(count))) for p in points if not self._has_enough_chips(p)])
            wanted = []

    def _has_enough_chips(self, point: Point) -> bool:
        chips, results = self._stored.get(point.id, (np.arange(0), np.arange(0)))
        return stopping_count(self.study.chips, without_gap(chips, results)) is not None

    def _read(self) -> None:
        """Find the stored chips of all points, and their results; failed ones to be run again are left out."""
        rows = self.store.rows
        if self.retry_failed:
            tried = np.isin(rows.column("id"), [i.encode() for i in self._tried]) if self._tried else False
            rows = rows.select(rows.has("state", "done") | tried)
        chips, results = rows.column("chip"), measures(rows)
        self._stored = {point: (chips[each], results[each]) for point, each in by_point(rows).items()}

    def _complete(self, wanted: list[tuple[Point, list[int]]]) -> None:
        """Run the missing trials of these chips of each point."""
        batches: deque[list[Trial]] = deque()
        for point, chips in wanted:
            stored = self._stored.get(point.id, (np.arange(0),))[0]
            missing = [t for t in map(point.trial, np.setdiff1d(chips, stored).tolist()) if t.id not in self._tried]
            self._tried.update(t.id for t in missing)  # two cases may have a point in common
            size = batch_size(point, self.evaluator, self.batch, self.study.memory_limit) if missing else 1
            batches += [missing[i : i + size] for i in range(0, len(missing), size)]
        if batches:
            self.store.protect()
        self.progress.total += sum(map(len, batches))
        self.report(self.progress)
        for rows in self._rows(batches, self._start, self._done, self.writer.failed):
            self.store.add(rows)
            self.progress.failed += sum(row["state"] == "failed" for row in rows)
            self._count(rows)

    def _rows(
        self, batches: deque[list[Trial]], start: Callable[[list[Trial]], Future[Any]],
        done: Callable[[list[Trial], Any], list[Row]], failed: Callable[[Trial, BaseException], Row],
    ) -> Iterator[list[Row]]:  # fmt: skip
        """Yield the rows of batches as they finish, and report what runs long or is left open."""
        return finished_rows(batches, self.executor, start, done, failed, self.stop, self._left_open, self._waiting)

    def _count(self, rows: list[Row]) -> None:
        """Report rows that were stored."""
        self.progress.done += len(rows)
        self.progress.waiting = ""
        self.report(self.progress)

    def _left_open(self, trial: Trial, error: BaseException) -> None:
        self.progress.left_open += 1
        got = error.got if isinstance(error, InputError) else reason_of(error)
        self.reason = self.reason or f"{described([trial])}: {got}"
        self.report(self.progress)

    def left_open(self) -> str:
        """Describe the trials that were left open; empty if there are none."""
        step = "Run it again with fewer workers, with more memory, or with smaller tasks or chips."
        count = self.progress.left_open
        return f"{number_of(count, 'trial')} left open without a result; the first: {self.reason}. {step}" * bool(count)

    def _waiting(self, trials: list[Trial], seconds: float) -> None:
        """Report trials that have run for more than a minute while no other finished."""
        if seconds >= _LONG_S:
            began = dt.datetime.now().astimezone() - dt.timedelta(seconds=seconds)
            self.progress.waiting = f"{described(trials)} since {began:%H:%M:%S}"
            self.report(self.progress)

    def _done(self, trials: list[Trial], results: list[ChipResult]) -> list[Row]:
        """Store the costs of finished trials, and return the rows of the trials."""
        if self.store.costs is not None:
            self.store.costs.add(self.writer.costs(trials, [result.cost for result in results]))
        return self.writer.done(trials, results)

    def costs(self, points: list[Point]) -> None:
        """Compute the costs of stored trials that lack them, such as those of earlier prices; warn of failed ones."""
        store = self.store.costs
        if store is None:
            return
        most, batches = self.study.chips.checkpoints()[-1], deque[list[Trial]]()
        trials, rows = self.store.rows, store.rows
        trials = trials.select(trials.has("state", "done") & (trials.column("chip") < most))
        done = {point: trials.column("chip")[numbers] for point, numbers in by_point(trials).items()}
        rows = rows.select(rows.has("state", "done")) if self.retry_failed else rows
        priced, chips, costs = by_point(rows), rows.column("chip"), rows.column("cost")
        names = rows.texts("cost")
        for point in {point.id: point for point in points if point.cost is not None}.values():
            mine = priced.get(point.id, np.arange(0))
            stored = chips[mine[costs[mine] == (names.index(point.cost) if point.cost in names else -1)]]
            wanted = done.get(point.id, np.arange(0))
            missing = [point.trial(chip) for chip in np.setdiff1d(wanted, stored).tolist()]
            size = batch_size(point, self.evaluator, self.batch, self.study.memory_limit) if missing else 1
            batches += [missing[i : i + size] for i in range(0, len(missing), size)]
        self.progress.total += sum(map(len, batches))
        start = lambda trials: self._submit(trials, chip_costs)  # noqa: E731
        for rows in self._rows(batches, start, self.writer.costs, self.writer.failed_cost):
            store.add(rows)
            self._count(rows)
        if failed := int(store.rows.has("state", "failed").sum()):
            error = next(store.rows.where("state", "failed"))["error"].partition("\n")[0]
            text = f"{failed} costs failed; the first: {error}"
            warnings.warn(text, ResultsWarning, stacklevel=4)

    def _start(self, trials: list[Trial]) -> Future[Any]:
        return self._submit(trials, self.evaluator)

    def _submit(self, trials: list[Trial], evaluator: Callable[..., list[Any]]) -> Future[Any]:
        return self.executor.submit(
            within_memory, evaluate_batch, Batch.of(trials, evaluator, self.writer.clock.device)
        )


@checked
def run(
    study: str | Path | dict[str, Any] | Study, out: str | Path | None = None, executor: str = "inline",
    workers: int | None = None, progress: Callable[[Progress], None] | None = None,
    evaluator: Evaluator = evaluate_chips, *, scheduler: str | None = None, device: str = "cpu",
    retry_failed: bool = False, batch: int = BATCH, stop: Callable[[], bool] | None = None,
) -> Results:  # fmt: skip
    """Run a study, reusing the trials that its results folder holds.

    Everything is validated before the folder is created. A trial that fails is stored with its error, and the run goes
    on. Trials that run out of memory are run again with fewer chips at a time; one that still does has no row, and a
    warning names it.

    Args:
        study: name, path, mapping or `Study`.
        out: results folder; None: results/<name>.
        executor: inline, process or dask; see `EXECUTORS`.
        workers: number of worker processes; None: one per core.
        progress: called with the `Progress` after every batch.
        evaluator: function that evaluates chips, importable by name; its name and file are part of the ids of trials.
            Tests replace it; for a metric, use a task of kind function.
        scheduler: address of an existing dask scheduler; None: start one if the executor is dask.
        device: device that computes, cpu or cuda.
        retry_failed: whether trials that failed in an earlier run are run again.
        batch: largest number of chips per call of a worker; results do not depend on it.
        stop: called between batches; once it returns True, running batches are finished and stored, and
            KeyboardInterrupt is raised.

    Returns:
        The results; `Results.failed` is the number of failed trials.

    Raises:
        InputError: the study, its data or its executor is not valid.
        ResultsError: the folder holds other results, or its files were changed during the run.
    """
    spec = load_study(study)
    folder = user_path(out, "out") if out is not None else Path("results") / spec.name
    check_whole(batch, "batch", 1, step="Leave it out for the usual size.")
    check_executor(executor, workers)
    with reading_once():
        points = points_of(spec, evaluator_digest(evaluator))
        settings = resolved(spec, points)
        check_folder(folder, settings)
        if evaluator is evaluate_chips:
            check_study(spec, points, device)
    count = 1 if executor == "inline" else workers or len(os.sched_getaffinity(0))
    memory = estimated_memory(points, evaluator, batch, spec.memory_limit, spec.chips.checkpoints()[-1], count)
    if memory is not None and scheduler is None:
        memory.check(memory_of_machine())

    def compute() -> str:
        """Run what is missing, describe what was left open, and release the rows that the store holds."""
        with ResultStore(folder, settings) as store:
            keep_content(folder, completed(spec), Content(**settings["content"]))
            writer, quiet = Writer(RunClock(device)), (lambda _: None)
            parts = (spec, store, runner, evaluator, writer, progress or quiet, stop or (lambda: False))
            work = _Run(*parts, batch=batch, retry_failed=retry_failed)
            work.progress.memory_bytes = None if memory is None else memory.worker_bytes
            work.trials(points)
            work.costs(points)
            return work.left_open()

    runner = make_executor(executor, workers, scheduler)
    try:
        left_open = compute()
    finally:
        runner.close()
    results = Results.load(folder)
    write_file(folder / "table.csv", csv_text(results.table))
    if left_open:
        warnings.warn(left_open, ResultsWarning, stacklevel=2)
    return results


def check_study(study: Study, points: list[Point], device: str) -> None:
    """Reject points whose trials would fail, and axes and cases that change no result with their models."""
    most, step = study.chips.checkpoints()[-1], "Set chips.min and chips.max to the number of measured chips."
    for path in {point.conductances: None for point in points if point.conductances is not None}:
        evaluate.check_measured_chips(path, most, step)
    for law in (point.chip["device"]["programming"] for point in points if point.chip is not None):
        if most > 1 and law["kind"] == "map" and law["use"] == "cells" and not law["repeat"]:
            step = "Set chips: {min: 1}, use: resample, or repeat: true."
            raise InputError("chips", most, "1 where device.programming.use is cells: one array is one chip", step)
    with evaluate.holding(points[0].data):
        _check(study, points, device)
        with study.origin.naming(f"study {study.name!r}"):
            check_acting(study, points, of_its_model)


def _check(study: Study, points: list[Point], device: str) -> None:
    """Load every distinct task, map every distinct chip without its effects, and pass images through every model."""
    seen: set[str] = set()
    reduced = "task" if study.chip_task is None else "chip_task"
    for point in points:
        chip = point.chip or {}
        device_of = chip.get("device", {})
        structure = {k: v for k, v in chip.items() if k != "device"} | {"levels": device_of.get("levels")}
        if (law := device_of.get("programming", {})).get("kind") == "map":
            structure["map"] = law
        if not point.engine.native:
            structure = {"engine": point.engine, **chip}  # a foreign backend may reject any setting
        for key, part, check in (
            (f"{point.engine}", "engine", lambda p=point: check_device(device, p.engine)),
            (f"{point.digital_task}", "task", lambda p=point: evaluate.check_task(p.reference().task)),
            (f"{point.task} {chip.get('policy')}", reduced, lambda p=point: evaluate.check_task(p.task, p.chip)),
            (
                f"{point.model} {point.digital_task}", "model",
                lambda p=point: evaluate.check_images(p.model, p.reference().task),
            ),
            (f"{point.model} {point.task}", "model", lambda p=point: evaluate.check_images(p.model, p.task)),
            (
                f"{point.model} {structure} {point.conductances}", "chip",
                lambda p=point: p.chip and evaluate.check_mapping(p.model, p.chip, p.engine, p.task, p.conductances),
            ),
        ):  # fmt: skip
            if key not in seen:
                seen.add(key)
                try:
                    check()
                except InputError as error:
                    raise named(study, error, part, point) from error
