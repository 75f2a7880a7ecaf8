"""Classes of values that a weight or an input takes, up to a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

Kind = Literal["binary", "bits", "ternary", "levels", "real"]
#: largest whole number of levels: 16 bits
_TOP = 2**15
#: rounding of scale times integer in float32, relative to the largest value
_ROUNDING = 4e-7
#: the same of signs and bits: `sign * scale - weight + weight` rounds to the weight, which may be many scales large
_LOOSE = 4e-6
#: steps up to the largest value that are tried; values of a row that they are tried on, and those tried first
_SMALL, _SAMPLE, _FEW = 127, 256, 4


@final
@dataclass(frozen=True)
class Values:
    """Values of a weight or an input: whole numbers times a scale, or real.

    Attributes:
        kind: `binary` (-1, +1), `bits` (0, 1), `ternary` (-1, 0, +1), `levels` (whole numbers) or `real`.
        scale: of each channel [channels], or of all [1]; ones for real values.
        top: largest magnitude of the whole numbers; 0 for real values.
    """

    kind: Kind
    scale: Tensor
    top: int = 1

    @property
    def exact(self) -> bool:
        """Return whether the values are whole numbers times a scale."""
        return self.kind != "real"


def weights_of(w: Tensor, rounding: float = _LOOSE) -> Values:
    """Classify a weight matrix by the smallest class that explains every row up to a scale of that row.

    A row of equal signs is binary in a matrix of signs, whichever values happen to occur; a row of zeros fits every
    class with scale 0.

    Args:
        w: weights [out, in].
        rounding: largest distance to the values of signs and bits, relative to the largest of a row.

    Returns:
        The class, with a scale per row.
    """
    w = w.detach().double()
    top = w.abs().amax(1)
    unit = torch.where(top > 0, top, torch.ones_like(top))[:, None]
    ratio = w / unit
    kind = _simple(ratio, top == 0, rounding)
    if kind is not None:
        least = torch.where(ratio == 0, torch.ones_like(ratio), ratio.abs()).amin(1)
        return Values(kind, top * (1 + least) / 2)  # the middle of rounded values
    for rows in (slice(0, 1), slice(None)):  # a single real row decides, and the search of its step is slow for all
        step = _step(ratio[rows])
        whole = (ratio[rows] / step[:, None]).round()
        highest = float(whole.abs().max())
        if highest > _TOP or not bool((ratio[rows] - whole * step[:, None]).abs().max() <= _ROUNDING):
            return Values("real", torch.ones(len(w), dtype=torch.float64), 0)
    return Values("levels", top * step, int(highest))


def nearly_equal(a: Tensor, b: Tensor) -> bool:
    """Return whether weights of one shape are equal up to the rounding of a network that computes them again.

    Args:
        a: weights.
        b: weights.
    """
    if torch.equal(a, b):
        return True
    return float((a - b).abs().max()) <= 16 * torch.finfo(torch.float32).eps * float(b.abs().max())


def inputs_of(values: Tensor) -> Values:
    """Classify inputs by their distinct values, up to one scale for all.

    Args:
        values: distinct values of an input [n].

    Returns:
        The class, with a single scale; real where all are 0, which promises nothing.
    """
    if not bool(values.any()):
        return Values("real", torch.ones(1, dtype=torch.float64), 0)
    found = weights_of(values.reshape(1, -1), _ROUNDING)
    negative = bool((values < 0).any())
    if found.kind == "binary" and not negative:
        return Values("bits", found.scale)  # a constant drive is 0 or 1 as well as -1 or +1: the smaller promise
    return found


def _simple(ratio: Tensor, rows_of_zeros: Tensor, rounding: float) -> Kind | None:
    """Return the class of values within -1, 0 and +1, or None if there are others."""
    ones = (ratio.abs() - 1).abs() <= rounding
    zeros = ratio == 0
    if bool((ones | rows_of_zeros[:, None]).all()):
        return "binary"
    if not bool((ones | zeros).all()):
        return None
    return "ternary" if bool((ratio < 0).any()) else "bits"


def _step(ratio: Tensor) -> Tensor:
    """Return the step of which all values of each row are whole multiples, as far as there is one: [out].

    The largest value is 1. Of up to `_SMALL` steps the smallest number counts; beyond them the smallest distance of two
    values, 0 included.
    """
    ordered = torch.cat([ratio, ratio.new_zeros(len(ratio), 1)], 1).sort(1).values
    gaps = ordered.diff(dim=1)
    found = torch.where(gaps > 8 * _ROUNDING, gaps, torch.full_like(gaps, 1.0)).amin(1)
    sample = ratio[:, :_SAMPLE]
    possible = _whole(sample[:, :_FEW, None], torch.arange(1, _SMALL + 1).to(ratio))
    for steps in (possible.any(0).nonzero().flatten() + 1).tolist():
        rows = possible[:, steps - 1].nonzero().flatten()
        fitting = rows[_whole(sample[rows], steps)]
        found[fitting] = 1.0 / steps
        possible[fitting] = False
    return found


def _whole(values: Tensor, steps: Tensor | int) -> Tensor:
    """Tell which rows of values [rows, values, …] are multiples of 1 / steps."""
    scaled = values * steps
    return ((scaled - scaled.round()).abs() <= steps * _ROUNDING).all(1)
