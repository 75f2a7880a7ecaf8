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

#: numbers whose signs are computed together, and the bits of infinity, above which are those of NaN
_CHUNK, _INFINITE = 2**12, np.int32(0x7F800000)
#: columns that are packed together: their groups of four fill a line of the cache
_COLUMNS = 16


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
def to_signs(
    x: NDArray[np.float32], out: NDArray[np.float32], codes: NDArray[np.uint8], wrong: NDArray[np.bool], begin: int,
    end: int,
) -> None:  # fmt: skip
    """Write +1 where x > 0, else -1, to out, and these plus 1 to codes if there are some; all arrays are flat.

    wrong [1]: set if an x is NaN or infinite.
    """
    top = np.int32(0)
    for first in range(begin, end, _CHUNK):
        last = min(first + _CHUNK, end)
        here, there = x[first:last], out[first:last]
        bits = here.view(np.int32)
        for i in range(len(here)):
            top = max(top, bits[i] & np.int32(0x7FFFFFFF))
        for i in range(len(here)):
            there[i] = np.float32(2 * (here[i] > 0) - 1)
        if len(codes):
            bytes_ = codes[first:last]
            for i in range(len(here)):
                bytes_[i] = np.uint8(2 * (here[i] > 0))
    if top >= _INFINITE:
        wrong[0] = True


@kept_njit
def to_multiples(x: NDArray[np.float32], unit: float, begin: int, end: int) -> None:
    """Round x (flat), in place, to the nearest whole multiples of a power of two, halves to even ones."""
    x, inverse, step = x[begin:end], np.float32(1.0 / unit), np.float32(unit)
    for i in range(len(x)):
        x[i] = np.float32(np.rint(x[i] * inverse)) * step


@njit
def _whole(
    x: NDArray[Any], inverse: np.float32, rounds: bool, top: np.int32, whole: NDArray[np.int32]
) -> tuple[np.int32, np.int32, np.bool | bool]:
    """Write x * inverse, rounded, to whole; return sum, sum of magnitudes, and whether all are within +-top.

    Unless it `rounds`, all must be whole numbers before.
    """
    total, magnitude, low, high, wrong = np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for i in range(len(x)):
        whole[i] = np.int32(np.rint(np.float32(x[i]) * inverse))
    for i in range(len(whole)):
        total += whole[i]
        magnitude += abs(whole[i])
        low, high = min(low, whole[i]), max(high, whole[i])
    if not rounds:
        for i in range(len(x)):
            wrong |= np.int32(np.float32(whole[i]) != np.float32(x[i]) * inverse)
    return total, magnitude, (wrong == 0) & (low >= -top) & (high <= top)


@njit
def _bytes(whole: NDArray[np.int32], add: int, shift: int, slots: NDArray[np.int64], line: NDArray[np.int8]) -> None:
    """Write the lower bytes of (whole + add) >> shift to their slots."""
    if len(slots) == len(line):  # every group has four inputs, in order
        for i in range(len(whole)):
            line[i] = np.int8((whole[i] + np.int32(add)) >> np.int32(shift))
    else:
        for i in range(len(whole)):
            line[slots[i]] = np.int8((whole[i] + np.int32(add)) >> np.int32(shift))


@njit
def _transpose(fours: NDArray[np.int32], columns: NDArray[np.int32]) -> None:
    """Write the groups of four of some columns next to each other, so that each line of the cache is written once."""
    for g in range(fours.shape[1]):
        for c in range(_COLUMNS):
            columns[g * COLUMNS + c] = fours[c, g]


@kept_njit
def pack(
    tile: NDArray[Any], start: int, unit: float, rounds: bool, slots: NDArray[np.int64], groups: int, words: int,
    top: int, weights: NDArray[np.int8], sums: NDArray[np.int32], bounds: NDArray[np.int32], begin: int, end: int,
) -> None:  # fmt: skip
    """Pack weights of one tile and zeros for columns behind its last, as `_kernel.run` reads them; sums are zeroed.

    tile [columns, *]: weights of any type, those of the tile from `start` on. unit: power of two of which they are
    multiples, or to which they are rounded, halves to even ones (`rounds`). slots: the place of every input in the
    groups of four. bounds [columns]: sums of magnitudes, or -1 where a weight is no multiple, or more than `top`.
    begin, end: columns of whole panels.
    """
    inverse, inputs = np.float32(1.0 / unit), len(slots)
    whole, lines = np.empty(inputs, np.int32), np.zeros((words, _COLUMNS, 4 * groups), np.int8)
    columns = weights.view(np.int32)
    for first in range(begin, end, _COLUMNS):
        for c in range(first, first + _COLUMNS):
            if c >= len(tile):
                lines[:, c - first] = np.int8(0)
                continue
            total, magnitude, good = _whole(tile[c, start : start + inputs], inverse, rounds, np.int32(top), whole)
            sums[c], bounds[c] = total, magnitude if good else -1
            if not good:
                return
            for word in range(words):
                if word < words - 1:
                    _bytes(whole, 128, 8, slots, lines[word, c - first])  # rounded: the lower byte is signed
                else:
                    _bytes(whole, 0, 0, slots, lines[word, c - first])
        place = first // COLUMNS * words * groups * COLUMNS + first % COLUMNS
        for word in range(words):
            _transpose(lines[word].view(np.int32), columns[place + word * groups * COLUMNS :])


@kept_njit
def to_bytes_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `to_bytes` on the thread pool."""
    return in_thread_pool(to_bytes, arguments, schedule)  # type: ignore[call-arg]  # numba passes the first one


@kept_njit
def to_signs_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `to_signs` on the thread pool."""
    return in_thread_pool(to_signs, arguments, schedule)  # type: ignore[call-arg]


@kept_njit
def to_multiples_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `to_multiples` on the thread pool."""
    return in_thread_pool(to_multiples, arguments, schedule)  # type: ignore[call-arg]


@kept_njit
def pack_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `pack` on the thread pool."""
    return in_thread_pool(pack, arguments, schedule)  # type: ignore[call-arg]
