"""A matrix in programmed cells: the only holder of conductances.

encode -> program -> age -> wires -> readout, each stage exactly the identity when its effect is off: `Plan` encodes and
places, `program_chip` goes from there to the programmed weights of a chip, and a `Readout` multiplies with them.
For +-1 operands an ideal crossbar equals the digital product to the bit, because differential conductances are held on
a grid of 2^-12 of the window: every float32 sum of up to 4,096 windows is then exact, whatever the order, the batch,
the tiling or the number of threads.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Address, check_seed, chip_numbers
from imc_sim._tensors import real_values
from imc_sim.array._chip import Chip, load_chip
from imc_sim.array._compiled._readout import CompiledReadout
from imc_sim.array._plan import Plan
from imc_sim.array._programmed_weights import ProgrammedWeights, Rounding
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
    """Weights [out, in] programmed onto the tiles of `chips` chips. Build it with `Crossbar.program`.

    plan: the weights encoded and placed. chips: their numbers. lines: the word lines, which turn inputs into voltages.
    """

    def __init__(
        self, plan: Plan, chips: range, address: Address, unit_inputs: bool, device: torch.device,
        driven: DrivenRows | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.chips, self.layer = plan, chips, address.layer
        self.addresses = [address._replace(chip=number) for number in chips]
        self.chip, self.encoding, self.placement = plan.chip, plan.encoding, plan.placement
        self.driven_rows = driven
        self._unit_inputs, self._device, self._reads = unit_inputs, device, 0
        self.ranges = Ranges(input_limit=1.0 if unit_inputs or plan.encoding.values else None)
        self.lines = WordLines(plan, self.ranges, self.layer)
        if driven is not None or not needs_density(plan.encoding, plan.chip.wires):
            _ = self.readout

    @classmethod
    def program(
        cls, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
        seed: int = 0, layer: str = "crossbar", page: int = 0, encoding: Encoding | None = None,
        unit_inputs: bool = False, driven: DrivenRows | None = None,
    ) -> Crossbar:  # fmt: skip
        """Program weights on the cells of one or more chips.

        Random numbers are addressed by (seed, chip number, layer, page, cell): equal arguments give equal cells,
        whatever else is programmed. Cells are sampled, aged and wired on the CPU, the same everywhere; products are
        computed on the device of the weights, where inputs must be.

        Args:
            weights: [out, in]. float64 weights are computed in float64 throughout.
            chip: the chip, or its name, path or mapping.
            chips: how many chips, or the range of their numbers.
            seed: of all random numbers.
            layer: name that addresses the random numbers and appears in errors.
            page: programming epoch, the number of a (re)programming of the same cells.
            encoding: instead of the chip's own.
            unit_inputs: a promise that every input is -1 or +1, which makes the variance of read noise a constant.
            driven: rows that inputs switch on, as `measure_rows` counts them. Where wires need them and they are not
                given, cells are programmed when they are first read, for what was measured by then.

        Raises:
            InputError: weights, chips or a seed that cannot be used, or cells that overflow.
        """
        chip, where = load_chip(chip), f"layer {layer!r}"
        check_seed(seed, where)
        numbers = chip_numbers(chips, where)
        weights = real_values(weights, f"{where}, weights")
        plan = Plan.of(weights.cpu(), encoding or chip.encoding, chip, where)
        return cls(plan, numbers, Address(seed, layer, numbers[0], page), unit_inputs, weights.device, driven)

    @functools.cached_property
    def readout(self) -> Readout:
        """The readout of the cells: programmed, and chosen once, when it is first needed."""
        return self._readout(
            program_chips(self.plan, self.addresses, self.driven_rows, self._unit_inputs, self._device)
        )

    def _readout(self, weights: list[ProgrammedWeights]) -> Readout:
        """Choose the readout: ideal where one matrix holds everything, else tiled; compiled where the kernel serves."""
        kind = IdealReadout if weights[0].merged else TiledReadout
        reference = kind(self.plan, weights, self.addresses, self.ranges, self.lines)
        return CompiledReadout(reference) if CompiledReadout.serves(reference) else reference

    @property
    def ideal(self) -> IdealReadout:
        """The readout by one matrix product; raises InputError where ADCs, noise or the encoding do not allow it."""
        reference = self.readout.reference
        if isinstance(reference, IdealReadout):
            return reference
        step = "Use ideal converters, reads without noise and an encoding with one product."
        raise InputError(f"layer {self.layer!r}, readout", "sums tile by tile", "one matrix product", step)

    @property
    def tiled(self) -> TiledReadout:
        """The readout tile by tile; raises InputError where no ADC and no noise stand between cells and sums."""
        reference = self.readout.reference
        if isinstance(reference, TiledReadout):
            return reference
        step = "Set a converter that is not ideal."
        raise InputError(f"layer {self.layer!r}, readout", "one matrix product", "sums tile by tile", step)

    # -- what it is ------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """(chips, out, in)."""
        return len(self.chips), self.plan.outputs, self.placement.inputs

    # -- programming -----------------------------------------------------------------------------------

    def cells(self, index: int) -> Tensor:
        """Return g of the programmed and aged cells of the chip at position `index`, in windows.

        Returns:
            float64 [out, slices, columns, in, rows], without the wires; reference columns follow after the outputs.

        Raises:
            InputError: where pairs of cells are sampled as differences (`draws: pairs`).
        """
        if self.plan.by_pairs:
            step = "Set draws: cells."
            raise InputError(f"layer {self.layer!r}, cells", "pairs drawn at once (draws: pairs)", "single cells", step)
        address = self.addresses[index]
        return age(self.plan, program_cells(self.plan, address), address) / self.plan.targets.steps

    def pulses(self, index: int) -> Tensor:
        """Return the programming pulses of each cell of the chip at position `index`, one for each without verify.

        Of the last programming: where cells are refreshed, `device.time.refreshes` others came before it.

        Returns:
            int64, shaped as `cells`.
        """
        return self.chip.device.pulses(self.plan.cells, self.plan.targets.steps, *self.addresses[index])

    @property
    def conductance(self) -> Tensor:
        """[chip, tile, tile.rows, tile.cols] in S, word lines by bit lines; cells not in use are 0 S."""
        steps = self.plan.targets.steps
        matrices = [self.plan.physical(self.plan.siemens(self.cells(c) * steps)) for c in range(len(self.chips))]
        return self.placement.split(torch.stack(matrices))

    def rounding(self, index: int = 0) -> Rounding:
        """Return how far the programmed weights are from the conductances of the chip at position `index`."""
        doubled = dataclasses.replace(self.plan.targets, weights=self.plan.targets.weights.double())
        plan = dataclasses.replace(self.plan, targets=doubled)
        exact = program_chip(plan, self.addresses[index], self.driven_rows, self._unit_inputs)
        return Rounding.of(self.readout.weights[index].to(torch.device("cpu")), exact, self.plan)

    # -- reading ---------------------------------------------------------------------------------------

    def mvm(self, x: Tensor) -> Tensor:
        """Return the products of x with the stored weights.

        Every call reads again: with read noise, successive calls differ, and one call for 20 vectors equals two calls
        for 10 each.

        Args:
            x: [batch, in], the same for all chips, or [chip, batch, in].

        Returns:
            [chip, batch, out].

        Raises:
            InputError: inputs of another shape, or of values that the encoding does not take; no calibration.
        """
        x = self._checked_input(x)
        first = self.take_reads(x.shape[-2])
        if x.ndim == 2:
            return self.readout.read_all(self._driven(Rows(x)), first)
        return stacked([self.read(c, Rows(x[c]), first) for c in range(len(self.chips))])

    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the products [*inputs.shape, out] on the chip at position `index`, without a check of the inputs.

        first_read: number of the first of `inputs.reads` reads, which addresses the read noise; see `take_reads`.
        """
        return self.readout.read(index, self._driven(inputs), first_read)

    def take_reads(self, count: int) -> int:
        """Return the number of the first of `count` successive reads, and advance the counter."""
        first, self._reads = self._reads, self._reads + count
        return first

    def currents(self, x: Tensor) -> Tensor:
        """Return the currents at the converters.

        Column pairs give their difference; word lines carry x (or its encoded drive) times the read voltage.
        Analog corrections (multiples of the HRS current) are left out.

        Args:
            x: [batch, in], or [chip, batch, in].

        Returns:
            [chip, tile row, batch, out x slices x terms] in A.
        """
        x = self.lines.voltages(self._checked_input(x)).cpu()
        return torch.stack([self._currents(c, x if x.ndim == 2 else x[c]) for c in range(len(self.chips))])

    def _currents(self, index: int, x: Tensor) -> Tensor:
        plan, device = self.plan, self.chip.device
        cells = self.cells(index) * plan.targets.steps
        seen, offset = apply_wires(plan, cells, self.addresses[index], self.driven_rows)
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

    def _driven(self, inputs: InputVectors) -> InputVectors:
        """Return the voltages of inputs."""
        return inputs.replaced(self.lines.voltages(inputs.values))

    # -- calibration -----------------------------------------------------------------------------------

    def set_limits(self, low: float, high: float) -> None:
        """Set the limits of the converters' inputs in windows, as `TiledReadout.profile` measures them."""
        if not high > low:
            step = "Calibrate with inputs that differ."
            raise InputError(f"layer {self.layer!r}, converter limits", f"[{low:g}, {high:g}]", "low < high", step)
        self.ranges.limits = (low, high)

    def set_input_limit(self, limit: float) -> None:
        """Set the largest magnitude of an input, which the DAC's largest code stands for."""
        if not limit > 0:
            step = "Calibrate with inputs that are not all zero."
            raise InputError(f"layer {self.layer!r}, input limit", f"{limit:g}", "above 0", step)
        self.ranges.input_limit = limit

    def measure_rows(self, inputs: TileInputs) -> DrivenRows | None:
        """Count the rows that these vectors switch on; None where wires do not depend on it. See `set_driven_rows`."""
        return DrivenRows.of(self.encoding, self.chip.wires, self.placement, inputs)

    def set_driven_rows(self, driven: DrivenRows | None) -> None:
        """Let the wires of the same cells stand for inputs that switch as many rows on as were measured."""
        self.driven_rows = driven
        if needs_density(self.encoding, self.chip.wires):
            self.__dict__.pop("readout", None)  # programmed again when it is next needed

    def gating(self, index: int = 0) -> GatingEstimate | None:
        """Estimate what the stand-in for switched rows misses on the chip at position `index`; None without any."""
        if not switches_rows(self.encoding, self.chip.wires):
            return None
        return gating_estimate(self.plan, self.cells(index) * self.plan.targets.steps, self.driven_rows)

    def _checked_input(self, x: Tensor) -> Tensor:
        """Real, finite inputs of a shape and of values that the word lines take."""
        x = real_values(x, f"layer {self.layer!r}, input")
        chips, _, inputs = self.shape
        if x.shape[-1] != inputs or x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[0] != chips):
            allowed = f"[batch, {inputs}] or [{chips}, batch, {inputs}]"
            raise InputError(f"layer {self.layer!r}, input", f"shape {tuple(x.shape)}", allowed, "Reshape the input.")
        self.encoding.check_inputs(x, f"layer {self.layer!r}")
        return x
