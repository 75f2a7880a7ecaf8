"""Blocks of float64 arithmetic in LLVM instructions, for compiled code that works on addresses; numba must be there.

Addresses are int64 in bytes; indices and pitches count numbers. Vectors are of the processor's width: compilers keep no
block of sums in registers for loops in Python. The order of additions, and so every bit, is the same for each width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from imc_sim._jit import has_features
from imc_sim.array.circuit.dissection import LANES, VECTOR

_LONG, _DOUBLE, _INT = ir.IntType(64), ir.DoubleType(), ir.IntType(32)


#: rows of a block of sums, and numbers of one of its up to three vectors: 24 of 32 registers, or 12 of 16
ROWS = VECTOR if has_features(("avx512f",)) else VECTOR // 2

Write = Callable[[Any, Any, Any, Any], Any]


def _emitted(function: Callable[..., Any]) -> Any:
    """Return a function whose instructions are written by another, without the latter's first argument."""
    return intrinsic(function)


def _vector(size: int) -> Any:
    return ir.VectorType(_DOUBLE, size)


def _entry(b: Any, address: Any, kind: Any, index: Any) -> Any:
    """Return a pointer to an entry of an array of `kind`."""
    return b.gep(b.inttoptr(address, kind.as_pointer()), [index])


def _every(b: Any, number: Any, size: int) -> Any:
    """Return a vector with one number in every lane."""
    none = ir.Constant(_vector(size), ir.Undefined)
    return b.shuffle_vector(
        b.insert_element(none, number, _INT(0)), none, ir.Constant(ir.VectorType(_INT, size), [0] * size)
    )


def _multiplied(b: Any, size: int, x: Any, y: Any, z: Any) -> Any:
    """Return x y + z."""
    kind = ir.FunctionType(_vector(size), [_vector(size)] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.fmuladd.v{size}f64"), [x, y, z])


@_emitted
def read(typing: Any, address: Any, index: Any) -> tuple[Any, Write]:
    """Return a number."""

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        address, index = arguments
        return b.load(_entry(b, address, _DOUBLE, index))

    return types.float64(types.int64, types.int64), write


@_emitted
def store(typing: Any, address: Any, index: Any, value: Any) -> tuple[Any, Write]:
    """Store a number."""

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        address, index, value = arguments
        b.store(value, _entry(b, address, _DOUBLE, index))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), write


@_emitted
def total(typing: Any, address: Any, vectors: Any) -> tuple[Any, Write]:
    """Return the sum of vectors of `VECTOR` numbers."""

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        """Add whole vectors, then the halves of the last one."""
        address, vectors = arguments
        held = cgutils.alloca_once_value(b, ir.Constant(_vector(VECTOR), [0.0] * VECTOR))
        with cgutils.for_range(b, vectors) as loop:
            here = b.load(_entry(b, address, _vector(VECTOR), loop.index), align=8)
            b.store(b.fadd(b.load(held), here), held)
        found, size = b.load(held), VECTOR
        while size > 1:
            size //= 2
            halves = (ir.Constant(ir.VectorType(_INT, size), [*range(k, k + size)]) for k in (0, size))
            none = ir.Constant(found.type, ir.Undefined)
            found = b.fadd(*(b.shuffle_vector(found, none, half) for half in halves))
        return b.extract_element(found, _INT(0))

    return types.float64(types.int64, types.int64), write


def _lanes(operation: Callable[[Any, Any, Any, Any], Any]) -> Any:
    """Return the function (z, x, y) that replaces `LANES` numbers at z by an operation of those at z, x and y."""

    @_emitted
    def lanes(typing: Any, z: Any, x: Any, y: Any) -> tuple[Any, Write]:
        def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            for k in range(LANES // VECTOR):
                places = [_entry(b, address, _vector(VECTOR), _LONG(k)) for address in arguments]
                b.store(operation(b, *(b.load(place, align=8) for place in places)), places[0], align=8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), write

    return lanes


#: z = x + y, z = x / y and z = z + x y
add_lanes = _lanes(lambda b, z, x, y: b.fadd(x, y))
divide_lanes = _lanes(lambda b, z, x, y: b.fdiv(x, y))
multiply_lanes = _lanes(lambda b, z, x, y: _multiplied(b, VECTOR, x, y, z))


@_emitted
def add_multiple(typing: Any, z: Any, x: Any, factor: Any) -> tuple[Any, Write]:
    """Add `factor` times the `LANES` numbers at x to those at z."""

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        z, x, factor = arguments
        every = _every(b, factor, VECTOR)
        for k in range(LANES // VECTOR):
            to, line = (_entry(b, address, _vector(VECTOR), _LONG(k)) for address in (z, x))
            b.store(_multiplied(b, VECTOR, every, b.load(line, align=8), b.load(to, align=8)), to, align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), write


def _block(vectors: int) -> Any:
    """Return the function that adds a product to a block of `ROWS` rows and some vectors of columns.

    c[r, j] = (c[r, j] if keep else 0) + sum over k of a[k, r] b[k, j], for k < depth in this order. c may be b: all of
    its columns are read before the first is written.
    """

    @_emitted
    def block(
        typing: Any, c: Any, c_pitch: Any, a: Any, a_pitch: Any, b: Any, b_pitch: Any, depth: Any, keep: Any
    ) -> tuple[Any, Write]:
        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _write_block(builder, vectors, *arguments)
            return context.get_dummy_value()

        return types.void(*(types.int64,) * 7, types.boolean), write

    return block


def _write_block(
    b: Any, vectors: int, c: Any, c_pitch: Any, a: Any, a_pitch: Any, x: Any, x_pitch: Any, depth: Any, keep: Any
) -> None:
    """Write the instructions of `_block`."""
    kind, places = _vector(ROWS), [(r, v) for r in range(ROWS) for v in range(vectors)]
    zero = ir.Constant(kind, [0.0] * ROWS)
    rows = [b.add(c, b.mul(c_pitch, _LONG(8 * r))) for r in range(ROWS)]
    out = {(r, v): _entry(b, rows[r], kind, _LONG(v)) for r, v in places}
    held = {at: cgutils.alloca_once_value(b, b.select(keep, b.load(out[at], align=8), zero)) for at in places}
    with cgutils.for_range(b, depth) as loop:
        left = b.add(a, b.mul(b.mul(a_pitch, _LONG(8)), loop.index))
        right = b.add(x, b.mul(b.mul(x_pitch, _LONG(8)), loop.index))
        line = [b.load(_entry(b, right, kind, _LONG(v)), align=8) for v in range(vectors)]
        for r in range(ROWS):
            factor = _every(b, b.load(_entry(b, left, _DOUBLE, _LONG(r))), ROWS)
            for v in range(vectors):
                b.store(_multiplied(b, ROWS, factor, line[v], b.load(held[r, v])), held[r, v])
    for at in places:
        b.store(b.load(held[at]), out[at], align=8)


block_of_one, block_of_two, block_of_three = (_block(vectors) for vectors in (1, 2, 3))
