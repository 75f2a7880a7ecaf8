"""Lines with cells along them: ladders, solved exactly and in parallel.

A line has n nodes in a row, a resistance `pitch` between neighbours, a conductance `shunt` from each node to
elsewhere and a terminal at one or both ends. From its first node on, the conductance of the line is

    Y_0 = shunt_0 + 1/first,   Y_k = shunt_k + Y_{k-1} / (1 + pitch Y_{k-1}),

without a subtraction, and a pitch of zero needs no special case: the solution is accurate to rounding for every
resistance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim.array.circuit.inputs import scratch
from imc_sim.array.circuit.wires import Wires

Nodes = tuple[Tensor, ...]


@final
@dataclass(frozen=True)
class Lines:
    """Hold the factors of T = (wire + terminals + shunts) of parallel lines, T^-1 = S L^-T L^-1 S; see `Lines.of`.

    L has ones on its diagonal and the negative `links` below it. Without resistance along the line all nodes are one.

    Attributes:
        links: for each node but the first, the factor of the node before; None without resistance along the line.
        scale: S [n, *], the root of 1 / pivot; [1, *] without resistance along the line, None where a terminal fixes
            its voltage.
        first: conductance of the first terminal in S.
        last: conductance of the last terminal in S.
    """

    links: Nodes | None
    scale: Tensor | None
    first: float
    last: float

    @classmethod
    def of(cls, shunt: Tensor, pitch: float, first: float | None, last: float | None) -> Lines:
        """Factor lines along dimension 0.

        Args:
            shunt: conductance of each node to elsewhere [n, *] in S.
            pitch: resistance between neighbours in ohm.
            first: resistance from the first node to a terminal in ohm; None: open.
            last: resistance from the last node to a terminal in ohm; None: open.

        Returns:
            The factors.
        """
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
        """Tell whether every node is at the terminals' voltage."""
        return self.scale is None

    @property
    def lumped(self) -> bool:
        """Tell whether all nodes of a line are one, behind the resistance of its terminals."""
        return self.links is None and self.scale is not None

    def lower(self, x: Tensor, nodes: Nodes | None = None) -> Tensor:
        """Return L^-1 x, computed in place; [1, *] where the nodes of a line are one.

        Args:
            x: [n, *], overwritten.
            nodes: x.unbind(0), if available.
        """
        if self.links is None:
            return x.sum(0, keepdim=True)
        before, *rest = nodes or x.unbind(0)
        for node, link in zip(rest, self.links, strict=True):
            before = node.addcmul_(link, before)
        return x

    def upper(self, x: Tensor, out: Tensor, source: Nodes | None = None, nodes: Nodes | None = None) -> Tensor:
        """Return L^-T x.

        Args:
            x: [n, *].
            out: result [n, *]; x for computation in place.
            source: x.unbind(0), if available.
            nodes: out.unbind(0), if available.
        """
        if self.links is None:
            return out.copy_(x)
        nodes = nodes or out.unbind(0)
        source = nodes if x is out else source or x.unbind(0)
        after = nodes[-1] if x is out else nodes[-1].copy_(source[-1])
        for k in range(len(self.links) - 1, -1, -1):
            after = torch.addcmul(source[k], self.links[k], after, out=nodes[k])
        return out

    def solve(self, current: Tensor) -> Tensor:
        """Return node voltages [n, *] with the terminals at 0 V.

        Args:
            current: currents into the nodes [n, *].
        """
        if self.scale is None:
            return torch.zeros_like(current)
        x = current * self.scale
        return self.upper(self.lower(x), x).mul_(self.scale)

    def end(self, current: Tensor) -> Tensor:
        """Return the voltage of the last node, [*], as `solve` does.

        Args:
            current: currents into the nodes [n, *], overwritten.
        """
        if self.scale is None:
            return torch.zeros_like(current[-1])
        return self.scale[-1] * self.lower(current.mul_(self.scale))[-1]

    def drive(self, volts: Tensor, nodes: int) -> Tensor:
        """Return the currents [nodes, *] into the nodes that are equivalent to voltages at the terminals.

        Args:
            volts: voltages of the terminals [*].
            nodes: number of nodes.
        """
        current = scratch((nodes, *volts.shape), volts).zero_()
        current[0] += self.first * volts
        current[-1] += self.last * volts
        return current

    def driven(self, volts: Tensor, nodes: int) -> Tensor:
        """Return node voltages [nodes, *] for voltages at the terminals.

        Args:
            volts: voltages of the terminals [*].
            nodes: number of nodes.
        """
        if self.fixed:
            return volts.expand(nodes, *volts.shape).clone()
        return self.solve(self.drive(volts, nodes))


def word_lines(cells: Tensor, wires: Wires) -> Lines:
    """Return the word lines of cells, their far end open, or driven like the near one.

    Args:
        cells: [cols, rows, *] in S.
        wires: resistances.
    """
    end = wires.r_row_ohm + wires.r_source_ohm
    return Lines.of(cells, wires.r_row_ohm, end, end if wires.drive == "double" else None)


def bit_lines(cells: Tensor, wires: Wires) -> Lines:
    """Return the bit lines of cells, their upper end open, read at the lower end.

    Args:
        cells: [rows, cols, *] in S.
        wires: resistances.
    """
    return Lines.of(cells, wires.r_col_ohm, None, wires.r_col_ohm + wires.r_sense_ohm)
