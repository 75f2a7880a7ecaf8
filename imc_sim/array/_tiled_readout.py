"""Readout tile by tile: partial sums, read noise, ADCs, shift and add."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Address, Stream
from imc_sim.array._converter import Quantiser
from imc_sim.array._limits import calibrated
from imc_sim.array._product import product
from imc_sim.array._readout import LARGE, Readout, times
from imc_sim.array._vectors import InputVectors, TileInputs
from imc_sim.device import check_finite

#: next step of an error where sums overflow with their noise
NOISY = "Reduce the noise of device.read, or raise device.read.v_read_V."


@final
class TiledReadout(Readout):
    """Read tile by tile: partial sums, read noise, ADC, digital addition."""

    def read(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        parts, done = inputs.parts(self.plan.outputs), 0
        if len(parts) == 1:
            return self._sums(index, inputs, first_read).unflatten(0, inputs.shape)
        y = inputs.values.new_empty(*inputs.shape, self.plan.outputs)
        for part in parts:
            sums = self._sums(index, part, first_read + done)
            y[done : done + part.reads] = sums.reshape(*part.shape, self.plan.outputs)
            done += part.reads
        return y

    def _sums(self, index: int, inputs: InputVectors, first_read: int) -> Tensor:
        """Return the results [vectors, out] of all passes of the inputs."""
        result: Tensor | None = None
        sum_x: Tensor | None = None
        for number, factor in enumerate(self.factors):
            at = TilePass(self.addresses[index], number, first_read, inputs.per_read)
            y, sums = self._one_pass(index, inputs, at)
            sum_x = sums if number == 0 else sum_x
            result = times(y, factor) if result is None else result + times(y, factor)
        return self.digital(cast("Tensor", result), sum_x, index)  # inputs have at least one pass

    def _one_pass(self, index: int, inputs: InputVectors, at: TilePass) -> tuple[Tensor, Tensor | None]:
        """Return the conversions summed over tiles [vectors, out], and the sums of inputs where they are subtracted."""
        plan = self.plan
        quantisers = None if plan.chip.converter.is_ideal else self.quantisers()
        same = quantisers is not None and not self.integer and all(q == quantisers[0] for q in quantisers)
        total: Tensor | None = None
        sum_x: Tensor | None = None
        for t, rows in enumerate(plan.placement.row_slices):
            x = inputs(rows)
            if plan.encoding.correction.sum_x and at.number == 0:
                sum_x = x.sum(-1, keepdim=True) + (0.0 if sum_x is None else sum_x)
            plane = self.plane(x, at.number)
            u = self.partial(index, t, plane)
            check_finite(u, "currents", LARGE, self.layer, t)
            self.add_noise(u, plane, index, t, rows, at)
            check_finite(u, "read noise", NOISY, self.layer, t)
            part = self.converted(u, index, t, quantisers, same)
            part = self._rounded(part) if self.integer and quantisers else part
            total = part if total is None else total.add_(part)
        return self.combined(cast("Tensor", total), quantisers if same else None), sum_x  # there is at least one tile

    # -- stages ----------------------------------------------------------------------------------------

    @property
    def factors(self) -> list[float]:
        """Return the factor of every pass of the inputs; passes of +-1 and ternary inputs are terms of the encoding."""
        return self.plan.chip.inputs.factors if self.plan.encoding.operands == "real" else [1.0]

    def plane(self, x: Tensor, number: int) -> Tensor:
        """Return the word-line voltages of one pass.

        Args:
            x: inputs of any shape.
            number: number of the pass.
        """
        return self.plan.chip.inputs.plane(x, number) if self.plan.encoding.operands == "real" else x

    def partial(self, index: int, tile: int, x: Tensor) -> Tensor:
        """Return the noise-free sums of one row of tiles before the ADC, without gain_in and constant.

        Args:
            index: position of the chip.
            tile: number of the row of tiles.
            x: word-line voltages [vectors, inputs of the tile].
        """
        o = self.weights[index]
        u = product(x, o.linear[tile])
        return u if o.square is None else u.add_(product(x.square(), o.square[tile]))

    def converted(self, u: Tensor, index: int, tile: int, quantisers: list[Quantiser] | None, same: bool) -> Tensor:
        """Return u with gain_in and constant, converted in place: as codes, or as values where ADCs of tiles differ.

        Args:
            u: sums [vectors, columns].
            index: position of the chip.
            tile: number of the row of tiles.
            quantisers: ADCs of the tiles; None without.
            same: whether they are equal.
        """
        gain, here = self.plan.encoding.gain_in, self.offset(index, tile)
        if quantisers is not None:
            q = quantisers[tile]
            codes = q.codes_(u, gain, here)
            return codes if same else codes.mul_(q.step).add_(q.base)
        u = u if gain == 1.0 else u.mul_(gain)
        return u if here is None else u.add_(here)

    def offset(self, index: int, tile: int) -> Tensor | None:
        """Return the constants of the cells that are added to the sums of one row of tiles; None where zero.

        Args:
            index: position of the chip.
            tile: number of the row of tiles.
        """
        constant = self.weights[index].constant
        return None if constant is None else constant[tile] * self.plan.encoding.gain_in

    def combined(self, total: Tensor, quantisers: list[Quantiser] | None) -> Tensor:
        """Return the sum of all conversions of an output, each with its gain: [vectors, out].

        Args:
            total: conversions summed over tiles [vectors, out x slices x terms]; may be overwritten.
            quantisers: ADCs of the tiles if `total` are sums of codes; None for sums of values.
        """
        if quantisers is not None:
            total = total.mul_(quantisers[0].step).add_(len(quantisers) * quantisers[0].base)
        factors = self.plan.factors
        if self.integer and not self.plan.chip.converter.is_ideal:
            return total.unflatten(-1, (-1, len(factors))).sum(-1)
        if len(factors) == 1:
            return total if factors[0] == 1.0 else total.mul_(factors[0])
        return (total.unflatten(-1, (-1, len(factors))) * self.plan.gains.to(total)).sum(-1)

    @property
    def integer(self) -> bool:
        """Tell whether conversions are added as whole numbers."""
        return self.plan.chip.converter.accumulator == "integer"

    def _rounded(self, values: Tensor) -> Tensor:
        """Return conversions [vectors, out x slices x terms] with their gains, rounded to whole numbers."""
        gained = values.unflatten(-1, (-1, len(self.plan.gains))) * self.plan.gains.to(values)
        return torch.trunc(gained + torch.copysign(torch.full_like(gained, 0.5), gained)).flatten(-2)

    def digital(self, y: Tensor, sum_x: Tensor | None, index: int) -> Tensor:
        """Return results: drift compensated, digital corrections subtracted, scaled.

        Args:
            y: sums [vectors, out] in units of window / steps.
            sum_x: sums of inputs [vectors, 1] where the encoding subtracts them.
            index: position of the chip.
        """
        correction, factor = self.correction(), self.weights[index].factor
        if correction is None and sum_x is None:
            return self.scaled(y, factor)
        y = times(y, factor)
        if correction is not None:
            y = y - correction
        if sum_x is not None:
            y = y - self.plan.encoding.correction.sum_x * sum_x
        return self.scaled(y)

    def add_noise(self, u: Tensor, x: Tensor, index: int, tile: int, rows: slice, at: TilePass) -> None:
        """Add read noise to u: states of traps, and a normal number per column with the variance of all its cells.

        A reference column is read once; its noise is subtracted from all outputs of its tile.

        Args:
            u: sums [vectors, columns], which are changed.
            x: word-line voltages [vectors, inputs of the tile].
            index: position of the chip.
            tile: number of the row of tiles.
            rows: its inputs.
            at: the pass.
        """
        weights, reads = self.weights[index], (at.address.chip, at.address.epoch, at.first_read)
        if weights.traps is not None:
            weights.traps[tile].add_to(u, x, at.stream(tile, "telegraph"), reads, at.per_read)
        weights.power.add_to(u, x, tile, rows, read_stream(at.address, tile, at.number), reads, at.per_read)
        shared, places = weights.reference, self.plan.reference
        if shared is None or places is None:
            return
        count = u.shape[1] // self.plan.outputs
        noise = u.new_zeros(len(u), self.plan.references * count)
        shared.add_to(noise, x, tile, rows, at.stream(tile, "reference"), reads, at.per_read)
        u.sub_(noise.unflatten(1, (-1, count))[:, places.to(u.device) - self.plan.outputs].flatten(1))

    # -- ADC range -------------------------------------------------------------------------------------

    def quantisers(self) -> list[Quantiser]:
        """Return the ADC of every row of tiles.

        Raises:
            InputError: for a calibrated range that was not measured.
        """
        converter, plan = self.plan.chip.converter, self.plan
        if converter.range == "calibrated":
            if self.ranges.limits is None:
                step = "Call `calibrate` with representative inputs first, or use range: max."
                raise InputError(f"layer {self.layer!r}, converter.range", "no calibration", "a calibrated range", step)
            each = [self.ranges.limits] * len(plan.placement.row_slices)
        else:
            each = [self._full_scale(rows) for rows in plan.placement.row_slices]
        steps = plan.targets.steps
        return [converter.quantiser(low * steps, high * steps, plan.encoding.signed) for low, high in each]

    def _full_scale(self, rows: slice) -> tuple[float, float]:
        """Return the range that the physical or used word lines of a tile can reach at the read voltage, in windows."""
        used = float((rows.stop - rows.start) * self.plan.encoding.rows)
        count = used if self.plan.chip.converter.rows == "used" else float(self.plan.chip.tile.rows)
        return (-count, count) if self.plan.encoding.signed else (0.0, count * (1.0 + self.plan.chip.device.floor))

    def profile(self, inputs: TileInputs) -> tuple[float, float]:
        """Return the limits in windows that the rule of the ADCs sets for their inputs on the first chip.

        All passes, tiles and columns count. If all values are equal, the range is from zero to this value.

        Args:
            inputs: slice of the inputs -> their voltages [vectors, inputs of the slice].
        """
        converter = self.plan.chip.converter
        batches = lambda: (u for _, u in self.converter_inputs(inputs))  # noqa: E731
        low, high = calibrated(batches, converter, self.plan.encoding.signed)
        if low == high:
            low, high = min(low, 0.0), max(high, 0.0)
        steps = self.plan.targets.steps
        return low / steps, high / steps

    def converter_inputs(
        self, inputs: TileInputs, first_read: int | None = None, reads: int = 1
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (tile, [vectors, columns]) of every pass: the ADCs' inputs on the first chip, in window / steps.

        Args:
            inputs: as in `profile`.
            first_read: number of the first read, whose noise is that of `read`; None: without noise.
            reads: number of reads that the vectors are.
        """
        for number in range(len(self.factors)):
            for tile, rows in enumerate(self.plan.placement.row_slices):
                plane = self.plane(inputs(rows), number)
                u = self.partial(0, tile, plane)
                if first_read is not None:
                    at = TilePass(self.addresses[0], number, first_read, max(1, len(plane) // reads))
                    self.add_noise(u, plane, 0, tile, rows, at)
                yield tile, self.converted(u, 0, tile, None, True)


@dataclass(frozen=True)
class TilePass:
    """Hold one pass of the inputs on one chip.

    Attributes:
        address: of the random numbers of the chip.
        number: of the pass.
        first_read: number of the first read.
        per_read: vectors of one read.
    """

    address: Address
    number: int
    first_read: int
    per_read: int

    def stream(self, tile: int, effect: str) -> Stream:
        """Return the stream of an effect on one tile; every pass is a read with its own stream.

        Args:
            tile: number of the row of tiles.
            effect: name of the effect.
        """
        return self.address.stream(tile, f"{effect}/{self.number}")


def read_stream(address: Address, tile: int, number: int = 0) -> Stream:
    """Return the stream of normal read noise of one tile in one pass of the inputs."""
    return address.stream(tile, f"read/{number}" if number else "read")
