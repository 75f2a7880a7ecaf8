"""From a plan to the programmed weights of a chip: program -> age -> wires -> read noise."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._memory import check_memory
from imc_sim._rng import Address
from imc_sim.array._plan import Plan
from imc_sim.array._programmed_weights import (
    CellNoise,
    ProgrammedWeights,
    of_coefficients,
    of_differences,
    on_grid,
    operand_bytes,
    packed,
    pair_units_table,
    programmed_weights,
    units_table,
    whole_table,
)
from imc_sim.array._whole_tiles import WholeTiles
from imc_sim.array.circuit.driven_rows import DrivenRows
from imc_sim.array.circuit.tiles import wired
from imc_sim.array.encoding.base import Coefficients
from imc_sim.device import Device, check_finite

#: weights on all chips below which their memory is not estimated
_SMALL = 10**8


def _check_size(plan: Plan, addresses: Sequence[Address], unit_inputs: bool) -> None:
    """Raise InputError if the programmed weights of all chips would take a multiple of the memory of this machine."""
    count, outputs, inputs = len(addresses), plan.outputs, plan.placement.inputs
    if plan.cells_are_ideal or count * outputs * inputs < _SMALL:
        return
    where = f"layer {addresses[0].layer!r}"
    each = operand_bytes(outputs, inputs, plan.encoding, plan.chip, unit_inputs, where)
    step = "Take fewer chips at a time: results depend on their numbers alone."
    check_memory(count * each, f"{where}, {count:,} chips", step)


def program_chip(
    plan: Plan, address: Address, driven: DrivenRows | None = None, unit_inputs: bool = False
) -> ProgrammedWeights:
    """Return the programmed weights of one chip; the plan holds the weights, encoded and placed on tiles.

    driven: rows that inputs switch on. unit_inputs: every input is -1 or +1. Both as in `Crossbar.program`.
    """
    if not needs_cells(plan):  # no effect below acts
        whole = None if plan.by_pairs else program_differences(plan, address)
        if whole is not None:
            return of_differences(plan, *whole)
        if plan.by_pairs:
            return of_coefficients(plan, program_pairs(plan, address))
    cells = program_cells(plan, address, torch.float64 if plan.chip.changes_cells else plan.dtype)
    aged = age(plan, cells, address)
    passes, offset = apply_wires(plan, aged, address, driven)
    noise = read_noise(plan, cells, passes, address)
    factor = drift_compensation(plan, cells, aged, address)
    return programmed_weights(plan, passes, noise, unit_inputs, factor, offset)


def program_chips(
    plan: Plan, addresses: Sequence[Address], driven: DrivenRows | None, unit_inputs: bool, device: torch.device
) -> list[ProgrammedWeights]:
    """Return the programmed weights of each chip on a torch device; chips without effects share one object."""
    _check_size(plan, addresses, unit_inputs)
    one = functools.partial(program_chip, plan, driven=driven, unit_inputs=unit_inputs)
    first = one(addresses[0]).to(device)
    equal = plan.cells_are_ideal and plan.chip.device.read.telegraph.is_ideal  # traps differ from chip to chip
    if equal or len(addresses) == 1:
        return [first] * len(addresses)
    rest = (one(address).to(device) for address in addresses[1:])
    if first.square is not None or isinstance(first.linear, WholeTiles):
        return [first, *rest]
    # One allocation for all chips: many small ones would fragment the heap by half their size.
    memory = first.linear[0].new_empty(len(addresses), sum(tile.numel() for tile in first.linear))
    return [packed(o, memory[c]) for c, o in enumerate(itertools.chain([first], rest))]


# -- stages --------------------------------------------------------------------------------------------


def needs_cells(plan: Plan) -> bool:
    """Tell whether effects act on single cells, or cells are not column pairs; they are programmed one by one."""
    measured = plan.measured is not None or plan.deviations is not None
    noisy = plan.chip.device.read.noisy
    return measured or plan.chip.changes_cells or plan.targets.held is not None or noisy


def program_pairs(plan: Plan, address: Address) -> Coefficients:
    """Sample the differential conductance of column pairs, one sample per pair."""
    device = plan.chip.device
    law = pair_units_table(device, plan.targets.steps, plan.dtype)  # type: ignore[arg-type]  # hashable
    found, largest = device.pairs(law, plan.targets.weights, *address)
    return Coefficients(found[:, None], None, None, largest=largest)


def program_differences(plan: Plan, address: Address) -> tuple[NDArray[Any], int] | None:
    """Sample both cells of column pairs in one pass; None where `program_cells` samples them.

    Return the differential conductances [out, in] in whole multiples of `RESOLUTION`, and their largest magnitude.
    """
    device, steps = plan.chip.device, plan.targets.steps
    table = None if plan.dtype == torch.float64 else whole_table(device, steps)  # type: ignore[arg-type]  # hashable
    return None if table is None else device.differences(table, plan.targets.weights, *address)


def program_cells(plan: Plan, address: Address, dtype: torch.dtype = torch.float64) -> Tensor:
    """Sample the programmed cells: [outputs, slices, columns, in, rows], in units of window / steps.

    Measured cells are returned instead where there are some, or targets with measured deviations.
    """
    if plan.measured is not None:
        return on_grid(plan.units(plan.measured[address.chip]), dtype)
    device, steps = plan.chip.device, plan.targets.steps
    if plan.deviations is not None:
        g = device.places(plan.cells, steps) * steps + plan.deviations[address.chip]
        return on_grid(g if device.time.relaxes else g.clamp_min(-plan.floor), dtype)
    return device.sample(_table(plan, dtype), plan.cells, steps, *address)


def age(plan: Plan, cells: Tensor, address: Address, device: Device | None = None) -> Tensor:
    """Return programmed cells (float64) aged until they are read; the same object if nothing acts.

    device: device instead of the chip's own, such as the device at the start of its life.
    """
    device = device or plan.chip.device
    if not device.ages:
        return cells
    rows, cols, tile = plan.coordinates()
    steps = plan.targets.steps
    state = device.states(cells, device.held(plan.cells, steps, *address), steps) if device.by_state else None
    return device.age(cells, steps, *address, rows=rows, cols=cols, tile=tile, state=state)


def count_pulses(plan: Plan, address: Address) -> int:
    """Return the programming pulses of all cells of one chip until they are read, those of every refresh included.

    A refresh takes as many pulses of a cell as its last programming. One of read disturb rewrites the cells programmed
    to LRS alone.

    Args:
        plan: the cells.
        address: of the random numbers of the chip.
    """
    device, steps = plan.chip.device, plan.targets.steps
    pulses = device.pulses(plan.cells, steps, *address)
    count = int(pulses.sum()) * (1 + device.time.refreshes)
    if device.disturb.is_ideal:
        return count
    return count + device.wear.rewritten(int(pulses[device.places(plan.cells, steps) >= 0.5].sum()))


def drift_compensation(plan: Plan, cells: Tensor, aged: Tensor, address: Address) -> float:
    """Return the factor that compensates the mean drift of the crossbar; 1 without compensation."""
    device, steps = plan.chip.device, plan.targets.steps
    if not device.time.compensation:
        return 1.0
    return device.compensation(age(plan, device.clipped(cells, steps), address, device.at_start), aged, steps)


def apply_wires(
    plan: Plan, cells: Tensor, address: Address, driven: DrivenRows | None
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Return the effective cells of each pass, and the constant part of conversions, as `wired` does.

    Without wire resistance: the cells, the same in all passes.
    """
    if plan.chip.wires.is_ideal:
        return (cells,), None
    passes, offset = wired(plan, cells, driven)
    for seen in passes:
        _check(plan, seen, "wires", "Reduce the resistances of wires.", address)
    return passes, offset


def read_noise(plan: Plan, cells: Tensor, passes: tuple[Tensor, ...], address: Address) -> CellNoise | None:
    """Return the read noise of each cell in units of window / steps; None for reads without noise.

    cells: as programmed, before ageing. passes: as `apply_wires` returns them.
    """
    device, steps = plan.chip.device, plan.targets.steps
    if not device.read.noisy:
        return None
    g = passes[0] if len(passes) == 1 else torch.stack(passes).mean(0)
    unit, step = device.window_S / steps, None
    siemens, before = plan.siemens(g.double()).clamp_min(0.0), plan.siemens(device.clipped(cells, steps).double())
    if not device.read.telegraph.is_ideal:
        step = device.traps(tuple(g.shape), *address[:3]) * siemens / unit
    driven = device.read.driven_variance(siemens, device.time.age_s, before)
    thermal = device.read.thermal_variance(siemens, device.temperature_K)
    driven, thermal = (None if v is None else v / unit**2 for v in (driven, thermal))
    for variance in (driven, thermal, step):
        if variance is not None:
            _check(plan, variance, "device.read", "Reduce the noise of device.read, or raise v_read_V.", address)
    return CellNoise(driven, thermal, step, device.read.telegraph.occupancy)


def _table(plan: Plan, dtype: torch.dtype) -> Tensor:
    return units_table(plan.chip.device, plan.targets.steps, dtype)  # type: ignore[arg-type]  # hashable


def _check(plan: Plan, values: Tensor, effect: str, step: str, address: Address) -> None:
    """Raise InputError where a value of a cell, [*, out, slices, columns, in, rows], is not finite."""
    if not math.isfinite(float(values.sum())):
        check_finite(values, effect, step, address.layer, plan.coordinates()[2])
