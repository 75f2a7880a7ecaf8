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

from imc_sim.array.circuit.inputs import room
from imc_sim.array.circuit.wires import Wires

Nodes = tuple[Tensor, ...]


@final
@dataclass(frozen=True)
class Lines:
    """Factors of T = (wire + terminals + shunts) of parallel lines, T^-1 = S L^-T L^-1 S. Build it with `Lines.of`.

    L has ones on its diagonal and the negative `links` below it: for each node but the first, what it takes of the
    node before. scale [n, *]: S, the root of 1 / pivot. Without resistance along the line, `links` is None and all
    nodes are one: `scale` [1, *] is its, or None where a terminal holds it at its own voltage. first, last:
    conductance of the terminals, S.
    """

    links: Nodes | None
    scale: Tensor | None
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
            return cls(None, (shunt.sum(0, keepdim=True) + (at_first + at_last)).rsqrt(), at_first, at_last)
        nodes = shunt.unbind(0)
        down = torch.empty_like(shunt[1:])
        seen = nodes[0] + at_first
        for node, share in zip(nodes[1:], down.unbind(0), strict=True):
            torch.reciprocal(torch.add(1.0, seen, alpha=pitch), out=share)
            seen = torch.addcmul(node, seen, share)
        scale = torch.cat([down * pitch, 1.0 / (seen + at_last)[None]]).sqrt_()
        links = down.mul_(scale[1:]).div_(scale[:-1])
        return cls(links.unbind(0), scale, at_first, at_last)

    @property
    def fixed(self) -> bool:
        """Every node lies at the terminals' voltage."""
        return self.scale is None

    @property
    def lumped(self) -> bool:
        """All nodes of a line are one, behind the resistance of its terminals."""
        return self.links is None and self.scale is not None

    def lower(self, x: Tensor, nodes: Nodes | None = None) -> Tensor:
        """L^-1 x for x [n, *], overwritten; [1, *] where the nodes of a line are one. nodes: x.unbind(0) if at hand."""
        if self.links is None:
            return x.sum(0, keepdim=True)
        before, *rest = nodes or x.unbind(0)
        for node, link in zip(rest, self.links, strict=True):
            before = node.addcmul_(link, before)
        return x

    def upper(self, x: Tensor, out: Tensor, source: Nodes | None = None, nodes: Nodes | None = None) -> Tensor:
        """L^-T x in `out` [n, *], which may be x itself. source, nodes: the nodes of x and of out if at hand."""
        if self.links is None:
            return out.copy_(x)
        nodes = nodes or out.unbind(0)
        source = nodes if x is out else source or x.unbind(0)
        after = nodes[-1] if x is out else nodes[-1].copy_(source[-1])
        for k in range(len(self.links) - 1, -1, -1):
            after = torch.addcmul(source[k], self.links[k], after, out=nodes[k])
        return out

    def solve(self, current: Tensor) -> Tensor:
        """Node voltages [n, *] for currents [n, *] into the nodes, terminals at 0 V."""
        if self.scale is None:
            return torch.zeros_like(current)
        x = current * self.scale
        return self.upper(self.lower(x), x).mul_(self.scale)

    def end(self, current: Tensor) -> Tensor:
        """What `solve` says of the last node alone, [*]; current [n, *] is overwritten."""
        if self.scale is None:
            return torch.zeros_like(current[-1])
        return self.scale[-1] * self.lower(current.mul_(self.scale))[-1]

    def drive(self, volts: Tensor, nodes: int) -> Tensor:
        """Currents [nodes, *] into the nodes that stand for terminals at `volts` [*]."""
        current = room((nodes, *volts.shape), volts).zero_()
        current[0] += self.first * volts
        current[-1] += self.last * volts
        return current

    def driven(self, volts: Tensor, nodes: int) -> Tensor:
        """Node voltages [nodes, *] with the terminals at `volts` [*]."""
        if self.fixed:
            return volts.expand(nodes, *volts.shape).clone()
        return self.solve(self.drive(volts, nodes))


def word_lines(cells: Tensor, wires: Wires) -> Lines:
    """Word lines of cells [cols, rows, *]: their far end open, or driven like the near one."""
    end = wires.r_row_ohm + wires.r_source_ohm
    return Lines.of(cells, wires.r_row_ohm, end, end if wires.drive == "double" else None)


def bit_lines(cells: Tensor, wires: Wires) -> Lines:
    """Bit lines of cells [rows, cols, *]: upper end open, sensed at the lower end."""
    return Lines.of(cells, wires.r_col_ohm, None, wires.r_col_ohm + wires.r_sense_ohm)
