"""Real and integer weights: column pairs, a reference column, digits on slices."""

from __future__ import annotations

from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array.encoding.base import SIGNED, Encoding, Targets, Term, pairs


@final
class Differential(Encoding):
    """Hold real weights in column pairs, with voltages proportional to x: u = sum x (p - m), y = q.

    Magnitudes are scaled by max|w| to the nearest level of the device; +-1 and 0 are exact on two levels.
    """

    kind: Literal["differential"] = "differential"
    # Powers of two, whose inverses are exact.
    copies: Literal[1, 2, 4, 8, 16, 32] = Field(default=1, description="column pairs that hold one output, averaged")
    columns = 2
    signed = True
    operands = "real"
    drives = ((SIGNED,),)
    terms = (Term(0, (1.0, -1.0), gain=1.0),)

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        scale, steps = _largest(weights), levels - 1
        units = weights.round() if steps == scale else (weights * (steps / scale)).round_()
        cells = None if self.copies == 1 else pairs(units)[:, None, :, :, None].repeat(1, self.copies, 1, 1, 1)
        return Targets(cells, steps, scale / steps, (1 / self.copies,) * self.copies, units)

    def encode_signs(self, weights: Tensor, levels: int, where: str) -> Targets:
        if self.copies > 1:
            return self.encode(weights, levels, where)
        steps = levels - 1
        return Targets(None, steps, 1 / steps, (1.0,), weights if steps == 1 else weights * steps)

    def uses_levels(self, linear: bool, signs: bool) -> bool:
        return not signs


@final
class Offset(Encoding):
    """Hold one cell per weight and one reference column per tile, whose current is subtracted from all other columns.

    Weights -max|w| … +max|w| are mapped to HRS … LRS, the reference is at the middle of the window:
    u = sum x (g - g_ref). It needs half the cells of column pairs, but all columns of a tile share the errors and the
    read noise of one reference.
    """

    kind: Literal["offset"] = "offset"
    signed = True
    operands = "real"
    drives = ((SIGNED,),)
    terms = (Term(0, (1.0,), gain=1.0),)
    referenced = True

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        scale, steps = _largest(weights), levels - 1
        level = torch.round((weights / scale + 1.0) * (steps / 2))
        # Twice the steps: with an even number of levels the reference lies between two of them.
        cells = (2 * level).to(torch.int32)[:, None, None, :, None]
        return Targets(cells, 2 * steps, scale / steps, (1.0,), 2 * level - steps, reference=steps)

    def uses_levels(self, linear: bool, signs: bool) -> bool:
        return not (signs and linear)  # the reference is the level nearest to the middle


@final
class Sliced(Encoding):
    """Hold signed integers in digits of `bits_per_slice` bits, a column pair per digit; shift and add.

    Weights must be integers. With `weight_bits` they are rounded to multiples of one step per layer,
    max|w| / (2^(weight_bits - 1) - 1). The number of slices follows from the largest magnitude. The device needs
    2^bits_per_slice levels.
    """

    kind: Literal["sliced"] = "sliced"
    bits_per_slice: int = Field(default=1, ge=1, le=8, description="bits that one cell holds")
    weight_bits: int | None = Field(
        default=None, ge=2, le=16, description="float weights are rounded to that many bits, sign included; null: no"
    )
    columns = 2
    signed = True
    operands = "real"
    drives = ((SIGNED,),)
    terms = (Term(0, (1.0, -1.0), gain=1.0),)

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        base = 2**self.bits_per_slice
        if levels < base:
            step = f"Set device.levels to {base} or bits_per_slice to {levels.bit_length() - 1}."
            raise InputError(f"{where}, encoding sliced", f"{levels} levels", f"{base} levels or more", step)
        unit = 1.0 if self.weight_bits is None else _largest(weights) / (2 ** (self.weight_bits - 1) - 1)
        weights = weights if self.weight_bits is None else torch.round(weights / unit)
        if not bool((weights == weights.round()).all()):
            step = "Set encoding_multibit: {kind: sliced, weight_bits: 8}, or train the layer with policy int8."
            raise InputError(f"{where}, encoding sliced", "weights that are not integers", "integer weights", step)
        count = max(1, -(-int(weights.abs().max()).bit_length() // self.bits_per_slice))
        digits, rest = [], weights.abs().to(torch.int32)
        for _ in range(count):
            digits.append(rest.remainder(base))
            rest = rest // base
        signed = torch.stack(digits, dim=1) * weights.sign().to(torch.int32)[:, None]
        places = tuple(float(base**k) for k in range(count))
        return Targets(pairs(signed, 2)[..., None], base - 1, unit, places, weights)

    def uses_levels(self, linear: bool, signs: bool) -> bool:
        return self.bits_per_slice > 1 and not linear


def _largest(weights: Tensor) -> float:
    """Return the largest magnitude of the weights; 1 if all are 0."""
    low, high = torch.aminmax(weights)
    top = max(-float(low), float(high))
    return top if top > 0.0 else 1.0
