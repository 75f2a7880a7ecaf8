"""Small blocks of a crossbar as networks between their ports, which `merge` joins."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class Network:
    """Hold the conductances in S between the ports of every block in a grid of R x C blocks.

    Entries of a port with itself have no meaning. vv or hh is empty when it is no longer needed.

    Attributes:
        vv: [batch, R, C, v, c, v, c] between the v ends of a block's c bit lines (T, B; one of them after the other is
            eliminated).
        vh: [batch, R, C, v, c, h, r] between ends of bit lines and of word lines.
        hh: [batch, R, C, h, r, h, r] between the h ends of a block's r word lines (L, R).
    """

    vv: Tensor
    vh: Tensor
    hh: Tensor

    @property
    def cols(self) -> int:
        """Return the number of bit lines of one block."""
        return self.vh.shape[4]

    @property
    def rows(self) -> int:
        """Return the number of word lines of one block."""
        return self.vh.shape[6]

    @property
    def turned(self) -> Network:
        """Return the network with word lines and bit lines exchanged."""
        return Network(self.hh, self.vh.permute(0, 1, 2, 5, 6, 3, 4), self.vv)

    def every(self, grid_axis: int, start: int, step: int) -> Network:
        """Return the blocks start, start + step, … of the grid.

        Args:
            grid_axis: 1 for rows, 2 for columns.
            start: first block.
            step: distance of two blocks.
        """
        cut = (slice(None),) * grid_axis + (slice(start, None, step),)
        return Network(*(x[cut] if x.numel() else x for x in (self.vv, self.vh, self.hh)))


_Node = tuple[str, int, int]


@final
@dataclass(frozen=True)
class Elimination:
    """Hold the elimination of the inner nodes of a leaf, as operations on a list of conductances.

    Attributes:
        slots: length of the list, which begins with the wires in the order of `_wires_of_cell` and ends with 0 S.
        steps: for each node, the slots of its arms and, for each pair of arms, the slot between their ends.
        mesh: slots between ports: bit lines at the upper end, word lines left and right, bit lines at the lower end.
    """

    slots: int
    steps: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    mesh: tuple[tuple[int, ...], ...]


@functools.cache
def elimination(rows: int, cols: int, upper: bool, right: bool) -> Elimination:
    """Return the elimination of a leaf, nodes with the fewest neighbours first.

    Nodes: ("w", row, col) on word lines, column -1 the left end; ("b", row, col) on bit lines, row `rows` the lower
    end. The right and upper ends are nodes of cells: ("w", row, cols - 1), ("b", 0, col).

    Args:
        rows: word lines.
        cols: bit lines.
        upper: whether the upper ends of bit lines are ports; otherwise they are open.
        right: whether the right ends of word lines are ports; otherwise they are open.
    """
    cells = itertools.product(range(rows), range(cols))
    wires = [frozenset(ends) for i, j in cells for ends in _wires_of_cell(i, j)]
    slot = {ends: k for k, ends in enumerate(wires)}
    near: dict[_Node, set[_Node]] = {node: set() for ends in wires for node in ends}
    for a, b in map(tuple, wires):
        near[a].add(b)
        near[b].add(a)
    ports: list[_Node] = [("b", 0, j) for j in range(cols) if upper] + [("w", i, -1) for i in range(rows)]
    ports += [("w", i, cols - 1) for i in range(rows) if right] + [("b", rows, j) for j in range(cols)]
    inner = set(near) - set(ports)
    steps = []
    while inner:
        node = min(inner, key=lambda n: (len(near[n]), n))
        inner.remove(node)
        around = sorted(near.pop(node))
        for a in around:
            near[a] = (near[a] | set(around)) - {a, node}
        arms = tuple(slot[frozenset((node, a))] for a in around)
        pairs = itertools.combinations(around, 2)
        steps.append((arms, tuple(slot.setdefault(frozenset(pair), len(slot)) for pair in pairs)))
    mesh = tuple(tuple(slot.get(frozenset((x, y)), len(slot)) for y in ports) for x in ports)
    return Elimination(len(slot) + 1, tuple(steps), mesh)


def _wires_of_cell(i: int, j: int) -> tuple[tuple[_Node, _Node], ...]:
    """Return the ends of cell (i, j), of the segment on its left and of the segment below it."""
    word, bit = ("w", i, j), ("b", i, j)
    return (word, bit), (("w", i, j - 1), word), (bit, ("b", i + 1, j))


def leaves(G: Tensor, along_row: Tensor, along_col: Tensor, leaf: tuple[int, int]) -> Network:
    """Return the networks of all small blocks.

    Args:
        G: cells [batch, rows, cols] in S.
        along_row: conductance of the segment on the left of each column [cols] in S.
        along_col: conductance of the segment below each row [rows] in S.
        leaf: rows and columns of a block.
    """
    batch, (r, c) = G.shape[0], leaf
    R, C = G.shape[1] // r, G.shape[2] // c
    grid = (batch, R, C)
    cells = G.view(batch, R, r, C, c).permute(2, 4, 0, 1, 3).reshape(r, c, -1)
    left = along_row.view(C, c).T[:, None, None].expand(c, *grid).reshape(c, -1)
    below = along_col.view(R, r).T[:, None, :, None].expand(r, *grid).reshape(r, -1)
    found = elimination(r, c, upper=True, right=True)
    values = [x for i in range(r) for j in range(c) for x in (cells[i, j], left[j], below[i])]
    values += [torch.zeros_like(values[0])] * (found.slots - len(values))
    _star_to_mesh(values, found, 3 * r * c)
    v, h = [*range(c), *range(c + 2 * r, 2 * c + 2 * r)], range(c, c + 2 * r)

    def part(ends: Iterable[int], others: Iterable[int], *shape: int) -> Tensor:
        return torch.stack([values[found.mesh[x][y]] for x in ends for y in others], -1).view(*grid, *shape)

    return Network(part(v, v, 2, c, 2, c), part(v, h, 2, c, 2, r), part(h, h, 2, r, 2, r))


def _star_to_mesh(values: list[Tensor], found: Elimination, wires: int) -> None:
    """Eliminate inner nodes one by one: g_ab += g_a g_b / sum(g) between all neighbours of each."""
    known = set(range(wires))
    for arms, between in found.steps:
        g = [values[k] for k in arms]
        total = g[0]
        for arm in g[1:]:
            total = total + arm
        pairs = iter(between)
        for k in range(len(g) - 1):
            share = g[k] / total
            for arm in g[k + 1 :]:
                target = next(pairs)
                values[target] = torch.addcmul(values[target], share, arm) if target in known else share * arm
                known.add(target)
