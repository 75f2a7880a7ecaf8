"""Currents of a crossbar with wires for given inputs: conjugate gradients, and Newton where cells are not linear.

Nodes of the word lines are w, those of the bit lines b. With the lines' own equations solved exactly (T_w, T_b
tridiagonal, see `_circuit_lines`), b = T_b^-1 (G w) is eliminated and what is left,

    (T_w - G T_b^-1 G) w = drive,

is solved by conjugate gradients preconditioned with T_w^-1. The eigenvalues lie in (0, 1], as squares of those
of the same method on both layers at once: half the iterations at the same cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array._circuit_inputs import Array, cells, tensor, vectors
from imc_sim.array._circuit_lines import Lines, bit_lines, word_lines
from imc_sim.array._wires import Wires


@final
@dataclass(frozen=True)
class Solution:
    """Currents [*, vectors, cols] in A, and per vector [*, vectors] how they were found.

    iterations: until the residual was at most the tolerance. residual: what it was at the end, relative;
    what it measures is said by the function. converged: whether it is at most the tolerance.
    """

    currents: Tensor
    iterations: Tensor
    residual: Tensor
    converged: Tensor


@final
@dataclass(frozen=True)
class Layers:
    """Both layers of lines, each with its nodes along dimension 0.

    g [rows, cols, arrays, vectors] and its transpose gt [cols, rows, …], with one vector where all share the cells.
    Bit-line quantities are laid out as g, word-line quantities as gt.
    """

    g: Tensor
    gt: Tensor
    words: Lines
    bits: Lines

    @classmethod
    def of(cls, g: Tensor, wires: Wires) -> Layers:
        gt = g.transpose(0, 1).contiguous()
        return cls(g, gt, word_lines(gt, wires), bit_lines(g, wires))

    def driven(self, volts: Tensor) -> Tensor:
        """Word-line nodes for drivers at volts [rows, arrays, vectors], bit lines at 0 V."""
        return self.words.driven(volts, self.gt.shape[0])


@torch.no_grad()
def solve_currents(
    G: Array, V: Array, wires: Wires, *, gates: Array | None = None, tol: float = 1e-8, max_iterations: int = 1000
) -> Solution:
    """Currents of cells G [*, rows, cols] in S for a few inputs V [*, vectors, rows] in V, all linear.

    For arrays too large to pay for M. gates [*, vectors, rows], 1T1R: rows that are on, those with a voltage other
    than 0 by default. The residual is the error's norm in the energy of the word lines, relative to that of the
    first correction which the bit lines make; currents are then exact to about `tol` times that correction.
    """
    g, v, lead = arguments(G, V, wires, gates, "solve_currents")
    layers = Layers.of(g, wires)
    w, b, report = solved(layers, layers.driven(v), None, tol, max_iterations)
    return solution(layers.bits.collected(b, layers.gt.mul(w).transpose(0, 1)), report, lead)


def solved(
    layers: Layers, w: Tensor, source: Tensor | None, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Nodes w [cols, rows, …] and b [rows, cols, …], and (iterations, residual, converged) [arrays, vectors].

    w: nodes of the word lines for b = 0; source: currents into the bit lines' nodes, or None. Large arrays are
    bound by memory: every vector of nodes is passed over as rarely as the method allows, and none is made in the loop.
    """
    g, gt, bits, words = layers.g, layers.gt, layers.bits, layers.words
    w = w.clone(memory_format=torch.contiguous_format)
    work = gt * w
    b = work.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    power = torch.mul(work, w, out=work).sum((0, 1))
    bits.solve(b if source is None else b.add_(source), out=b)
    r = torch.mul(gt, b.transpose(0, 1))
    p, tp = words.solve(r), r.clone()
    scratch = b.view(work.shape)  # b's memory, read in another order: free between uses of b
    rz = torch.mul(r, p, out=scratch).sum((0, 1))
    count = torch.zeros_like(rz, dtype=torch.int64)
    for _ in range(max_iterations):
        running = rz > tol * tol * power
        if not bool(running.any()):
            break
        count += running
        # q is what the matrix makes of p; T_w p is carried along in tp, never formed from differences.
        torch.mul(g, p.transpose(0, 1), out=b)
        q = torch.addcmul(tp, gt, bits.solve(b, out=b).transpose(0, 1), value=-1, out=work)
        step = torch.where(running, rz / torch.mul(p, q, out=scratch).sum((0, 1)), 0.0)
        w.addcmul_(step, p)
        r.addcmul_(step, q, value=-1)
        z = words.solve(r, out=work)
        rz, last = torch.mul(r, z, out=scratch).sum((0, 1)), rz
        grow = torch.where(running, rz / last, 0.0)
        torch.addcmul(z, grow, p, out=p)
        torch.addcmul(r, grow, tp, out=tp)
    torch.mul(g, w.transpose(0, 1), out=b)
    bits.solve(b if source is None else b.add_(source), out=b)
    residual = (rz / torch.where(power > 0.0, power, 1.0)).clamp_min(0.0).sqrt()
    return w, b, (count, residual, residual <= tol)


def arguments(
    G: Array, V: Array, wires: Wires, gates: Array | None, where: str
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Cells [rows, cols, arrays, 1 or vectors], emptied in rows that are off; voltages [rows, arrays, vectors]; [*, vectors]."""
    g = cells(G, where)
    v = vectors(V, g, where)
    if gates is not None and wires.cells == "passive":
        raise InputError(f"{where}, gates", "gates", "None for wires.cells 'passive'", "Leave the gates out.")
    on = v != 0 if gates is None else tensor(gates, device=g.device) != 0
    if on.shape != v.shape:
        raise InputError(f"{where}, gates", f"shape {tuple(on.shape)}", f"{tuple(v.shape)}", "Give one gate per row.")
    lead, (rows, cols) = tuple(v.shape[:-1]), g.shape[-2:]
    g = g.reshape(-1, rows, cols).permute(1, 2, 0)[..., None].contiguous()
    v, on = (x.reshape(-1, *x.shape[-2:]).permute(2, 0, 1).contiguous() for x in (v, on))
    if wires.cells == "1t1r" and not bool(on.all()):
        g = g * on[:, None]
    return g, v, lead


def solution(currents: Tensor, report: tuple[Tensor, Tensor, Tensor], lead: tuple[int, ...]) -> Solution:
    """Currents [cols, arrays, vectors] and their report [arrays, vectors] in the caller's shape [*, vectors]."""
    return Solution(currents.permute(1, 2, 0).reshape(*lead, -1), *(x.reshape(lead) for x in report))
