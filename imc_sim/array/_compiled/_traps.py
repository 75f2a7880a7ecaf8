"""Compiled sampling of two-state traps; numba must be installed. The same bits as the path without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from imc_sim._jit import kept_njit
from imc_sim._philox import DRAWS, WORDS, fill
from imc_sim._thread_pool import in_thread_pool


@njit
def _low_states(
    words: NDArray[np.uint64], number: int, counter: NDArray[np.uint64], key: NDArray[np.uint64], count: int
) -> NDArray[np.uint32]:  # fmt: skip
    """Return the `count` 32-bit words from draw `number` of the stream on."""
    first, skip = number // 8, number % 8
    for batch in range(-(-2 * (skip + count) // DRAWS)):
        fill(words[WORDS * batch : WORDS * (batch + 1)], first + batch * (DRAWS // 16), counter, key)
    return words.view(np.uint32)[skip : skip + count]


@kept_njit
def changes(
    x: NDArray[np.float32], inputs: NDArray[np.int32], steps: NDArray[np.float32], occupancy: np.float32,
    limit: np.uint32, per_read: int, stride: int, counter: NDArray[np.uint64], key: NDArray[np.uint64],
    out: NDArray[np.float32], begin: int, end: int,
) -> None:  # fmt: skip
    """Write the change of every sum by its traps: out [vectors, sums], vectors from begin to end.

    Args:
        x: drives [vectors, inputs].
        inputs: [sums, traps] input that drives each trap.
        steps: [3, sums, traps] change per x^0, x^1 and x^2.
        occupancy: share of time in the low state.
        limit: words below it are low states.
        per_read: vectors of one read.
        stride: Philox blocks between two reads.
        counter: of the first read.
    """
    sums, traps = inputs.shape
    count = sums * traps
    words = np.empty(WORDS * (-(-2 * (count + 8) // DRAWS)), np.uint64)
    value, place = np.empty(count, np.float32), inputs.reshape(-1)
    s0, s1, s2 = steps[0].reshape(-1), steps[1].reshape(-1), steps[2].reshape(-1)
    for vector in range(begin, end):
        read, within = vector // per_read, vector % per_read
        low = _low_states(words, 8 * stride * read + within * count, counter, key, count)
        drive = x[vector]
        for i in range(count):
            value[i] = drive[np.uint32(place[i])]
        for i in range(count):
            state = occupancy - (np.float32(1.0) if low[i] < limit else np.float32(0.0))
            value[i] = state * (s0[i] + value[i] * (s1[i] + value[i] * s2[i]))
        for j in range(sums):
            each, width = value[j * traps : (j + 1) * traps], traps
            while width > 1:  # halves, in the order of the other path
                half = (width + 1) // 2
                for k in range(width - half):
                    each[k] += each[half + k]
                width = half
            out[vector, j] = each[0]


@kept_njit
def changes_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Run `changes` on several threads: see `imc_sim._thread_pool`."""
    return in_thread_pool(changes, arguments, schedule)  # type: ignore[call-arg]
