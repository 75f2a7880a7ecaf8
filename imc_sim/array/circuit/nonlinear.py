"""Currents of a crossbar with wires and nonlinear cells, by Newton's method on the whole circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._threads import one_thread
from imc_sim.array.circuit.inputs import Array, tensor
from imc_sim.array.circuit.solve import Layers, Solution, arguments, solution, solved
from imc_sim.array.circuit.wires import Wires

#: a step is accepted if it reduces the slope of the energy along it to at most this part
_SLOPE = 0.9
#: |a V| of a driver above which cosh of a cell between two drivers would overflow float32
_LARGEST = 40.0


@final
@dataclass(frozen=True)
class _Cells:
    """Model I(V) = G sinh(a V) / a, linear with conductance G where a is 0."""

    g: Tensor
    a: Tensor

    def current(self, volts: Tensor) -> Tensor:
        x = self.a * volts
        steep = torch.sinh(x) / torch.where(self.a == 0.0, 1.0, self.a)
        return self.g * torch.where(x.abs() < 1e-4, volts * (1.0 + x * x / 6.0), steep)

    def slope(self, volts: Tensor) -> Tensor:
        return self.g * torch.cosh(self.a * volts)


@checked
@torch.no_grad()
@one_thread()
def solve_nonlinear(
    G: Array,
    V: Array,
    wires: Wires,
    a_per_V: float | Array,
    *,
    gates: Array | None = None,
    tol: float = 1e-9,
    max_iterations: int = 50,
) -> Solution:
    """Solve the currents of cells I(V) = G sinh(a V) / a with wires.

    Newton's method on the circuit's energy, which is convex; a full step that would increase it is halved. All arrays
    and vectors are solved together, each with its own report. The residual is the difference between the current of a
    cell and that of the wires at its nodes, summed over cells, relative to the sum of the cells' currents.

    Args:
        G: cells [*, rows, cols] in S.
        V: voltages of the word lines [*, vectors, rows] in V.
        wires: resistances.
        a_per_V: a, one number or one per array [*]; 0 is the linear circuit.
        gates: as in `solve_currents`.
        tol: largest residual.
        max_iterations: largest number of Newton steps.

    Returns:
        The currents.

    Raises:
        InputError: for arguments of another shape, values that are not finite, or a V too large for float32.
    """
    g, v, lead = arguments(G, V, wires, gates, "solve_nonlinear")
    cells = _Cells(g, _steepness(a_per_V, g, v, lead))
    inner = 0.01 * tol
    layers = Layers.of(g, wires)
    words, _ = solved(layers, v, None, inner, 1000)
    volts = words.transpose(0, 1) - layers.bit_nodes(words, None)
    excess = cells.current(volts) - g * volts
    count = torch.zeros(volts.shape[2:], dtype=torch.int64, device=g.device)
    residual = _relative(excess, cells.current(volts))
    for _ in range(max_iterations):
        running = residual > tol
        if not bool(running.any()):
            break
        count += running
        step, slope = _newton_step(cells, volts, v, wires, inner)
        volts, excess = _along(cells, volts, excess, running * step, slope)
        residual = _relative(excess, cells.current(volts))
    return solution(cells.current(volts).sum(0), (count, residual, residual <= tol), lead)


def _steepness(a_per_V: float | Array, g: Tensor, v: Tensor, lead: tuple[int, ...]) -> Tensor:
    """Return a as [1, 1, arrays, 1]."""
    a = torch.tensor(a_per_V) if isinstance(a_per_V, float | int) else tensor(a_per_V, "a_per_V")
    if a.ndim and a.shape != lead[:-1]:
        step = "Give one number, or one per array."
        raise InputError("solve_nonlinear, a_per_V", f"shape {tuple(a.shape)}", f"() or {lead[:-1]}", step)
    a = a.to(dtype=g.dtype, device=g.device).expand(lead[:-1]).reshape(1, 1, -1, 1)
    most = float((a.abs() * v[:, None].abs().amax(0, keepdim=True)).max())
    if not most <= _LARGEST:
        got, step = f"a times V up to {most:g}", "Lower the voltage or the steepness; check their units."
        raise InputError("solve_nonlinear, a_per_V", got, f"at most {_LARGEST:g}", step)
    return a


def _newton_step(cells: _Cells, volts: Tensor, drivers: Tensor, wires: Wires, tol: float) -> tuple[Tensor, Tensor]:
    """Return the change of the cells' voltages that solves the circuit linearised at `volts`, and its conductances.

    The linearised circuit is solved for the voltages, each cell a conductance and a current source: differences of wire
    currents would be lost in rounding where resistances are small.
    """
    slope = cells.slope(volts)
    layers = Layers.of(slope, wires)
    source = slope * volts - cells.current(volts)
    words, _ = solved(layers, drivers, source, tol, 1000)
    return words.transpose(0, 1) - layers.bit_nodes(words, source) - volts, slope


def _along(cells: _Cells, volts: Tensor, excess: Tensor, step: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return the voltages and the excess current after the accepted part of the step of each problem.

    After a part t of the step, the wires carry exactly t of its linear current; the energy's derivative along the step
    is then the sum of excess x step over the cells.
    """
    before, downhill = cells.current(volts), _sum(excess * step)
    t, moved, after = torch.ones_like(downhill), volts, excess
    for _ in range(60):
        moved = volts + t * step
        after = (1.0 - t) * excess + (cells.current(moved) - before - t * slope * step)
        uphill = _sum(after * step)
        good = uphill <= _SLOPE * downhill.abs()  # false for NaN
        if bool(good.all()):
            break
        t = torch.where(good, t, 0.5 * t)
    return moved, after


def _sum(x: Tensor) -> Tensor:
    return x.sum((0, 1))


def _relative(excess: Tensor, current: Tensor) -> Tensor:
    total = _sum(current.abs())
    return _sum(excess.abs()) / torch.where(total > 0.0, total, 1.0)
