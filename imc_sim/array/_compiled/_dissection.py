"""The effective conductance of arrays with wires by nested dissection, compiled; numba must be installed.

It follows a plan of `imc_sim.array.circuit.dissection`. Nodes are eliminated as in `imc_sim.array.circuit.merge`, which
computes where numba is missing: a conductance is only ever added to, so that every entry of the result has a small
relative error. Networks are symmetric and half of them is computed. An array's result depends on the array alone.
Numba checks only the date of this file: delete the compiled code after a change of `_blocks` or `_thread_pool`.

Reference: Grassmann, Taksar and Heyman, Oper. Res. 33, 1985.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from imc_sim._jit import kept_njit
from imc_sim._thread_pool import in_thread_pool
from imc_sim.array._compiled._blocks import (
    ROWS,
    add_lanes,
    add_multiple,
    block_of_one,
    block_of_three,
    block_of_two,
    divide_lanes,
    multiply_lanes,
    read,
    store,
    total,
)
from imc_sim.array.circuit.dissection import LANES, VECTOR

#: bytes of a number, and of one conductance of all leaves that are reduced together
_BYTES, _SLOT = 8, 8 * LANES
#: nodes that are eliminated together, and numbers of scratch for them: an inverse, two matrices side by side, two rows
_PANEL = VECTOR
#: nodes whose rows stay in a cache while they update others
_BAND = 64
_SCRATCH = 3 * _PANEL * _PANEL + 2 * _PANEL

_fast = njit(error_model="numpy")


@_fast
def _at(address: int, row: int, pitch: int, column: int) -> int:
    """Return the address of an entry of a matrix."""
    return address + _BYTES * (row * pitch + column)


@_fast
def _multiply(
    c: int, c_pitch: int, a: int, a_pitch: int, b: int, b_pitch: int, depth: int, columns: int, keep: bool
) -> None:
    """Compute `ROWS` rows of c = (c if keep else 0) + a^T b. c may be b."""
    left, step = columns // ROWS, _BYTES * ROWS
    while left >= 3:
        block_of_three(c, c_pitch, a, a_pitch, b, b_pitch, depth, keep)
        left, c, b = left - 3, c + 3 * step, b + 3 * step
    if left == 2:
        block_of_two(c, c_pitch, a, a_pitch, b, b_pitch, depth, keep)
    elif left == 1:
        block_of_one(c, c_pitch, a, a_pitch, b, b_pitch, depth, keep)


@_fast
def _factor(u: int, pitch: int, count: int, columns: int, x: int) -> None:
    """Write X^T, where X U = D^-1/2 L^-1 U eliminates `count` nodes whose conductances to each other begin at u.

    The conductance of a node to all others is their sum, never a difference. columns: those behind the panel.
    """
    pair = x + _BYTES * _PANEL * _PANEL  # conductances, and the factors by which rows were added, side by side
    outwards = pair + 2 * _BYTES * _PANEL * _PANEL
    for k in range(_PANEL * _PANEL):
        store(x, k, 0.0)
    for i in range(count):
        line = _at(pair, i, 2 * _PANEL, 0)
        for j in range(_PANEL):
            store(line, j, read(_at(u, i, pitch, 0), j))
            store(line, _PANEL + j, 1.0 if i == j else 0.0)
        store(outwards, i, total(_at(u, i, pitch, _PANEL), columns // VECTOR))
    for p in range(count):
        pivot = _at(pair, p, 2 * _PANEL, 0)
        whole = read(outwards, p)
        for i in range(p + 1, count):
            whole += read(pivot, i)
        inverse = 1.0 / whole
        store(outwards, _PANEL + p, np.sqrt(inverse))
        for i in range(p + 1, count):
            share, line = read(pivot, i) * inverse, _at(pair, i, 2 * _PANEL, 0)
            store(outwards, i, read(outwards, i) + share * read(outwards, p))
            add_multiple(line, pivot, share)
    for i in range(count):
        for j in range(_PANEL):
            store(x, j * _PANEL + i, read(outwards, _PANEL + i) * read(_at(pair, i, 2 * _PANEL, _PANEL), j))


@_fast
def _add_products(c: int, c_pitch: int, q: int, pitch: int, depth: int, rows: int, columns: int) -> None:
    """Add q^T q to c [rows, columns], the first `rows` columns of q being those of the left factor."""
    for start in range(0, depth, _BAND):
        line, some = _at(q, start, pitch, 0), min(_BAND, depth - start)
        for column in range(0, columns, 3 * ROWS):
            for row in range(0, rows, ROWS):
                a, b, width = line + _BYTES * row, line + _BYTES * column, min(3 * ROWS, columns - column)
                _multiply(_at(c, row, c_pitch, column), c_pitch, a, pitch, b, pitch, some, width, True)


@_fast
def _eliminate(u: int, pitch: int, count: int, columns: int, x: int) -> None:
    """Replace the conductances U [count, columns] of nodes by rows Q, so that Q^T Q is what their elimination adds."""
    for first in range(0, count, _PANEL):
        panel, behind = _at(u, first, pitch, first), columns - first
        band = first // _BAND * _BAND
        if first == band:
            rows = min(_BAND, -(-(count - first) // _PANEL) * _PANEL)
            _add_products(panel, pitch, _at(u, 0, pitch, first), pitch, first, rows, behind)
        else:
            _add_products(panel, pitch, _at(u, band, pitch, first), pitch, first - band, _PANEL, behind)
        _factor(panel, pitch, min(_PANEL, count - first), behind - _PANEL, x)
        rest = panel + _BYTES * _PANEL
        for i in range(_PANEL - ROWS, -1, -ROWS):  # the last rows first, as X is lower triangular
            c, a = _at(rest, i, pitch, 0), x + _BYTES * i
            _multiply(c, pitch, a, _PANEL, rest, pitch, i + ROWS, behind - _PANEL, False)


@_fast
def _copy(source: int, pitch: int, to: int, to_pitch: int, rows: int, columns: int) -> None:
    """Copy a matrix."""
    for i in range(rows):
        a, b = _at(source, i, pitch, 0), _at(to, i, to_pitch, 0)
        for j in range(columns):
            store(b, j, read(a, j))


@_fast
def _gather(join: Any, copies: NDArray[Any], left: int, right: int, u: int) -> None:
    """Write the conductances of the shared nodes to each other and to the ports of the result."""
    shared, pitch, left_pitch, right_pitch = join.shared, join.pitch, join.left_pitch, join.right_pitch
    for k in range(join.padded * pitch):
        store(u, k, 0.0)
    left, right = _at(left, join.left_row, left_pitch, 0), _at(right, join.right_row, right_pitch, 0)
    _copy(_at(left, 0, 0, join.left_row), left_pitch, u, pitch, shared, shared)
    other = _at(right, 0, 0, join.right_row)
    for i in range(shared):
        a, b = _at(other, i, right_pitch, 0), _at(u, i, pitch, 0)
        for j in range(shared):
            store(b, j, read(b, j) + read(a, j))
    for k in range(join.first_copy, join.last_copy):
        copy = copies[k]
        source, line = (right, right_pitch) if copy.network else (left, left_pitch)
        _copy(_at(source, 0, 0, copy.column), line, _at(u, 0, 0, copy.to), pitch, shared, copy.lines)


@_fast
def _keep(join: Any, moves: NDArray[Any], left: int, right: int, out: int) -> None:
    """Write the conductances of both networks that the elimination adds to; others begin at 0."""
    ports, pitch = join.columns - join.padded, join.out_pitch
    for i in range(-(-join.rows // _PANEL) * _PANEL):
        line = _at(out, i, pitch, 0)
        for j in range(i // _PANEL * _PANEL, ports):
            store(line, j, 0.0)
    for k in range(join.first_move, join.last_move):
        move = moves[k]
        source, line = (right, join.right_pitch) if move.network else (left, join.left_pitch)
        a, b = _at(source, move.row, line, move.column), _at(out, move.to_row, pitch, move.to_column)
        if not move.turned:
            _copy(a, line, b, pitch, move.rows, move.columns)
            continue
        for i in range(move.rows):
            for j in range(move.columns):
                store(b, i * pitch + j, read(a, j * line + i))


@_fast
def _join(
    join: Any, copies: NDArray[Any], moves: NDArray[Any], left: int, right: int, out: int, u: int, x: int
) -> None:
    """Join two networks: eliminate the nodes that they share."""
    _gather(join, copies, left, right, u)
    _eliminate(u, join.pitch, join.shared, join.columns, x)
    _keep(join, moves, left, right, out)
    q, ports, width = _at(u, 0, join.pitch, join.padded), join.columns - join.padded, 3 * ROWS
    for column in range(0, ports, width):
        end = min(ports, column + width)
        for row in range(0, min(join.rows, end), ROWS):
            first = max(row, column)
            if join.first_driver <= row and row + ROWS <= join.last_driver:
                first = max(first, join.last_driver // ROWS * ROWS)
            if first < end:
                c, a, b = _at(out, row, join.out_pitch, first), q + _BYTES * row, q + _BYTES * first
                _multiply(c, join.out_pitch, a, join.pitch, b, join.pitch, join.shared, end - first, True)


@_fast
def _reduce(
    program: Any, steps: NDArray[np.int64], leaves: NDArray[Any], G: NDArray[np.float64],
    along_row: NDArray[np.float64], along_col: NDArray[np.float64], work: int, values: int,
) -> None:  # fmt: skip
    """Reduce leaves of one shape, one in each lane, to the conductances between their ports."""
    rows, columns = program.rows, program.columns
    for k in range(program.slots * LANES):
        store(values, k, 0.0)
    for lane in range(LANES):
        leaf = leaves[min(lane, len(leaves) - 1)]
        row, column = leaf.row, leaf.column
        for i in range(rows):
            below = along_col[row + i]
            for j in range(columns):
                slot = 3 * (i * columns + j) * LANES + lane
                store(values, slot, G[row + i, column + j])
                store(values, slot + LANES, along_row[column + j])
                store(values, slot + 2 * LANES, below)
    _star_to_mesh(program, steps, values)
    entries, first = program.ports * program.ports, program.last
    for lane in range(len(leaves)):
        out = work + _BYTES * leaves[lane].out
        for k in range(entries):
            store(out, k, read(values + _BYTES * lane, LANES * steps[first + k]))


@_fast
def _star_to_mesh(program: Any, steps: NDArray[np.int64], values: int) -> None:
    """Eliminate inner nodes of leaves one by one: g_ab += g_a g_b / sum(g) between all neighbours of each."""
    whole, none = values + _SLOT * program.slots, values + _SLOT * (program.slots - 1)
    share, at = whole + _SLOT, program.first
    while at < program.last:
        arms, target = at + 1, at + 1 + steps[at]
        end = target
        add_lanes(whole, values + _SLOT * steps[arms], none)
        for k in range(arms + 1, end):
            add_lanes(whole, whole, values + _SLOT * steps[k])
        for k in range(arms, end - 1):
            divide_lanes(share, values + _SLOT * steps[k], whole)
            for other in range(k + 1, end):
                multiply_lanes(values + _SLOT * steps[target], share, values + _SLOT * steps[other])
                target += 1
        at = target


@kept_njit
def conductances(
    G: NDArray[np.float64], along_row: NDArray[np.float64], along_col: NDArray[np.float64], out: NDArray[np.float64],
    sizes: tuple[int, int, int], last: tuple[int, int, int, int], tables: tuple[Any, ...], begin: int, end: int,
) -> None:  # fmt: skip
    """Write the effective conductance of arrays `begin` to `end`: out [arrays, rows, cols].

    G [arrays, rows, columns of the plan] are cells. along_row [columns] and along_col [rows] are conductances of the
    segments on the left of a column and below a row. sizes, last, tables: see `Dissection`.
    """
    operations, joins, copies, moves, leaves, programs, steps = tables
    buffer, slots = _BYTES * sizes[1], _BYTES * sizes[2]
    scratch = np.empty(sizes[0] + _SCRATCH)  # entries that are never set only reach entries that are never read
    for array in range(begin, end):
        work = scratch.ctypes.data
        for k in range(len(operations)):
            step = operations[k]
            if step.join < 0:
                some = leaves[step.first : step.last]
                _reduce(programs[step.program], steps, some, G[array], along_row, along_col, work, work + slots)
            else:
                left, right, made = (work + _BYTES * step.left, work + _BYTES * step.right, work + _BYTES * step.out)
                x = work + _BYTES * sizes[0]
                _join(joins[step.join], copies, moves, left, right, made, work + buffer, x)
        network, pitch, sense, far = last
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                found = scratch[network + i * pitch + sense + j]
                out[array, i, j] = found if far < 0 else found + scratch[network + (far + i) * pitch + sense + j]


@kept_njit
def conductances_in_pool(arguments: tuple[Any, ...], schedule: tuple[int, ...]) -> bool:
    """Call `conductances` on the thread pool."""
    return in_thread_pool(conductances, arguments, schedule)  # type: ignore[call-arg]
