"""Check conductances that were measured in a laboratory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import chip_numbers
from imc_sim.array._plan import Plan

#: times the largest conductance of the device above which numbers are taken for microsiemens
_FAR = 1e3


def measured_cells(conductance: Any, plan: Plan, chips: int | range | None, where: str) -> dict[int, Tensor]:
    """Return measured conductances in S by the number of the chip, shaped as the cells of the plan.

    Args:
        conductance: see `checked_conductance`.
        plan: the weights, encoded and placed.
        chips: number of chips, or their numbers; None: all that are measured.
        where: source for errors.

    Raises:
        InputError: as `checked_conductance`, or a chip that is not measured.
    """
    found = checked_conductance(conductance, plan, where)
    numbers = chip_numbers(len(found) if chips is None else chips, where)
    if max(numbers) >= len(found):
        step = "Map fewer chips, or measure more."
        raise InputError(f"{where}, chips", f"chip {max(numbers)}", f"0 to {len(found) - 1}, those measured", step)
    return {number: plan.logical(plan.placement.join(found[number])) for number in numbers}


def checked_conductance(conductance: Any, plan: Plan, where: str) -> Tensor:
    """Return measured conductances as float64 [chip, tile, tile.rows, tile.cols] in S.

    Args:
        conductance: array or tensor of these; without a chip axis it is one chip.
        plan: the weights, encoded and placed.
        where: source for errors.

    Raises:
        InputError: another shape or type, values in use that are not finite or negative, or in another unit.
    """
    what, place = f"{where}, conductances", plan.placement
    found = conductance.detach().cpu() if isinstance(conductance, Tensor) else np.asarray(conductance)
    if not (isinstance(found, Tensor) and found.is_floating_point()) and getattr(found.dtype, "kind", "") != "f":
        raise InputError(what, f"type {found.dtype}", "floating-point numbers in S", "Convert them to float64.")
    g = torch.as_tensor(found).double()
    g = g[None] if g.ndim == 3 else g
    shape = (place.tiles, place.tile.rows, place.tile.cols)
    if g.ndim != 4 or tuple(g.shape[1:]) != shape or not len(g):
        step = "Arrange them as Crossbar.conductance does, or map the network with the encoding and tiles of the array."
        raise InputError(what, f"shape {tuple(g.shape)}", f"[chips, {', '.join(map(str, shape))}]", step)
    used = place.join(g)
    bad = int((~torch.isfinite(used)).sum())
    if bad:
        step = "Measure these cells again, or fill in 0 for open ones."
        raise InputError(what, f"{bad} NaN or infinite values in cells in use", "finite numbers in S", step)
    if bool((used < 0).any()):
        step = "Subtract the offset of the measurement, or set them to 0."
        got = f"{int((used < 0).sum())} negative values, down to {float(used.min()):.3g} S"
        raise InputError(what, got, "0 S or more", step)
    largest = plan.chip.device.g_hrs_S + plan.chip.device.window_S
    if float(used.median()) > _FAR * largest:
        got = f"a median of {float(used.median()):.3g} S, where the device has up to {largest:.3g} S"
        raise InputError(what, got, "conductances in S", "Convert them to siemens.")
    return g
