"""1T1R arrays with wires, whose circuit depends on the rows that are on.

A few patterns of gates are solved exactly (`gated_conductance`). Here are approximations for all others, affine
functions of the gates, and their error against the exact circuit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._threads import one_thread
from imc_sim.array.circuit.conductance import gated_conductance, wired_conductance
from imc_sim.array.circuit.inputs import Array, cells, patterns, tensor
from imc_sim.array.circuit.solve import Layers, solved
from imc_sim.array.circuit.wires import Wires

Gating = Literal["all_on", "mean", "tangent"]

#: cells whose inner nodes are solved together
_CELLS_AT_ONCE = 2**21


@final
@dataclass(frozen=True)
class GatedApproximation:
    """Hold currents per volt of the read voltage as gates @ matrix + offset.

    Attributes:
        matrix: [*, rows, cols] in S.
        offset: [*, cols] in S; 0 except for `tangent`.
        method: as in `approximate_gating`.
        density: as in `approximate_gating`.
    """

    matrix: Tensor
    offset: Tensor
    method: Gating
    density: float

    def currents(self, gates: Array, v_read_V: float = 1.0) -> Tensor:
        """Return the currents [*, patterns, cols] in A.

        Args:
            gates: [patterns, rows] of 0 (off) and 1 (on).
            v_read_V: voltage of the rows that are on.
        """
        on = patterns(gates, self.matrix, "GatedApproximation.currents")
        return (on @ self.matrix + self.offset[..., None, :]) * v_read_V


@final
@dataclass(frozen=True)
class GatingError:
    """Hold the deviation from the exact circuit over patterns and outputs, relative to the exact currents.

    Attributes:
        rms: rms of the deviation over rms of the exact currents.
        max: largest deviation over largest exact current.
    """

    rms: float
    max: float


@checked
@torch.no_grad()
def approximate_gating(G: Array, wires: Wires, method: Gating = "tangent", density: float = 0.5) -> GatedApproximation:
    """Approximate the currents of a 1T1R array by an affine function of the rows that are on.

    `all_on` is M with every row on, which overestimates the load of the bit lines. `mean` has every row on with weight
    `density`. Scaled by 1 / density, it is the circuit whose bit lines have `density` times their resistance, at the
    cost of one M; it is exact in the IR drop along word lines and in the mean of that along bit lines. `tangent` adds
    the first-order change by one row more or less; it needs the same voltage on all rows that are on. The remaining
    error is of second order in the fluctuation of the bit lines' load.

    On 128 x 128 cells of BNN I at 1 ohm with random inputs, the rms error of the differences of column pairs is 4 %
    (all_on), 2 % (mean) and 0.4 % (tangent) at an LRS of 20 uS, and 20 %, 16 % and 2 to 3 % at 250 uS. `gating_error`
    measures it for any case; docs/wires.md shows it for shares from 10 to 90 %.

    Args:
        G: cells [*, rows, cols] in S.
        wires: resistances.
        method: `all_on`, `mean` or `tangent`.
        density: expected share of rows that are on.

    Returns:
        The approximation.

    Raises:
        InputError: for another method, and for a share that is not in (0, 1].
    """
    g = cells(G, "approximate_gating")
    if not 0.0 < density <= 1.0:
        step = "Set the share of rows that are on."
        raise InputError("approximate_gating, density", density, "above 0, at most 1", step)
    mean = wires if method == "all_on" else wires.loaded(density)
    matrix = wired_conductance(g, mean)
    none = matrix.new_zeros(*matrix.shape[:-2], matrix.shape[-1])
    if method != "tangent":
        return GatedApproximation(matrix, none, method, density)
    with one_thread():
        tangent = matrix * _driven_share(g, mean)
        return GatedApproximation(tangent, density * (matrix - tangent).sum(-2), method, density)


@torch.no_grad()
@one_thread()
def gating_error(
    approximation: GatedApproximation, G: Array, gates: Array, wires: Wires, combine: Array | None = None
) -> GatingError:
    """Return the error of an approximation, from one exact circuit per pattern.

    Args:
        approximation: approximation of G.
        G: cells [*, rows, cols] in S.
        gates: [patterns, rows] of 0 (off) and 1 (on).
        wires: resistances.
        combine: [cols, outputs], outputs as sums of columns, such as +1 and -1 for a pair; None: the columns.
    """
    deviation, exact = gating_deviation(approximation, G, gates, wires, combine)
    tiny = torch.finfo(exact.dtype).tiny
    rms = deviation.square().mean().sqrt() / exact.square().mean().sqrt().clamp_min(tiny)
    return GatingError(float(rms), float(deviation.abs().max() / exact.abs().max().clamp_min(tiny)))


@torch.no_grad()
@one_thread()
def gating_deviation(
    approximation: GatedApproximation, G: Array, gates: Array, wires: Wires, combine: Array | None = None
) -> tuple[Tensor, Tensor]:
    """Return the deviation and the exact currents per volt, both [*, patterns, outputs].

    Args:
        approximation: as in `gating_error`.
        G: as in `gating_error`.
        gates: as in `gating_error`.
        wires: as in `gating_error`.
        combine: as in `gating_error`.
    """
    g = cells(G, "gating_error")
    on = patterns(gates, g, "gating_error")
    exact = (on[:, None] @ gated_conductance(g, on, wires))[..., 0, :]
    found = approximation.currents(on)
    if combine is not None:
        mix = tensor(combine, "gating_error, combine", g.dtype, g.device)
        exact, found = exact @ mix, found @ mix
    return found - exact, exact


def _driven_share(g: Tensor, mean: Wires) -> Tensor:
    """Return each cell's voltage [*, rows, cols] with all rows driven, over its voltage with all bit lines at 0 V.

    A row that is switched on adds currents to bit lines whose voltage the other rows have raised: less, by this factor,
    than M has it, which assumes bit lines at 0 V.
    """
    flat = g.reshape(-1, *g.shape[-2:])
    at_once = max(1, _CELLS_AT_ONCE // flat[0].numel())
    parts = []
    for part in flat.split(at_once):
        layers = Layers.of(part.permute(1, 2, 0)[..., None].contiguous(), mean)
        ones = part.new_ones(part.shape[1], len(part), 1)
        alone = layers.words.driven(ones, part.shape[2])
        w, _ = solved(layers, ones, None, 1e-8, 1000)
        parts.append(((w - layers.bit_nodes(w, None).transpose(0, 1)) / alone)[..., 0].permute(2, 1, 0))
    return torch.cat(parts).reshape(g.shape)
