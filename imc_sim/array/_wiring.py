"""Cells of a plan as the ends of their wires see them."""

from __future__ import annotations

import torch
from torch import Tensor

from imc_sim.array._circuit import wired_conductance
from imc_sim.array._circuit_gates import approximate_gating
from imc_sim.array._plan import Plan


def wired(plan: Plan, g: Tensor) -> tuple[Tensor, Tensor | None]:
    """Effective cells, shaped as g, and what every conversion gets besides, [row tiles, out x slices x terms].

    g: [outputs, slices, columns, in, rows], float64, in units of window / steps, as the results are. The second
    is None unless rows are switched by the input and an affine function stands for the exact circuit.
    """
    tiles = _tiles(plan, g)
    wires = plan.chip.wires
    if not gated(plan):
        return _cells(plan, wired_conductance(tiles, wires)), None
    found = approximate_gating(tiles, wires, wires.gating, wires.density)
    offset = found.offset / (plan.chip.device.window_S / plan.targets.steps)
    return _cells(plan, found.matrix), _conversions(plan, offset) if bool(offset.any()) else None


def gated(plan: Plan) -> bool:
    """Which rows are on depends on the input: 1T1R cells under a drive that is 0 for some of its values.

    Rows driven in proportion to a real input count as on, whatever it is.
    """
    if plan.chip.wires.cells == "passive" or not plan.encoding.values:
        return False
    return any(
        c0 + c1 * x + c2 * x * x == 0.0
        for drive in plan.encoding.drives
        for c0, c1, c2 in drive
        for x in plan.encoding.values
    )


def _tiles(plan: Plan, g: Tensor) -> Tensor:
    """[tile, tile.rows, columns] in S. What is not in use is open in 1T1R arrays and in HRS in passive ones.

    columns: those of the tile, or as many as are in use where the others cannot matter: open cells at the far end
    of word lines that are driven at the near end alone. A memory of few keys is then as cheap as it is small.
    """
    matrix, p, wires = plan.physical(plan.siemens(g)), plan.placement, plan.chip.wires
    tiles = p.split(matrix)
    if wires.cells == "passive":
        used = p.split(torch.ones_like(matrix)) > 0
        return torch.where(used, tiles, plan.chip.device.g_hrs_S)
    if wires.drive == "double":
        return tiles
    return tiles[..., : max(c.stop - c.start for c in p.column_slices) * p.column_group].contiguous()


def _cells(plan: Plan, tiles: Tensor) -> Tensor:
    return plan.logical(plan.units(plan.placement.join(tiles)))


def _conversions(plan: Plan, offset: Tensor) -> Tensor:
    """Currents of bit lines [tile, tile.cols] -> [row tiles, out x slices x terms] without gain_in."""
    p, (_, slices, columns) = plan.placement, plan.cells.shape[:3]
    by_row = offset.unflatten(0, (len(p.row_slices), len(p.column_slices)))
    widths = [(c.stop - c.start) * p.column_group for c in p.column_slices]
    lines = torch.cat([by_row[:, j, :width] for j, width in enumerate(widths)], dim=1)
    placed = lines.unflatten(1, (-1, slices, columns))
    cells = torch.empty_like(placed).index_copy_(1, plan.order, placed)
    signs = torch.tensor([term.columns for term in plan.encoding.terms], dtype=offset.dtype)
    return torch.einsum("tosc,kc->tosk", cells, signs).flatten(1) / plan.encoding.gain_in
