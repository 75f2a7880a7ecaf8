"""Sums of the conductances on each word line, which the energy of a read is proportional to."""

from __future__ import annotations

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import check_whole
from imc_sim.array._crossbar import Crossbar
from imc_sim.array._programming import age, apply_wires, program_cells


@checked
def line_conductance(crossbar: Crossbar, index: int = 0) -> Tensor:
    """Return the sum of the effective conductances on each word line of one chip, after ageing and wires.

    The cells of reference columns are included. Where pairs of cells are sampled as differences, there are no single
    cells: the mean conductance of each level is summed instead.

    Args:
        crossbar: programmed cells on the native backend.
        index: position of the chip.

    Returns:
        Sums in S, float64 [passes, in, rows]; a single pass where all passes see the same conductances.
    """
    check_whole(index, "line_conductance, index", most=len(crossbar.chips) - 1)
    plan, address = crossbar.plan, crossbar.addresses[index]
    if plan.by_pairs:
        table = plan.chip.device.table(plan.targets.steps).double().mean(-1) * plan.targets.steps
        passes: tuple[Tensor, ...] = (table[plan.cells.long()],)
    elif plan.chip.changes_cells:
        aged = age(plan, program_cells(plan, address), address)
        passes, _ = apply_wires(plan, aged, address, crossbar.driven_rows)
    else:
        passes = (program_cells(plan, address, plan.dtype),)
    cells = plan.cells[..., :1, :1].numel()
    unit = plan.chip.device.window_S / plan.targets.steps
    sums = torch.stack([g.sum((0, 1, 2), dtype=torch.float64) for g in passes])
    return sums * unit + cells * plan.chip.device.g_hrs_S
