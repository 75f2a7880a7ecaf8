"""Effective cells of a plan with wire resistance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim.array._plan import Plan
from imc_sim.array.circuit.conductance import wired_conductance
from imc_sim.array.circuit.driven_rows import Density, DrivenRows, Source, random_gates, switches_rows
from imc_sim.array.circuit.gates import GatedApproximation, GatingError, approximate_gating, gating_deviation

#: tiles of a crossbar on which the error of the approximation is estimated
_TILES = 4


@final
@dataclass(frozen=True)
class GatingEstimate:
    """Report the approximation of circuits whose rows are switched by inputs, and its error.

    Attributes:
        method: as in `approximate_gating`.
        low: smallest share of rows that it takes as on, over rows of tiles and passes.
        high: largest share of rows that it takes as on.
        source: `measured` by calibration, `set` in the chip, a property of the `encoding`, or `assumed`.
        error: error of the ADCs' inputs against the exact circuit, on a few tiles of one chip, for a few inputs of the
            calibration; without a calibration, for random inputs that switch 10 to 90 % of the rows on.
    """

    method: str
    low: float
    high: float
    source: Source
    error: GatingError


def density(plan: Plan, measured: DrivenRows | None) -> Density:
    """Return the shares of driven rows that wires are computed for.

    Args:
        plan: the weights, encoded and placed.
        measured: rows of a calibration; None without.
    """
    return Density.of(plan.encoding, plan.chip.wires, len(plan.placement.row_slices), measured)


def wired(plan: Plan, g: Tensor, measured: DrivenRows | None = None) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Return the effective cells of every pass, shaped as g, and the constant part of conversions.

    A single tensor of cells if all passes see the same. The constants, [row tiles, out x slices x terms], are None
    unless inputs switch rows and an affine function approximates the exact circuit.

    Args:
        plan: the weights, encoded and placed.
        g: cells [outputs, slices, columns, in, rows], float64, in units of window / steps.
        measured: rows of a calibration; None without.
    """
    tiles, wires = _tiles(plan, g), plan.chip.wires
    if not switches_rows(plan.encoding, wires):
        return (_cells(plan, wired_conductance(tiles, wires)),), None
    shares = density(plan, measured).shares
    same = bool((shares == shares[:, :1]).all())
    passes = [_approximated(plan, tiles, column) for column in (shares[:, :1] if same else shares).unbind(1)]
    offsets = torch.stack([found.offset for found in passes]) / (plan.chip.device.window_S / plan.targets.steps)
    constant = _conversions(plan, offsets.expand(shares.shape[1], -1, -1)) if bool(offsets.any()) else None
    return tuple(_cells(plan, found.matrix) for found in passes), constant


def gating_estimate(plan: Plan, g: Tensor, measured: DrivenRows | None) -> GatingEstimate:
    """Return the estimated error of the approximation for cells whose rows are switched.

    Args:
        plan: as in `wired`.
        g: as in `wired`.
        measured: as in `wired`.
    """
    encoding, wires, p = plan.encoding, plan.chip.wires, plan.placement
    used, tiles = density(plan, measured), _tiles(plan, g)
    squares = [torch.zeros(2, dtype=torch.float64)]
    largest = [torch.zeros(2, dtype=torch.float64)]
    for tile in torch.linspace(0, p.tiles - 1, min(_TILES, p.tiles)).round().long().unique().tolist():
        row, rows = tile // len(p.column_slices), p.row_slices[tile // len(p.column_slices)]
        gates = random_gates(encoding, rows.stop - rows.start) if measured is None else measured.gates[row]
        for number, on in enumerate(torch.nn.functional.pad(gates, (0, p.tile.rows - gates.shape[-1]))):
            mix = _mixed(plan, number, tiles.shape[-1])
            if mix.shape[1]:
                found = approximate_gating(tiles[tile], wires, wires.gating, float(used.shares[row, number]))
                both = torch.stack(gating_deviation(found, tiles[tile], on, wires, mix)).flatten(1)
                squares.append(both.square().sum(1))
                largest.append(both.abs().amax(1))
    total, top = torch.stack(squares).sum(0), torch.stack(largest).amax(0)
    rms, worst = (float(part[0] / part[1].clamp_min(1e-300)) for part in (total.sqrt(), top))
    low, high = float(used.shares.min()), float(used.shares.max())
    return GatingEstimate(wires.gating, low, high, used.source, GatingError(rms, worst))


def _approximated(plan: Plan, tiles: Tensor, shares: Tensor) -> GatedApproximation:
    """Approximate all tiles for the share of rows that are on in every row of tiles, [row tiles]."""
    wires = plan.chip.wires
    if bool((shares == shares[0]).all()):
        return approximate_gating(tiles, wires, wires.gating, float(shares[0]))
    each = [
        approximate_gating(part, wires, wires.gating, share)
        for part, share in zip(tiles.chunk(len(shares)), shares.tolist(), strict=True)
    ]
    matrix, offset = (torch.cat(parts) for parts in zip(*((e.matrix, e.offset) for e in each), strict=True))
    return GatedApproximation(matrix, offset, wires.gating, float(shares.mean()))


def _tiles(plan: Plan, g: Tensor) -> Tensor:
    """Return the tiles [tile, tile.rows, columns] in S; unused cells are open in 1T1R arrays, in HRS in passive ones.

    columns: all of the tile, or those in use where the others have no effect: open cells at the far end of word lines
    that are driven at the near end alone. A memory of few keys is then cheap.
    """
    G = plan.siemens(g).clamp_min(0.0)  # rounding may leave a cell of 0 S a little below it
    matrix, p, wires = plan.physical(G), plan.placement, plan.chip.wires
    tiles = p.split(matrix)
    if wires.cells == "passive":
        used = p.split(torch.ones_like(matrix)) > 0
        return torch.where(used, tiles, plan.chip.device.g_hrs_S)
    if wires.drive == "double":
        return tiles
    return tiles[..., : max(c.stop - c.start for c in p.column_slices) * p.column_group].contiguous()


def _cells(plan: Plan, tiles: Tensor) -> Tensor:
    return plan.logical(plan.units(plan.placement.join(tiles)))


def _conversions(plan: Plan, offsets: Tensor) -> Tensor:
    """Return the conversions [row tiles, out x slices x terms] of bit-line currents [pass, tile, tile.cols]."""
    p, (_, slices, columns) = plan.placement, plan.cells.shape[:3]
    by_row = offsets.unflatten(1, (len(p.row_slices), len(p.column_slices)))
    widths = [(c.stop - c.start) * p.column_group for c in p.column_slices]
    lines = torch.cat([by_row[:, :, j, :width] for j, width in enumerate(widths)], dim=-1)
    placed = lines.unflatten(-1, (-1, slices, columns))
    cells = torch.empty_like(placed).index_copy_(2, plan.order, placed)[[term.drive for term in plan.encoding.terms]]
    signs = torch.tensor([term.columns for term in plan.encoding.terms], dtype=offsets.dtype)
    outputs = plan.against_reference(cells.movedim(2, 0))
    return torch.einsum("oktsc,kc->tosk", outputs, signs).flatten(1) / plan.encoding.gain_in


def _mixed(plan: Plan, number: int, lines: int) -> Tensor:
    """Return the sign of every bit line of a tile in the conversions of pass `number`: [lines, conversions]."""
    signs = [term.columns for term in plan.encoding.terms if term.drive == number]
    groups = torch.eye(lines // plan.encoding.columns, dtype=torch.float64)
    whole = torch.einsum("gh,kc->gchk", groups, torch.tensor(signs, dtype=torch.float64)).flatten(2).flatten(0, 1)
    return torch.nn.functional.pad(whole, (0, 0, 0, lines - len(whole)))
