"""Measure the time and memory of a few trials, run as in a worker."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import final

from imc_sim.study._point import Point
from imc_sim.study._work import Batch, Evaluator, batch_size, evaluate_batch

#: a whole batch is measured if it takes no longer than this, otherwise one chip
_LONG_S = 10.0
#: bytes, more than any chip takes
_MUCH = 2**60


@final
@dataclass(frozen=True)
class Cost:
    """Cost of trials: seconds per chip, and peak memory of the process."""

    seconds: float
    memory_bytes: int


@final
@dataclass(frozen=True)
class Prober:
    """Runs trials as a worker would and discards the results; `batch` is the largest number of chips per call."""

    evaluator: Evaluator
    device: str
    batch: int
    memory_limit: int

    def digital(self, point: Point) -> Cost:
        """Measure a point without a chip; the first measurement includes loading the model and the data."""
        return self._run(point, [-1])

    def chips(self, point: Point, most: int) -> Cost:
        """Measure one chip of a point, then a whole batch if that is fast enough."""
        one = self._run(point, [0])
        size = min(batch_size(point, self.evaluator, self.batch, self.memory_limit), most)
        if size == 1:
            return one
        if one.seconds * size <= _LONG_S:
            return self._run(point, list(range(size)))
        cells_bytes = _MUCH // batch_size(point, self.evaluator, _MUCH, _MUCH)
        return Cost(one.seconds, one.memory_bytes + (size - 1) * cells_bytes)

    def _run(self, point: Point, chips: list[int]) -> Cost:
        forget_peak()
        started = perf_counter()
        evaluate_batch(Batch.of([point.trial(chip) for chip in chips], self.evaluator, self.device))
        return Cost((perf_counter() - started) / len(chips), peak_bytes())


def forget_peak() -> None:
    """Reset the peak memory of this process; only Linux can do this."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the peak resident memory of this process in bytes, since `forget_peak` or its start."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
