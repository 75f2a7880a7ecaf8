"""Single wires with cells along them: ladders, solved exactly and all at once.

A line has n nodes in a row, a resistance `pitch` between neighbours, a conductance `shunt` from each node to
elsewhere and a terminal at one or both ends. Seen from its first node the line looks like

    Y_0 = shunt_0 + 1/first,   Y_k = shunt_k + Y_{k-1} / (1 + pitch Y_{k-1}),

in which nothing is subtracted and a pitch of zero is an ordinary number: the solution is accurate to rounding
for every resistance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim.array._wires import Wires


@final
@dataclass(frozen=True)
class Lines:
    """Factors of T = (wire + terminals + shunts) of parallel lines. Build it with `Lines.of`.

    down: for each node but the last, the share [*] of its current that moves on to the next. inverse [n, *]: 1 /
    pivot, ohm. Without resistance along the line, `down` is None and all nodes are one: `inverse` [1, *] is its, or
    None where a terminal holds it at its own voltage. first, last: conductance of the terminals, S.
    """

    down: tuple[Tensor, ...] | None
    inverse: Tensor | None
    first: float
    last: float

    @classmethod
    def of(cls, shunt: Tensor, pitch: float, first: float | None, last: float | None) -> Lines:
        """Lines along dimension 0 of shunt [n, *] (S). first, last: ohm from the end nodes to a terminal, None open."""
        ends = [x for x in (first, last) if x is not None]
        if pitch == 0.0 and 0.0 in ends:
            return cls(None, None, 0.0, 0.0)
        at_first, at_last = (0.0 if x is None else 1.0 / x for x in (first, last))
        if pitch == 0.0:
            return cls(None, 1.0 / (shunt.sum(0, keepdim=True) + (at_first + at_last)), at_first, at_last)
        nodes = shunt.unbind(0)
        down = torch.empty_like(shunt[1:])
        seen = nodes[0] + at_first
        for node, share in zip(nodes[1:], down.unbind(0), strict=True):
            torch.reciprocal(torch.add(1.0, seen, alpha=pitch), out=share)
            seen = torch.addcmul(node, seen, share)
        inverse = torch.cat([down * pitch, 1.0 / (seen + at_last)[None]])
        return cls(down.unbind(0), inverse, at_first, at_last)

    @property
    def fixed(self) -> bool:
        """Every node lies at the terminals' voltage."""
        return self.inverse is None

    @property
    def lumped(self) -> bool:
        """All nodes of a line are one, behind the resistance of its terminals."""
        return self.down is None and self.inverse is not None

    def solve(self, current: Tensor, out: Tensor | None = None) -> Tensor:
        """Node voltages [n, *] for currents [n, *] into the nodes, terminals at 0 V; `out` may be `current`."""
        x = torch.empty_like(current, memory_format=torch.contiguous_format) if out is None else out
        if self.inverse is None:
            return x.zero_()
        if self.down is None:
            return x.copy_(current.sum(0, keepdim=True).mul_(self.inverse))
        nodes = x.unbind(0)
        source = nodes if current is x else current.unbind(0)
        if current is not x:
            nodes[0].copy_(source[0])
        for k, share in enumerate(self.down, 1):
            torch.addcmul(source[k], share, nodes[k - 1], out=nodes[k])
        x.mul_(self.inverse)
        for k in range(len(self.down) - 1, -1, -1):
            nodes[k].addcmul_(self.down[k], nodes[k + 1])
        return x

    def driven(self, volts: Tensor, nodes: int) -> Tensor:
        """Node voltages [nodes, *] with the terminals at `volts` [*]."""
        if self.inverse is None:
            return volts.expand(nodes, *volts.shape)
        current = volts.new_zeros(nodes, *volts.shape)
        current[0] += self.first * volts
        current[-1] += self.last * volts
        return self.solve(current, out=current)

    def collected(self, x: Tensor, into: Tensor) -> Tensor:
        """Current [*] into the last node's terminal for node voltages x and currents `into` the nodes [n, *]."""
        return into.sum(0) if self.inverse is None else self.last * x[-1]


def word_lines(cells: Tensor, wires: Wires) -> Lines:
    """Word lines of cells [cols, rows, *]: their far end open, or driven like the near one."""
    end = wires.r_row_ohm + wires.r_source_ohm
    return Lines.of(cells, wires.r_row_ohm, end, end if wires.drive == "double" else None)


def bit_lines(cells: Tensor, wires: Wires) -> Lines:
    """Bit lines of cells [rows, cols, *]: upper end open, sensed at the lower end."""
    return Lines.of(cells, wires.r_col_ohm, None, wires.r_col_ohm + wires.r_sense_ohm)
