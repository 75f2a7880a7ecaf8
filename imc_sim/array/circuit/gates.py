"""1T1R arrays with wires: which rows are on decides the circuit, so M depends on the input.

A few gate patterns are solved exactly (`gated_conductance`). For all others, named approximations of the exact
currents by one affine function of the gates, and their error measured against the exact circuit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._threads import one_thread
from imc_sim.array.circuit.conductance import gated_conductance, wired_conductance
from imc_sim.array.circuit.inputs import Array, cells, patterns, tensor
from imc_sim.array.circuit.solve import Layers, solved
from imc_sim.array.circuit.wires import Wires

Gating = Literal["all_on", "mean", "tangent"]

#: cells whose inner nodes are solved at once
_CELLS_AT_ONCE = 2**21


@final
@dataclass(frozen=True)
class GatedApproximation:
    """Currents per volt of the read voltage: gates @ matrix + offset, matrix [*, rows, cols] and offset [*, cols] in S.

    offset is 0 but for `tangent`. method, density: what it was made with.
    """

    matrix: Tensor
    offset: Tensor
    method: Gating
    density: float

    def currents(self, gates: Array, v_read_V: float = 1.0) -> Tensor:
        """Currents [*, patterns, cols] in A with the read voltage on the rows that are on; gates [patterns, rows]."""
        on = patterns(gates, self.matrix, "GatedApproximation.currents")
        return (on @ self.matrix + self.offset[..., None, :]) * v_read_V


@final
@dataclass(frozen=True)
class GatingError:
    """Deviation from the exact circuit over patterns and outputs, relative to the exact currents.

    rms: rms of the deviation over rms of the exact currents; max: largest deviation over largest exact current.
    """

    rms: float
    max: float


@torch.no_grad()
@one_thread()
def approximate_gating(G: Array, wires: Wires, method: Gating = "tangent", density: float = 0.5) -> GatedApproximation:
    """Currents of a 1T1R array G [*, rows, cols] as one affine function of which rows are on.

    `all_on`: M with every row on, which loads the bit lines too much. `mean`: every row on with weight `density`,
    the share of rows expected to be on. Scaled by 1 / density, that is the circuit whose bit lines have `density`
    times their resistance, so it costs one M; exact in the drop along word lines and in the mean of the drop along
    bit lines. `tangent`: in addition, the first order of what one row more or less changes, the other rows being on
    with weight `density`: it needs the same voltage on all rows that are on. What is left is of second order in the
    fluctuation of the bit lines' load. Measured on 128 x 128 cells of BNN_I at 1 ohm with random inputs, error of the
    column pairs' differences (rms): at 20 uS LRS all_on 4 %, mean 2 %, tangent 0.4 %; at 250 uS 20, 16 and 2 to 3 %.
    `gating_error` measures it for any case; docs/wires.md shows it for rows on from 10 to 90 %.
    """
    g = cells(G, "approximate_gating")
    if method not in ("all_on", "mean", "tangent"):
        raise InputError("approximate_gating, method", repr(method), "all_on, mean, tangent", "Name one of these.")
    if not 0.0 < density <= 1.0:
        step = "Give the share of rows that are on."
        raise InputError("approximate_gating, density", density, "above 0, at most 1", step)
    mean = wires if method == "all_on" else wires.loaded(density)
    matrix = wired_conductance(g, mean)
    none = matrix.new_zeros(*matrix.shape[:-2], matrix.shape[-1])
    if method != "tangent":
        return GatedApproximation(matrix, none, method, density)
    tangent = matrix * _driven_share(g, mean)
    return GatedApproximation(tangent, density * (matrix - tangent).sum(-2), method, density)


@torch.no_grad()
@one_thread()
def gating_error(
    approximation: GatedApproximation, G: Array, gates: Array, wires: Wires, combine: Array | None = None
) -> GatingError:
    """Error of an approximation of G [*, rows, cols] for gate patterns [patterns, rows], one exact circuit each.

    combine [cols, outputs]: outputs as sums of columns, such as +1 and -1 for a pair; the columns by default.
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
    """Return deviation and exact currents per volt, both [*, patterns, outputs], of what `gating_error` sums up."""
    g = cells(G, "gating_error")
    on = patterns(gates, g, "gating_error")
    exact = (on[:, None] @ gated_conductance(g, on, wires))[..., 0, :]
    found = approximation.currents(on)
    if combine is not None:
        mix = tensor(combine, "gating_error, combine", g.dtype, g.device)
        exact, found = exact @ mix, found @ mix
    return found - exact, exact


def _driven_share(g: Tensor, mean: Wires) -> Tensor:
    """Voltage of each cell [*, rows, cols] with all rows driven, over its voltage with all bit lines at 0 V.

    A row switched on feeds its cells' currents into bit lines that the others have raised: less, by this factor,
    than M says, which raises it from bit lines at 0 V.
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
