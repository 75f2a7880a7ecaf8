"""From programmed cells to what a product needs."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from imc_sim.array._encoding import Contrast
from imc_sim.array._plan import Plan
from imc_sim.device import Device

#: Contrasts of float32 crossbars are whole multiples of this part of the window / steps.
RESOLUTION = 2.0**-12


@dataclass(frozen=True)
class Operands:
    """What a product needs of one chip, in units of window / steps and without the encoding's gain_in.

    linear, square: contrasts [out x slices x terms, inputs of the tile], top to bottom; one tile with
    everything, conversions already combined, where nothing stands between the cells and the sum. constant:
    [tiles, out x slices x terms] or None where it vanishes. power: variances of a read per x^2 and per x
    (whole matrices) and constant ([tiles, …]). factor: what drift compensation multiplies results by.
    merged: there is one tile with everything.
    """

    linear: tuple[Tensor, ...]
    square: tuple[Tensor, ...] | None
    constant: Tensor | None
    power: tuple[Tensor | None, Tensor | None, Tensor | None]
    factor: float = 1.0
    merged: bool = False

    def to(self, device: torch.device) -> Operands:
        """The same operands where products are to be computed."""
        if self.linear[0].device == device:
            return self
        square, linear = ((None if s is None else tuple(t.to(device) for t in s)) for s in (self.square, self.linear))
        constant, *power = (None if t is None else t.to(device) for t in (self.constant, *self.power))
        moved = {"linear": linear, "square": square, "constant": constant, "power": tuple(power)}
        return dataclasses.replace(self, **moved)


def operands(
    plan: Plan, cells: Tensor, variance: Tensor | None, unit_inputs: bool, factor: float = 1.0,
    offset: Tensor | None = None,
) -> Operands:  # fmt: skip
    """cells: [outputs, slices, columns, in, rows], in units of window / steps, on the grid; variance of their reads.

    offset: [row tiles, out x slices x terms], what every conversion gets besides; see `wired`.
    """
    contrast = plan.encoding.contrast(plan.against_reference(cells), _floor(plan))
    merged = _merged(plan, contrast, factor, offset) if plan.plain else None
    if merged is not None:
        return merged
    square = None if contrast.square is None else _tiles(plan, contrast.square)
    power = _power(plan, variance, unit_inputs)
    constant = _plus(_tile_sums(plan, contrast.constant), offset)
    return Operands(_tiles(plan, contrast.linear), square, constant, power, factor)


def _plus(constant: Tensor | None, offset: Tensor | None) -> Tensor | None:
    if offset is None or constant is None:
        return constant if offset is None else offset
    return constant + offset.to(constant.dtype)


def _merged(plan: Plan, contrast: Contrast, factor: float, offset: Tensor | None) -> Operands | None:
    """Everything in one matrix; None where x^2 keeps a coefficient of its own, as ternary cells with a spread do."""
    linear, square, constant = (_combined(plan, c) for c in (contrast.linear, contrast.square, contrast.constant))
    if square is not None and bool(square.any()):
        return None
    sums = None if constant is None else _tile_sums(plan, constant[:, None])
    if offset is not None:
        gains = plan.gains.to(offset.dtype) * plan.encoding.gain_in
        sums = _plus(sums, (offset.unflatten(1, (-1, len(gains))) * gains).sum(-1).to(plan.dtype))
    return Operands((_whole(plan, linear),), None, sums, (None, None, None), factor, merged=True)


def _floor(plan: Plan) -> float:
    """HRS in units of window / steps, on the grid where results are float32; a reference cancels it."""
    if plan.encoding.referenced:
        return 0.0
    return plan.floor if plan.dtype == torch.float64 else round(plan.floor / RESOLUTION) * RESOLUTION


def _combined(plan: Plan, contrast: Tensor | None) -> Tensor | None:
    """[out, slices x terms, in] -> [out, in]: every conversion with its gain."""
    if contrast is None:
        return None
    gains = plan.gains
    if len(gains) == 1:
        y = contrast[:, 0]
        gain = float(gains[0]) * plan.encoding.gain_in
        return y if gain == 1.0 else y * gain
    return torch.einsum("osi,s->oi", contrast, gains.to(contrast.dtype) * plan.encoding.gain_in)


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


def _power(
    plan: Plan, variance: Tensor | None, unit_inputs: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Variances in float64: their sums must not depend on the batch any more than the products do."""
    if variance is None:
        return None, None, None
    square, linear, constant = plan.encoding.power(plan.with_reference(variance))
    if unit_inputs and square is not None:
        constant, square = square if constant is None else constant + square, None
    flat = (None if p is None else p.flatten(0, 1) for p in (square, linear))
    return (*flat, _tile_sums(plan, constant))  # type: ignore[return-value]


def packed(one: Operands, memory: Tensor) -> Operands:
    """The same operands, their tiles copied into `memory` one after the other."""
    parts = memory.split([tile.numel() for tile in one.linear])
    tiles = tuple(m.view(t.shape).copy_(t) for m, t in zip(parts, one.linear, strict=True))
    return dataclasses.replace(one, linear=tiles)


def on_grid(g: Tensor, dtype: torch.dtype) -> Tensor:
    """Cells as `dtype`; for float32 on the grid that keeps sums exact."""
    return g.to(dtype) if dtype == torch.float64 else ((g / RESOLUTION).round() * RESOLUTION).float()


@functools.lru_cache(maxsize=16)
def units_table(device: Device, steps: int, dtype: torch.dtype) -> Tensor:
    """The device's table in units of window / steps, on the grid."""
    return on_grid(device.table(steps) * steps, dtype)
