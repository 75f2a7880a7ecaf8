"""Philox compiled by numba, with table look-ups of its words in the same pass; numba must be installed.

The words equal those of numpy's generator for the same key and counter, so a number does not depend on the code that
generates it. Many blocks are computed together, which the compiler turns into vector instructions.

Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011 (Philox 4x64, ten rounds).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from imc_sim._jit import has_features, kept_njit
from imc_sim._quantiles import PARTS, TAIL, WIDTH
from imc_sim._thread_pool import in_thread_pool

#: blocks of four 64-bit numbers that one call generates; they fit a first-level cache
_LANES = 64
_MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ROUNDS = 10
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
_U64 = ir.IntType(64)
#: blocks whose state is in registers: 16 of 32 for the widest vectors
_TOGETHER = 32 if has_features(("avx512f",)) else 8
#: columns of a table, in the type of table indices
_WIDTH = np.uint32(WIDTH)
#: 64-bit numbers generated in one call, and the 16-bit words in them
WORDS, DRAWS = 4 * _LANES, 16 * _LANES


@njit(inline="always")
def _upper(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return the upper 64 bits of a * b from products of halves: vector units multiply 32 bits by 32."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    middle = a1 * b0 + ((a0 * b0) >> _HALF)
    return a1 * b1 + (middle >> _HALF) + ((a0 * b1 + (middle & _LOW)) >> _HALF)


def _product(b: Any, a: Any, factor: int) -> tuple[Any, Any]:
    """Return the upper and the lower halves of vectors a times a number: vector units multiply 32 bits by 32."""
    low, half = (_every(a.type, number) for number in (_LOW, _HALF))
    f0, f1 = (_every(a.type, number) for number in (factor & int(_LOW), factor >> int(_HALF)))
    a0, a1 = b.and_(a, low), b.lshr(a, half)
    first = b.mul(a0, f0)
    middle = b.add(b.mul(a1, f0), b.lshr(first, half))
    other = b.add(b.mul(a0, f1), b.and_(middle, low))
    upper = b.add(b.add(b.mul(a1, f1), b.lshr(middle, half)), b.lshr(other, half))
    return upper, b.or_(b.shl(other, half), b.and_(first, low))


def _every(kind: Any, number: Any) -> Any:
    """Return the constant vector with one number in every lane."""
    return ir.Constant(kind, [int(number)] * kind.count)


def _mixed(b: Any, one: Any, other: Any, lanes: list[int]) -> Any:
    """Return chosen lanes of two vectors that are joined."""
    return b.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


@intrinsic
def _blocks(typing: Any, out: Any, c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any]:
    """Write `_TOGETHER` blocks after counter (c0, c1, c2, c3) to address `out`; compilers put loops in memory."""

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        """Write the instructions of all rounds."""
        out, *counter, k0, k1 = arguments
        n, kind = _TOGETHER, ir.VectorType(_U64, _TOGETHER)
        nothing = ir.Constant(kind, ir.Undefined)
        every = lambda x: _mixed(b, b.insert_element(nothing, x, ir.IntType(32)(0)), nothing, [0] * n)  # noqa: E731
        c = [every(x) for x in counter]
        c[0] = b.add(c[0], ir.Constant(kind, [*range(1, n + 1)]))
        for _ in range(_ROUNDS):
            (u1, l1), (u0, l0) = _product(b, c[2], int(_MULTIPLIERS[1])), _product(b, c[0], int(_MULTIPLIERS[0]))
            c = [b.xor(b.xor(u1, c[1]), every(k0)), l1, b.xor(b.xor(u0, c[3]), every(k1)), l0]
            k0, k1 = (b.add(k, _U64(int(step))) for k, step in zip((k0, k1), _WEYL, strict=True))
        twos = [k for i in range(n) for k in (i, n + i)]
        fours = [k for i in range(0, 2 * n, 2) for k in (i, i + 1, 2 * n + i, 2 * n + i + 1)]
        words = _mixed(b, _mixed(b, c[0], c[1], twos), _mixed(b, c[2], c[3], twos), fours)
        b.store(words, b.inttoptr(out, words.type.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, *(types.uint64,) * 6), write


@njit
def fill(words: NDArray[np.uint64], first: int, counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> None:
    """Fill words [WORDS] with those of `_LANES` blocks in order, from block `first` after the counter."""
    for i in range(0, _LANES, _TOGETHER):
        number = counter[0] + np.uint64(first + i)
        out = words.ctypes.data + 32 * i
        _blocks(out, number, counter[1], counter[2], counter[3], key[0], key[1])  # type: ignore[call-arg]


@njit
def outermost(words: NDArray[np.uint16]) -> np.bool | bool:
    """Tell whether a word is 0 or 65,535. Vector units compare many 16-bit words in one instruction."""
    found = False
    for i in range(len(words)):
        found |= np.uint16(words[i] + np.uint16(1)) < np.uint16(2)
    return found


@njit
def tail(number: int, word: np.uint16, counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> np.uint32:
    """Return the table column of number `number` after the counter, whose word is 0 or 65,535, from a second word.

    The second word is at the same place of the second plane of the stream, which has another last counter number.
    """
    c0, c1 = counter[0] + np.uint64(number // 16) + _ONE, counter[1]
    c2, c3 = counter[2], counter[3] + _ONE
    k0, k1 = key[0], key[1]
    for _ in range(_ROUNDS):
        upper, lower = _upper(_MULTIPLIERS[1], c2), _MULTIPLIERS[1] * c2
        c2, c3 = _upper(_MULTIPLIERS[0], c0) ^ c3 ^ k1, _MULTIPLIERS[0] * c0
        c0, c1 = upper ^ c1 ^ k0, lower
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
    place = number % 16
    four = c0 if place < 4 else c1 if place < 8 else c2 if place < 12 else c3
    second = (four >> np.uint64(16 * (place % 4) + 4)) & np.uint64(TAIL - 1)
    return np.uint32(np.uint64(PARTS + (TAIL if word else 0)) + second)


# Unsigned indices avoid numba's check for negative ones.


@njit
def _look_up(
    table: NDArray[np.float32], rows: NDArray[np.int32], words: NDArray[np.uint16], out: NDArray[np.float32]
) -> None:
    for i in range(len(rows)):
        out[i] = table[np.uint32(np.uint32(rows[i]) * _WIDTH + np.uint32(words[i]))]


@kept_njit
def quantiles(
    table: NDArray[np.float32], counter: NDArray[np.uint64], key: NDArray[np.uint64], out: NDArray[np.float32],
    begin: int, end: int,
) -> None:  # fmt: skip
    """Fill out [begin:end] with table entries of these numbers of the stream; begin is a multiple of `DRAWS`."""
    words = np.empty(WORDS, np.uint64)
    each = words.view(np.uint16)
    for first in range(begin, end, len(each)):
        fill(words, first // 16, counter, key)
        here = each[: min(len(each), end - first)]
        for i in range(len(here)):
            out[first + i] = table[np.uint32(here[i])]
        if outermost(here):
            for i in range(len(here)):
                if np.uint16(here[i] + np.uint16(1)) < np.uint16(2):
                    out[first + i] = table[tail(first + i, here[i], counter, key)]


@kept_njit
def entries(
    table: NDArray[np.float32], rows: NDArray[np.int32], counter: NDArray[np.uint64], key: NDArray[np.uint64],
    out: NDArray[np.float32], begin: int, end: int,
) -> None:  # fmt: skip
    """Fill out [begin:end] with entry (rows[i], number i) of a flat table [rows x WIDTH]; see `quantiles`."""
    words = np.empty(WORDS, np.uint64)
    each = words.view(np.uint16)
    for first in range(begin, end, len(each)):
        fill(words, first // 16, counter, key)
        last = min(first + len(each), end)
        _look_up(table, rows[first:last], each, out[first:last])
        if outermost(each[: last - first]):
            for i in range(first, last):
                word = each[i - first]
                if np.uint16(word + np.uint16(1)) < np.uint16(2):
                    out[i] = table[np.uint32(rows[i]) * _WIDTH + tail(i, word, counter, key)]


@njit
def _of_line(
    words: NDArray[np.uint64], number: int, count: int, counter: NDArray[np.uint64],
    key: NDArray[np.uint64],
) -> int:  # fmt: skip
    """Fill words with the whole blocks around `count` numbers from `number` on; return how many precede them there."""
    first, skip = number // 16, number % 16
    for batch in range(-(-(skip + count) // DRAWS)):
        fill(words[WORDS * batch : WORDS * (batch + 1)], first + batch * _LANES, counter, key)
    return skip


@njit
def _places(
    units: NDArray[np.float32], plus: NDArray[np.uint16], minus: NDArray[np.uint16], places: NDArray[np.uint32]
) -> None:
    """Compute table indices [2, m] of both cells of a pair; the look-up is separate, as it cannot be vectorised."""
    for i in range(len(units)):
        unit = np.int32(units[i])
        places[0, i] = np.uint32(np.uint32(max(unit, np.int32(0))) * _WIDTH + np.uint32(plus[i]))
        places[1, i] = np.uint32(np.uint32(max(-unit, np.int32(0))) * _WIDTH + np.uint32(minus[i]))


@njit
def _tails(
    words: NDArray[np.uint16], places: NDArray[np.uint32], number: int, counter: NDArray[np.uint64],
    key: NDArray[np.uint64],
) -> None:  # fmt: skip
    """Move the indices of words 0 and 65,535 to tail columns; words begin at number `number` of the stream."""
    if outermost(words):
        for i in range(len(words)):
            if np.uint16(words[i] + np.uint16(1)) < np.uint16(2):
                places[i] += tail(number + i, words[i], counter, key) - np.uint32(words[i])


@njit
def _differences(table: NDArray[Any], places: NDArray[np.uint32], out: NDArray[Any]) -> np.int32:
    """Fill out with differences and return the largest magnitude."""
    for i in range(len(out)):
        out[i] = table[places[0, i]] - table[places[1, i]]
    top = np.int32(0)
    for i in range(len(out)):
        top = max(top, abs(np.int32(out[i])))
    return top


@kept_njit
def pairs(
    table: NDArray[Any], units: NDArray[np.float32], counter: NDArray[np.uint64], key: NDArray[np.uint64],
    out: NDArray[Any], tops: NDArray[np.int32], begin: int, end: int,
) -> None:  # fmt: skip
    """Fill rows begin … end of out [n, m]: entry of the positive part of units [n, m] minus that of the negative one.

    Entries are whole numbers of 16 or 32 bits. Each part has its own random number; words are numbered as in an array
    [n, 2, m]. tops [n]: the largest magnitude of each row.
    """
    m = units.shape[1]
    batches = -(-(2 * m + 15) // DRAWS)
    words = np.empty(WORDS * batches, np.uint64)
    each, places = words.view(np.uint16), np.empty((2, m), np.uint32)
    for line in range(begin, end):
        skip = _of_line(words, 2 * m * line, 2 * m, counter, key)
        plus, minus, number = each[skip : skip + m], each[skip + m : skip + 2 * m], 2 * m * line
        _places(units[line], plus, minus, places)
        _tails(plus, places[0], number, counter, key)
        _tails(minus, places[1], number + m, counter, key)
        tops[line] = _differences(table, places, out[line])


@njit
def _signed_places(units: NDArray[np.float32], words: NDArray[np.uint16], places: NDArray[np.uint32]) -> None:
    for i in range(len(units)):
        places[i] = np.uint32(np.uint32(abs(np.int32(units[i]))) * _WIDTH + np.uint32(words[i]))


@njit
def _signed(
    table: NDArray[np.float32], units: NDArray[np.float32], places: NDArray[np.uint32], out: NDArray[np.float32]
) -> np.int32:
    """Fill out with signed entries and return the bits of the largest magnitude."""
    for i in range(len(out)):
        out[i] = table[places[i]]
    bits, top = out.view(np.int32), np.int32(0)
    for i in range(len(out)):
        top = max(top, bits[i] & np.int32(0x7FFFFFFF))
        out[i] = -out[i] if units[i] < 0 else out[i]
    return top


@kept_njit
def signed(
    table: NDArray[np.float32], units: NDArray[np.float32], counter: NDArray[np.uint64], key: NDArray[np.uint64],
    out: NDArray[np.float32], tops: NDArray[np.float32], begin: int, end: int,
) -> None:  # fmt: skip
    """Fill rows begin … end of out [n, m]: entry (|unit|, word) with the sign of the unit, of units [n, m].

    Words are numbered row after row. tops [n]: the largest magnitude of each row.
    """
    m = units.shape[1]
    batches = -(-(m + 15) // DRAWS)
    words = np.empty(WORDS * batches, np.uint64)
    each, places, bits = words.view(np.uint16), np.empty(m, np.uint32), tops.view(np.int32)
    for line in range(begin, end):
        skip = _of_line(words, m * line, m, counter, key)
        _signed_places(units[line], each[skip : skip + m], places)
        _tails(each[skip : skip + m], places, m * line, counter, key)
        bits[line] = _signed(table, units[line], places, out[line])


@kept_njit
def quantiles_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `quantiles` on the thread pool."""
    return in_thread_pool(quantiles, arguments, schedule)  # type: ignore[call-arg]  # numba passes the first one


@kept_njit
def entries_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `entries` on the thread pool."""
    return in_thread_pool(entries, arguments, schedule)  # type: ignore[call-arg]


@kept_njit
def pairs_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `pairs` on the thread pool."""
    return in_thread_pool(pairs, arguments, schedule)  # type: ignore[call-arg]


@kept_njit
def signed_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `signed` on the thread pool."""
    return in_thread_pool(signed, arguments, schedule)  # type: ignore[call-arg]
