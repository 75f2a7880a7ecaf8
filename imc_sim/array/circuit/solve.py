"""Currents of a crossbar with wires for given inputs, by conjugate gradients.

Nodes of the word lines are w, those of the bit lines b. With the equations of the lines solved exactly (T_w, T_b
tridiagonal, see `lines`), b = T_b^-1 (G w) is eliminated from

    T_w w - G b = drive.

With T^-1 = S L^-T L^-1 S and w = S L^-T u what is left is

    (1 - K K^T) u = L^-1 S drive,   K = L_w^-1 (S_w G S_b) L_b^-T,

solved by conjugate gradients. The eigenvalues are in (0, 1] and are the squares of those of the same method on both
layers together: half the iterations at the same cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._threads import one_thread
from imc_sim.array.circuit.inputs import Array, cells, scratch, tensor, vectors
from imc_sim.array.circuit.lines import Lines, bit_lines, word_lines
from imc_sim.array.circuit.wires import Wires

#: a stationary step reduces the error about as much as the last iteration; squared, the largest measured difference
_LESS = 9.0


@final
@dataclass(frozen=True)
class Solution:
    """Hold currents and, for each vector, a report of the solver.

    Attributes:
        currents: [*, vectors, cols] in A.
        iterations: number of iterations [*, vectors].
        residual: relative residual at the end [*, vectors], as the function defines it.
        converged: whether it is at most the tolerance [*, vectors].
    """

    currents: Tensor
    iterations: Tensor
    residual: Tensor
    converged: Tensor


@final
@dataclass(frozen=True)
class Layers:
    """Hold both layers of lines. Quantities of bit lines are shaped as g, those of word lines as gt.

    Attributes:
        g: cells [rows, cols, arrays, vectors] in S, with one vector where all vectors share the cells.
        gt: transpose of g [cols, rows, …].
        words: factors of the word lines.
        bits: factors of the bit lines.
    """

    g: Tensor
    gt: Tensor
    words: Lines
    bits: Lines

    @classmethod
    def of(cls, g: Tensor, wires: Wires) -> Layers:
        """Factor the lines of cells.

        Args:
            g: cells [rows, cols, arrays, vectors] in S.
            wires: resistances.

        Returns:
            Both layers.
        """
        gt = g.transpose(0, 1).contiguous()
        return cls(g, gt, word_lines(gt, wires), bit_lines(g, wires))

    def bit_nodes(self, w: Tensor, sources: Tensor | None) -> Tensor:
        """Return the voltages of the bit-line nodes.

        Args:
            w: voltages of the word-line nodes.
            sources: as in `solved`.
        """
        if self.bits.fixed:
            return torch.zeros_like(w.transpose(0, 1))
        into = self.g * w.transpose(0, 1)
        return self.bits.solve(into if sources is None else into.sub_(sources))

    def collected(self, w: Tensor) -> Tensor:
        """Return the currents [cols, arrays, vectors] into the sense nodes.

        Args:
            w: voltages of the word-line nodes.
        """
        wt = w.transpose(0, 1)
        into = torch.mul(self.g, wt, out=scratch(tuple(wt.shape), w))
        return into.sum(0) if self.bits.fixed else self.bits.last * self.bits.end(into)


@checked
@torch.no_grad()
@one_thread()
def solve_currents(
    G: Array, V: Array, wires: Wires, *, gates: Array | None = None, tol: float = 1e-8, max_iterations: int = 1000
) -> Solution:
    """Solve the currents of linear cells with wires for a few inputs, without computing M.

    The residual is that of the word lines' equations, in the norm of power, relative to the power of the cells with all
    bit lines at 0 V, as estimated after a last correction. On circuits of 8 to 512 rows that lose 0.1 % to 99 % of
    their current to wires, the error of the currents is below `tol`, relative to the largest current.

    Args:
        G: cells [*, rows, cols] in S.
        V: voltages of the word lines [*, vectors, rows] in V.
        wires: resistances.
        gates: 1T1R: rows that are on [*, vectors, rows]; None: those with a voltage other than 0.
        tol: largest residual.
        max_iterations: largest number of iterations.

    Returns:
        The currents.

    Raises:
        InputError: for arguments of another shape, and for values that are not finite.
    """
    g, v, lead = arguments(G, V, wires, gates, "solve_currents")
    layers = Layers.of(g, wires)
    w, report = solved(layers, v, None, tol, max_iterations)
    return solution(layers.collected(w), report, lead)


Report = tuple[Tensor, Tensor, Tensor]


def solved(
    layers: Layers, volts: Tensor, sources: Tensor | None, tol: float, max_iterations: int
) -> tuple[Tensor, Report]:
    """Return the word-line nodes w [cols, rows, …] and (iterations, residual, converged) [arrays, vectors].

    Args:
        layers: both layers of lines.
        volts: voltages of the drivers [rows, arrays, vectors].
        sources: currents [rows, cols, …] from the bit-line node of a cell to its word-line node, in addition to the
            current of its conductance; None for none.
        tol: largest residual.
        max_iterations: largest number of iterations.
    """
    words, nodes = layers.words, layers.gt.shape[0]
    if not (words.fixed or layers.bits.fixed):
        return _iterated(layers, volts, sources, tol, max_iterations)
    if words.fixed or sources is None:
        w = words.driven(volts, nodes)
    else:
        w = words.solve(words.drive(volts, nodes).add_(sources.transpose(0, 1)))
    none = volts.new_zeros(volts.shape[1:])
    return w, (none.long(), none, none == 0.0)


def _iterated(
    layers: Layers, volts: Tensor, sources: Tensor | None, tol: float, max_iterations: int
) -> tuple[Tensor, Report]:
    """Return the same as `solved` where both layers have resistance.

    Large arrays are limited by memory: the loop reads vectors of nodes as rarely as possible and allocates none.
    """
    words, bits = layers.words, layers.bits
    scale_w, scale_b = cast("tuple[Tensor, Tensor]", (words.scale, bits.scale))
    g = layers.g * scale_b * scale_w.transpose(0, 1)
    gt = g.transpose(0, 1).contiguous()
    u = words.drive(volts, gt.shape[0])
    if sources is not None:
        u += sources.transpose(0, 1)
    u = words.lower(u.mul_(scale_w))
    work = words.upper(u, scratch((*gt.shape[:-1], u.shape[-1]), u))
    b = scratch((*g.shape[:-1], u.shape[-1]), u)
    power = torch.mul((layers.gt.sqrt() * scale_w).transpose(0, 1), work.transpose(0, 1), out=b).square_().sum((0, 1))
    torch.mul(g, work.transpose(0, 1), out=b)
    if sources is not None:
        b.sub_(sources * scale_b)
    bits.upper(bits.lower(b), b)
    r = words.lower(torch.mul(gt, b.transpose(0, 1), out=scratch(tuple(work.shape), u)))
    p = scratch(tuple(r.shape), u).copy_(r)
    products = b.view(-1)[: p.numel()].view(p.shape)  # b's memory, free between uses of b
    of_p, of_b, of_work = p.unbind(0), b.unbind(0), work.unbind(0)
    rr = torch.mul(r, r, out=products).sum((0, 1))
    left, count = rr, torch.zeros_like(rr, dtype=torch.int64)
    for _ in range(max_iterations):
        running = left > tol * tol * power
        if not bool(running.any()):
            break
        count += running
        torch.mul(g, words.upper(p, work, of_p, of_work).transpose(0, 1), out=b)
        bits.upper(bits.lower(b, of_b), b, nodes=of_b)
        q = words.lower(torch.mul(gt, b.transpose(0, 1), out=work), of_work)
        torch.sub(p, q, out=q)
        step = torch.where(running, rr / torch.mul(p, q, out=products).sum((0, 1)), 0.0)
        u.addcmul_(step, p)
        r.addcmul_(step, q, value=-1)
        rr, last = torch.mul(r, r, out=products).sum((0, 1)), rr
        grow = torch.where(running, rr / last, 0.0)
        torch.addcmul(r, grow, p, out=p)
        left = torch.where(running, rr * (_LESS * grow).clamp_max(1.0), left)
    u.add_(r)  # a stationary step, all but free
    residual = (left / torch.where(power > 0.0, power, 1.0)).sqrt()
    return words.upper(u, work).mul_(scale_w), (count, residual, residual <= tol)


def arguments(
    G: Array, V: Array, wires: Wires, gates: Array | None, where: str
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Return cells, voltages [rows, arrays, vectors] and the shape [*, vectors].

    Cells are [rows, cols, arrays, 1], or [rows, cols, arrays, vectors] with cells of 0 S in rows that are off.

    Args:
        G: as in `solve_currents`.
        V: as in `solve_currents`.
        wires: as in `solve_currents`.
        gates: as in `solve_currents`.
        where: place that an error names.

    Raises:
        InputError: for arguments of another shape, values that are not finite, and gates of a passive array.
    """
    g = cells(G, where)
    v = vectors(V, g, where)
    if gates is not None and wires.cells == "passive":
        raise InputError(f"{where}, gates", "gates", "None for wires.cells 'passive'", "Leave the gates out.")
    on = v != 0 if gates is None else tensor(gates, f"{where}, gates", device=g.device) != 0
    if on.shape != v.shape:
        raise InputError(f"{where}, gates", f"shape {tuple(on.shape)}", f"{tuple(v.shape)}", "Give one gate per row.")
    lead, (rows, cols) = tuple(v.shape[:-1]), g.shape[-2:]
    g = g.reshape(-1, rows, cols).permute(1, 2, 0)[..., None].contiguous()
    v, on = (x.reshape(-1, *x.shape[-2:]).permute(2, 0, 1).contiguous() for x in (v, on))
    if wires.cells == "1t1r" and not bool(on.all()):
        g = g * on[:, None]
    return g, v, lead


def solution(currents: Tensor, report: tuple[Tensor, Tensor, Tensor], lead: tuple[int, ...]) -> Solution:
    """Return a solution in the caller's shape [*, vectors].

    Args:
        currents: [cols, arrays, vectors] in A.
        report: iterations, residual and converged, each [arrays, vectors].
        lead: the shape.
    """
    return Solution(currents.permute(1, 2, 0).reshape(*lead, -1), *(x.reshape(lead) for x in report))
