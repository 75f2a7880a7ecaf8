"""Global random numbers of Python, NumPy and torch, seeded while a user's function runs."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from imc_sim._rng import Stream


@contextlib.contextmanager
def seeded(seed: int, chip: int | None) -> Iterator[None]:
    """Seed the global random numbers of Python, NumPy and torch for a chip, and restore them at the end.

    Args:
        seed: seed of the task.
        chip: number of the chip; None: the digital network.

    Yields:
        Nothing.
    """
    words = Stream(seed, "function", "digital" if chip is None else "chip").words(4, chip or 0)
    number = int(words.view(np.uint32)[0])
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - functions of users may use the global generator
    torch.manual_seed(number)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
