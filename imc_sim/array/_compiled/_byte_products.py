"""Sums of products of bytes in LLVM instructions: VPDPBUSD of AVX-512 VNNI, or VPMADDUBSW of AVX2, with equal results.

VPDPBUSD multiplies 64 bytes of inputs (unsigned) by as many of weights (signed) and adds groups of four into 16 numbers
of 32 bits. VPMADDUBSW multiplies 32 and adds pairs into 16 numbers of 16 bits, whose limits are -32,768 and 32,767.
Products of inputs up to 2 are added there and moved to 32 bits every `_DEPTH` groups; larger inputs are split into
their highest bit and the rest, whose pairs fit. Only `_kernel` and `_product` import this module, where numba is there.

Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils

from imc_sim._jit import has_features
from imc_sim.array._compiled import COLUMNS

#: features of the processor for VPDPBUSD and for VPMADDUBSW, and whether the former is used
_WIDE_UNIT, _NARROW_UNIT = ("avx512f", "avx512bw", "avx512vl", "avx512vnni"), ("avx2", "fma")
VNNI = has_features(_WIDE_UNIT)
#: vectors of one block. Its sums use 24 of 32 registers, or 12 of 16; inputs and weights use the rest.
ROWS = 6
#: columns of one vector of sums in a block
LANES = 16
_VECTORS = COLUMNS // LANES
#: columns of one register of AVX2, and registers of a vector of sums
_NARROW, _HALVES = 8, 2
#: groups of four whose sums fit 16 bits: two products of at most 2 x 128 in each number, 63 times
_DEPTH = 63
_BYTE, _SHORT, _WORD, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES, _SHORTS, _WORDS = (ir.VectorType(kind, 32 * 8 // kind.width) for kind in (_BYTE, _SHORT, _WORD))
_WIDE, _WIDE_BYTES = ir.VectorType(_WORD, LANES), ir.VectorType(_BYTE, 4 * LANES)
#: type of the instruction's arguments in this version of LLVM
_OPERANDS = _WIDE_BYTES if llvmlite.binding.llvm_version_info >= (22, 0, 0) else _WIDE

Places = dict[tuple[int, int], Any]


def supported() -> bool:
    """Check that the processor has one of the two vector units and that numba compiles for it."""
    return has_features(_WIDE_UNIT) or has_features(_NARROW_UNIT)


class Emitter:
    """Write instructions of a block; `of`: its arguments by name."""

    def __init__(self, builder: Any, of: dict[str, Any]) -> None:
        self.builder, self.of = builder, of

    def pointer(self, address: Any, kind: Any, index: Any) -> Any:
        """Return a pointer to entry `index` of an array of `kind` at an address."""
        return self.builder.gep(self.builder.inttoptr(address, kind.as_pointer()), [index])

    def load(self, address: Any, kind: Any, index: Any, align: int) -> Any:
        return self.builder.load(self.pointer(address, kind, index), align=align)

    def broadcast(self, value: Any, kind: Any) -> Any:
        """Return a vector with one number in every lane."""
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, value, _WORD(0))
        return self.builder.shuffle_vector(
            first, nothing, ir.Constant(ir.VectorType(_WORD, kind.count), [0] * kind.count)
        )

    def add_products(self, held: Places) -> None:
        """Add the sums of products to those held in places, zero before, of every vector and `LANES` columns."""
        (_add_wide if VNNI else _add_narrow)(_Writer(self), held)


class _Writer:
    """Write instructions that both vector units need."""

    def __init__(self, block: Emitter) -> None:
        self.block, self.builder, self.of = block, block.builder, block.of
        rows = (block.load(self.of["rows"], _LONG, _LONG(r), 8) for r in range(ROWS))
        self.starts = [self.builder.add(self.of["x"], row) for row in rows]

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        module = self.builder.module
        return self.builder.call(cgutils.get_or_insert_function(module, kind, f"llvm.x86.{name}"), arguments)

    def weights(self, kind: Any, index: Any) -> Any:
        """Return vector `index` of the weights, counted in vectors of `kind`."""
        return self.block.load(self.of["weights"], kind, index, 1)

    def offset(self, group: Any) -> Any:
        return self.block.load(self.of["offsets"], _LONG, group, 8)

    def inputs(self, row: int, offset: Any, kind: Any) -> Any:
        """Return four bytes of a vector's inputs in every lane of `kind`, a vector of words."""
        four = self.block.load(self.builder.add(self.starts[row], offset), _WORD, _LONG(0), 1)
        return self.block.broadcast(four, kind)

    def move_up(self, places: Places, kind: Any) -> None:
        """Multiply sums by 256, before the next word of the weights."""
        b = self.builder
        for place in places.values():
            b.store(b.shl(b.load(place), ir.Constant(kind, [8] * kind.count)), place)

    def increase(self, place: Any, by: Any) -> None:
        self.builder.store(self.builder.add(self.builder.load(place), by), place)


def _add_wide(w: _Writer, held: Places) -> None:
    """Write the sums with VPDPBUSD, by word and group of four inputs."""
    b = w.builder
    with cgutils.for_range(b, w.of["words"]) as word:
        w.move_up(held, _WIDE)
        before = b.mul(word.index, w.of["groups"])
        with cgutils.for_range(b, w.of["groups"]) as group:
            first = b.mul(b.add(before, group.index), _LONG(_VECTORS))
            weights = [w.weights(_OPERANDS, b.add(first, _LONG(v))) for v in range(_VECTORS)]
            offset = w.offset(group.index)
            for r in range(ROWS):
                inputs = b.bitcast(w.inputs(r, offset, _WIDE), _OPERANDS)
                for v in range(_VECTORS):
                    found = w.call("avx512.vpdpbusd.512", _WIDE, b.load(held[r, v]), inputs, weights[v])
                    b.store(found, held[r, v])


def _add_narrow(w: _Writer, held: Places) -> None:
    """Write the sums with VPMADDUBSW, by `LANES` columns and word."""
    b = w.builder
    places = [(r, h) for r in range(ROWS) for h in range(_HALVES)]
    sums = {place: cgutils.alloca_once(b, _WORDS) for place in places}
    short = {place: cgutils.alloca_once(b, _SHORTS) for place in places}
    for v in range(_VECTORS):
        for place in sums.values():
            b.store(ir.Constant(_WORDS, [0] * _NARROW), place)
        with cgutils.for_range(b, w.of["words"]) as word:
            w.move_up(sums, _WORDS)
            before = b.mul(word.index, w.of["groups"])
            with b.if_else(b.icmp_signed("!=", w.of["narrow"], _LONG(0))) as (narrow, any_byte):
                with narrow:
                    _add_up_to_two(w, v, before, sums, short)
                with any_byte, cgutils.for_range(b, w.of["groups"]) as group:
                    _add_group(w, v, before, group.index, lambda at, x, y: w.increase(sums[at], _by_parts(w, x, y)))
        joined = ir.Constant(ir.VectorType(_WORD, LANES), [*range(LANES)])
        for r in range(ROWS):
            b.store(b.shuffle_vector(b.load(sums[r, 0]), b.load(sums[r, 1]), joined), held[r, v])


def _add_group(w: _Writer, v: int, before: Any, group: Any, take: Callable[[tuple[int, int], Any, Any], None]) -> None:
    """Call take(place, inputs, weights) for the bytes of a group and every vector, in `LANES` columns."""
    b = w.builder
    first = b.add(b.mul(b.add(before, group), _LONG(_VECTORS * _HALVES)), _LONG(v * _HALVES))
    weights = [w.weights(_BYTES, b.add(first, _LONG(h))) for h in range(_HALVES)]
    offset = w.offset(group)
    for r in range(ROWS):
        inputs = b.bitcast(w.inputs(r, offset, _WORDS), _BYTES)
        for h in range(_HALVES):
            take((r, h), inputs, weights[h])


def _add_up_to_two(w: _Writer, v: int, before: Any, sums: Places, short: Places) -> None:
    """Add the products of bytes up to 2: in 16 bits for `_DEPTH` groups, then in 32."""
    b, groups = w.builder, w.of["groups"]
    with cgutils.for_range(b, b.sdiv(b.add(groups, _LONG(_DEPTH - 1)), _LONG(_DEPTH))) as part:
        for place in short.values():
            b.store(ir.Constant(_SHORTS, [0] * 2 * _NARROW), place)
        first = b.mul(part.index, _LONG(_DEPTH))
        left = b.sub(groups, first)
        with cgutils.for_range(b, b.select(b.icmp_signed("<", left, _LONG(_DEPTH)), left, _LONG(_DEPTH))) as group:
            _add_group(w, v, before, b.add(first, group.index), lambda at, x, y: w.increase(short[at], _pairs(w, x, y)))
        for at, place in short.items():
            w.increase(sums[at], _fours(w, b.load(place)))


def _pairs(w: _Writer, inputs: Any, weights: Any) -> Any:
    """Return sums of two products in 16 bits."""
    return w.call("avx2.pmadd.ub.sw", _SHORTS, inputs, weights)


def _fours(w: _Writer, pairs: Any) -> Any:
    """Return the sums of two numbers of 16 bits in 32."""
    return w.call("avx2.pmadd.wd", _WORDS, pairs, ir.Constant(_SHORTS, [1] * 2 * _NARROW))


def _by_parts(w: _Writer, inputs: Any, weights: Any) -> Any:
    """Return sums of four products of any byte: of its highest bit (128 x -128 x 2 fits) and of the others."""
    parts = (w.builder.and_(inputs, ir.Constant(_BYTES, [bits] * 32)) for bits in (0x80, 0x7F))
    return w.builder.add(*(_fours(w, _pairs(w, part, weights)) for part in parts))
