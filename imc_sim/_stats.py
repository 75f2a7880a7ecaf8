"""Intervals that say over what they are: episodes, images or chips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@final
@dataclass(frozen=True)
class Sample:
    """What an accuracy is a mean over: `count` independent draws of `of` (episodes, images), and their spread.

    sd: unbiased standard deviation of one draw. A few numbers that travel in place of all draws.
    """

    of: str
    count: int
    sd: float

    @classmethod
    def over(cls, of: str, values: ArrayLike) -> Sample | None:
        """Of these draws; None for a single one, which has no spread."""
        data = np.asarray(values, dtype=np.float64)
        return cls(of, data.size, float(data.std(ddof=1))) if data.size > 1 else None

    def half_width(self, level: float = 0.95) -> float:
        """Half of the two-sided Student-t interval of the mean."""
        return half_width(self.sd, self.count, level)


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and two-sided Student-t interval of its expectation; the values are independent draws.

    Under two values the interval is (-inf, inf).
    """
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if data.size < 2:
        return mean, -math.inf, math.inf
    half = half_width(float(data.std(ddof=1)), data.size, level)
    return mean, mean - half, mean + half


def half_width(sd: float, count: int, level: float = 0.95) -> float:
    """Half of the two-sided Student-t interval of a mean over `count` draws of standard deviation `sd`."""
    return float(stats.t.ppf(0.5 + level / 2, count - 1) * sd / math.sqrt(count))
