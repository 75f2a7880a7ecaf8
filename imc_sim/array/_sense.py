"""From word-line drives to digital results: partial sums of tiles, read noise, converters, shift and add."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import final

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Stream, blocks
from imc_sim.array import _integers
from imc_sim.array._converter import Quantiser
from imc_sim.array._integers import Drives, Noise, Packed
from imc_sim.array._limits import calibrated
from imc_sim.array._operands import Operands
from imc_sim.array._plan import Plan
from imc_sim.array._product import product
from imc_sim.array._read_noise import deviation
from imc_sim.device import check_finite

#: inputs of tile t -> [vectors, inputs of the tile]
TileInputs = Callable[[slice], Tensor]
#: multiply-adds of a product below which packing its inputs costs more than the compiled kernel gains
_SMALL = 2**20
#: the same of one matrix product in float32, in which the kernel has no converters to save, and its fewest columns
_SMALL_MERGED, _NARROW = 2**23, 48
#: what to do where sums overflow, and where they do with their noise
_LARGE = "Scale the inputs down."
_NOISY = "Reduce the noise of device.read, or raise device.read.v_read_V."


@final
class Sensing:
    """The reading side of a crossbar: operands of every chip, the ranges of DACs and converters."""

    def __init__(
        self, plan: Plan, program: Callable[[], list[Operands]], chips: range, seed: int, layer: str, page: int
    ) -> None:
        self.plan, self._program = plan, program
        self.chips, self.seed, self.layer, self.page = chips, seed, layer, page
        self.limits: tuple[float, float] | None = None
        self.input_limit: float | None = None
        self._packed: dict[tuple[int, int], Packed | None] = {}
        encoding = plan.encoding
        #: real inputs go through the DAC and meet the I-V curve between its points; +-1 and ternary ones do neither
        self._dac = encoding.operands == "real" and plan.chip.inputs.kind != "ideal"
        self._bends = encoding.operands == "real" and plan.chip.device.read.nonlinearity_per_V != 0.0

    # -- operands --------------------------------------------------------------------------------------

    @functools.cached_property
    def operands(self) -> list[Operands]:
        """Operands of every chip, computed when they are first needed."""
        return self._program()

    def program(self) -> None:
        """Compute the operands now."""
        self.operands = self._program()

    def forget(self) -> None:
        """Compute the operands again when they are next needed."""
        self.__dict__.pop("operands", None)
        self._packed.clear()

    # -- inputs ----------------------------------------------------------------------------------------

    def present(self, x: Tensor) -> Tensor:
        """Inputs as word-line drives, whole matrices at a time; see `scaled` for the way back."""
        if self._dac:
            x = self.plan.chip.inputs.quantise(x, self._limit())
        if self._bends and self.plan.chip.inputs.kind != "bit_serial":
            x = self.plan.chip.device.read.drive(x)
        return x

    def _limit(self) -> float:
        if self.input_limit is None:
            step = "Call `calibrate` with representative inputs first, or set inputs.kind: ideal."
            raise InputError(f"layer {self.layer!r}, inputs", "no calibration", "the largest input of the DAC", step)
        return self.input_limit

    def scaled(self, y: Tensor, index: int) -> Tensor:
        """Return analog sums in units of weight: the scale of weights, of the DAC, and drift compensation."""
        return _times(y, self._scale(self.operands[index].factor))

    def _scale(self, factor: float = 1.0) -> float:
        return self.plan.targets.scale * factor * (self._limit() if self._dac else 1.0)

    def bias(self, index: int) -> Tensor | None:
        """[out]: what a plain product lacks: imbalance of the cells and digital correction; None where exactly zero."""
        if self.plan.chip.exact:
            return None
        constant, correction = self.operands[index].constant, self._correction()
        if correction is not None:  # digital: drift compensation, which follows, must leave it as it is
            correction = correction / self.operands[index].factor
        if constant is None:
            return None if correction is None else -correction
        return constant.sum(0) if correction is None else constant.sum(0) - correction

    def _correction(self) -> Tensor | None:
        c, weights = self.plan.encoding.correction, self.plan.targets.weights
        if not (c.sum_w or c.count):
            return None
        return (c.sum_w * weights.sum(-1) + c.count * weights.shape[-1]).to(self.operands[0].linear[0].device)

    # -- sensing ---------------------------------------------------------------------------------------

    def sense(self, index: int, inputs: TileInputs, first_read: int, per_read: int) -> Tensor:
        """Tile by tile: partial sums, read noise, conversion, digital addition -> [vectors, out].

        inputs(t) gives the presented vectors' entries for the inputs in slice t. per_read: vectors that one
        read index stands for (the pixels of an image).
        """
        plan = self.plan
        quantisers = None if plan.chip.converter.ideal else self.quantisers()
        same = quantisers is not None and not self._integer and all(q == quantisers[0] for q in quantisers)
        result: Tensor | None = None
        sum_x: Tensor | None = None
        for number, factor in enumerate(self._factors):
            total: Tensor | None = None
            for t, rows in enumerate(plan.placement.row_slices):
                x = inputs(rows)
                if plan.encoding.correction.sum_x and number == 0:
                    sum_x = x.sum(-1, keepdim=True) + (0.0 if sum_x is None else sum_x)
                plane = self._plane(x, number)
                u = self._partial(index, t, plane)
                check_finite(u, "currents", _LARGE, self.layer, t)
                self._add_noise(u, plane, index, t, rows, number, first_read, per_read)
                check_finite(u, "read noise", _NOISY, self.layer, t)
                part = self._converted(u, index, t, quantisers, same)
                part = self._rounded(part) if self._integer and quantisers else part
                total = part if total is None else total.add_(part)
            y = self._combined(total, quantisers if same else None)
            y = y if factor == 1.0 else y * factor
            result = y if result is None else result + y
        return self._digital(result, sum_x, index)

    # -- sensing in one pass ---------------------------------------------------------------------------

    def in_one_pass(self, vectors: int) -> bool:
        """The compiled kernel can do all that stands between the drives and the digital sums, and is worth calling."""
        plan, first = self.plan, self.operands[0]
        real = plan.dtype != torch.float32 or self._dac or self._bends
        if self._small(vectors) or real or first.linear[0].device.type != "cpu":
            return False
        # Read noise whose variance depends on the inputs would take a sum of its own, that of references a second draw.
        steady = first.power.steady and first.reference is None and first.traps is None
        simple = steady and not self._integer and self._factors == [1.0]
        return simple and (first.merged or not plan.encoding.correction.sum_x) and _integers.why_not() is None

    def _small(self, vectors: int) -> bool:
        first = self.operands[0]
        columns = first.linear[0].shape[0]
        work = vectors * self.plan.placement.inputs * columns
        if not first.merged or self.plan.chip.compute != "float32":
            return work < _SMALL
        return work < _SMALL_MERGED or columns < _NARROW

    def sense_at_once(self, index: int, drives: Drives, first_read: int, per_read: int) -> Tensor | None:
        """What `sense` gives for the same inputs, to the bit; None where the kernel cannot promise that."""
        operands = self.operands[index]
        if operands.constant is not None and operands.constant.dtype != torch.float32:
            return None  # what wires add is added in float64
        key = (id(operands), drives.run)
        if key not in self._packed:
            self._packed[key] = Packed.of(operands, drives.run)
        packed = self._packed[key]
        if packed is None:
            return None
        if operands.merged:
            y = _integers.multiply(packed, drives, None, 1.0, None)
            return None if y is None else self.finish(y, index)
        quantisers = None if self.plan.chip.converter.ideal else self.quantisers()
        noise = self._noise(index, first_read, per_read)
        y = _integers.multiply(packed, drives, quantisers, self.plan.encoding.gain_in, operands.constant, noise)
        if y is not None:
            check_finite(y, "currents or read noise", _NOISY, self.layer)
        return None if y is None else self._digital(self._combined(y, None), None, index)

    def _noise(self, index: int, first_read: int, per_read: int) -> Noise | None:
        """What `_add_noise` adds where the variance does not depend on the inputs; None for quiet reads."""
        variance = self.operands[index].power.constant
        if variance is None:
            return None
        stride = blocks(per_read * variance.shape[1])
        starts = [
            self._stream(tile, 0).start(self.chips[index], self.page, first_read * stride)
            for tile in range(len(variance))
        ]
        keys = np.stack([key for _, key in starts])
        return Noise(deviation(variance, torch.float32), starts[0][0], keys, (per_read, 16 * stride))

    def _stream(self, tile: int, number: int) -> Stream:
        """Read noise of one tile in one pass of the inputs, each of which is a read of its own."""
        return Stream(self.seed, f"{self.layer}/{tile}", f"read/{number}" if number else "read")

    def finish(self, y: Tensor, index: int) -> Tensor:
        """Digital end of a merged product y [*, out]: the imbalance of the cells, compensation, scales."""
        check_finite(y, "currents", _LARGE, self.layer)
        bias = self.bias(index)
        return self.scaled(y if bias is None else y + bias, index)

    # -- stages ----------------------------------------------------------------------------------------

    @property
    def _factors(self) -> list[float]:
        """Factor of every pass of the inputs; +-1 and ternary inputs have the passes of their encoding alone."""
        return self.plan.chip.inputs.factors if self.plan.encoding.operands == "real" else [1.0]

    def _plane(self, x: Tensor, number: int) -> Tensor:
        """Word-line drives of pass `number`."""
        return self.plan.chip.inputs.plane(x, number) if self.plan.encoding.operands == "real" else x

    def _partial(self, index: int, tile: int, x: Tensor) -> Tensor:
        """Noise-free, unconverted sums of one tile without gain_in and constant."""
        o = self.operands[index]
        u = product(x, o.linear[tile])
        return u if o.square is None else u.add_(product(x.square(), o.square[tile]))

    def _converted(self, u: Tensor, index: int, tile: int, quantisers: list[Quantiser] | None, same: bool) -> Tensor:
        """u with gain_in and constant; quantised as codes, or as values where the tiles' converters differ."""
        gain, constant = self.plan.encoding.gain_in, self.operands[index].constant
        here = None if constant is None else constant[tile] * gain
        if quantisers is not None:
            q = quantisers[tile]
            codes = q.codes_(u, gain, here)
            return codes if same else codes.mul_(q.step).add_(q.base)
        u = u if gain == 1.0 else u.mul_(gain)
        return u if here is None else u.add_(here)

    def _combined(self, total: Tensor | None, quantisers: list[Quantiser] | None) -> Tensor:
        """Codes summed over tiles -> [vectors, out]: step and base, then every conversion with its gain."""
        if total is None:  # pragma: no cover - a matrix has at least one input
            raise InputError(f"layer {self.layer!r}", "no inputs", "one input or more", "Check the weights.")
        if quantisers is not None:
            total = total.mul_(quantisers[0].step).add_(len(quantisers) * quantisers[0].base)
        factors = self.plan.factors
        if self._integer and not self.plan.chip.converter.ideal:
            return total.unflatten(-1, (-1, len(factors))).sum(-1)
        if len(factors) == 1:
            return total if factors[0] == 1.0 else total.mul_(factors[0])
        return (total.unflatten(-1, (-1, len(factors))) * self.plan.gains.to(total)).sum(-1)

    @property
    def _integer(self) -> bool:
        return self.plan.chip.converter.accumulator == "integer"

    def _rounded(self, values: Tensor) -> Tensor:
        """Conversions [vectors, out x slices x terms] with their gains, as whole numbers."""
        gained = values.unflatten(-1, (-1, len(self.plan.gains))) * self.plan.gains.to(values)
        return torch.trunc(gained + torch.copysign(torch.full_like(gained, 0.5), gained)).flatten(-2)

    def _digital(self, y: Tensor | None, sum_x: Tensor | None, index: int) -> Tensor:
        """Compensate drift, then subtract the digital corrections, then scale."""
        if y is None:  # pragma: no cover - inputs have at least one pass
            raise InputError(f"layer {self.layer!r}", "no passes", "one pass or more", "Check the inputs.")
        correction = self._correction()
        if correction is None and sum_x is None:
            return self.scaled(y, index)
        y = _times(y, self.operands[index].factor)
        if correction is not None:
            y = y - correction
        if sum_x is not None:
            y = y - self.plan.encoding.correction.sum_x * sum_x
        return _times(y, self._scale())

    def _add_noise(
        self, u: Tensor, x: Tensor, index: int, tile: int, rows: slice, number: int, first_read: int, per_read: int
    ) -> None:
        """Add read noise: two states per trap, and normal numbers at the column, equal in law to one per cell.

        A reference column is read once; what it adds is subtracted from all outputs of its tile.
        """
        operands, address = self.operands[index], (self.chips[index], self.page, first_read)
        if operands.traps is not None:
            stream = Stream(self.seed, f"{self.layer}/{tile}", f"telegraph/{number}")
            operands.traps[tile].add_to(u, x, stream, address, per_read)
        operands.power.add_to(u, x, tile, rows, self._stream(tile, number), address, per_read)
        shared, places = operands.reference, self.plan.reference
        if shared is None or places is None:
            return
        count = u.shape[1] // self.plan.outputs
        noise = u.new_zeros(len(u), self.plan.references * count)
        stream = Stream(self.seed, f"{self.layer}/{tile}", f"reference/{number}")
        shared.add_to(noise, x, tile, rows, stream, address, per_read)
        u.sub_(noise.unflatten(1, (-1, count))[:, places.to(u.device) - self.plan.outputs].flatten(1))

    # -- converter range -------------------------------------------------------------------------------

    def quantisers(self) -> list[Quantiser]:
        """The converter of every row of tiles, its limits resolved."""
        converter, plan = self.plan.chip.converter, self.plan
        if converter.range == "calibrated":
            if self.limits is None:
                step = "Call `calibrate` with representative inputs first, or use range: max."
                raise InputError(f"layer {self.layer!r}, converter", "no calibration", "a calibrated range", step)
            each = [self.limits] * len(plan.placement.row_slices)
        else:
            each = [self._full_scale(rows) for rows in plan.placement.row_slices]
        steps = plan.targets.steps
        return [converter.quantiser(low * steps, high * steps, plan.encoding.signed) for low, high in each]

    def _full_scale(self, rows: slice) -> tuple[float, float]:
        """Largest input that a tile's physical or used word lines could carry, in windows; drives are at most 1."""
        used = float((rows.stop - rows.start) * self.plan.encoding.rows)
        count = used if self.plan.chip.converter.rows == "used" else float(self.plan.chip.tile.rows)
        return (-count, count) if self.plan.encoding.signed else (0.0, count * (1.0 + self.plan.chip.device.floor))

    def profile(self, inputs: TileInputs) -> tuple[float, float]:
        """Return the limits that the converter's rule sets from its inputs over vectors, on the first chip, in windows.

        All passes, tiles and columns count. One value only: a range from zero to it.
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
        """(tile, [vectors, columns]) of every pass: what `sense` converts on the first chip, in windows / steps.

        With the noise of that many reads, as `sense` draws it; without noise where first_read is None.
        """
        for number in range(len(self._factors)):
            for tile, rows in enumerate(self.plan.placement.row_slices):
                plane = self._plane(inputs(rows), number)
                u = self._partial(0, tile, plane)
                if first_read is not None:
                    self._add_noise(u, plane, 0, tile, rows, number, first_read, max(1, len(plane) // reads))
                yield tile, self._converted(u, 0, tile, None, True)


def _times(y: Tensor, factor: float) -> Tensor:
    return y if factor == 1.0 else y * factor
