"""The matrix unit of the processor (AMX): 16 vectors by 64 columns per block of eight tile registers.

A tile register holds 16 lines of 64 bytes. TDPBUSD multiplies the bytes of 16 vectors by those of 16 columns, 64 inputs
at a time, and adds into 16 x 16 integers: the sums are those of VPDPBUSD. Only `_kernel` imports this module.

Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from imc_sim._jit import has_features
from imc_sim.array._compiled import COLUMNS

#: vectors and inputs of a tile register
VECTORS, INPUTS = 16, 64
#: groups of four inputs of a tile register
_GROUPS = INPUTS // 4
#: bytes of the weights of one group of four inputs in all columns of a panel
_LINE = 4 * COLUMNS
_TILES = COLUMNS // VECTORS
_BYTE, _WORD, _LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = _BYTE.as_pointer()
#: palette, bytes of a line of each of eight registers, and their lines
_CONFIGURATION = [1, *[0] * 15, *[INPUTS, 0] * 8, *[0] * 16, *[VECTORS] * 8, *[0] * 8]
#: number of the system call arch_prctl, its request for a part of the processor's state, and that of tile registers
_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18

Write = Callable[[Any, Any, Any, Any], Any]


@functools.cache
def _compiles() -> bool:
    """Tell whether code with tile registers can be compiled; it may run only where `usable`."""
    return has_features(("amx-tile", "amx-int8"))


@functools.cache
def usable() -> bool:
    """Tell whether this process can use tile registers; Linux gives them to processes that request them."""
    if not _compiles() or sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST, _TILE_DATA) == 0


def _call(b: Any, name: str, *arguments: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.{name}"), arguments)


def _at(b: Any, address: Any) -> Any:
    return b.inttoptr(address, _POINTER)


@intrinsic
def _configure(typing: Any) -> tuple[Any, Write]:
    """Make all eight tile registers of this thread 16 lines of 64 bytes."""

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        if _compiles():
            held = cgutils.alloca_once_value(b, ir.Constant(ir.ArrayType(_BYTE, 64), _CONFIGURATION))
            _call(b, "ldtilecfg", b.bitcast(held, _POINTER))
        return context.get_dummy_value()

    return types.void(), write


@intrinsic
def _release(typing: Any) -> tuple[Any, Write]:
    """Give the tile registers of this thread back."""

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        if _compiles():
            _call(b, "tilerelease")
        return context.get_dummy_value()

    return types.void(), write


@intrinsic
def _multiply(typing: Any, out: Any, x: Any, pitch: Any, weights: Any, steps: Any) -> tuple[Any, Write]:
    """Write the sums [VECTORS, COLUMNS] int32 of `steps` times `INPUTS` inputs to out; arguments are addresses.

    x: bytes of the inputs [VECTORS, pitch]. weights: [inputs / 4, COLUMNS, 4] signed bytes.
    """

    def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        if _compiles():
            _write_product(b, *arguments)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 5), write


def _write_product(b: Any, out: Any, x: Any, pitch: Any, weights: Any, steps: Any) -> None:
    """Write the instructions of `_multiply`: sums in registers 0 to 3, inputs in 4, weights in the others in turn."""
    inputs, line = _BYTE(_TILES), _LONG(_LINE)
    for v in range(_TILES):
        _call(b, "tilezero", _BYTE(v))
    with cgutils.for_range(b, steps) as step:
        _call(b, "tileloadd64", inputs, _at(b, b.add(x, b.mul(step.index, _LONG(INPUTS)))), pitch)
        first = b.add(weights, b.mul(step.index, _LONG(_GROUPS * _LINE)))
        for v in range(_TILES):
            held = _BYTE(_TILES + 1 + v % (_TILES - 1))
            _call(b, "tileloadd64", held, _at(b, b.add(first, _LONG(4 * VECTORS * v))), line)
            _call(b, "tdpbusd", _BYTE(v), inputs, held)
    for v in range(_TILES):
        _call(b, "tilestored64", _BYTE(v), _at(b, b.add(out, _LONG(4 * VECTORS * v))), line)


@njit
def begin(width: int) -> None:
    """Prepare the tile registers of this thread; `width` 0: leave them."""
    if width:
        _configure()  # type: ignore[call-arg]  # numba passes the first one


@njit
def end(width: int) -> None:
    """Give the tile registers of this thread back; `width` 0: leave them."""
    if width:
        _release()  # type: ignore[call-arg]


def _copy(size: int) -> Any:
    """Return the function (to, source) that copies `size` bytes between addresses."""

    @intrinsic
    def copy(typing: Any, to: Any, source: Any) -> tuple[Any, Write]:
        def write(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.VectorType(_BYTE, size).as_pointer()
            to, source = (b.inttoptr(address, kind) for address in arguments)
            b.store(b.load(source, align=1), to, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), write

    return copy


_copy_group, _copy_tile = _copy(4), _copy(INPUTS)


@njit
def gather(x: int, rows: NDArray[np.int64], offsets: NDArray[np.int64], to: NDArray[np.uint8]) -> None:
    """Copy the inputs of some vectors to the lines of `to`, followed by zeros up to whole registers.

    x: address; rows and offsets are those of `_kernel.run`. Nothing is copied where the lines of `to` are empty.
    """
    groups, first = len(offsets) if to.shape[1] else 0, 0
    while first < groups:
        last = min(first + _GROUPS, groups)
        joined = last - first == _GROUPS
        for g in range(first + 1, last):
            joined &= offsets[g] == offsets[g - 1] + 4
        for r in range(len(rows)):
            line = to.ctypes.data + r * to.shape[1]
            if joined:
                _copy_tile(line + 4 * first, x + rows[r] + offsets[first])
            else:
                to[r, 4 * last : 4 * (first + _GROUPS)] = np.uint8(0)
                for g in range(first, last):
                    _copy_group(line + 4 * g, x + rows[r] + offsets[g])
        first = last


@njit
def sums(x: NDArray[np.uint8], weights: int, groups: int, vectors: int, out: NDArray[np.int32]) -> None:
    """Write the sums of every word of the weights to out [words, vectors, COLUMNS], by whole registers of vectors.

    x: as `gather` writes it, the lines of some more vectors included; no sums are written where its lines are empty.
    weights: address of one panel of one row of tiles.
    """
    if x.shape[1] == 0:
        return
    steps, plane = -(-groups // _GROUPS), 4 * out.shape[1] * COLUMNS
    for word in range(len(out)):
        for r in range(0, vectors, VECTORS):
            to, here = out.ctypes.data + word * plane + r * _LINE, weights + word * groups * _LINE
            _multiply(to, x.ctypes.data + r * x.shape[1], x.shape[1], here, steps)  # type: ignore[call-arg]
