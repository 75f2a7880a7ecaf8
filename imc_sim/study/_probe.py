"""Measured cost of a few chips: seconds and memory of a batch of trials, run as in a worker."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import final

from imc_sim import evaluate
from imc_sim.evaluate import evaluate_chips
from imc_sim.study._point import Point
from imc_sim.study._work import Batch, Evaluator, evaluate_batch

#: a whole batch is measured where it takes no longer than this; else one chip stands for it
_LONG_S = 10.0


@final
@dataclass(frozen=True)
class Cost:
    """Seconds of one chip, and the peak memory of the process."""

    seconds: float
    memory_bytes: int


@final
@dataclass(frozen=True)
class Prober:
    """Runs trials as a worker would and discards their results. batch: chips of a worker's call, at most."""

    evaluator: Evaluator
    device: str
    batch: int
    memory_limit: int

    def digital(self, point: Point) -> Cost:
        """Evaluate a point without a chip; the first time includes loading the model and the data, as in a run."""
        return self._run(point, [-1])

    def chips(self, point: Point, most: int) -> Cost:
        """Evaluate chips of a point: one, then a whole batch if that is fast enough."""
        one, size = self._run(point, [0]), min(self._size(point), most)
        if size == 1:
            return one
        if one.seconds * size <= _LONG_S:
            return self._run(point, list(range(size)))
        return Cost(one.seconds, one.memory_bytes + (size - 1) * self._cells(point))

    def _run(self, point: Point, chips: list[int]) -> Cost:
        forget_peak()
        started = perf_counter()
        evaluate_batch(Batch.of([point.trial(chip) for chip in chips], self.evaluator, self.device))
        return Cost((perf_counter() - started) / len(chips), peak_bytes())

    def _size(self, point: Point) -> int:
        if point.chip is None or self.evaluator is not evaluate_chips:
            return self.batch
        return min(self.batch, evaluate.batch_chips(point.model, point.chip, self.memory_limit))

    def _cells(self, point: Point) -> int:
        """Return the bytes that each further chip of a batch takes at least, for its cells."""
        if point.chip is None or self.evaluator is not evaluate_chips:
            return 0
        much = 2**60
        return much // evaluate.batch_chips(point.model, point.chip, much)


def forget_peak() -> None:
    """Reset the peak memory of this process, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the peak resident memory of this process, since `forget_peak` or its start."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
