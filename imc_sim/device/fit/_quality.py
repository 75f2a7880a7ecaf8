"""Confidence intervals of estimates, and data against cells sampled from the finished chip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

from imc_sim._stats import mean_interval as interval_of_mean
from imc_sim._stats import wilson

_Floats = NDArray[np.float64]
#: probability outside an interval
_ALPHA = 0.05
#: relative deviations that a fit may have: of the standard deviation (below 200 cells), of quantiles; and of the
#: distribution in the sense of Kolmogorov and Smirnov
STD, STD_FEW, QUANTILE, DISTANCE = 0.05, 0.10, 0.10, 0.03
_FEW = 200
#: what is below this share of the mean conductance is rounding
_ROUNDING = 1e-9


def line(
    quantity: str, n: int, estimate: float, low: float, high: float, unit: str = "", scale: float = 1.0
) -> dict[str, Any]:
    """Return a line of the table of a fit; ends of an interval that is not known are None.

    Args:
        quantity: what was estimated.
        n: number of cells.
        estimate, low, high: estimate and its 95 % interval in SI units.
        unit: unit of the line.
        scale: factor from SI to this unit.
    """
    ends = [x * scale if math.isfinite(x) else None for x in (low, high)]
    return {"quantity": quantity, "n": n, "estimate": estimate * scale, "low": ends[0], "high": ends[1], "unit": unit}


def mean_interval(values: _Floats) -> tuple[float, float]:
    """Return the 95 % interval of the mean, after Student.

    Args:
        values: independent values.
    """
    return interval_of_mean(values)[1:]


def std_interval(values: _Floats, normal: bool = True) -> tuple[float, float]:
    """Return the 95 % interval of the standard deviation: exact for normal values, else after Bonett.

    Args:
        values: independent values.
        normal: whether they are normal.

    Reference: Bonett, Comput. Stat. Data Anal. 50:775 (2006).
    """
    n, std = len(values), float(values.std(ddof=1))
    if std == 0.0:
        return 0.0, 0.0
    if normal:
        low, high = (std * math.sqrt((n - 1) / float(chdtri(n - 1, tail))) for tail in (_ALPHA / 2, 1 - _ALPHA / 2))
        return low, high
    cut = int(n / (2 * math.sqrt(max(n - 4, 1))))
    trimmed = float(np.sort(values)[cut : n - cut].mean())
    kurtosis = n * float(((values - trimmed) ** 4).sum()) / float(((values - values.mean()) ** 2).sum()) ** 2
    z = float(ndtri(1 - _ALPHA / 2))
    c = n / max(n - z, 1.0)
    width = z * c * math.sqrt(max(kurtosis - (n - 3) / n, 0.0) / (n - 1)) / 2
    return std * math.sqrt(c) * math.exp(-width), std * math.sqrt(c) * math.exp(width)


def share_interval(count: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, after Wilson.

    Args:
        count: cells of the share.
        n: all cells.
    """
    return wilson(count / n, 0.0, n, None)


def deviations(name: str, data: _Floats, cells: _Floats) -> list[tuple[float, str]]:
    """Return how cells of the finished chip deviate from the data: size relative to the goal, and words.

    Args:
        name: name of the state or condition.
        data: measured conductances in S, sorted.
        cells: conductances in S of sampled cells.
    """
    n, found = len(data), []
    pairs = [("standard deviation", data.std(ddof=1), cells.std(), STD_FEW if n < _FEW else STD)]
    levels = (0.01, 0.5, 0.99)
    quantiles = zip(levels, np.quantile(data, levels), np.quantile(cells, levels), strict=True)
    pairs += [(f"{100 * q:g} % quantile", a, b, QUANTILE) for q, a, b in quantiles]
    for (quantity, measured, simulated, goal), q in zip(pairs, (None, *levels), strict=True):
        mean = float(np.abs(data).mean()) or 1.0
        off = float(simulated - measured) / (abs(measured) if abs(measured) > _ROUNDING * mean else mean)
        size = abs(off) / goal
        if q is not None:  # within a gap of the data, a quantile may be anywhere: errors of its probability count
            below = np.searchsorted(data, simulated) / n
            size = min(size, abs(below - q) / (2 * math.sqrt(q * (1 - q) / n)))
        both = f"{measured * 1e6:.4g} uS measured, {simulated * 1e6:.4g} uS in the chip"
        found.append((size, f"{name}, {quantity}: {both} ({off:+.1%})"))
    zeros = [float((G <= 0.0).mean()) for G in (data, cells)]
    if any(zeros):
        words = f"{name}, cells at 0 S: {zeros[0]:.3%} measured, {zeros[1]:.3%} in the chip"
        found.append((abs(zeros[1] - zeros[0]) / max(0.01, 3 * math.sqrt(zeros[0] / len(data))), words))
    return found


def in_words(found: list[tuple[float, str]]) -> list[str]:
    """Return deviations in words, the largest first.

    Args:
        found: size relative to the goal, and words; as `deviations` returns them.
    """
    return [words for _, words in sorted(found, key=lambda each: -each[0])]
