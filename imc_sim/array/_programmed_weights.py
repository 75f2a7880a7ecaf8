"""Programmed weights: what products use after programming, ageing and wires."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim import _rng
from imc_sim._threads import parallel_for
from imc_sim.array._chip import Chip
from imc_sim.array._compiled import COLUMNS
from imc_sim.array._plan import Plan
from imc_sim.array._read_noise import ReadPower
from imc_sim.array._telegraph import LARGEST as LARGEST_TRAPS
from imc_sim.array._telegraph import Traps, undriven
from imc_sim.array._whole_tiles import WholeTiles
from imc_sim.array.encoding.base import Coefficients, Encoding
from imc_sim.device import Device

#: differential conductances of float32 crossbars are whole multiples of this part of window / steps
RESOLUTION = 2.0**-12
#: largest whole number by `compute`: of a byte, and of two bytes that are both signed
LARGEST = {"int8": 127, "int16": 32639}
#: approximate seconds for rounding one number
_SECONDS = 5e-11


@dataclass(frozen=True)
class ProgrammedWeights:
    """Hold what products on one chip need, in units of window / steps and without the encoding's gain_in.

    Attributes:
        linear: coefficients of x of every row of tiles, [out x slices x terms, inputs of the tile]; a single matrix
            with all conversions combined where `merged`.
        square: coefficients of x^2, like `linear`; None where they are zero.
        constant: constants [tiles, out x slices x terms]; None where they are zero.
        power: variance of the read noise of every conversion.
        reference: variance of the read noise of every reference column, which all outputs of its tile share.
        factor: drift compensation, applied to the analog part of results.
        merged: whether one matrix holds everything, because ADCs are ideal and reads free of noise.
        unit: power of two of which the coefficients of float32 crossbars are whole multiples.
        traps: traps of every row of tiles whose states are sampled.
    """

    linear: Sequence[Tensor]
    square: tuple[Tensor, ...] | None
    constant: Tensor | None
    power: ReadPower
    reference: ReadPower | None = None
    factor: float = 1.0
    merged: bool = False
    unit: float = RESOLUTION
    traps: tuple[Traps, ...] | None = None

    @property
    def device(self) -> torch.device:
        """Return the torch device of the weights."""
        return torch.device("cpu") if isinstance(self.linear, WholeTiles) else self.linear[0].device

    @property
    def columns(self) -> int:
        """Return the number of sums of a row of tiles: out x slices x terms, or out where `merged`."""
        return len(self.linear.whole if isinstance(self.linear, WholeTiles) else self.linear[0])

    def to(self, device: torch.device) -> ProgrammedWeights:
        """Return the weights on a torch device; self where they are on it.

        Args:
            device: torch device.
        """
        if self.device == device:
            return self
        square, linear = ((None if s is None else tuple(t.to(device) for t in s)) for s in (self.square, self.linear))
        constant = None if self.constant is None else self.constant.to(device)
        reference = None if self.reference is None else self.reference.to(device)
        moved = {"linear": linear, "square": square, "constant": constant, "reference": reference}
        return dataclasses.replace(self, **moved, power=self.power.to(device))


def operand_bytes(outputs: int, inputs: int, encoding: Encoding, chip: Chip, unit_inputs: bool, where: str) -> int:
    """Return an upper estimate of the bytes of +-1 weights on one chip, with the copy for the compiled product.

    Args:
        outputs: rows of the weight matrix.
        inputs: columns of the weight matrix.
        encoding: encoding of the weights.
        chip: the chip.
        unit_inputs: whether every input is -1 or +1.
        where: place that an error names.

    Raises:
        InputError: for weights that the encoding refuses.
    """
    slices = len(encoding.encode(torch.ones(1, 1), chip.device.levels, where).places)
    cell = torch.zeros(1, slices, encoding.columns, 1, encoding.rows)
    columns, planes = outputs * slices * len(encoding.terms), 1 + (encoding.coefficients(cell, 0.0).square is not None)
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
    """Hold the read noise of one chip's cells [out, slices, columns, in, rows] in units of window / steps.

    Attributes:
        driven: variance that scales with the square of the voltage.
        thermal: variance at any voltage.
        step: change of the conductance by the cell's trap.
        occupancy: share of the time that a trap is in its low state.
    """

    driven: Tensor | None
    thermal: Tensor | None
    step: Tensor | None
    occupancy: float = 0.5


@dataclass(frozen=True)
class Rounding:
    """Report the deviation of programmed weights from the conductances, in windows (G_LRS - G_HRS).

    Attributes:
        compute: `int8`, `int16`, `float32` or `float64`.
        step: number of which all weights are whole multiples; 0 for float64.
        rms: root mean square of the differences to float64.
        largest: largest magnitude of the differences to float64.
    """

    compute: str
    step: float
    rms: float
    largest: float

    @classmethod
    def of(cls, used: ProgrammedWeights, exact: ProgrammedWeights, plan: Plan) -> Rounding:
        """Compare the weights of one chip with the same weights in float64.

        Args:
            used: weights that products use.
            exact: weights in float64.
            plan: the plan of both.

        Returns:
            The deviation.
        """
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
    """Return the programmed weights of cells and their read noise.

    cells: one [outputs, slices, columns, in, rows] per pass, in units of window / steps, or a single one for all
    passes; rounded to the grid first. factor: drift compensation. offset: constants [row tiles, out x slices x terms]
    that wires add to conversions.
    """
    each = tuple(plan.against_reference(on_grid(g, plan.dtype)) for g in cells)
    found = plan.encoding.coefficients(each[0] if len(each) == 1 else each, _floor(plan), _floor(plan, factor))
    return of_coefficients(plan, found, noise, unit_inputs, factor, offset, same=len(each) == 1)


def of_coefficients(
    plan: Plan, sampled: Coefficients, noise: CellNoise | None = None, unit_inputs: bool = False, factor: float = 1.0,
    offset: Tensor | None = None, same: bool = True,
) -> ProgrammedWeights:  # fmt: skip
    """Return the programmed weights of the coefficients of cells. same: all passes see the same cells."""
    compensated = plan.encoding.correction.sum_x and factor != 1.0
    merged = plan.readout_is_ideal and _separable(plan, sampled, same) and not compensated
    found, unit = rounded(sampled, plan)
    if merged:
        return _merged(plan, found, factor, offset, unit)
    square = None if found.square is None else _tiles(plan, found.square)
    traps, power, reference = _noise(plan, noise, unit_inputs)
    constant = _plus(_tile_sums(plan, found.constant), offset)
    linear = _tiles(plan, found.linear)
    return ProgrammedWeights(linear, square, constant, power, reference, factor, unit=unit, traps=traps)


def of_differences(plan: Plan, whole: NDArray[Any], largest: int) -> ProgrammedWeights:
    """Return the programmed weights of differential conductances [out, in], in whole multiples of `RESOLUTION`.

    largest: their largest magnitude. Nothing acts on single cells, and column pairs have no constants.
    """
    unit, merged = _unit(plan, largest * RESOLUTION), plan.readout_is_ideal
    rows = [slice(None)] if merged else plan.placement.row_slices
    tiles = WholeTiles(whole, RESOLUTION, round(unit / RESOLUTION), largest, rows)
    return ProgrammedWeights(tiles, None, None, ReadPower(), merged=merged, unit=unit)


def _unit(plan: Plan, known: float) -> float:
    """Return the unit of weights of a float32 crossbar whose largest magnitude is `known`; see `rounded`."""
    largest = LARGEST.get(plan.chip.compute)
    if largest is None:
        return RESOLUTION
    fraction, exponent = math.frexp(known / largest)
    return max(RESOLUTION, 2.0 ** (exponent - int(fraction == 0.5)))


def rounded(found: Coefficients, plan: Plan) -> tuple[Coefficients, float]:
    """Return the coefficients in the chip's `compute`, rounded in place, and the unit of which they are multiples.

    int8, int16: the unit is the smallest power of two in which the largest coefficient has that many bits, and never
    below that of float32. Constants are not rounded. Crossbars of float64 are not rounded: their inputs are real.
    """
    if plan.chip.compute not in LARGEST or plan.dtype == torch.float64:
        return found, RESOLUTION
    each = [found.linear] if found.square is None else [found.linear, found.square]
    known = max(magnitude(c) for c in each) if found.largest is None else found.largest
    unit = _unit(plan, known)
    if found.largest is not None and _rng.compiled():
        from imc_sim.array._compiled._packing import to_multiples, to_multiples_in_pool

        flat = found.linear.view(-1).numpy()
        parallel_for(to_multiples, to_multiples_in_pool, (flat, unit), len(flat), len(flat) * _SECONDS)
        return Coefficients(found.linear, None, found.constant), unit
    linear, *square = (c.mul_(1.0 / unit).round_().mul_(unit) for c in each)
    return Coefficients(linear, square[0] if square else None, found.constant), unit


def _plus(constant: Tensor | None, offset: Tensor | None) -> Tensor | None:
    """Return constant + offset in the type of the constant; None for 0."""
    if offset is None or constant is None:
        return constant if offset is None else offset
    return constant + offset.to(constant.dtype)


def magnitude(x: Tensor) -> float:
    """Return the largest magnitude of x."""
    if x.device.type == "cpu":  # numpy is twice as fast here as torch.aminmax
        return max(-float(x.numpy().min()), float(x.numpy().max()))
    low, high = torch.aminmax(x)
    return max(-float(low), float(high))


def _separable(plan: Plan, found: Coefficients, same: bool) -> bool:
    """Tell whether x^2 cancels in the results of every chip. same: all passes see the same cells.

    Values of cells decide it only where all chips have equal cells: otherwise chips of one call would be computed in
    different ways.
    """
    if found.square is None or (same and plan.encoding.cancels_squares):
        return True
    return plan.cells_are_ideal and not bool(_combined(plan, found.square).any())


def _merged(plan: Plan, found: Coefficients, factor: float, offset: Tensor | None, unit: float) -> ProgrammedWeights:
    """Return programmed weights whose conversions are combined in one matrix."""
    linear, minus = _combined(plan, found.linear), plan.encoding.correction.sum_x
    matrix = (linear - minus if minus else linear).contiguous()
    sums = None if found.constant is None else _tile_sums(plan, _combined(plan, found.constant)[:, None])
    if offset is not None:
        gains = plan.gains.to(offset.dtype) * plan.encoding.gain_in
        sums = _plus(sums, (offset.unflatten(1, (-1, len(gains))) * gains).sum(-1).to(plan.dtype))
    least = min(1.0, min(abs(f) for f in plan.factors) * plan.encoding.gain_in)
    unit *= 2.0 ** math.floor(math.log2(least))
    return ProgrammedWeights((matrix,), None, sums, ReadPower(), factor=factor, merged=True, unit=unit)


def _floor(plan: Plan, factor: float = 1.0) -> float:
    """Return HRS over `factor` in units of window / steps, on the grid where results are float32.

    0 with a reference column, which cancels it.
    """
    if plan.encoding.referenced:
        return 0.0
    floor = plan.floor / factor
    return floor if plan.dtype == torch.float64 else round(floor / RESOLUTION) * RESOLUTION


def _combined(plan: Plan, x: Tensor) -> Tensor:
    """Return the sum of all conversions of [out, slices x terms, in], each with its gain: [out, in]."""
    if len(plan.factors) == 1:
        y = x[:, 0]
        gain = plan.factors[0] * plan.encoding.gain_in
        return y if gain == 1.0 else y * gain
    return torch.einsum("osi,s->oi", x, plan.gains.to(x.dtype) * plan.encoding.gain_in)


def _tiles(plan: Plan, x: Tensor) -> tuple[Tensor, ...]:
    """Return the part of [out, slices x terms, in] of each row of tiles, contiguous [out x slices x terms, inputs]."""
    flat = x.flatten(0, 1)
    return tuple(flat[:, rows].contiguous() for rows in plan.placement.row_slices)


def _tile_sums(plan: Plan, x: Tensor | None) -> Tensor | None:
    """Return the sums of [out, slices x terms, in] over the inputs of each row of tiles: [tiles, conversions]."""
    if x is None:
        return None
    flat = x.flatten(0, 1)
    return torch.stack([flat[:, t].double().sum(-1) for t in plan.placement.row_slices]).to(x.dtype)


def _noise(
    plan: Plan, noise: CellNoise | None, unit_inputs: bool
) -> tuple[tuple[Traps, ...] | None, ReadPower, ReadPower | None]:
    """Return the sampled traps of every row of tiles, and the variances of other noise of outputs and of references."""
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

    In float64, so that their sums do not depend on the batch.
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
    """Return weights whose tiles are copied into `memory`, one after the other."""
    parts = memory.split([tile.numel() for tile in one.linear])
    tiles = tuple(m.view(t.shape).copy_(t) for m, t in zip(parts, one.linear, strict=True))
    return dataclasses.replace(one, linear=tiles)


def on_grid(g: Tensor, dtype: torch.dtype) -> Tensor:
    """Return cells as `dtype`, for float32 rounded to the grid that keeps sums exact; float32 cells are on it."""
    if g.dtype == dtype:
        return g
    return g.to(dtype) if dtype == torch.float64 else ((g / RESOLUTION).round() * RESOLUTION).float()


@functools.lru_cache(maxsize=16)
def units_table(device: Device, steps: int, dtype: torch.dtype) -> Tensor:
    """Return the device's quantile table in units of window / steps, on the grid; float64 where levels are between."""
    table = device.table(steps) * steps
    return on_grid(table, dtype) if device.highest_row(steps) == steps else table


@functools.lru_cache(maxsize=16)
def whole_table(device: Device, steps: int) -> NDArray[Any] | None:
    """Return `units_table` in multiples of `RESOLUTION`, of 16 bits where differences fit, else of 32 bits.

    None where levels are between rows, and where float32 does not hold all differences.
    """
    if device.highest_row(steps) < steps:
        return None
    whole = (device.table(steps) * steps / RESOLUTION).round()
    apart = float(whole.max() - whole.min().clamp_max(0.0))
    if apart >= 2**24:
        return None
    return whole.numpy().astype(np.int16 if apart < 2**15 else np.int32)


@functools.lru_cache(maxsize=16)
def pair_units_table(device: Device, steps: int, dtype: torch.dtype) -> Tensor:
    """Return the quantile table of the conductance difference of a pair in units of window / steps, on the grid."""
    return on_grid(device.pair_table(steps) * steps, dtype)
