"""A matrix in programmed cells: the only holder of conductances.

encode -> program -> read -> sense, each stage exactly the identity when its effect is off. For +-1 operands
an ideal crossbar equals the digital product to the bit, because contrasts are held on a grid of 2^-12 of
the window: every float32 sum of up to 4,096 windows is then exact, whatever the order, the batch, the tiling
or the number of threads.
"""

from __future__ import annotations

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

#: Contrasts of float32 crossbars are whole multiples of this part of the window.
RESOLUTION = 2.0**-12

#: inputs of tile t -> [vectors, inputs of the tile]
TileInputs = Callable[[slice], Tensor]


@dataclass(frozen=True)
class _Operands:
    """What a product needs of one chip, in units of window / steps and with the encoding's gains outside.

    contrast: [out * slices, in]. offset: [tiles, out * slices] or None where it vanishes. power: variances
    of the read per x^2, per x and constant, [tiles, out * slices, …] summed as the product needs them.
    """

    contrast: Tensor
    offset: Tensor | None
    power: tuple[Tensor | None, Tensor | None, Tensor | None]


@final
class Crossbar:
    """Weights [out, in] programmed onto the tiles of `chips` chips. Build it with `Crossbar.program`."""

    def __init__(
        self, targets: Targets, encoding: Encoding, chip: Chip, placement: Placement, chips: range, seed: int,
        layer: str, page: int,
    ) -> None:  # fmt: skip
        self.chip, self.encoding, self.placement = chip, encoding, placement
        self.chips, self.seed, self.layer, self.page = chips, seed, layer, page
        self._targets = targets
        self._limits: tuple[float, float] | None = None
        self._reads = 0
        self._operands = self._program()

    @classmethod
    def program(
        cls, weights: Tensor, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
        seed: int = 0, layer: str = "crossbar", page: int = 0, encoding: Encoding | None = None,
    ) -> Crossbar:  # fmt: skip
        """Program weights [out, in] on `chips` chips (a count, or a range of chip numbers).

        Draws are addressed by (seed, chip number, layer, page, cell): equal arguments give equal cells,
        whatever else is programmed. float64 weights are computed in float64 throughout.
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
        out, slices = targets.cells.shape[:2]
        placement = Placement.of(chip.tile, encoding, weights.shape[1], out * slices, where)
        numbers = chips if isinstance(chips, range) else range(chips)
        return cls(targets, encoding, chip, placement, numbers, seed, layer, page)

    # -- shape -----------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """(chips, out, in)."""
        return len(self.chips), self._targets.cells.shape[0], self.placement.inputs

    @property
    def dtype(self) -> torch.dtype:
        return self._targets.cells.dtype

    @property
    def plain(self) -> bool:
        """The product is one matrix product: ideal converters and noise-free reads."""
        return self.chip.converter.ideal and self.chip.device.read.sigma == 0.0

    # -- programming -----------------------------------------------------------------------------------

    def cells(self, index: int) -> Tensor:
        """Programmed g of the chip at position `index`: [out, slices, columns, in, rows], window units."""
        device, target = self.chip.device, self._targets.cells
        return device.program(target, self.seed, self.layer, self.chips[index], self.page)

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
        operands = [self._operand(self.cells(c)) for c in range(count)]
        return operands * len(self.chips) if count == 1 else operands

    def _operand(self, g: Tensor) -> _Operands:
        contrast, offset = self.encoding.contrast(g)
        contrast = self._grid(contrast * self._targets.steps)
        offset = None if offset is None else self._tile_sums(self._grid(offset * self._targets.steps))
        return _Operands(self._merge(contrast), offset, self._power(g))

    def _grid(self, x: Tensor) -> Tensor:
        if self.dtype == torch.float64 or self.chip.device.exact:
            return x
        return x.mul_(1 / RESOLUTION).round_().mul_(RESOLUTION)

    def _merge(self, contrast: Tensor) -> Tensor:
        """Slices side by side, or already shifted and added where nothing stands between cell and sum."""
        if not self.plain:
            return contrast.flatten(0, 1)
        if contrast.shape[1] == 1:
            return contrast[:, 0].contiguous()
        return torch.einsum("osi,s->oi", contrast, contrast.new_tensor(self._targets.places))

    def _tile_sums(self, x: Tensor) -> Tensor:
        """[out, slices, in] -> [tiles, out * slices]."""
        flat = x.flatten(0, 1)
        return torch.stack([flat[:, t].double().sum(-1) for t in self.placement.row_slices]).to(x.dtype)

    def _power(self, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        sigma = self.chip.device.read.sigma
        if sigma == 0.0:
            return None, None, None
        variance = ((g + self.chip.device.floor) * (sigma * self._targets.steps)).square()
        square, linear, constant = self.encoding.power(variance)
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
            y = torch.matmul(x, torch.stack([o.contrast for o in self._operands]).mT)
            return torch.stack([self.finish(y[c], c) for c in range(len(self.chips))])
        first = self.take_reads(x.shape[-2])
        each = [self.product(c, x if x.ndim == 2 else x[c], first) for c in range(len(self.chips))]
        return torch.stack(each)

    def product(self, index: int, x: Tensor, first_read: int) -> Tensor:
        """Product of x [batch, in] on the chip at position `index`: [batch, out]."""
        if self.plain:
            return self.finish(x @ self._operands[index].contrast.mT, index)
        return self.sense(index, lambda t: x[:, t], first_read, per_read=1)

    def take_reads(self, count: int) -> int:
        """Number of the first of `count` successive reads; advances the counter."""
        first, self._reads = self._reads, self._reads + count
        return first

    def contrast(self, index: int) -> Tensor:
        """[out, in] of a `plain` crossbar: the product before `finish`."""
        return self._operands[index].contrast

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
            u = x @ self._operands[index].contrast[:, rows].mT
            self._add_noise(u, x, index, t, rows, first_read, per_read)
            codes = self._convert(u, index, t, quantiser)
            total = codes if total is None else total.add_(codes)
        if total is None:  # pragma: no cover - a matrix has at least one input
            raise InputError(f"layer {self.layer!r}", "no inputs", "one input or more", "Check the weights.")
        return self._digital(total, quantiser)

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
        variance = torch.zeros_like(u) if constant is None else constant[tile].expand_as(u).clone()
        if square is not None:
            variance += x.square() @ square[:, rows].mT
        if linear is not None:
            variance += x @ linear[:, rows].mT
        count = u.numel() // (x.shape[0] // per_read)
        stride = blocks(count)
        stream = Stream(self.seed, f"{self.layer}/{tile}", "read")
        drawn = stream.normal(stride * 16 * (x.shape[0] // per_read), self.chips[index], self.page, first_read * stride)
        normal = torch.from_numpy(drawn).reshape(x.shape[0] // per_read, -1)[:, :count].reshape(u.shape)
        u.addcmul_(variance.clamp_min_(0.0).sqrt_(), normal.to(u.dtype))

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
            u = self._convert(inputs(rows) @ self._operands[0].contrast[:, rows].mT, 0, t, None)
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
        for c, operands in enumerate(self._operands):
            vectors = x if x.ndim == 2 else x[c]
            tiles = []
            for t, rows in enumerate(self.placement.row_slices):
                u = self._convert(vectors[:, rows] @ operands.contrast[:, rows].mT, c, t, None) / self._targets.steps
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
