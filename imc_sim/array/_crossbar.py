"""A matrix in programmed cells: the only holder of conductances.

encode -> program -> settle -> wires -> read -> sense, each stage exactly the identity when its effect is off.
For +-1 operands an ideal crossbar equals the digital product to the bit, because contrasts are held on a
grid of 2^-12 of the window: every float32 sum of up to 4,096 windows is then exact, whatever the order, the
batch, the tiling or the number of threads.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import check_seed, chip_numbers
from imc_sim._tensors import real_values
from imc_sim.array._chip import Chip, load_chip
from imc_sim.array._encoding import Contrast, Encoding
from imc_sim.array._gating import DrivenRows, needs_density, switches_rows
from imc_sim.array._integers import Drives
from imc_sim.array._operands import (
    CellNoise,
    Operands,
    Rounding,
    of_contrast,
    on_grid,
    operands,
    packed,
    pair_units_table,
    units_table,
)
from imc_sim.array._placement import Placement
from imc_sim.array._plan import Plan
from imc_sim.array._product import product
from imc_sim.array._sense import Sensing, TileInputs
from imc_sim.array._wiring import GatingEstimate, gating_estimate, wired
from imc_sim.device import Device, check_finite, look_up


@final
class Crossbar:
    """Weights [out, in] programmed onto the tiles of `chips` chips. Build it with `Crossbar.program`."""

    def __init__(
        self, plan: Plan, chips: range, seed: int, layer: str, page: int, unit_inputs: bool,
        device: torch.device | str = "cpu", driven: DrivenRows | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.chips, self.seed, self.layer, self.page = plan, chips, seed, layer, page
        self._unit_inputs, self._device = unit_inputs, torch.device(device)
        self._reads, self.driven_rows = 0, driven
        self.sensing = Sensing(plan, self._program, chips, seed, layer, page)
        if driven is not None or not needs_density(plan.encoding, plan.chip.wires):
            self.sensing.program()
        if unit_inputs or plan.encoding.values:
            self.sensing.input_limit = 1.0

    @classmethod
    def program(
        cls, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
        seed: int = 0, layer: str = "crossbar", page: int = 0, encoding: Encoding | None = None,
        unit_inputs: bool = False, driven: DrivenRows | None = None,
    ) -> Crossbar:  # fmt: skip
        """Program weights [out, in] on `chips` chips (a count, or a range of chip numbers).

        Draws are addressed by (seed, chip number, layer, page, cell): equal arguments give equal cells,
        whatever else is programmed. float64 weights are computed in float64 throughout. unit_inputs: a promise
        that every input is -1 or +1, which makes the variance of read noise a constant. Cells are drawn, aged and
        wired on the CPU, the same everywhere; products are computed on the weights' device, where inputs must be.
        driven: rows that inputs switch on, as `measure_rows` counts them; where wires need them and they are not given,
        cells are programmed when they are first read, for what was measured by then.
        """
        chip, where = load_chip(chip), f"layer {layer!r}"
        check_seed(seed, where)
        numbers = chip_numbers(chips, where)
        weights = real_values(weights, f"{where}, weights")
        plan = Plan.of(weights.cpu(), encoding or chip.encoding, chip, where)
        return cls(plan, numbers, seed, layer, page, unit_inputs, weights.device, driven)

    # -- what it is ------------------------------------------------------------------------------------

    @property
    def chip(self) -> Chip:
        return self.plan.chip

    @property
    def encoding(self) -> Encoding:
        return self.plan.encoding

    @property
    def placement(self) -> Placement:
        return self.plan.placement

    @property
    def plain(self) -> bool:
        """The product is one matrix product: ideal converters and noise-free reads."""
        return self.sensing.operands[0].merged

    @property
    def shape(self) -> tuple[int, int, int]:
        """(chips, out, in)."""
        return len(self.chips), self.plan.outputs, self.placement.inputs

    @property
    def dtype(self) -> torch.dtype:
        return self.plan.dtype

    # -- programming -----------------------------------------------------------------------------------

    def cells(self, index: int) -> Tensor:
        """Programmed and settled g of the chip at position `index`: [out, slices, columns, in, rows], in windows.

        float64, without the wires; reference columns follow after the outputs. Refused where pairs were drawn at once.
        """
        if self.by_pairs:
            step = "Set draws: cells."
            raise InputError(f"layer {self.layer!r}, cells", "pairs drawn at once (draws: pairs)", "single cells", step)
        g = look_up(self.chip.device.table(self.plan.targets.steps), self._draw(index))
        return self._settled(g * self.plan.targets.steps, index) / self.plan.targets.steps

    @property
    def by_pairs(self) -> bool:
        """Column pairs were drawn as differences of their cells: there are no single cells."""
        return self.chip.draws == "pairs" and self.plan.targets.held is None and not self.chip.device.exact

    def pulses(self, index: int) -> Tensor:
        """Programming pulses (int64, shaped as `cells`) of the chip at position `index`, one for each without verify.

        Of the last programming: where cells are refreshed, `device.time.refreshes` others came before it.
        """
        address = (self.seed, self.layer, self.chips[index], self.page)
        return self.chip.device.pulses(self.plan.cells, self.plan.targets.steps, *address)

    @property
    def conductance(self) -> Tensor:
        """[chip, tile, tile.rows, tile.cols] in S, word lines by bit lines; cells not in use are 0 S."""
        steps = self.plan.targets.steps
        matrices = [self.plan.physical(self.plan.siemens(self.cells(c) * steps)) for c in range(len(self.chips))]
        return self.placement.split(torch.stack(matrices))

    def _draw(self, index: int) -> Tensor:
        steps = self.plan.targets.steps
        return self.chip.device.draw(self.plan.cells, steps, self.seed, self.layer, self.chips[index], self.page)

    def _settled(self, g: Tensor, index: int, device: Device | None = None) -> Tensor:
        """What happens between programming and the read; g in units of window / steps, float64."""
        device = device or self.chip.device
        if not device.settles:
            return g
        rows, cols, tile = self.plan.coordinates()
        address = (self.seed, self.layer, self.chips[index], self.page)
        steps = self.plan.targets.steps
        state = device.states(g, self._draw(index), steps) if device.by_state else None
        return device.settle(g, steps, *address, rows=rows, cols=cols, tile=tile, state=state)

    def _program(self) -> list[Operands]:
        alike = self.chip.exact and not self.chip.device.read.telegraph.on  # every chip has traps of its own
        count = 1 if alike else len(self.chips)
        first = self._operands(0)
        if count == 1:
            return [first] * len(self.chips)
        if first.square is not None:
            return [first, *(self._operands(c) for c in range(1, count))]
        # One allocation for all chips: as many small ones would fragment the heap by half their size again.
        memory = first.linear[0].new_empty(count, sum(tile.numel() for tile in first.linear))
        rest = (self._operands(c) for c in range(1, count))
        return [packed(o, memory[c]) for c, o in enumerate(itertools.chain([first], rest))]

    def _operands(self, index: int) -> Operands:
        """The operands of one chip, where it computes."""
        return self._drawn(index).to(self._device)

    def rounding(self, index: int = 0) -> Rounding:
        """How far what products are computed with is from the conductances of the chip at position `index`."""
        doubled = dataclasses.replace(self.plan.targets, weights=self.plan.targets.weights.double())
        exact = self._drawn(index, dataclasses.replace(self.plan, targets=doubled))
        return Rounding.of(self.sensing.operands[index].to(torch.device("cpu")), exact, self.plan)

    def _drawn(self, index: int, plan: Plan | None = None) -> Operands:
        """Draw, settle, wire: the operands of one chip, of this plan or of the same in another type."""
        device, plan = self.chip.device, plan or self.plan
        steps = plan.targets.steps
        if not (device.settles or self.chip.wired):
            address = (self.seed, self.layer, self.chips[index], self.page)
            if self.by_pairs:
                law = pair_units_table(device, steps, plan.dtype)  # type: ignore[arg-type]  # hashable
                drawn, largest = device.pairs(law, plan.targets.weights, *address)
                return of_contrast(plan, Contrast(drawn[:, None], None, None, largest=largest))
            table = self._table(plan.dtype)
            if plan.targets.held is None and not device.read.noisy:
                found = device.differences(table, plan.targets.weights, *address)
                if found is not None:
                    return of_contrast(plan, Contrast(found[0][:, None], None, None, largest=found[1]))
            g = device.sample(table, plan.cells, steps, *address)
            return operands(plan, (g,), self._noise(g, g, index), self._unit_inputs)
        fresh = look_up(self._table(torch.float64), self._draw(index))
        aged = self._settled(fresh, index)
        factor = 1.0
        if device.time.compensation:
            before = self._settled(device.held(fresh, steps), index, device.at_start)
            factor = device.compensation(before, aged, steps)
        seen, offset = self._wired(aged)
        g = tuple(on_grid(cells, plan.dtype) for cells in seen)
        mean = seen[0] if len(seen) == 1 else torch.stack(seen).mean(0)
        return operands(plan, g, self._noise(mean, device.held(fresh, steps), index), self._unit_inputs, factor, offset)

    def _table(self, dtype: torch.dtype) -> Tensor:
        return units_table(self.chip.device, self.plan.targets.steps, dtype)  # type: ignore[arg-type]  # hashable

    def _noise(self, g: Tensor, programmed: Tensor, index: int) -> CellNoise | None:
        """Noise of each cell from read to read, in units of window / steps; None for quiet reads."""
        device, plan = self.chip.device, self.plan
        if not device.read.noisy:
            return None
        unit = device.window_S / plan.targets.steps
        siemens, before, step = plan.siemens(g.double()).clamp_min(0.0), plan.siemens(programmed.double()), None
        if device.read.telegraph.on:
            step = device.traps(tuple(g.shape), self.seed, self.layer, self.chips[index]) * siemens / unit
        driven = device.read.driven_variance(siemens, device.time.age_s, before)
        thermal = device.read.thermal_variance(siemens, device.temperature_K)
        driven, thermal = (None if v is None else v / unit**2 for v in (driven, thermal))
        for variance in (driven, thermal, step):
            if variance is not None:
                self._check(variance, "device.read", "Reduce the noise of device.read, or raise v_read_V.")
        return CellNoise(driven, thermal, step, device.read.telegraph.occupancy)

    def _wired(self, g: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Cells of each pass as the ends of their lines see them, and the constant part of conversions; see `wired`."""
        if not self.chip.wired:
            return (g,), None
        passes, offset = wired(self.plan, g, self.driven_rows)
        for seen in passes:
            self._check(seen, "wires", "Reduce the resistances of wires.")
        return passes, offset

    def _check(self, values: Tensor, effect: str, step: str) -> None:
        """Raise InputError where a value of a cell, [*, out, slices, columns, in, rows], is not finite."""
        if not math.isfinite(float(values.sum())):
            check_finite(values, effect, step, self.layer, self.plan.coordinates()[2])

    # -- reading ---------------------------------------------------------------------------------------

    def mvm(self, x: Tensor) -> Tensor:
        """Products of x [batch, in], or [chip, batch, in], with the stored weights: [chip, batch, out].

        Every call reads anew: with read noise, successive calls differ, and one call for 20 vectors equals
        two calls for 10 each.
        """
        x = self._checked_input(x)
        drives = (
            self.drives(x.shape[0], lambda squares: Drives.of_rows(self.present(x), squares)) if x.ndim == 2 else None
        )
        if drives is None and self.plain and x.ndim == 2 and len(self.chips) > 1:
            x = self.present(x)
            y = product(x, torch.cat([o.linear[0] for o in self.sensing.operands])).unflatten(1, (len(self.chips), -1))
            return torch.stack([self.finish(y[:, c], c) for c in range(len(self.chips))])
        first = self.take_reads(x.shape[-2])
        each = [self._product(c, x if x.ndim == 2 else x[c], first, drives) for c in range(len(self.chips))]
        return each[0][None] if len(each) == 1 else torch.stack(each)

    def present(self, x: Tensor) -> Tensor:
        """Inputs as word-line drives: quantised by the DAC, bent by the I-V curve; the same object with neither on."""
        return self.sensing.present(x)

    def product(self, index: int, x: Tensor, first_read: int) -> Tensor:
        """Product of x [batch, in] on the chip at position `index`: [batch, out]."""
        return self._product(index, x, first_read, None)

    def _product(self, index: int, x: Tensor, first_read: int, drives: Drives | None) -> Tensor:
        x = self.present(x)
        drives = drives or self.drives(x.shape[0], functools.partial(Drives.of_rows, x))
        y = None if drives is None else self.sensing.sense_at_once(index, drives, first_read, 1)
        if y is not None:
            return y
        if self.plain:
            return self.finish(product(x, self.contrast(index)), index)
        return self.sensing.sense(index, lambda t: x[:, t], first_read, per_read=1)

    def take_reads(self, count: int) -> int:
        """Number of the first of `count` successive reads; advances the counter."""
        first, self._reads = self._reads, self._reads + count
        return first

    def contrast(self, index: int) -> Tensor:
        """[out, in] of a `plain` crossbar: the product of presented inputs before `finish`."""
        return self.sensing.operands[index].linear[0]

    def finish(self, y: Tensor, index: int) -> Tensor:
        """Digital end of a `plain` product y [*, out]: the imbalance of the cells, compensation, scales."""
        return self.sensing.finish(y, index)

    def drives(self, vectors: int, make: Callable[[bool], Drives | None]) -> Drives | None:
        """Presented inputs as the compiled kernel takes them; None where the product is to go tile by tile.

        make(squares): the drives of that many vectors, with the squares of inputs or without.
        """
        if not self.sensing.in_one_pass(vectors):
            return None
        return make(self.sensing.operands[0].square is not None)

    def sense_at_once(self, index: int, drives: Drives, first_read: int, per_read: int) -> Tensor | None:
        """Products of these drives on the chip at position `index`: [vectors, out]; see `Sensing.sense_at_once`."""
        return self.sensing.sense_at_once(index, drives, first_read, per_read)

    def sense(self, index: int, inputs: TileInputs, first_read: int, per_read: int) -> Tensor:
        """Presented inputs through every tile and converter; see `Sensing.sense`."""
        return self.sensing.sense(index, inputs, first_read, per_read)

    def currents(self, x: Tensor) -> Tensor:
        """Currents [chip, tile row, batch, out x slices x terms] in A at the converters for x [batch, in].

        Column pairs give their difference; word lines carry x (or its encoded drive) times the read voltage.
        Analog corrections (multiples of the HRS current) are left out.
        """
        x = self.present(self._checked_input(x)).cpu()
        return torch.stack([self._currents(c, x if x.ndim == 2 else x[c]) for c in range(len(self.chips))])

    def _currents(self, index: int, x: Tensor) -> Tensor:
        plan, device = self.plan, self.chip.device
        seen, offset = self._wired(self.cells(index) * plan.targets.steps)
        floor = 0.0 if plan.encoding.referenced else plan.floor
        g = [plan.against_reference(cells) for cells in seen]
        c = plan.encoding.contrast(g[0] if len(g) == 1 else g, floor, reference=0.0)
        x, tiles = x.double(), []
        for t, rows in enumerate(plan.placement.row_slices):
            u = x[:, rows] @ c.linear.flatten(0, 1)[:, rows].mT
            if c.square is not None:
                u = u + x[:, rows].square() @ c.square.flatten(0, 1)[:, rows].mT
            if c.constant is not None:
                u = u + c.constant.flatten(0, 1)[:, rows].sum(-1)
            tiles.append(u if offset is None else u + offset[t])
        unit = device.read.v_read_V * device.window_S / plan.targets.steps * plan.encoding.gain_in
        return torch.stack(tiles) * unit

    # -- ranges ----------------------------------------------------------------------------------------

    @property
    def limits(self) -> tuple[float, float] | None:
        """Calibrated limits of the converters' inputs in windows, or None."""
        return self.sensing.limits

    def set_limits(self, low: float, high: float) -> None:
        """Limits of the converters' inputs in windows, as `profile` measures them."""
        if not high > low:
            step = "Calibrate with inputs that differ."
            raise InputError(f"layer {self.layer!r}, converter limits", f"[{low:g}, {high:g}]", "low < high", step)
        self.sensing.limits = (low, high)

    def set_input_limit(self, limit: float) -> None:
        """Largest magnitude of an input, which the DAC's largest code stands for."""
        if not limit > 0:
            step = "Calibrate with inputs that are not all zero."
            raise InputError(f"layer {self.layer!r}, input limit", f"{limit:g}", "above 0", step)
        self.sensing.input_limit = limit

    def measure_rows(self, inputs: TileInputs) -> DrivenRows | None:
        """Count the rows that these vectors switch on; None where wires do not depend on it. See `set_driven_rows`."""
        return DrivenRows.of(self.encoding, self.chip.wires, self.placement, inputs)

    def set_driven_rows(self, driven: DrivenRows | None) -> None:
        """Let the wires of the same cells stand for inputs that switch as many rows on as were measured."""
        self.driven_rows = driven
        if needs_density(self.encoding, self.chip.wires):
            self.sensing.forget()

    def gating(self, index: int = 0) -> GatingEstimate | None:
        """Estimate what the stand-in for switched rows misses on the chip at position `index`; None without any."""
        if not switches_rows(self.encoding, self.chip.wires):
            return None
        return gating_estimate(self.plan, self.cells(index) * self.plan.targets.steps, self.driven_rows)

    def profile(self, inputs: TileInputs) -> tuple[float, float]:
        """Smallest and largest converter input over these presented vectors, first chip, in windows."""
        return self.sensing.profile(inputs)

    def _checked_input(self, x: Tensor) -> Tensor:
        """Real, finite inputs of a shape and of values that the word lines take."""
        x = real_values(x, f"layer {self.layer!r}, input")
        chips, _, inputs = self.shape
        if x.shape[-1] != inputs or x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[0] != chips):
            allowed = f"[batch, {inputs}] or [{chips}, batch, {inputs}]"
            raise InputError(f"layer {self.layer!r}, input", f"shape {tuple(x.shape)}", allowed, "Reshape the input.")
        self.encoding.check_inputs(x, f"layer {self.layer!r}")
        return x
