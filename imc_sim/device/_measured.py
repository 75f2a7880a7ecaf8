"""Device variation as measured: quantiles of the conductance of each level, interpolated."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Annotated, Literal, Self, final

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy.special import ndtri
from torch import Tensor

from imc_sim.config import Siemens
from imc_sim.device._programming import Programming

_Conductances = tuple[Annotated[Siemens, Field(ge=0.0, le=1.0)], ...]


@final
class MeasuredVariation(Programming):
    """Device variation with the measured quantiles of each level, without a law.

    Between two probabilities, the conductance is a monotone cubic of the normal score; below the first and above the
    last it is constant, so that no cell is outside the measured range. Targets between two levels have the linear
    mixture of both quantiles. `scale` multiplies the deviation of every cell from its target.

    Source: slopes of the cubics, Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984.
    """

    kind: Literal["measured"] = "measured"
    targets_S: _Conductances = Field(min_length=1, description="targets of the measured levels, ascending")
    probabilities: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = Field(
        min_length=2, description="probabilities of the quantiles, ascending"
    )
    quantiles_S: tuple[_Conductances, ...] = Field(description="for each target the quantiles, ascending")
    scale: float = Field(default=1.0, ge=0.0, le=100.0, description="factor on the deviations from the targets")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        """Check that there are quantiles for each target, and that all numbers ascend."""
        if any(b <= a for values in (self.targets_S, self.probabilities) for a, b in itertools.pairwise(values)):
            raise ValueError("targets_S and probabilities that rise")
        if {len(row) for row in self.quantiles_S} != {len(self.probabilities)}:
            raise ValueError(f"quantiles_S with {len(self.probabilities)} values for each target, one a probability")
        if len(self.quantiles_S) != len(self.targets_S):
            raise ValueError(
                f"quantiles_S for each of the {len(self.targets_S)} targets (here {len(self.quantiles_S)})"
            )
        if any(b < a for row in self.quantiles_S for a, b in itertools.pairwise(row)):
            raise ValueError("quantiles_S that do not fall")
        return self

    @property
    def is_ideal(self) -> bool:
        exact = all(g == target for row, target in zip(self.quantiles_S, self.targets_S, strict=True) for g in row)
        return self.scale == 0.0 or exact

    def unclipped(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        levels = torch.tensor(self.targets_S, dtype=torch.float64)
        return between_levels(levels, self._deviation, target, normal, floor, window_S, self.scale)

    def _deviation(self, row: Tensor, normal: Tensor) -> Tensor:
        """Return the deviation from the target in S of cells of the measured levels `row` with normal scores."""
        knots = torch.from_numpy(ndtri(np.array(self.probabilities)))
        values = torch.tensor(self.quantiles_S, dtype=torch.float64)
        values = values - torch.tensor(self.targets_S, dtype=torch.float64)[:, None]
        return monotone_cubic(knots, values, row, normal.double())


def between_levels(
    levels_S: Tensor, deviation: Callable[[Tensor, Tensor], Tensor], target: Tensor, normal: Tensor, floor: float,
    window_S: float, scale: float,
) -> Tensor:  # fmt: skip
    """Return programmed g in windows, with the deviations of measured levels, mixed linearly between two of them.

    Args:
        levels_S: targets of the measured levels [levels], ascending.
        deviation: number of a level (int64), normal numbers -> deviations from the target in S.
        target: target g in [0, 1], broadcastable to normal.
        normal: one standard normal number per cell [*].
        floor: G_HRS over the window.
        window_S: G_LRS - G_HRS in S.
        scale: factor on the deviations.
    """
    place = (target.double() + floor) * window_S
    row = (torch.bucketize(place, levels_S, right=True) - 1).clamp(0, max(len(levels_S) - 2, 0))
    above = (row + 1).clamp_max(len(levels_S) - 1)
    share = ((place - levels_S[row]) / (levels_S[above] - levels_S[row])).nan_to_num(0.0).clamp(0.0, 1.0)
    low = deviation(row, normal)
    mixed = low if bool((share == 0.0).all()) else torch.lerp(low, deviation(above, normal), share)
    return target + scale / window_S * mixed


def monotone_cubic(knots: Tensor, values: Tensor, row: Tensor, z: Tensor) -> Tensor:
    """Return monotone cubics at z, constant outside of the knots; row and z broadcast against each other.

    Args:
        knots: places of the values [knots], ascending.
        values: values at the knots [rows, knots].
        row: row of values that each result is from (int64).
        z: where the cubics are evaluated.
    """
    slopes = _slopes(knots, values)
    z = z.clamp(float(knots[0]), float(knots[-1]))
    k = (torch.bucketize(z, knots, right=True) - 1).clamp(0, len(knots) - 2)
    width = (knots[1:] - knots[:-1])[k]
    t = (z - knots[k]) / width
    flat = row * len(knots) + k
    y0, y1 = values.reshape(-1)[flat], values.reshape(-1)[flat + 1]
    d0, d1 = slopes.reshape(-1)[flat] * width, slopes.reshape(-1)[flat + 1] * width
    return y0 + t * (d0 + t * (3 * (y1 - y0) - 2 * d0 - d1 + t * (d0 + d1 - 2 * (y1 - y0))))


def _slopes(x: Tensor, y: Tensor) -> Tensor:
    """Return slopes at the knots of monotone cubics through values y [rows, knots]."""
    h = x[1:] - x[:-1]
    secant = (y[:, 1:] - y[:, :-1]) / h
    a, b = secant[:, :-1], secant[:, 1:]
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    inner = torch.where((a > 0.0) & (b > 0.0), (w1 + w2) * a * b / (w1 * b + w2 * a).clamp_min(1e-300), 0.0)
    return torch.cat([secant[:, :1], inner, secant[:, -1:]], 1)
