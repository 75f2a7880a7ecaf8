"""The compiled product: bytes of inputs times 8-bit words of weights, with read noise and ADC in the same pass.

Numba compiles it at the first use and keeps it on disk. The innermost block is written in LLVM instructions, because
compilers do not choose those that multiply bytes (`_byte_products`) for a loop in Python. Where the processor has a
matrix unit (AMX), the same sums come from there (`_tiles`). Only `_product` imports this module, where numba is
installed and the processor has the instructions. Numba checks only the date of this file: delete the compiled code
after a change of `_byte_products`, `_philox`, `_thread_pool` or `_tiles`.

Reference for the blocking: Goto and van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from imc_sim._jit import kept_njit
from imc_sim._philox import WORDS, fill, outermost, tail
from imc_sim._thread_pool import in_thread_pool
from imc_sim.array._compiled import COLUMNS, _tiles
from imc_sim.array._compiled._byte_products import LANES, ROWS, Emitter

#: vectors that are multiplied with one tile before the next: their results fit a first-level cache
_BAND = 8 * ROWS
#: bytes of a tile's inputs up to which the matrix unit's copies of a band fit a second-level cache
WIDEST = 2**14
#: modes of a block: add sums, ADC codes or converted values
SUM, CODES, VALUES = 0, 1, 2

_VECTORS = COLUMNS // LANES
_WORD, _LONG, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTS, _FLOATS = (ir.VectorType(t, LANES) for t in (_WORD, _FLOAT))

#: arguments of a block, in their order
_ARGUMENTS = (
    "out", "pitch", "x", "rows", "offsets", "groups", "weights", "words", "sums", "shift", "scale", "low", "high",
    "step", "base", "mode", "normal", "std", "whole", "narrow",
)  # fmt: skip


class _Block(Emitter):
    """Write the instructions of one block: `ROWS` vectors by `COLUMNS` columns of one tile."""

    def __init__(self, builder: Any, arguments: Any) -> None:
        super().__init__(builder, dict(zip(_ARGUMENTS, arguments, strict=True)))
        self.unary, self.ternary = ir.FunctionType(_FLOATS, [_FLOATS]), ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        self.places = [(r, v) for r in range(ROWS) for v in range(_VECTORS)]

    def sums(self) -> dict[tuple[int, int], Any]:
        """Return the whole-number sums of the block: those of the matrix unit, or computed here."""
        b = self.builder
        held = {place: cgutils.alloca_once_value(b, ir.Constant(_INTS, [0] * LANES)) for place in self.places}
        with b.if_else(b.icmp_signed("!=", self.of["whole"], _LONG(0))) as (there, here):
            with there, cgutils.for_range(b, self.of["words"]) as word:
                first = b.add(self.of["whole"], b.mul(word.index, _LONG(4 * _BAND * COLUMNS)))
                for r, v in self.places:
                    upper = b.shl(b.load(held[r, v]), ir.Constant(_INTS, [8] * LANES))
                    b.store(b.add(upper, self.load(first, _INTS, _LONG(r * _VECTORS + v), 4)), held[r, v])
            with here:
                self.add_products(held)
        return {place: b.load(held[place]) for place in self.places}

    def finish(self, sums: dict[tuple[int, int], Any]) -> None:
        """Apply column offsets, noise, scale and ADC, and add to the results of earlier tiles."""
        b = self.builder
        held = {}
        for (r, v), whole in sums.items():
            whole = b.add(whole, self.load(self.of["sums"], _INTS, _LONG(v), 4))
            held[r, v] = cgutils.alloca_once_value(b, b.sitofp(whole, _FLOATS))
        with b.if_then(b.icmp_signed("!=", self.of["normal"], _LONG(0))):
            self.disturb(held)
        scale, scaled = self.broadcast(self.of["scale"], _FLOATS), {}
        for (r, v), place in held.items():
            u = b.fmul(b.load(place), scale)
            scaled[r, v] = b.fadd(u, self.load(self.of["shift"], _FLOATS, _LONG(v), 4))
        with b.if_else(b.icmp_signed("==", self.of["mode"], _LONG(SUM))) as (plain, converted):
            with plain:
                self.add(scaled)
            with converted:
                codes = {place: self.code(u) for place, u in scaled.items()}
                with b.if_else(b.icmp_signed("==", self.of["mode"], _LONG(CODES))) as (same, own):
                    with same:
                        self.add(codes)
                    with own:
                        self.add({place: self.value(code) for place, code in codes.items()})

    def disturb(self, held: dict[tuple[int, int], Any]) -> None:
        """Add normal numbers times the standard deviation of their column, rounded once, like torch's addcmul."""
        b = self.builder
        add = cgutils.get_or_insert_function(b.module, self.ternary, f"llvm.fma.v{LANES}f32")
        std = [self.load(self.of["std"], _FLOATS, _LONG(v), 4) for v in range(_VECTORS)]
        for (r, v), place in held.items():
            normal = self.load(self.of["normal"], _FLOATS, _LONG(r * _VECTORS + v), 4)
            b.store(b.call(add, [std[v], normal, b.load(place)]), place)

    def code(self, u: Any) -> Any:
        b, module = self.builder, self.builder.module
        u = b.call(cgutils.get_or_insert_function(module, self.unary, f"llvm.rint.v{LANES}f32"), [u])
        low, high = (self.broadcast(self.of[name], _FLOATS) for name in ("low", "high"))
        u = b.select(b.fcmp_ordered("<", u, low), low, u)
        return b.select(b.fcmp_ordered(">", u, high), high, u)

    def value(self, code: Any) -> Any:
        scaled = self.builder.fmul(code, self.broadcast(self.of["step"], _FLOATS))
        return self.builder.fadd(scaled, self.broadcast(self.of["base"], _FLOATS))

    def add(self, values: dict[tuple[int, int], Any]) -> None:
        b = self.builder
        for (r, v), value in values.items():
            row = b.add(self.of["out"], b.mul(_LONG(4 * r), self.of["pitch"]))
            place = self.pointer(row, _FLOATS, _LONG(v))
            b.store(b.fadd(b.load(place, align=4), value), place, align=4)


@intrinsic
def _block(
    typing: Any, out: Any, pitch: Any, x: Any, rows: Any, offsets: Any, groups: Any, weights: Any, words: Any,
    sums: Any, shift: Any, scale: Any, low: Any, high: Any, step: Any, base: Any, mode: Any, normal: Any, std: Any,
    whole: Any, narrow: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """Emit one block; addresses and counts are int64, the rest float32. See `run`."""
    addresses, real = (types.int64,) * 10, (types.float32,) * 5

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _Block(builder, arguments)
        block.finish(block.sums())
        return context.get_dummy_value()

    return types.void(*addresses, *real, *(types.int64,) * 5), write


@njit
def _addresses(
    rows: NDArray[np.int64], top: int, bottom: int, count: int, pixels: tuple[int, int], pitches: tuple[int, int, int]
) -> None:
    """Write the start of the inputs of vectors top … bottom to rows; padding gets that of the last vector."""
    for r in range(top, bottom):
        image, pixel = min(r, count - 1) // pixels[0], min(r, count - 1) % pixels[0]
        rows[r - top] = image * pitches[0] + pixel // pixels[1] * pitches[1] + pixel % pixels[1] * pitches[2]


@njit(inline="always")
def _place(vector: int, columns: int, reads: tuple[int, int]) -> int:
    """Return the number of the random word of a vector's first column."""
    return vector // reads[0] * reads[1] + vector % reads[0] * columns


@njit
def _look_up(
    table: NDArray[np.float32], words: NDArray[np.uint16], vectors: tuple[int, int], columns: tuple[int, int, int],
    reads: tuple[int, int], normal: NDArray[np.float32], counter: NDArray[np.uint64], key: NDArray[np.uint64],
) -> None:  # fmt: skip
    """Write normal numbers [vectors, COLUMNS] of a panel. columns: the panel's first, its count, and the total."""
    first, number, pitch = columns
    before = _place(vectors[0], pitch, reads) // 16 * 16
    for r in range(vectors[0], vectors[1]):
        place = _place(r, pitch, reads) - before + first
        line, here = normal[r - vectors[0]], words[place : place + number]
        for c in range(number):
            line[c] = table[np.uint32(here[c])]
        if outermost(here):
            for c in range(number):
                if np.uint16(here[c] + np.uint16(1)) < np.uint16(2):
                    line[c] = table[tail(before + place + c, here[c], counter, key)]


@njit
def _draw(
    words: NDArray[np.uint64], vectors: tuple[int, int], columns: int, reads: tuple[int, int],
    counter: NDArray[np.uint64], key: NDArray[np.uint64],
) -> None:  # fmt: skip
    """Write the random words of some vectors, from the Philox block of the first one on."""
    first = _place(vectors[0], columns, reads) // 16
    end = _place(vectors[1] - 1, columns, reads) + columns
    for part in range(-(-(end - 16 * first) // (4 * WORDS))):
        fill(words[WORDS * part : WORDS * (part + 1)], first + part * (WORDS // 4), counter, key)


@kept_njit
def run(
    x: NDArray[np.uint8], out: NDArray[np.float32], weights: NDArray[np.int8], offsets: NDArray[np.int64],
    starts: NDArray[np.int64], sums: NDArray[np.int32], shift: NDArray[np.float32], scale: NDArray[np.float32],
    quantiser: NDArray[np.float32], last: NDArray[np.float32], pixels: tuple[int, int], pitches: tuple[int, int, int],
    mode: int, words: int, std: NDArray[np.float32], table: NDArray[np.float32], counter: NDArray[np.uint64],
    keys: NDArray[np.uint64], reads: tuple[int, int], size: tuple[int, int], width: int, narrow: int, begin: int,
    end: int,
) -> None:  # fmt: skip
    """Compute vectors `begin` (a multiple of ROWS) to `end` of `out`.

    x [bytes] uint8, every input plus its offset. out [vectors padded to ROWS, columns padded to COLUMNS] float32.
    weights int8, by tile, panel of COLUMNS, word (the upper first) and group of four inputs: [column, input].
    offsets [groups of all tiles] int64: bytes from a vector's start to a group's first input. starts [tiles + 1]: each
    tile's first group. sums [tiles, columns] int32: added to the whole-number sums. shift, float32: added to the scaled
    ones. scale [tiles] float32. quantiser [tiles, 4] float32: lowest and highest code, step, base. last [2] float32:
    with equal ADCs the result is out * last[0] + last[1]. pixels: vectors of an image and of one of its lines. pitches:
    bytes from image to image, line to line, vector to vector. size: vectors and columns without padding. width: bytes
    of a tile's inputs in whole registers of the matrix unit, which reads as many groups behind the weights; 0 where it
    is not used. narrow: 1 if no byte of an input is more than 2, else 0.

    Read noise: std [tiles, columns] in units of the whole numbers; empty without noise. table [73,728] float32:
    quantiles of the normal law. counter [4], keys [tiles, 2] uint64: the streams, see `imc_sim._rng`. reads: vectors of
    one read, and words from one read to the next.
    """
    panels, noisy = out.shape[1] // COLUMNS, len(std) > 0
    rows = np.empty(_BAND, np.int64)
    normal = np.zeros((_BAND, COLUMNS), np.float32)
    drawn = np.empty(WORDS * (2 + _BAND * (size[1] + 16) // (4 * WORDS)) if noisy else 1, np.uint64)
    each = drawn.view(np.uint16)
    gathered, whole = np.zeros((_BAND, width), np.uint8), np.empty((words, _BAND, COLUMNS), np.int32)
    _tiles.begin(width)
    for top in range(begin, end, _BAND):
        bottom = min(top + _BAND, end)
        _addresses(rows, top, bottom, size[0], pixels, pitches)
        out[top:bottom] = np.float32(0.0)
        for t in range(starts.shape[0] - 1):
            groups = starts[t + 1] - starts[t]
            _tiles.gather(x.ctypes.data, rows[: bottom - top], offsets[starts[t] : starts[t + 1]], gathered)
            if noisy:
                _draw(drawn, (top, bottom), size[1], reads, counter, keys[t])
            for p in range(panels):
                place = (starts[t] * panels + p * groups) * words * (4 * COLUMNS)
                column = t * out.shape[1] + p * COLUMNS
                if noisy:
                    here = p * COLUMNS, min(COLUMNS, size[1] - p * COLUMNS), size[1]
                    _look_up(table, each, (top, bottom), here, reads, normal, counter, keys[t])
                _tiles.sums(gathered, weights.ctypes.data + place, groups, bottom - top, whole)
                for r in range(top, bottom, ROWS):
                    _block(  # type: ignore[call-arg]  # numba passes the first one
                        out.ctypes.data + 4 * (r * out.shape[1] + p * COLUMNS), out.shape[1], x.ctypes.data,
                        rows.ctypes.data + 8 * (r - top), offsets.ctypes.data + 8 * starts[t], groups,
                        weights.ctypes.data + place, words, sums.ctypes.data + 4 * column,
                        shift.ctypes.data + 4 * column, scale[t], quantiser[t, 0], quantiser[t, 1], quantiser[t, 2],
                        quantiser[t, 3], mode, normal.ctypes.data + 4 * (r - top) * COLUMNS if noisy else 0,
                        std.ctypes.data + 4 * column,
                        whole.ctypes.data + 4 * COLUMNS * (r - top) if width else 0, narrow,
                    )  # fmt: skip
        if mode == CODES:
            for r in range(top, bottom):
                for c in range(out.shape[1]):
                    out[r, c] = out[r, c] * last[0] + last[1]
    _tiles.end(width)


@kept_njit
def run_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `run` on the thread pool."""
    return in_thread_pool(run, arguments, schedule)  # type: ignore[call-arg]
