"""Estimate the time and memory of a study from measurements on a few chips.

Points are of one kind if their settings differ only in the values of nonzero real numbers: a chip with a sigma of 0.1
costs as much as one with 0.2. One point of each kind is measured. If there are too many kinds, only the ends of every
sweep are measured; each other kind takes the mean cost of the most similar measured kinds, those that share most
settings with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, final

from imc_sim._arguments import checked
from imc_sim._errors import check_positive, check_whole
from imc_sim._memory import memory_of_machine
from imc_sim._quantities import number_of, shown_bytes
from imc_sim._threads import one_thread
from imc_sim.config import canonical_json
from imc_sim.evaluate import evaluate_chips
from imc_sim.study._axes import grid
from imc_sim.study._memory_use import MemoryEstimate, estimated_memory, traits_of
from imc_sim.study._point import Point
from imc_sim.study._points import points_of
from imc_sim.study._probe import Cost, Prober
from imc_sim.study._runner import check_study
from imc_sim.study._spec import Study, load_study
from imc_sim.study._work import BATCH, Evaluator

#: traits and cost of a measured point
_Measured = tuple[dict[str, Any], Cost]


@final
@dataclass(frozen=True)
class CaseEstimate:
    """Estimated cost of one case.

    Trials that an earlier case has in common with this one are counted there.

    Attributes:
        case: name of the case.
        points: number of its points.
        chips: smallest and largest number of chips that the stopping rule allows.
        seconds: time for these chips on one worker.
        memory_bytes: peak memory of one worker.
    """

    case: str
    points: int
    chips: tuple[int, int]
    seconds: tuple[float, float]
    memory_bytes: int


@final
@dataclass(frozen=True)
class DryRun:
    """Estimated cost of a study whose results folder is empty.

    Attributes:
        study: name of the study.
        cases: estimate of each case.
        skipped: number of points that conditions of `skip` leave out.
        baselines: number of digital baselines.
        baseline_seconds: total time of the digital baselines.
        kinds: number of kinds of points.
        probed: number of kinds that were measured.
        workers: number of workers that share the trials.
        upper: upper estimate of the memory from the sizes of the study; None for another evaluator.
    """

    study: str
    cases: tuple[CaseEstimate, ...]
    skipped: int
    baselines: int
    baseline_seconds: float
    kinds: int
    probed: int
    workers: int
    upper: MemoryEstimate | None = None

    @property
    def points(self) -> int:
        """Return the number of points of all cases."""
        return sum(case.points for case in self.cases)

    @property
    def chips(self) -> tuple[int, int]:
        """Return the smallest and largest number of chips of all points together."""
        return sum(case.chips[0] for case in self.cases), sum(case.chips[1] for case in self.cases)

    @property
    def seconds(self) -> tuple[float, float]:
        """Return the shortest and longest duration of the study in s, with chips shared evenly by the workers."""
        least, most = (sum(case.seconds[k] for case in self.cases) + self.baseline_seconds for k in (0, 1))
        return least / self.workers, most / self.workers

    @property
    def memory_bytes(self) -> int:
        """Return the peak memory of all workers together."""
        return self.workers * max(case.memory_bytes for case in self.cases)

    @property
    def note(self) -> str:
        """Return a sentence on how the estimate was made."""
        parts = [f"measured on {self.probed} of {self.kinds} kinds of points"]
        parts += ["the others estimated from the most similar ones"] if self.probed < self.kinds else []
        parts += [f"{number_of(self.skipped, 'point')} skipped"] if self.skipped else []
        parts += [f"{number_of(self.workers, 'worker')}, nothing stored yet"]
        parts += [] if self.upper is None else [f"at most {shown_bytes(self.upper.worker_bytes)} a worker by its sizes"]
        return "; ".join(parts)

    def rows(self) -> list[dict[str, str]]:
        """Return the lines of a printed table: one per case, the digital baselines, and the total of all workers."""
        lines = [_line(c.case, c.points, c.chips, c.seconds, c.memory_bytes) for c in self.cases]
        seconds = (self.baseline_seconds, self.baseline_seconds)
        digital = {"case": "digital baselines", "trials": str(self.baselines), "time": _span(seconds, shown_seconds)}
        return [*lines, digital, _line("all", self.points, self.chips, self.seconds, self.memory_bytes)]


def _line(
    name: str, points: int, chips: tuple[int, int], seconds: tuple[float, float], memory_bytes: int
) -> dict[str, str]:
    """Return a line of the printed table."""
    return {
        "case": name,
        "points": str(points),
        "trials": _span(chips, str),
        "time": _span(seconds, shown_seconds),
        "memory": shown_bytes(memory_bytes),
    }


def _span(ends: tuple[float, float], shown: Callable[[Any], str]) -> str:
    least, most = map(shown, ends)
    return least if least == most else f"{least} to {most}"


def shown_seconds(seconds: float) -> str:
    """Return a duration as text in s, min, h or days."""
    for limit, unit, name in ((99.5, 1, "s"), (99.5 * 60, 60, "min"), (99.5 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86400:.3g} days"


@checked
def dry_run(
    study: str | Mapping[str, Any] | Study, *, workers: int = 1, device: str = "cpu", probes: int = 8,
    budget_s: float = 60.0, batch: int = BATCH, evaluator: Evaluator = evaluate_chips,
    progress: Callable[[int, int], None] | None = None,
) -> DryRun:  # fmt: skip
    """Estimate the number of points and chips, the time and the memory of a study, without writing anything.

    Args:
        study: name, path, mapping or `Study`.
        workers: number of processes that will share the trials; with several, each computes on one thread, as do the
            measurements.
        device: device that computes, cpu or cuda.
        probes: largest number of points to measure.
        budget_s: time in s after which no further measurement starts.
        batch: largest number of chips per call of a worker.
        evaluator: function that evaluates chips; tests replace it.
        progress: called with (points measured, points to measure).

    Returns:
        The estimate.

    Raises:
        InputError: the study is not valid, as for `run`.
    """
    for count, name in ((workers, "workers"), (batch, "batch"), (probes, "probes")):
        check_whole(count, name, 1)
    if budget_s != 0:
        check_positive(budget_s, "budget_s")
    spec = load_study(study)
    points = points_of(spec)
    if evaluator is evaluate_chips:
        check_study(spec, points, device)
    upper = estimated_memory(points, evaluator, batch, spec.memory_limit, spec.chips.checkpoints()[-1], workers)
    if upper is not None:
        upper.check(memory_of_machine())
    kinds: dict[str, list[Point]] = {}
    for point in points:
        kinds.setdefault(canonical_json(traits_of(point)), []).append(point)
    wanted = _chosen([group[-1] for group in kinds.values()], probes)
    prober = Prober(evaluator, device, batch, spec.memory_limit)
    with one_thread() if workers > 1 else contextlib.nullcontext():
        found, baselines = _measure(prober, wanted, spec.chips.checkpoints()[0], budget_s, progress)
    costs = {kind: _estimated(group[0], found) for kind, group in kinds.items()}
    digital = [{p.baseline().id for p in points}]
    digital.append({p.reference().id for p in points} - digital[0])
    return DryRun(
        spec.name, _cases(spec, points, costs), len(spec.cases) * sum(1 for _ in grid(spec.axes)) - len(points),
        sum(map(len, digital)), sum(len(d) * _mean(b) for d, b in zip(digital, baselines, strict=True)),
        len(kinds), len(found), workers, upper,
    )  # fmt: skip


def _measure(
    prober: Prober, wanted: list[Point], most: int, budget_s: float, progress: Callable[[int, int], None] | None
) -> tuple[list[_Measured], tuple[list[float], list[float]]]:
    """Measure these points, and the seconds of their digital baselines on the reduced and on the whole task.

    The baselines are measured first, so that loading models and data does not count as time of chips.
    """
    started, found = perf_counter(), []
    baselines: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for number, point in enumerate(wanted):
        if number and perf_counter() - started > budget_s:
            break
        for digital, known in zip(point.digital(), baselines, strict=True):
            if digital.id not in baselines[0] | known:
                known[digital.id] = prober.digital(digital).seconds
        found.append((traits_of(point), prober.chips(point, most)))
        if progress is not None:
            progress(number + 1, len(wanted))
    return found, (list(baselines[0].values()), list(baselines[1].values()))


def _mean(seconds: list[float]) -> float:
    return sum(seconds) / max(1, len(seconds))


def _family(point: Point) -> str:
    """Return the traits of a point with counts replaced as well: points of one sweep have the same."""
    traits = traits_of(point)
    return canonical_json({k: "some" if type(v) is int and v != 0 else v for k, v in traits.items()})


def _chosen(firsts: list[Point], most: int) -> list[Point]:
    """Choose at most `most` of the points (one per kind): all of them, or evenly spaced ends of sweeps."""
    if len(firsts) <= most:
        return firsts
    families: dict[str, list[int]] = {}
    for number, point in enumerate(firsts):
        families.setdefault(_family(point), []).append(number)
    ends = sorted({k for group in families.values() for k in (group[0], group[-1])})
    count = max(1, min(most, len(ends)))
    places = [round(k * (len(ends) - 1) / max(1, count - 1)) for k in range(count)]
    return [firsts[ends[place]] for place in places]


def _estimated(point: Point, found: list[_Measured]) -> Cost:
    """Estimate the cost of a point: mean time and largest memory of the most similar measured points."""
    traits = traits_of(point)
    scores = [_difference(traits, measured) for measured, _ in found]
    similar = [cost for (_, cost), score in zip(found, scores, strict=True) if score == min(scores)]
    return Cost(sum(c.seconds for c in similar) / len(similar), max(c.memory_bytes for c in similar))


def _difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[int, int, int]:
    """Return numbers of different settings, to be compared in order: model and backend, task, all."""
    paths = [path for path in one.keys() | other.keys() if one.get(path) != other.get(path)]
    heavy = sum(path.startswith((".model", ".engine")) for path in paths)
    return heavy, sum(path.startswith(".task") for path in paths), len(paths)


def _cases(study: Study, points: list[Point], costs: dict[str, Cost]) -> tuple[CaseEstimate, ...]:
    """Return the estimate of each case from the costs of the kinds of points."""
    counts = study.chips.checkpoints()
    seen: set[str] = set()
    cases: list[CaseEstimate] = []
    for name in dict.fromkeys(point.case for point in points):
        own = [point for point in points if point.case == name]
        fresh = list({p.id: p for p in own if p.id not in seen}.values())
        seen |= {point.id for point in fresh}
        each = [costs[canonical_json(traits_of(point))] for point in own]
        once = sum(costs[canonical_json(traits_of(point))].seconds for point in fresh)
        chips = (len(fresh) * counts[0], len(fresh) * counts[-1])
        seconds = (once * counts[0], once * counts[-1])
        cases.append(CaseEstimate(name, len(own), chips, seconds, max(c.memory_bytes for c in each)))
    return tuple(cases)
