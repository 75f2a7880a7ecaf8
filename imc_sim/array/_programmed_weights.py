"""Programmed weights: what products use after programming, ageing and wires."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imc_sim import _rng
from imc_sim._threads import parallel_for
from imc_sim.array._chip import Chip
from imc_sim.array._compiled import COLUMNS
from imc_sim.array._plan import Plan
from imc_sim.array._read_noise import ReadPower
from imc_sim.array._telegraph import LARGEST as LARGEST_TRAPS
from imc_sim.array._telegraph import Traps, undriven
from imc_sim.array.encoding.base import Contrast, Encoding
from imc_sim.device import Device

#: Contrasts of float32 crossbars are whole multiples of this part of the window / steps.
RESOLUTION = 2.0**-12
#: the largest whole number of each way to compute: a byte, and two bytes of which the lower one is signed as well
LARGEST = {"int8": 127, "int16": 32639}
#: of rounding one contrast, about
_SECONDS = 5e-11


@dataclass(frozen=True)
class ProgrammedWeights:
    """Hold what a product needs of one chip, in units of window / steps and without the encoding's gain_in.

    linear, square: contrasts [out x slices x terms, inputs of the tile], top to bottom; one tile with
    everything, conversions already combined, where nothing stands between the cells and the sum. constant:
    [tiles, out x slices x terms] or None where it vanishes. power: variance of a read of every conversion. reference:
    the same of every reference column, whose noise all outputs of its tile share; None where there is none. factor: of
    drift compensation, for the analog part of results.
    merged: there is one tile with everything. unit: a power of two, of which the contrasts of float32 crossbars
    are whole multiples. traps: of every tile, those whose states are sampled.
    """

    linear: tuple[Tensor, ...]
    square: tuple[Tensor, ...] | None
    constant: Tensor | None
    power: ReadPower
    reference: ReadPower | None = None
    factor: float = 1.0
    merged: bool = False
    unit: float = RESOLUTION
    traps: tuple[Traps, ...] | None = None

    def to(self, device: torch.device) -> ProgrammedWeights:
        """Return the same weights on that device; self where they are there."""
        if self.linear[0].device == device:
            return self
        square, linear = ((None if s is None else tuple(t.to(device) for t in s)) for s in (self.square, self.linear))
        constant = None if self.constant is None else self.constant.to(device)
        reference = None if self.reference is None else self.reference.to(device)
        moved = {"linear": linear, "square": square, "constant": constant, "reference": reference}
        return dataclasses.replace(self, **moved, power=self.power.to(device))


def operand_bytes(outputs: int, inputs: int, encoding: Encoding, chip: Chip, unit_inputs: bool, where: str) -> int:
    """Return the bytes that +-1 weights [outputs, inputs] take on one chip, with the copy for the compiled product.

    An upper estimate: small products never ask for that copy, and conversions may be combined. Refuses weights that
    the encoding does.
    """
    slices = len(encoding.encode(torch.ones(1, 1), chip.device.levels, where).places)
    cell = torch.zeros(1, slices, encoding.columns, 1, encoding.rows)
    columns, planes = outputs * slices * len(encoding.terms), 1 + (encoding.contrast(cell, 0.0).square is not None)
    words = planes * (1 if chip.compute == "int8" else 2)
    variances = 0
    if chip.device.read.noisy:
        square, linear, _ = encoding.power(cell)
        variances = 8 * ((square is not None and not unit_inputs) + (linear is not None))
    traps = 0
    if not chip.device.read.telegraph.is_ideal:
        tiles = -(-inputs * encoding.rows // chip.tile.rows)
        traps = tiles * outputs * slices * LARGEST_TRAPS * (8 + 24 * len(encoding.terms))
    return traps + inputs * (columns * (4 * planes + variances) + -(-columns // COLUMNS) * COLUMNS * words)


@dataclass(frozen=True)
class CellNoise:
    """Noise of the cells of one chip, in units of window / steps, each [out, slices, columns, in, rows] or None.

    driven: variance that scales with the square of the drive. thermal: variance at any drive. step: what the trap of a
    cell changes, with the occupancy of its low state.
    """

    driven: Tensor | None
    thermal: Tensor | None
    step: Tensor | None
    occupancy: float = 0.5


@dataclass(frozen=True)
class Rounding:
    """How far what products are computed with is from the conductances, in windows (G_LRS - G_HRS).

    compute: `int8`, `int16`, `float32` or `float64`. step: all are whole multiples of it; 0 for float64. rms, largest:
    of the differences to the same conductances in float64, each as it multiplies an input.
    """

    compute: str
    step: float
    rms: float
    largest: float

    @classmethod
    def of(cls, used: ProgrammedWeights, exact: ProgrammedWeights, plan: Plan) -> Rounding:
        """Compare the weights of one chip with the same in float64."""
        steps = plan.targets.steps
        if plan.dtype == torch.float64:
            return cls("float64", 0.0, 0.0, 0.0)
        pairs = zip((*used.linear, *(used.square or ())), (*exact.linear, *(exact.square or ())), strict=True)
        error = torch.cat([(a.double() - b).reshape(-1) for a, b in pairs]) / steps
        rms, largest = float(error.square().mean().sqrt()), float(error.abs().max())
        return cls(plan.chip.compute, used.unit / steps, rms, largest)


def programmed_weights(
    plan: Plan, cells: tuple[Tensor, ...], noise: CellNoise | None, unit_inputs: bool, factor: float = 1.0,
    offset: Tensor | None = None,
) -> ProgrammedWeights:  # fmt: skip
    """Compute the weights that products use from the cells of every pass and the noise of their reads.

    cells: each [outputs, slices, columns, in, rows], in units of window / steps; one tensor where all passes see the
    same. They are rounded to the grid first.
    offset: [row tiles, out x slices x terms], what every conversion gets besides; see `wired`.
    """
    each = tuple(plan.against_reference(on_grid(g, plan.dtype)) for g in cells)
    contrast = plan.encoding.contrast(each[0] if len(each) == 1 else each, _floor(plan), _floor(plan, factor))
    return of_contrast(plan, contrast, noise, unit_inputs, factor, offset, alike=len(each) == 1)


def of_contrast(
    plan: Plan, drawn: Contrast, noise: CellNoise | None = None, unit_inputs: bool = False, factor: float = 1.0,
    offset: Tensor | None = None, alike: bool = True,
) -> ProgrammedWeights:  # fmt: skip
    """Compute `programmed_weights` from a known contrast of the cells. alike: all passes see the same cells."""
    merged = (
        plan.readout_is_ideal
        and _separable(plan, drawn, alike)
        and not (plan.encoding.correction.sum_x and factor != 1.0)
    )
    contrast, unit = rounded(drawn, plan)
    if merged:
        return _merged(plan, contrast, factor, offset, unit)
    square = None if contrast.square is None else _tiles(plan, contrast.square)
    traps, power, reference = _noise(plan, noise, unit_inputs)
    constant = _plus(_tile_sums(plan, contrast.constant), offset)
    linear = _tiles(plan, contrast.linear)
    return ProgrammedWeights(linear, square, constant, power, reference, factor, unit=unit, traps=traps)


def rounded(contrast: Contrast, plan: Plan) -> tuple[Contrast, float]:
    """Contrasts as the chip computes with them, rounded in place, and the unit of which they are whole multiples.

    compute int8, int16: the unit is the smallest power of two in which the largest contrast has that many bits, and
    never below that of float32. What does not depend on the input is a sum, no cell, and stays as it is. Crossbars
    of float64 compute in float64 whatever the chip says: their inputs are real.
    """
    largest = LARGEST.get(plan.chip.compute)
    if largest is None or plan.dtype == torch.float64:
        return contrast, RESOLUTION
    each = [contrast.linear] if contrast.square is None else [contrast.linear, contrast.square]
    known = max(magnitude(c) for c in each) if contrast.largest is None else contrast.largest
    fraction, exponent = math.frexp(known / largest)
    unit = max(RESOLUTION, 2.0 ** (exponent - int(fraction == 0.5)))
    if contrast.largest is not None and _rng.compiled():
        from imc_sim.array._compiled._packing import to_multiples, to_multiples_in_pool

        flat = contrast.linear.view(-1).numpy()
        parallel_for(to_multiples, to_multiples_in_pool, (flat, unit), len(flat), len(flat) * _SECONDS)
        return Contrast(contrast.linear, None, contrast.constant), unit
    linear, *square = (c.mul_(1.0 / unit).round_().mul_(unit) for c in each)
    return Contrast(linear, square[0] if square else None, contrast.constant), unit


def _plus(constant: Tensor | None, offset: Tensor | None) -> Tensor | None:
    if offset is None or constant is None:
        return constant if offset is None else offset
    return constant + offset.to(constant.dtype)


def magnitude(x: Tensor) -> float:
    """The largest |x|."""
    if x.device.type == "cpu":  # numpy is twice as fast here as torch.aminmax
        return max(-float(x.numpy().min()), float(x.numpy().max()))
    low, high = torch.aminmax(x)
    return max(-float(low), float(high))


def _separable(plan: Plan, contrast: Contrast, alike: bool) -> bool:
    """Tell whether x^2 has no coefficient of its own on any chip.

    The sampled cells may decide it only where all chips have the same ones: a chip without a single changed cell must
    be computed as the others of a call are.
    """
    if contrast.square is None or (alike and plan.encoding.cancels_squares):
        return True
    return plan.chip.cells_are_ideal and not bool(_combined(plan, contrast.square).any())  # type: ignore[union-attr]


def _merged(plan: Plan, contrast: Contrast, factor: float, offset: Tensor | None, unit: float) -> ProgrammedWeights:
    """Everything in one matrix."""
    linear, constant = (_combined(plan, c) for c in (contrast.linear, contrast.constant))
    sums = None if constant is None else _tile_sums(plan, constant[:, None])
    if offset is not None:
        gains = plan.gains.to(offset.dtype) * plan.encoding.gain_in
        sums = _plus(sums, (offset.unflatten(1, (-1, len(gains))) * gains).sum(-1).to(plan.dtype))
    least = min(1.0, min(abs(f) for f in plan.factors) * plan.encoding.gain_in)
    unit *= 2.0 ** math.floor(math.log2(least))
    return ProgrammedWeights((_whole(plan, linear),), None, sums, ReadPower(), factor=factor, merged=True, unit=unit)


def _floor(plan: Plan, factor: float = 1.0) -> float:
    """Return HRS over `factor` in units of window / steps, on the grid where results are float32.

    A reference column cancels it.
    """
    if plan.encoding.referenced:
        return 0.0
    floor = plan.floor / factor
    return floor if plan.dtype == torch.float64 else round(floor / RESOLUTION) * RESOLUTION


def _combined(plan: Plan, contrast: Tensor | None) -> Tensor | None:
    """[out, slices x terms, in] -> [out, in]: every conversion with its gain."""
    if contrast is None:
        return None
    if len(plan.factors) == 1:
        y = contrast[:, 0]
        gain = plan.factors[0] * plan.encoding.gain_in
        return y if gain == 1.0 else y * gain
    return torch.einsum("osi,s->oi", contrast, plan.gains.to(contrast.dtype) * plan.encoding.gain_in)


def _whole(plan: Plan, linear: Tensor | None) -> Tensor:
    """The plain product's matrix, with what is subtracted per sum of inputs."""
    if linear is None:
        linear = torch.zeros(plan.outputs, plan.placement.inputs, dtype=plan.dtype)
    minus = plan.encoding.correction.sum_x
    return (linear - minus if minus else linear).contiguous()


def _tiles(plan: Plan, contrast: Tensor) -> tuple[Tensor, ...]:
    """[out, slices x terms, in] -> [out x slices x terms, inputs of the tile] of each tile, contiguous."""
    flat = contrast.flatten(0, 1)
    return tuple(flat[:, rows].contiguous() for rows in plan.placement.row_slices)


def _tile_sums(plan: Plan, x: Tensor | None) -> Tensor | None:
    """[out, slices x terms, in] -> [tiles, out x slices x terms]."""
    if x is None:
        return None
    flat = x.flatten(0, 1)
    return torch.stack([flat[:, t].double().sum(-1) for t in plan.placement.row_slices]).to(x.dtype)


def _noise(
    plan: Plan, noise: CellNoise | None, unit_inputs: bool
) -> tuple[tuple[Traps, ...] | None, ReadPower, ReadPower | None]:
    """Return the sampled traps of every tile, and the variances of all other noise: of outputs and of references."""
    if noise is None:
        return None, ReadPower(), None
    traps, driven = None, noise.driven
    if noise.step is not None:
        traps, rest = Traps.of(plan, noise.step, noise.occupancy)
        if bool(rest.any()):
            rest = noise.occupancy * (1.0 - noise.occupancy) * rest.square()
            driven = rest if driven is None else driven + rest
    outputs, references = slice(plan.outputs), slice(plan.outputs, None)
    power = _power(plan, driven, noise.thermal, unit_inputs, outputs)
    shared = None if plan.reference is None else _power(plan, driven, noise.thermal, unit_inputs, references)
    return traps, power, shared


def _power(plan: Plan, driven: Tensor | None, thermal: Tensor | None, unit_inputs: bool, part: slice) -> ReadPower:
    """Return the variances of the columns in `part` of a plan's outputs and references.

    In float64: their sums must not depend on the batch any more than the products do.
    """
    square, linear, constant = None, None, None
    if driven is not None:
        square, linear, constant = plan.encoding.power(driven[part])
    if unit_inputs and square is not None:
        constant, square = square if constant is None else constant + square, None
    if thermal is not None:
        still = undriven(plan.encoding, thermal[part])
        constant = still if constant is None else constant + still
    square, linear = (None if p is None else p.flatten(0, 1) for p in (square, linear))
    return ReadPower(square, linear, _tile_sums(plan, constant))


def packed(one: ProgrammedWeights, memory: Tensor) -> ProgrammedWeights:
    """Return the same weights, their tiles copied into `memory` one after the other."""
    parts = memory.split([tile.numel() for tile in one.linear])
    tiles = tuple(m.view(t.shape).copy_(t) for m, t in zip(parts, one.linear, strict=True))
    return dataclasses.replace(one, linear=tiles)


def on_grid(g: Tensor, dtype: torch.dtype) -> Tensor:
    """Return cells as `dtype`, for float32 on the grid that keeps sums exact; cells of float32 are on it already."""
    if g.dtype == dtype:
        return g
    return g.to(dtype) if dtype == torch.float64 else ((g / RESOLUTION).round() * RESOLUTION).float()


@functools.lru_cache(maxsize=16)
def units_table(device: Device, steps: int, dtype: torch.dtype) -> Tensor:
    """The device's table in units of window / steps, on the grid."""
    return on_grid(device.table(steps) * steps, dtype)


@functools.lru_cache(maxsize=16)
def pair_units_table(device: Device, steps: int, dtype: torch.dtype) -> Tensor:
    """Return the device's table of differences of two cells in the same units, on the grid."""
    return on_grid(device.pair_table(steps) * steps, dtype)
