"""A fast evaluator for tests of studies, stores and executors."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imc_sim._rng import Stream
from imc_sim.config import digest
from imc_sim.evaluate import ChipResult

#: environment variables that make the stand-in misbehave
SLOW, FAIL, KILL = "IMC_SIM_TEST_SLOW", "IMC_SIM_TEST_FAIL", "IMC_SIM_TEST_KILL"
KILL_ONCE, FATAL = "IMC_SIM_TEST_KILL_ONCE", "IMC_SIM_TEST_FATAL"
MEMORY, HUGE = "IMC_SIM_TEST_MEMORY", "IMC_SIM_TEST_HUGE"


def stand_in_evaluator(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
) -> list[ChipResult]:
    """Return plausible counts that depend only on model, chip, task, seed and chip number.

    Environment variables change it. `IMC_SIM_TEST_SLOW`: seconds per call. `IMC_SIM_TEST_FAIL`: a file; while it
    exists, chip 3 fails. `IMC_SIM_TEST_KILL`: a file; once it exists, the process is killed as by `kill -9`.
    `IMC_SIM_TEST_KILL_ONCE`: the same, and the file is removed. `IMC_SIM_TEST_FATAL`: a chip that kills the process.
    `IMC_SIM_TEST_MEMORY`: number of chips that memory suffices for. `IMC_SIM_TEST_HUGE`: a chip that no memory holds.

    Args:
        model: name of a model.
        chip: a chip as a mapping; None: the digital network.
        task: a task as a mapping.
        chips: chip numbers.
        seed: seed of the chips.

    Returns:
        A result per chip, or one of the digital network.
    """
    time.sleep(float(os.environ.get(SLOW, "0")))
    if _doomed(chips):
        os.kill(os.getpid(), signal.SIGKILL)
    if len(chips) > int(os.environ.get(MEMORY, len(chips))) or int(os.environ.get(HUGE, "-2")) in chips:
        bytearray(2**62)
    if FAIL in os.environ and Path(os.environ[FAIL]).exists() and 3 in chips:
        raise ArithmeticError("chip 3 is out of order")
    stream = Stream(seed, digest([model, chip, task]), "stand-in")
    mean = 0.9 if chip is None else 0.9 - 0.5 * float(chip["device"]["programming"]["sigma"])
    numbers = [-1] if chip is None else list(chips)
    numbers_u = [float(stream.uniform(1, max(number, 0))[0]) for number in numbers]
    return [
        ChipResult(n, round(1000 * (mean + 0.1 * (u - 0.5))), 1000, 0.01)
        for n, u in zip(numbers, numbers_u, strict=True)
    ]


def _doomed(chips: Sequence[int]) -> bool:
    if KILL in os.environ and Path(os.environ[KILL]).exists():
        return True
    if KILL_ONCE in os.environ and Path(os.environ[KILL_ONCE]).exists():
        with contextlib.suppress(FileNotFoundError):
            Path(os.environ[KILL_ONCE]).unlink()
            return True
    return int(os.environ.get(FATAL, "-2")) in chips
