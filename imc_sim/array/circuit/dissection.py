"""The order in which compiled code eliminates the nodes of an array with wires: nested dissection.

An array is halved along its longer side, again and again, down to leaves of up to 4 x 4 cells. A block is a network
between its ports, the ends of its lines: T upper, L left, R right, B lower. Two halves are joined by the elimination of
the line ends that they share. At the borders of the array the ends are open (T, and R with one driver) and no ports,
or drivers (L, and R with two), or sense nodes (B).

A plan depends on the size alone. Blocks of the same shape at the same borders share a part of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from imc_sim.array.circuit.leaves import elimination

#: leaves that are reduced together, each in one lane of the vectors
LANES = 16
#: lines of a leaf, and of a block whose leaves are reduced together
_LEAF, _TOGETHER = 4, 16
#: numbers of a vector; rows of the scratch buffer are whole vectors
VECTOR = 8

Table = NDArray[Any]


class _Operation(NamedTuple):
    """Join networks `left` and `right`, or reduce leaves `first` … `last` by a program, where `join` is -1."""

    join: int
    left: int
    right: int
    out: int
    first: int = 0
    last: int = 0
    program: int = 0


class _Join(NamedTuple):
    """Describe how two networks become one.

    The buffer has a row for each of the shared nodes. Its columns are the shared nodes, padded, and the ports of the
    result. Conductances from the first `rows` ports to later ones are needed, but none between two drivers.
    """

    shared: int
    padded: int
    columns: int
    pitch: int
    left_row: int
    left_pitch: int
    right_row: int
    right_pitch: int
    out_pitch: int
    rows: int
    first_driver: int
    last_driver: int
    first_copy: int = 0
    last_copy: int = 0
    first_move: int = 0
    last_move: int = 0


class _Copy(NamedTuple):
    """Copy conductances between the shared nodes and ports of a network (0 left, 1 right) to the buffer."""

    network: int
    column: int
    lines: int
    to: int


class _Move(NamedTuple):
    """Copy conductances between ports of one network to the result, transposed or not."""

    network: int
    row: int
    column: int
    rows: int
    columns: int
    turned: int
    to_row: int
    to_column: int


class _Leaf(NamedTuple):
    """Hold the first cell of a leaf and the place of its network."""

    row: int
    column: int
    out: int


class _Program(NamedTuple):
    """Hold the shape of a leaf, its number of conductances and of ports, and the places of its steps."""

    rows: int
    columns: int
    slots: int
    ports: int
    first: int
    last: int


@final
@dataclass(frozen=True)
class Dissection:
    """Hold the plan of an array.

    Attributes:
        sizes: numbers of the scratch buffer, and where its second and third part begin: first there are networks, then
            the shared nodes of a join, then the conductances of leaves.
        last: place of the last network, pitch of its rows, first sense node, drivers at the far end (-1: none).
        tables: operations, joins, copies, moves, leaves, programs, and the steps of programs.
    """

    sizes: tuple[int, int, int]
    last: tuple[int, int, int, int]
    tables: tuple[Table, ...]


@functools.lru_cache(maxsize=32)
def dissection(rows: int, cols: int, double: bool) -> Dissection:
    """Return the plan of an array.

    Args:
        rows: number of word lines.
        cols: number of bit lines.
        double: whether word lines are driven at both ends.
    """
    return _Planner(double).plan(rows, cols)


class _Shape(NamedTuple):
    """Hold the size of a block, the borders of the array that it touches, and the ports at which it will be joined."""

    rows: int
    cols: int
    borders: str
    shared: str

    def lines(self, port: str) -> int:
        return self.cols if port in "TB" else self.rows

    def terminal(self, port: str) -> str:
        """Return what a port is at the border of the array: driver, sense or nothing."""
        return "" if port not in self.borders else "sense" if port == "B" else "driver"

    def halves(self) -> tuple[tuple[_Shape, int, int], ...]:
        """Return the halves along the longer side, each with its first cell."""
        rows, cols, borders, _ = self
        if cols > rows:
            half = (cols + 1) // 2
            left, right = borders.replace("R", ""), borders.replace("L", "")
            return (_Shape(rows, half, left, "R"), 0, 0), (_Shape(rows, cols - half, right, "L"), 0, half)
        half = (rows + 1) // 2
        upper, lower = borders.replace("B", ""), borders.replace("T", "")
        return (_Shape(half, cols, upper, "B"), 0, 0), (_Shape(rows - half, cols, lower, "T"), half, 0)


class _Network(NamedTuple):
    """Hold where ports begin in the matrix of a block, the matrix's pitch and its place.

    whole: whether the matrix is valid on both sides of its diagonal, or above it only.
    """

    shape: _Shape
    starts: dict[str, int]
    pitch: int
    place: int
    whole: bool


class _Part(NamedTuple):
    """Hold a network and the part of the plan that computes it, with cells counted from its first one."""

    network: _Network
    operations: Table
    leaves: Table


def _up(n: int) -> int:
    return -(-n // VECTOR) * VECTOR


def _odd(n: int) -> int:
    """Return an odd number of vectors, as rows at even distances would compete for the same lines of a cache."""
    return _up(n) if _up(n) // VECTOR % 2 else _up(n) + VECTOR


def _table(kind: Any, rows: list[Any]) -> Table:
    """Return rows as an array whose fields are those of a named tuple."""
    return np.array(rows, dtype=[(name, np.int64) for name in kind._fields])


@dataclass
class _Planner:
    """Collect the tables of a plan.

    The place of a network is a number until all sizes are known: there are two for each depth, and one for each of the
    leaves that are reduced together.
    """

    double: bool
    places: dict[tuple[int, int], int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    parts: dict[tuple[_Shape, int, int], _Part] = field(default_factory=dict)
    joins: dict[tuple[Any, ...], tuple[int, _Join]] = field(default_factory=dict)
    copies: list[_Copy] = field(default_factory=list)
    moves: list[_Move] = field(default_factory=list)
    programs: dict[tuple[int, int, bool, bool], tuple[int, _Program]] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)

    def plan(self, rows: int, cols: int) -> Dissection:
        """Return the plan of an array."""
        network, operations, leaves = self.part(_Shape(rows, cols, "TLRB", ""), 0, 0)
        joins = [join for _, join in self.joins.values()]
        programs = [program for _, program in self.programs.values()]
        buffer = max((join.padded * join.pitch for join in joins), default=0)
        slots = LANES * (max(program.slots for program in programs) + 2)
        places = np.cumsum([0, *self.sizes, buffer, slots])
        for table, name in ((operations, "left"), (operations, "right"), (operations, "out"), (leaves, "out")):
            table[name] = places[table[name]]
        tables = operations, _table(_Join, joins), _table(_Copy, self.copies), _table(_Move, self.moves), leaves
        last = int(places[network.place]), network.pitch, network.starts["B"], network.starts.get("R", -1)
        sizes = int(places[-1]), int(places[-3]), int(places[-2])
        return Dissection(sizes, last, (*tables, _table(_Program, programs), np.array(self.steps, np.int64)))

    def part(self, shape: _Shape, depth: int, side: int) -> _Part:
        """Return the plan of a block at a depth, the first or the second half of another."""
        key = shape, depth, side
        if key not in self.parts:
            small = max(shape.rows, shape.cols) <= _TOGETHER
            self.parts[key] = self._small(*key) if small else self._large(*key)
        return self.parts[key]

    def _large(self, shape: _Shape, depth: int, side: int) -> _Part:
        """Return the plan of a block from those of its halves."""
        networks, operations, leaves, count = [], [], [], 0
        for k, (half, row, column) in enumerate(shape.halves()):
            part = self.part(half, depth + 1, k)
            networks.append(part.network)
            for into, table in ((operations, part.operations), (leaves, part.leaves)):
                into.append(table.copy())
            for name, table, step in (
                ("first", operations[-1], count), ("last", operations[-1], count),
                ("row", leaves[-1], row), ("column", leaves[-1], column),
            ):  # fmt: skip
                table[name] += step
            count += len(part.leaves)
        network, join = self._joined(shape, depth, side, networks)
        return _Part(network, np.concatenate([*operations, _table(_Operation, [join])]), np.concatenate(leaves))

    def _small(self, shape: _Shape, depth: int, side: int) -> _Part:
        """Return the plan of a block whose leaves are reduced together."""
        leaves: dict[int, list[_Leaf]] = {}
        joins: list[_Operation] = []

        def found(shape: _Shape, depth: int, side: int, row: int, column: int) -> _Network:
            """Plan the leaves and joins of a block with this first cell."""
            if max(shape.rows, shape.cols) <= _LEAF:
                program, leaf = self._leaf(shape, sum(map(len, leaves.values())))
                leaves.setdefault(program, []).append(_Leaf(row, column, leaf.place))
                return leaf
            halves = [found(half, depth + 1, k, row + r, column + c) for k, (half, r, c) in enumerate(shape.halves())]
            network, join = self._joined(shape, depth, side, halves)
            joins.append(join)
            return network

        network = found(shape, depth, side, 0, 0)
        operations: list[_Operation] = []
        ordered: list[_Leaf] = []
        for program, some in leaves.items():
            operations.append(_Operation(-1, 0, 0, 0, len(ordered), len(ordered) + len(some), program))
            ordered += some
        return _Part(network, _table(_Operation, operations + joins), _table(_Leaf, ordered))

    def _leaf(self, shape: _Shape, number: int) -> tuple[int, _Network]:
        """Return the number of the program of a leaf, and its network."""
        starts, ports = self._starts(shape, "TLRB")
        key = shape.rows, shape.cols, "T" in starts, "R" in starts
        if key not in self.programs:
            found, first = elimination(*key), len(self.steps)
            for arms, between in found.steps:
                self.steps += [len(arms), *arms, *between]
            program = _Program(shape.rows, shape.cols, found.slots, ports, first, len(self.steps))
            self.programs[key] = len(self.programs), program
            self.steps += [slot for line in found.mesh for slot in line]
        place = self._place((-1, number), ports * ports)
        return self.programs[key][0], _Network(shape, starts, ports, place, whole=True)

    def _joined(self, shape: _Shape, depth: int, side: int, halves: list[_Network]) -> tuple[_Network, _Operation]:
        """Return the network that two halves become, and the operation."""
        starts, ports = self._starts(shape, shape.shared + "TLRB")
        pieces: list[tuple[int, str, int]] = []  # which half, its port, and where the result has it
        for port, start in starts.items():
            for k, half in enumerate(halves):
                if port in half.starts and port != half.shape.shared:
                    pieces.append((k, port, start))
                    start += half.shape.lines(port)
        first, second = (half.starts[half.shape.shared] for half in halves)
        drivers = [starts[port] for port in "LR" if port in starts and shape.terminal(port)]
        count, pitch = halves[0].shape.lines(halves[0].shape.shared), _odd(ports)
        padded = _up(count)
        join = _Join(
            count, padded, padded + _up(ports), _odd(padded + ports), first, halves[0].pitch, second, halves[1].pitch,
            pitch, starts["B"] if shape.terminal("B") else ports, min(drivers, default=0),
            max(drivers, default=-shape.rows) + shape.rows,
        )  # fmt: skip
        copies = [_Copy(k, halves[k].starts[p], halves[k].shape.lines(p), padded + to) for k, p, to in pieces]
        moves = list(_moves(pieces, halves))
        key = join, *copies, *moves
        if key not in self.joins:
            self.copies += copies
            self.moves += moves
            ends = len(self.copies) - len(copies), len(self.copies), len(self.moves) - len(moves), len(self.moves)
            self.joins[key] = len(self.joins), _Join(*join[:-4], *ends)
        network = _Network(shape, starts, pitch, self._place((depth, side), _up(ports) * pitch), whole=False)
        return network, _Operation(self.joins[key][0], halves[0].place, halves[1].place, network.place)

    def _starts(self, shape: _Shape, order: str) -> tuple[dict[str, int], int]:
        """Return where ports of a block begin in this order, and their number."""
        starts, count = {}, 0
        for port in dict.fromkeys(order):
            is_open = port in shape.borders and (port == "T" or (port == "R" and not self.double))
            if not is_open:
                starts[port] = count
                count += shape.lines(port)
        return starts, count

    def _place(self, name: tuple[int, int], size: int) -> int:
        """Return the number of a place that has at least this size."""
        number = self.places.setdefault(name, len(self.places))
        self.sizes += [0] * (number + 1 - len(self.sizes))
        self.sizes[number] = max(self.sizes[number], _up(size))
        return number


def _moves(pieces: list[tuple[int, str, int]], halves: list[_Network]) -> Iterator[_Move]:
    """Yield the conductances between ports of one half that are still needed."""
    for n, (k, port, row) in enumerate(pieces):
        half = halves[k]
        for other, to, column in pieces[n:]:
            kinds = {half.shape.terminal(port), half.shape.terminal(to)}
            if other != k or (len(kinds) == 1 and "" not in kinds):
                continue
            size = half.shape.lines(port), half.shape.lines(to)
            first, second = half.starts[port], half.starts[to]
            turned = not half.whole and first > second
            at = (second, first) if turned else (first, second)
            yield _Move(k, *at, *size, int(turned), row, column)
