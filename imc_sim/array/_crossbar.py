"""A matrix in programmed cells: the only holder of conductances.

encode -> program -> read -> sense, each stage exactly the identity when its effect is off. For +-1 operands
an ideal crossbar equals the digital product to the bit, because contrasts are held on a grid of 2^-12 of
the window: every float32 sum of up to 4,096 windows is then exact, whatever the order, the batch, the tiling
or the number of threads.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Stream, blocks
from imc_sim.array._chip import Chip, load_chip
from imc_sim.array._converter import Quantiser
from imc_sim.array._encoding import Encoding, Targets
from imc_sim.array._placement import Placement
from imc_sim.array._product import product
from imc_sim.device import Device, look_up

#: Contrasts of float32 crossbars are whole multiples of this part of the window.
RESOLUTION = 2.0**-12

#: inputs of tile t -> [vectors, inputs of the tile]
TileInputs = Callable[[slice], Tensor]


@dataclass(frozen=True)
class _Operands:
    """What a product needs of one chip, in units of window / steps and with the encoding's gains outside.

    tiles: contrasts [out * slices, inputs of the tile], top to bottom; one tile with everything, slices
    already shifted and added, where nothing stands between the cells and the sum. offset: [tiles, out * slices]
    or None where it vanishes. power: variances of the read per x^2, per x and constant.
    """

    tiles: tuple[Tensor, ...]
    offset: Tensor | None
    power: tuple[Tensor | None, Tensor | None, Tensor | None]


@final
class Crossbar:
    """Weights [out, in] programmed onto the tiles of `chips` chips. Build it with `Crossbar.program`."""

    def __init__(
        self, targets: Targets, encoding: Encoding, chip: Chip, placement: Placement, chips: range, seed: int,
        layer: str, page: int, unit_inputs: bool,
    ) -> None:  # fmt: skip
        self.chip, self.encoding, self.placement = chip, encoding, placement
        self.chips, self.seed, self.layer, self.page = chips, seed, layer, page
        self._targets, self._unit_inputs = targets, unit_inputs
        self._limits: tuple[float, float] | None = None
        self._reads = 0
        self._operands = self._program()

    @classmethod
    def program(
        cls, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
        seed: int = 0, layer: str = "crossbar", page: int = 0, encoding: Encoding | None = None,
        unit_inputs: bool = False,
    ) -> Crossbar:  # fmt: skip
        """Program weights [out, in] on `chips` chips (a count, or a range of chip numbers).

        Draws are addressed by (seed, chip number, layer, page, cell): equal arguments give equal cells,
        whatever else is programmed. float64 weights are computed in float64 throughout. unit_inputs: a promise
        that every input is -1 or +1, which makes the variance of read noise a constant.
        """
        chip = load_chip(chip)
        encoding = encoding or chip.encoding
        where = f"layer {layer!r}"
        if weights.ndim != 2 or weights.numel() == 0:
            raise InputError(where, f"weights of shape {tuple(weights.shape)}", "[out, in]", "Reshape the weights.")
        if not bool(torch.isfinite(weights).all()):
            raise InputError(where, "weights with NaN or infinity", "finite weights", "Check the checkpoint.")
        chip.converter.check(encoding.signed, encoding.kind, where)  # type: ignore[attr-defined]
        dtype = weights.dtype if weights.dtype == torch.float64 else torch.float32
        targets = encoding.encode(weights.detach().to(dtype), chip.device.levels, where)
        out, slices = targets.levels.shape[:2]
        placement = Placement.of(chip.tile, encoding, weights.shape[1], out * slices, where)
        numbers = chips if isinstance(chips, range) else range(chips)
        return cls(targets, encoding, chip, placement, numbers, seed, layer, page, unit_inputs)

    # -- shape -----------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """(chips, out, in)."""
        return len(self.chips), self._targets.levels.shape[0], self.placement.inputs

    @property
    def dtype(self) -> torch.dtype:
        return self._targets.weights.dtype

    @property
    def plain(self) -> bool:
        """The product is one matrix product: ideal converters and noise-free reads."""
        return self.chip.converter.ideal and self.chip.device.read.sigma == 0.0

    # -- programming -----------------------------------------------------------------------------------

    def cells(self, index: int) -> Tensor:
        """Programmed g of the chip at position `index`: [out, slices, columns, in, rows], float64, in windows."""
        return look_up(self.chip.device.table(self._targets.steps), self._draw(index))

    def _draw(self, index: int) -> Tensor:
        device, t = self.chip.device, self._targets
        return device.draw(t.levels, t.steps, self.seed, self.layer, self.chips[index], self.page)

    @property
    def conductance(self) -> Tensor:
        """[chip, tile, tile.rows, tile.cols] in S, word lines by bit lines; cells not in use are 0 S."""
        device = self.chip.device
        all_chips = [self._physical(self.cells(c)) for c in range(len(self.chips))]
        matrix = torch.stack(all_chips) * device.window_S + device.g_hrs_S
        return self.placement.split(matrix)

    @staticmethod
    def _physical(g: Tensor) -> Tensor:
        """[out, slices, columns, in, rows] -> [in * rows, out * slices * columns]."""
        return g.permute(3, 4, 0, 1, 2).reshape(g.shape[3] * g.shape[4], -1)

    def _program(self) -> list[_Operands]:
        count = 1 if self.chip.device.exact else len(self.chips)
        table = _units_table(self.chip.device, self._targets.steps, self.dtype)  # type: ignore[arg-type]
        first = self._operand(look_up(table, self._draw(0)))
        if count == 1:
            return [first] * len(self.chips)
        # One allocation for all chips: as many small ones would fragment the heap by half their size again.
        memory = first.tiles[0].new_empty(count, sum(tile.numel() for tile in first.tiles))
        rest = (self._operand(look_up(table, self._draw(c))) for c in range(1, count))
        return [_packed(o, memory[c]) for c, o in enumerate(itertools.chain([first], rest))]

    def _operand(self, cells: Tensor) -> _Operands:
        """cells: in units of window / steps, on the grid."""
        contrast, offset = self.encoding.contrast(cells)
        sums = None if offset is None else self._tile_sums(offset)
        return _Operands(self._split(contrast), sums, self._power(cells))

    def _split(self, contrast: Tensor) -> tuple[Tensor, ...]:
        """[out, slices, in] -> what the product needs, contiguous."""
        if not self.plain:
            flat = contrast.flatten(0, 1)
            return tuple(flat[:, rows].contiguous() for rows in self.placement.row_slices)
        if contrast.shape[1] == 1:
            return (contrast[:, 0].contiguous(),)
        return (torch.einsum("osi,s->oi", contrast, contrast.new_tensor(self._targets.places)),)

    def _tile_sums(self, x: Tensor) -> Tensor:
        """[out, slices, in] -> [tiles, out * slices]."""
        flat = x.flatten(0, 1)
        return torch.stack([flat[:, t].double().sum(-1) for t in self.placement.row_slices]).to(x.dtype)

    def _power(self, cells: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Variances in float64: their sums must not depend on the batch any more than the products do."""
        sigma = self.chip.device.read.sigma
        if sigma == 0.0:
            return None, None, None
        variance = ((cells.double() + self.chip.device.floor * self._targets.steps) * sigma).square()
        square, linear, constant = self.encoding.power(variance)
        if square is not None and self._unit_inputs:
            square, constant = None, square
        flat = (None if p is None else p.flatten(0, 1) for p in (square, linear))
        return (*flat, None if constant is None else self._tile_sums(constant))  # type: ignore[return-value]

    # -- reading ---------------------------------------------------------------------------------------

    def mvm(self, x: Tensor) -> Tensor:
        """Products of x [batch, in], or [chip, batch, in], with the stored weights: [chip, batch, out].

        Every call reads anew: with read noise, successive calls differ, and one call for 20 vectors equals
        two calls for 10 each.
        """
        self._check_input(x)
        if self.plain and x.ndim == 2 and len(self.chips) > 1:
            y = product(x, torch.cat([o.tiles[0] for o in self._operands])).unflatten(1, (len(self.chips), -1))
            return torch.stack([self.finish(y[:, c], c) for c in range(len(self.chips))])
        first = self.take_reads(x.shape[-2])
        each = [self.product(c, x if x.ndim == 2 else x[c], first) for c in range(len(self.chips))]
        return torch.stack(each)

    def product(self, index: int, x: Tensor, first_read: int) -> Tensor:
        """Product of x [batch, in] on the chip at position `index`: [batch, out]."""
        if self.plain:
            return self.finish(product(x, self.contrast(index)), index)
        return self.sense(index, lambda t: x[:, t], first_read, per_read=1)

    def take_reads(self, count: int) -> int:
        """Number of the first of `count` successive reads; advances the counter."""
        first, self._reads = self._reads, self._reads + count
        return first

    def contrast(self, index: int) -> Tensor:
        """[out, in] of a `plain` crossbar: the product before `finish`."""
        return self._operands[index].tiles[0]

    def finish(self, y: Tensor, index: int) -> Tensor:
        """Digital end of a `plain` product y [*, out]: gains, the imbalance of the cells, scale."""
        gain = self.encoding.gain_in * self.encoding.gain_out
        if gain != 1.0:
            y = y * gain
        bias = self.bias(index)
        if bias is not None:
            y = y + bias
        return y if self._targets.scale == 1.0 else y * self._targets.scale

    def bias(self, index: int) -> Tensor | None:
        """[out]: what imbalance of the cells adds to every plain result; None where it is exactly zero."""
        offset = self._operands[index].offset
        if offset is None or self.chip.device.exact:
            return None
        gain = self.encoding.gain_in * self.encoding.gain_out
        return offset.sum(0) * gain - self.encoding.correction(self._targets.weights)

    # -- sensing with converters -----------------------------------------------------------------------

    def sense(self, index: int, inputs: TileInputs, first_read: int, per_read: int) -> Tensor:
        """Tile by tile: partial sums, read noise, conversion, digital addition -> [vectors, out].

        inputs(t) gives the vectors' entries for the inputs in slice t. per_read: vectors that one read index
        stands for (the pixels of an image).
        """
        quantiser = None if self.chip.converter.ideal else self.quantiser()
        total: Tensor | None = None
        for t, rows in enumerate(self.placement.row_slices):
            x = inputs(rows)
            u = product(x, self._operands[index].tiles[t])
            self._add_noise(u, x, index, t, rows, first_read, per_read)
            codes = self._convert(u, index, t, quantiser)
            total = codes if total is None else total.add_(codes)
        if total is None:  # pragma: no cover - a matrix has at least one input
            raise InputError(f"layer {self.layer!r}", "no inputs", "one input or more", "Check the weights.")
        return self._digital(total, quantiser)

    def _partial(self, index: int, tile: int, x: Tensor) -> Tensor:
        """Unconverted, noise-free input of the converters for x [vectors, inputs of the tile]."""
        operands = self._operands[index]
        rows = self.placement.row_slices[tile]
        contrast = operands.tiles[0][:, rows] if self.plain else operands.tiles[tile]
        return self._convert(x @ contrast.mT, index, tile, None)

    def _convert(self, u: Tensor, index: int, tile: int, quantiser: Quantiser | None) -> Tensor:
        gain, offset = self.encoding.gain_in, self._operands[index].offset
        here = None if offset is None else offset[tile] * gain
        if quantiser is not None:
            return quantiser.codes_(u, gain, here)
        u = u if gain == 1.0 else u.mul_(gain)
        return u if here is None else u.add_(here)

    def _digital(self, total: Tensor, quantiser: Quantiser | None) -> Tensor:
        """Codes summed over tiles -> result: step, base, correction, shift and add, scale."""
        tiles = len(self.placement.row_slices)
        if quantiser is not None:
            total = total.mul_(quantiser.step).add_(tiles * quantiser.base)
        places = self._targets.places
        if len(places) > 1:
            total = (total.unflatten(-1, (-1, len(places))) * total.new_tensor(places)).sum(-1)
        y = total * self.encoding.gain_out - self.encoding.correction(self._targets.weights)
        return y if self._targets.scale == 1.0 else y * self._targets.scale

    def _add_noise(
        self, u: Tensor, x: Tensor, index: int, tile: int, rows: slice, first_read: int, per_read: int
    ) -> None:
        """Read noise referred to the column: equal in law to one draw per cell, and far cheaper."""
        square, linear, constant = self._operands[index].power
        if square is None and constant is None:
            return
        variance = u.new_zeros(1, dtype=torch.float64) if constant is None else constant[tile]
        if square is not None:
            variance = variance + x.double().square() @ square[:, rows].mT
        if linear is not None:
            variance = variance + x.double() @ linear[:, rows].mT
        std = variance.clamp_min(0.0).sqrt().to(u.dtype)
        count = u.numel() // (x.shape[0] // per_read)
        stride = blocks(count)
        stream = Stream(self.seed, f"{self.layer}/{tile}", "read")
        drawn = stream.normal(stride * 16 * (x.shape[0] // per_read), self.chips[index], self.page, first_read * stride)
        normal = torch.from_numpy(drawn).reshape(x.shape[0] // per_read, -1)[:, :count].reshape(u.shape)
        u.addcmul_(std.expand_as(u), normal.to(u.dtype))

    # -- converter range -------------------------------------------------------------------------------

    def quantiser(self) -> Quantiser:
        """The converter of this crossbar, its limits resolved."""
        converter, steps = self.chip.converter, self._targets.steps
        if converter.range == "calibrated":
            if self._limits is None:
                step = "Call `calibrate` with representative inputs first, or use range: max."
                raise InputError(f"layer {self.layer!r}, converter", "no calibration", "a calibrated range", step)
            low, high = self._limits
        else:
            low, high = self._full_scale()
        return converter.quantiser(low * steps, high * steps, self.encoding.signed)

    def _full_scale(self) -> tuple[float, float]:
        """Largest input that the tile's physical rows could carry, in windows; drives are at most 1."""
        rows = float(self.chip.tile.rows)
        return (-rows, rows) if self.encoding.signed else (0.0, rows * (1.0 + self.chip.device.floor))

    def set_limits(self, low: float, high: float) -> None:
        """Limits of the converter's input in windows, as `profile` measures them."""
        if not high > low:
            step = "Calibrate with inputs that differ."
            raise InputError(f"layer {self.layer!r}, converter limits", f"[{low:g}, {high:g}]", "low < high", step)
        self._limits = (low, high)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Calibrated limits in windows, or None."""
        return self._limits

    def profile(self, inputs: TileInputs) -> tuple[float, float]:
        """Smallest and largest converter input over these vectors, tiles and columns, first chip, in windows."""
        low, high = float("inf"), float("-inf")
        for t, rows in enumerate(self.placement.row_slices):
            u = self._partial(0, t, inputs(rows))
            low, high = min(low, float(u.min())), max(high, float(u.max()))
        steps = self._targets.steps
        return low / steps, high / steps

    def currents(self, x: Tensor) -> Tensor:
        """Currents [chip, tile row, batch, out * slices] in A that the converters see for x [batch, in].

        Column pairs give their difference; word lines carry x (or its encoded drive) times the read voltage.
        """
        self._check_input(x)
        device = self.chip.device
        unit = device.read.v_read_V * device.window_S
        single = self.encoding.columns == 1
        per_chip = []
        for c in range(len(self._operands)):
            vectors = x if x.ndim == 2 else x[c]
            tiles = []
            for t, rows in enumerate(self.placement.row_slices):
                u = self._partial(c, t, vectors[:, rows]) / self._targets.steps
                # A single column also carries what its driven cells conduct in HRS; a pair cancels it.
                tiles.append(u + device.floor * (rows.stop - rows.start) if single else u)
            per_chip.append(torch.stack(tiles))
        return torch.stack(per_chip) * unit

    def _check_input(self, x: Tensor) -> None:
        chips, _, inputs = self.shape
        if x.shape[-1] != inputs or x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[0] != chips):
            allowed = f"[batch, {inputs}] or [{chips}, batch, {inputs}]"
            raise InputError(f"layer {self.layer!r}, input", f"shape {tuple(x.shape)}", allowed, "Reshape the input.")
        if self.encoding.bipolar and not bool((x.abs() == 1).all()):
            kind = self.encoding.kind  # type: ignore[attr-defined]
            step = "Binarize the input, or use encoding differential."
            raise InputError(f"layer {self.layer!r}, input", f"values other than -1 and +1 for {kind}", "-1, +1", step)


def _packed(operands: _Operands, memory: Tensor) -> _Operands:
    """The same operands, their tiles copied into `memory` one after the other."""
    parts = memory.split([tile.numel() for tile in operands.tiles])
    tiles = tuple(m.view(t.shape).copy_(t) for m, t in zip(parts, operands.tiles, strict=True))
    return dataclasses.replace(operands, tiles=tiles)


@functools.lru_cache(maxsize=16)
def _units_table(device: Device, steps: int, dtype: torch.dtype) -> Tensor:
    """The device's table in units of window / steps; for float32 on the grid that keeps sums exact."""
    units = device.table(steps) * steps
    return units if dtype == torch.float64 else ((units / RESOLUTION).round() * RESOLUTION).float()
