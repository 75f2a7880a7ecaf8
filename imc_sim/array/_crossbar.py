"""A matrix in programmed cells.

encode -> place -> program -> age -> wires -> readout. A stage without its effect changes nothing, to the bit.
For weights and inputs of +-1 an ideal crossbar equals the digital product to the bit, because differential conductances
are whole multiples of 2^-12 of the window: float32 sums of up to 4,096 windows are exact in any order and tiling.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._rng import Address, check_address, check_seed, chip_numbers
from imc_sim._tensors import real_values
from imc_sim.array._chip import Chip, load_chip
from imc_sim.array._compiled._readout import CompiledReadout
from imc_sim.array._map_cells import MapCells
from imc_sim.array._measured import measured_cells
from imc_sim.array._plan import Plan
from imc_sim.array._programmed_weights import Rounding
from imc_sim.array._programming import age, apply_wires, program_cells, program_chip, program_chips
from imc_sim.array._ranges import Ranges, WordLines
from imc_sim.array._readout import IdealReadout, Readout, stacked
from imc_sim.array._tiled_readout import TiledReadout
from imc_sim.array._vectors import InputVectors, Rows, TileInputs
from imc_sim.array.circuit.driven_rows import DrivenRows, needs_density, switches_rows
from imc_sim.array.circuit.tiles import GatingEstimate, gating_estimate
from imc_sim.array.encoding.base import Encoding


@final
class Crossbar:
    """Hold weights [out, in] in the cells of one or more chips. Build it with `Crossbar.program`.

    Args:
        plan: the weights, encoded and placed.
        chips: numbers of the chips.
        address: seed, layer and programming epoch of all random numbers.
        unit_inputs: as of `program`.
        device: torch device of the products.
        driven: as of `program`.
    """

    def __init__(
        self, plan: Plan, chips: range, address: Address, unit_inputs: bool, device: torch.device,
        driven: DrivenRows | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.chips, self.layer = plan, chips, address.layer
        seed, layer, _, epoch = address
        self.addresses = [Address(seed, layer, number, epoch) for number in chips]  # a million in a second
        self.chip, self.encoding, self.placement = plan.chip, plan.encoding, plan.placement
        self.driven_rows = driven
        self._unit_inputs, self._device, self._reads = unit_inputs, device, 0
        self.ranges = Ranges(input_limit=1.0 if unit_inputs or plan.encoding.values else None)
        self.lines = WordLines(plan, self.ranges, self.layer)
        if driven is not None or not needs_density(plan.encoding, plan.chip.wires):
            _ = self.readout

    @classmethod
    @checked
    def program(
        cls, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
        seed: int = 0, layer: str = "crossbar", epoch: int = 0, encoding: Encoding | None = None,
        unit_inputs: bool = False, driven: DrivenRows | None = None, cells: MapCells | None = None,
        signs: bool = False,
    ) -> Crossbar:  # fmt: skip
        """Program weights into the cells of one or more chips.

        Random numbers are addressed by (seed, layer, chip number, epoch, cell): equal arguments give equal cells,
        whatever else is programmed. Cells are always computed on the CPU, products on the device of the weights, where
        inputs must be.

        Args:
            weights: [out, in]. float64 weights are computed in float64 throughout.
            chip: the chip, or its name, path or mapping.
            chips: number of chips, or the range of their numbers.
            seed: seed of all random numbers.
            layer: name that addresses the random numbers and appears in errors.
            epoch: programming epoch, the number of a (re)programming of the same cells.
            encoding: encoding instead of the chip's own.
            unit_inputs: a promise that every input is -1 or +1, which makes the variance of read noise a constant.
            driven: rows that inputs switch on, as `measure_rows` counts them. Where wires need them and they are not
                given, cells are programmed at the first read, for the rows measured by then.
            cells: places of several layers on one measured map (`programming.use: cells`); None: this one alone.
            signs: a promise that every weight is -1 or +1, which is then not checked.

        Returns:
            The crossbar, its cells programmed.

        Raises:
            InputError: for weights, chips or a seed that cannot be used, or cells that overflow.
        """
        chip, where = load_chip(chip), f"layer {layer!r}"
        check_address(seed, epoch, where)
        numbers = chip_numbers(chips, where)
        weights = weights if signs else real_values(weights, f"{where}, weights")
        plan = Plan.of(weights.cpu(), encoding or chip.encoding, chip, where, signs)  # encode -> place
        address = Address(seed, layer, numbers[0], epoch)
        plan = (cells or MapCells()).applied(plan, address, numbers)
        return cls(plan, numbers, address, unit_inputs, weights.device, driven)

    @classmethod
    @checked
    def from_conductance(
        cls, conductance: Any, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object],
        chips: int | range | None = None, seed: int = 0, layer: str = "crossbar", encoding: Encoding | None = None,
        unit_inputs: bool = False, driven: DrivenRows | None = None,
    ) -> Crossbar:  # fmt: skip
        """Hold weights in cells whose conductances were measured after programming.

        Programming is that of the measurement. What follows is simulated: ageing, wires, read noise, ADCs.

        Args:
            conductance: in S, an array or tensor [chip, tile, tile.rows, tile.cols] as `conductance` returns them.
                Cells not in use are ignored.
            weights: [out, in] that were programmed.
            chip: the chip, or its name, path or mapping.
            chips: numbers of the chips, which index the measured ones; None: all.
            seed, layer, encoding, unit_inputs, driven: as of `program`.

        Returns:
            The crossbar.

        Raises:
            InputError: conductances of another shape, that are not finite, negative, or not in S; and as `program`.
        """
        chip, where = load_chip(chip), f"layer {layer!r}"
        check_seed(seed, where)
        weights = real_values(weights, f"{where}, weights")
        plan = Plan.of(weights.cpu(), encoding or chip.encoding, chip, where)
        measured = measured_cells(conductance, plan, chips, where)
        numbers, plan = range(min(measured), max(measured) + 1), dataclasses.replace(plan, measured=measured)
        return cls(plan, numbers, Address(seed, layer, numbers[0], 0), unit_inputs, weights.device, driven)

    @functools.cached_property
    def readout(self) -> Readout:
        """Program the cells of every chip, once, and choose their readout: ideal where one matrix holds everything."""
        weights = program_chips(self.plan, self.addresses, self.driven_rows, self._unit_inputs, self._device)
        kind = IdealReadout if weights[0].merged else TiledReadout
        reference = kind(self.plan, weights, self.addresses, self.ranges, self.lines)
        return CompiledReadout(reference) if CompiledReadout.serves(reference) else reference

    @property
    def ideal(self) -> IdealReadout:
        """Return the readout by one matrix product; raise InputError where ADCs, noise or the encoding prevent it."""
        reference = self.readout.reference
        if isinstance(reference, IdealReadout):
            return reference
        step = "Set converter.kind: ideal and no read noise, and use an encoding with one product."
        raise InputError(f"layer {self.layer!r}, readout", "sums tile by tile", "one matrix product", step)

    @property
    def tiled(self) -> TiledReadout:
        """Return the readout tile by tile; raise InputError where there is neither an ADC nor read noise."""
        reference = self.readout.reference
        if isinstance(reference, TiledReadout):
            return reference
        step = "Set a converter.kind that is not ideal."
        raise InputError(f"layer {self.layer!r}, readout", "one matrix product", "sums tile by tile", step)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (chips, out, in)."""
        return len(self.chips), self.plan.outputs, self.placement.inputs

    def cells(self, index: int) -> Tensor:
        """Return the programmed and aged conductances of one chip's cells, without wires.

        Args:
            index: position of the chip.

        Returns:
            g in windows, float64 [out, slices, columns, in, rows]; reference columns follow after the outputs.

        Raises:
            InputError: where pairs of cells are sampled as differences (`draws: pairs`).
        """
        if self.plan.by_pairs:
            step = "Set draws: cells."
            raise InputError(f"layer {self.layer!r}, cells", "differences (draws: pairs)", "single cells", step)
        address = self.addresses[index]
        return age(self.plan, program_cells(self.plan, address), address) / self.plan.targets.steps

    def pulses(self, index: int) -> Tensor:
        """Return the pulses of the last programming of each of one chip's cells: 1 without verify.

        Where cells are refreshed, `device.time.refreshes` programmings precede it.

        Args:
            index: position of the chip.

        Returns:
            int64, shaped as `cells`.
        """
        return self.chip.device.pulses(self.plan.cells, self.plan.targets.steps, *self.addresses[index])

    @property
    def conductance(self) -> Tensor:
        """Return the conductances in S [chip, tile, tile.rows, tile.cols]; cells not in use are 0 S."""
        if self.plan.measured is not None and not self.chip.device.ages:
            return self.programmed
        steps = self.plan.targets.steps
        matrices = [self.plan.physical(self.plan.siemens(self.cells(c) * steps)) for c in range(len(self.chips))]
        return self.placement.split(torch.stack(matrices))

    @property
    def programmed(self) -> Tensor:
        """Return the conductances after programming, before ageing, in S [chip, tile, tile.rows, tile.cols].

        Cells not in use are 0 S.
        """
        plan = self.plan
        if plan.measured is None:
            _ = self.cells(0)  # raises where there are no single cells
            cells = [plan.siemens(program_cells(plan, address)) for address in self.addresses]
        else:
            cells = [plan.measured[number] for number in self.chips]
        return plan.placement.split(torch.stack([plan.physical(g.clamp_min(0.0)) for g in cells]))

    @property
    def targets(self) -> Tensor:
        """Return the conductances that programming aims at, in S [tile, tile.rows, tile.cols]."""
        ideal = dataclasses.replace(self.plan, chip=self.chip.without_effects(), measured=None, deviations=None)
        return ideal.placement.split(ideal.physical(ideal.siemens(program_cells(ideal, self.addresses[0]))))

    def rounding(self, index: int = 0) -> Rounding:
        """Return how far the programmed weights of one chip are from its conductances.

        Args:
            index: position of the chip.
        """
        check_whole(index, "Crossbar.rounding, index", most=len(self.chips) - 1)
        doubled = dataclasses.replace(self.plan.targets, weights=self.plan.targets.weights.double())
        plan = dataclasses.replace(self.plan, targets=doubled)
        exact = program_chip(plan, self.addresses[index], self.driven_rows, self._unit_inputs)
        return Rounding.of(self.readout.weights[index].to(torch.device("cpu")), exact, self.plan)

    def mvm(self, x: Tensor) -> Tensor:
        """Return the products of x with the stored weights.

        Every call is a new read: with read noise, successive calls differ, and one call for 20 vectors equals two calls
        for 10 each.

        Args:
            x: [batch, in], the same for all chips, or [chip, batch, in].

        Returns:
            [chip, batch, out].

        Raises:
            InputError: for inputs of another shape or of values that the encoding does not take, and where the DAC or
                the ADC is not calibrated.
        """
        x = self._checked_input(x)
        if x.ndim == 2:
            return self.read_all(Rows(x))
        first = self.take_reads(x.shape[-2])
        return stacked([self.read(c, Rows(x[c]), first) for c in range(len(self.chips))])

    def read_all(self, inputs: InputVectors) -> Tensor:
        """Return the products [chip, *inputs.shape, out] of new reads on all chips, without a check of the inputs.

        Args:
            inputs: input vectors.
        """
        return self.readout.read_all(inputs.replaced(self.lines.voltages(inputs.values)), self.take_reads(inputs.reads))

    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the products [*inputs.shape, out] on one chip, without a check of the inputs.

        Args:
            index: position of the chip.
            inputs: input vectors.
            first_read: number of the first of `inputs.reads` reads, which addresses the read noise; see `take_reads`.
        """
        return self.readout.read(index, inputs.replaced(self.lines.voltages(inputs.values)), first_read)

    def take_reads(self, count: int) -> int:
        """Return the number of the first of the next reads, and count them.

        Args:
            count: number of reads.
        """
        first, self._reads = self._reads, self._reads + count
        return first

    def currents(self, x: Tensor) -> Tensor:
        """Return the currents at the ADCs: of column pairs the difference.

        Word lines are at x (or its encoded voltage) times the read voltage. Analog corrections, multiples of the HRS
        current, are left out.

        Args:
            x: [batch, in], or [chip, batch, in].

        Returns:
            [chip, tile row, batch, out x slices x terms] in A.
        """
        x = self.lines.voltages(self._checked_input(x)).cpu()
        return torch.stack([self._currents(c, x if x.ndim == 2 else x[c]) for c in range(len(self.chips))])

    def _currents(self, index: int, x: Tensor) -> Tensor:
        """Return the currents of one chip in A for voltages x [batch, in]: [tile row, batch, conversions]."""
        plan, device = self.plan, self.chip.device
        cells = self.cells(index) * plan.targets.steps
        seen, offset = apply_wires(plan, cells, self.addresses[index], self.driven_rows)
        floor = 0.0 if plan.encoding.referenced else plan.floor
        g = [plan.against_reference(cells) for cells in seen]
        c = plan.encoding.coefficients(g[0] if len(g) == 1 else g, floor, reference=0.0)
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

    @checked
    def set_limits(self, low: float, high: float) -> None:
        """Set the range of the ADCs.

        Args:
            low: lower limit of their inputs in windows, as `TiledReadout.profile` measures it.
            high: upper limit.

        Raises:
            InputError: if the range is empty.
        """
        if not float("-inf") < low < high < float("inf"):
            step = "Calibrate with inputs that differ."
            raise InputError(f"layer {self.layer!r}, ADC limits", f"[{low:g}, {high:g}]", "finite low < high", step)
        self.ranges.limits = (low, high)

    @checked
    def set_input_limit(self, limit: float) -> None:
        """Set the range of the DACs.

        Args:
            limit: magnitude of the largest input, which gets the largest code.

        Raises:
            InputError: if it is not above 0.
        """
        if not 0 < limit < float("inf"):
            step = "Calibrate with inputs that are not all zero."
            raise InputError(f"layer {self.layer!r}, input limit", f"{limit:g}", "a finite number above 0", step)
        self.ranges.input_limit = limit

    def measure_rows(self, inputs: TileInputs) -> DrivenRows | None:
        """Return the rows that input vectors switch on, for `set_driven_rows`; None where wires do not depend on them.

        Args:
            inputs: slice of the inputs -> their entries [vectors, inputs of the slice].
        """
        return DrivenRows.of(self.encoding, self.chip.wires, self.placement, inputs)

    def set_driven_rows(self, driven: DrivenRows | None) -> None:
        """Compute the wires of the same cells again, for inputs that switch as many rows on as were measured.

        Args:
            driven: rows of a calibration; None for the assumed share.
        """
        self.driven_rows = driven
        if needs_density(self.encoding, self.chip.wires):
            self.__dict__.pop("readout", None)  # programmed again when it is next needed

    def gating(self, index: int = 0) -> GatingEstimate | None:
        """Return the estimated error of the approximation of switched rows on one chip; None where none is needed.

        Args:
            index: position of the chip.
        """
        check_whole(index, "Crossbar.gating, index", most=len(self.chips) - 1)
        if not switches_rows(self.encoding, self.chip.wires):
            return None
        return gating_estimate(self.plan, self.cells(index) * self.plan.targets.steps, self.driven_rows)

    def _checked_input(self, x: Tensor) -> Tensor:
        """Return x as real, finite inputs; raise InputError for a shape or values that the word lines do not take."""
        x = real_values(x, f"layer {self.layer!r}, input")
        chips, _, inputs = self.shape
        if x.shape[-1] != inputs or x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[0] != chips):
            allowed = f"[batch, {inputs}] or [{chips}, batch, {inputs}]"
            raise InputError(f"layer {self.layer!r}, input", f"shape {tuple(x.shape)}", allowed, "Reshape the input.")
        self.encoding.check_inputs(x, f"layer {self.layer!r}")
        return x
