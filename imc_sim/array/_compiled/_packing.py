"""Inputs and weights in the layout of the compiled product: bytes in the order in which it reads them.

Numba, which must be installed, keeps compiled code on disk; this module is imported inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from imc_sim._jit import kept_njit
from imc_sim._thread_pool import in_thread_pool
from imc_sim.array._compiled import COLUMNS


@kept_njit
def to_bytes(
    x: NDArray[np.float32], offset: int, top: int, out: NDArray[np.uint8], wrong: NDArray[np.bool], begin: int, end: int
) -> None:  # fmt: skip
    """Write x + offset as bytes to out (x flat). wrong [1]: set if an x is not a whole number from -top to top."""
    x, out, good = x[begin:end], out[begin:end], True  # places counted from 0 spare the test for those from the end
    for i in range(len(x)):
        code = np.int32(x[i])
        good &= (np.float32(code) == x[i]) & (code <= top) & (code >= -top)
        out[i] = np.uint8(code + offset)
    if not good:
        wrong[0] = True


@kept_njit
def to_multiples(x: NDArray[np.float32], unit: float, begin: int, end: int) -> None:
    """Round x (flat), in place, to the nearest whole multiples of a power of two, halves to even ones."""
    x, inverse, step = x[begin:end], np.float32(1.0 / unit), np.float32(unit)
    for i in range(len(x)):
        x[i] = np.float32(np.rint(x[i] * inverse)) * step


@njit
def _whole(
    x: NDArray[np.float32], inverse: np.float32, top: np.int32, whole: NDArray[np.int32]
) -> tuple[np.int32, np.int32, np.bool]:
    """Write x * inverse to whole; return sum, sum of magnitudes, and whether all are whole numbers to +-top."""
    total, magnitude, wrong = np.int32(0), np.int32(0), np.int32(0)
    for i in range(len(x)):
        scaled = x[i] * inverse
        whole[i] = np.int32(scaled)
        wrong |= np.int32((np.float32(whole[i]) != scaled) | (whole[i] > top) | (whole[i] < -top))
        total += whole[i]
        magnitude += abs(whole[i])
    return total, magnitude, wrong == 0


@njit
def _bytes(whole: NDArray[np.int32], add: int, shift: int, slots: NDArray[np.int64], line: NDArray[np.int8]) -> None:
    """Write the lower bytes of (whole + add) >> shift to their slots."""
    if len(slots) == len(line):  # every group has four inputs, in order
        for i in range(len(whole)):
            line[i] = np.int8((whole[i] + np.int32(add)) >> np.int32(shift))
    else:
        for i in range(len(whole)):
            line[slots[i]] = np.int8((whole[i] + np.int32(add)) >> np.int32(shift))


@kept_njit
def pack(
    tile: NDArray[np.float32], unit: float, slots: NDArray[np.int64], groups: int, words: int, top: int,
    weights: NDArray[np.int8], sums: NDArray[np.int32], bounds: NDArray[np.int32], begin: int, end: int,
) -> None:  # fmt: skip
    """Pack weights of one tile [columns, inputs] into zeroed weights and sums, as `_kernel.run` reads them.

    slots: the place of every input in the groups of four. bounds [columns]: sums of magnitudes, or -1 where a weight is
    not a whole multiple of `unit`, or more than `top` of it.
    """
    inverse, inputs = np.float32(1.0 / unit), tile.shape[1]
    whole, line = np.empty(inputs, np.int32), np.zeros(4 * groups, np.int8)
    fours, columns = line.view(np.int32), weights.view(np.int32)
    for c in range(begin, end):
        total, magnitude, good = _whole(tile[c], inverse, np.int32(top), whole)
        sums[c], bounds[c] = total, magnitude if good else -1
        if not good:
            break
        first = c // COLUMNS * words * groups * COLUMNS + c % COLUMNS
        for word in range(words):
            if word < words - 1:
                _bytes(whole, 128, 8, slots, line)  # the upper byte, rounded: the lower one is signed
            else:
                _bytes(whole, 0, 0, slots, line)
            for g in range(groups):
                columns[first + (word * groups + g) * COLUMNS] = fours[g]


@kept_njit
def to_bytes_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `to_bytes` on the thread pool."""
    return in_thread_pool(to_bytes, arguments, schedule)  # type: ignore[call-arg]  # numba passes the first one


@kept_njit
def to_multiples_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `to_multiples` on the thread pool."""
    return in_thread_pool(to_multiples, arguments, schedule)  # type: ignore[call-arg]


@kept_njit
def pack_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `pack` on the thread pool."""
    return in_thread_pool(pack, arguments, schedule)  # type: ignore[call-arg]
