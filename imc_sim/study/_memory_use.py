"""Estimate the memory of a study before it starts, and compare it with that of the machine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from imc_sim import evaluate
from imc_sim._errors import ResultsWarning
from imc_sim._memory import Memory, check_memory, estimated, resident_bytes
from imc_sim._quantities import number_of, shown_bytes
from imc_sim.config import canonical_json
from imc_sim.evaluate import evaluate_chips
from imc_sim.study._point import Point
from imc_sim.study._work import Evaluator, batch_size


@final
@dataclass(frozen=True)
class MemoryEstimate:
    """Upper estimate of the memory of a study.

    Attributes:
        base: bytes of a process with the models and data sets.
        one: largest number of bytes that one chip takes next to that.
        batch: the same of a batch of chips.
        chips: number of chips of that batch.
        workers: number of processes that compute.
    """

    base: int
    one: int
    batch: int
    chips: int
    workers: int

    @property
    def worker_bytes(self) -> int:
        """Return the bytes of one process that computes."""
        return self.base + self.batch

    def check(self, machine: Memory) -> None:
        """Compare the estimate with the memory of the machine.

        Args:
            machine: memory of the machine that the processes run on.

        Raises:
            InputError: the study takes a multiple of all memory.
        """
        inline = self.workers == 1
        needed = self.batch if inline else self.workers * self.worker_bytes
        if needed <= machine.available:
            return
        each = "" if inline else f" for {number_of(self.chips, 'chip')} in each of {self.workers} workers"
        got, step = estimated(self.worker_bytes, each), self._step(machine)
        check_memory(needed, "memory of the study", step, machine, got)
        text = (
            f"the study may take {got}; {shown_bytes(machine.available)} of {shown_bytes(machine.total)} are available"
        )
        warnings.warn(f"{text}. {step}", ResultsWarning, stacklevel=4)

    def _step(self, machine: Memory) -> str:
        """Return what takes less memory."""
        if self.base + self.one > machine.available:
            return "Reduce task.batch, task.episodes, task.way or the network; one chip takes that much."
        workers = machine.available // (self.base + self.one)
        fewer = "" if self.workers == 1 else f" and {min(self.workers, workers)} workers"
        return f"Use --batch 1 (or a lower memory_limit){fewer}." if self.chips > 1 else f"Use {workers} workers."


def estimated_memory(
    points: Sequence[Point], evaluator: Evaluator, batch: int, memory_limit: int, most: int, workers: int
) -> MemoryEstimate | None:
    """Return the estimate of the points that take most; None for an evaluator other than the package's own.

    Args:
        points: of the study.
        evaluator: function that evaluates chips.
        batch: largest number of chips per call of a worker.
        memory_limit: bytes of the cells of a batch.
        most: largest number of chips of a point.
        workers: number of processes that compute.
    """
    if evaluator is not evaluate_chips:
        return None
    kinds = {canonical_json(traits_of(point)): point for point in points}.values()
    digital = {point.id: point for kind in kinds for point in kind.digital()}.values()
    ones = [evaluate.memory_use(point.model, point.chip, point.task, 1) for point in (*kinds, *digital)]
    largest, chips = max(ones), 1
    for point in kinds:
        size = min(batch_size(point, evaluator, batch, memory_limit), most)
        if size > 1 and (found := evaluate.memory_use(point.model, point.chip, point.task, size)) > largest:
            largest, chips = found, size
    return MemoryEstimate(resident_bytes(), max(ones), largest, chips, workers)


def traits_of(point: Point) -> dict[str, Any]:
    """Return path -> value of all settings that may affect the cost of a chip, with nonzero real numbers replaced."""
    content = {key: point.content.get(key) for key in ("chip", "task")}
    return dict(_blurred({"model": point.model, "engine": point.engine.to_dict(), **content}, ""))


def _blurred(node: Any, path: str) -> list[tuple[str, Any]]:
    """Flatten nested settings to (path, value) pairs, with every nonzero real number replaced by one word."""
    if isinstance(node, Mapping):
        return [pair for key, value in node.items() for pair in _blurred(value, f"{path}.{key}")]
    return [(path, "some" if isinstance(node, float) and node != 0 else node)]
