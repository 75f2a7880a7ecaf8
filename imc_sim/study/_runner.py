"""The runner: what is stored is subtracted, the rest is run, each result is on disk before it counts."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from imc_sim._stats import mean_interval
from imc_sim.config import as_engine
from imc_sim.evaluate import ChipResult, batch_chips, check_mapping, check_task, evaluate_chips
from imc_sim.study._executors import Executor, make_executor
from imc_sim.study._points import Point, Trial, points_of, resolved
from imc_sim.study._results import Results
from imc_sim.study._spec import Study, load_study
from imc_sim.study._store import ResultStore, Row, check_folder

#: chips in one call, at most: small enough that progress is seen and little is lost
_BATCH = 4

#: (model, chip, task, chip numbers, seed), and `engine` where it is not the native one
Evaluator = Callable[..., list[ChipResult]]


@final
@dataclass
class Progress:
    """How far a run is. total counts what the stopping rule has asked for so far."""

    done: int = 0
    total: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)


@final
@dataclass
class _Run:
    """One call of `run`: the open store, the engine, and how far it is."""

    study: Study
    store: ResultStore
    executor: Executor
    evaluator: Evaluator
    report: Callable[[Progress], None]
    progress: Progress = field(default_factory=Progress)

    def trials(self, points: list[Point]) -> None:
        """Run every point to the end of its stopping rule, baselines first."""
        self._complete([(point.baseline(), [-1]) for point in _firsts(points)])
        for count in self.study.chips.checkpoints():
            self._complete([(p, list(range(count))) for p in points if not self._settled(p)])

    def _settled(self, point: Point) -> bool:
        """The stopping rule, on the chips of the last checkpoint that is complete."""
        wanted = self.study.chips.half_width
        if wanted is None:
            return False
        for count in self.study.chips.checkpoints():
            rows = [self.store.done(point.trial(c).id) for c in range(count)]
            if any(row is None for row in rows):
                return False
            mean, low, _ = mean_interval([row["correct"] / row["total"] for row in rows if row])
            if mean - low <= wanted:
                return True
        return False

    def _complete(self, wanted: list[tuple[Point, list[int]]]) -> None:
        """Run what is missing of these chips of these points."""
        jobs: list[list[Trial]] = []
        for point, chips in wanted:
            trials = [point.trial(c) for c in chips]
            missing = [t for t in trials if self.store.done(t.id) is None]
            jobs += _batches(missing, self._batch(point))
        self.progress.total += sum(map(len, jobs))
        self.report(self.progress)
        for rows in self._rows(jobs):
            self.store.add(rows)
            self.progress.done += len(rows)
            self.progress.failed += sum(row["state"] == "failed" for row in rows)
            self.report(self.progress)

    def _batch(self, point: Point) -> int:
        if point.chip is None or self.evaluator is not evaluate_chips:
            return _BATCH
        return min(_BATCH, batch_chips(point.model, point.chip, self.study.memory_limit))

    def _evaluator(self, point: Point) -> Evaluator:
        if point.chip is None or point.engine == as_engine(point.chip["engine"]):
            return self.evaluator
        return functools.partial(self.evaluator, engine=point.engine)

    def _rows(self, jobs: list[list[Trial]]) -> Iterator[list[Row]]:
        """Rows of finished jobs, as they finish; never more under way than the engine is wide."""
        waiting = iter(jobs)
        running: dict[Future[Any], list[Trial]] = {}
        while True:
            for job in waiting:
                p = job[0].point
                chips = [t.chip for t in job]
                running[self.executor.submit(self._evaluator(p), p.model, p.chip, p.task, chips, p.seed)] = job
                if len(running) >= self.executor.width:
                    break
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield _outcome(future, running.pop(future))


def run(
    study: str | Path | dict[str, Any] | Study, out: str | Path | None = None, executor: str = "inline",
    workers: int | None = None, progress: Callable[[Progress], None] | None = None,
    evaluator: Evaluator = evaluate_chips,
) -> Results:  # fmt: skip
    """Run a study into folder `out` (default: results/<name>), taking up what is stored there.

    Everything is validated before the folder is made. A failed trial is a row with its error; it is tried
    again the next time, and `Results.failed` counts it. evaluator: for tests; it must be importable by name.
    """
    spec = load_study(study)
    folder = Path(out) if out is not None else Path("results") / spec.name
    points = points_of(spec)
    settings = resolved(spec, points)
    check_folder(folder, settings)
    if evaluator is evaluate_chips:
        _check(points)
    engine = make_executor(executor, workers)
    try:
        with ResultStore(folder, settings) as store:
            _Run(spec, store, engine, evaluator, progress or (lambda _: None)).trials(points)
    finally:
        engine.close()
    results = Results.load(folder)
    results.table.to_csv(folder / "table.csv", index=False, lineterminator="\n")
    return results


def _check(points: list[Point]) -> None:
    """Load every distinct task and map every distinct structure once, without any effect: what fails, fails now."""
    seen: set[str] = set()
    for point in points:
        chip = point.chip or {}
        structure = {k: v for k, v in chip.items() if k != "device"} | {"levels": chip.get("device", {}).get("levels")}
        if not point.engine.native:
            structure = {"engine": point.engine, **chip}  # a foreign engine may refuse any setting
        for key, check in (
            (f"{point.task} {chip.get('policy')}", lambda p=point: check_task(p.task, p.chip)),
            (f"{point.model} {structure}", lambda p=point: p.chip and check_mapping(p.model, p.chip, p.engine)),
        ):
            if key not in seen:
                seen.add(key)
                check()


def _firsts(points: list[Point]) -> list[Point]:
    """One point per case."""
    return list({point.case: point for point in reversed(points)}.values())[::-1]


def _batches(trials: list[Trial], size: int) -> list[list[Trial]]:
    return [trials[i : i + size] for i in range(0, len(trials), size)]


def _outcome(future: Future[Any], job: list[Trial]) -> list[Row]:
    try:
        results: Iterable[ChipResult] = future.result()
    except OSError:
        raise  # a full disk or a lost folder is no property of a trial
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        return [_row(trial, {"state": "failed", "error": str(error), "traceback": text}, 0.0) for trial in job]
    done = [
        {"state": "done", "correct": r.correct, "total": r.total} | ({"ranges": r.ranges} if r.ranges else {})
        for r in results
    ]
    return [_row(t, payload, r.seconds) for t, payload, r in zip(job, done, results, strict=True)]


def _row(trial: Trial, payload: Row, seconds: float) -> Row:
    point = trial.point
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    meta = {"seconds": round(seconds, 4), "time": now, "host": platform.node(), "versions": _versions()}
    place = {"case": point.case, "values": [v for _, v in point.coordinates], "point": point.id, "chip": trial.chip}
    return {"id": trial.id, **place, **payload, "meta": meta}


@functools.cache
def _versions() -> dict[str, str]:
    names = ("imc-sim", "torch", "numpy")
    return {"python": platform.python_version()} | {n: _version(n) for n in names}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
