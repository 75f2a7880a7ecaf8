"""Quantiles of measured levels at common probabilities, chosen where interpolation between them would be wrong."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

_Floats = NDArray[np.float64]
#: Probabilities of a law, those that are always among them, and points of which they are chosen.
_KNOTS, _FIXED, _GRID = 33, 13, 481
#: Error of a probability, and of a quantile in standard deviations, that count as much as each other.
_PROBABILITY, _QUANTILE = 0.01, 0.03
#: Relative error of a quantile that counts as much, at probabilities further than this from 0 and 1.
_RELATIVE, _OUTER = 0.05, 0.004
#: Largest change of the mean, in standard deviations, and of the standard deviation after interpolation.
_STRETCH = 0.03
#: Data with fewer distinct values than this share of the cells are steps of an ADC.
_STEPPED = 0.1


def steps_of(values: _Floats) -> tuple[_Floats, _Floats] | None:
    """Return conductances halfway between the steps of an ADC and the share of cells below each; None without steps.

    Rounding moves no cell across these conductances, so that the shares are those before rounding.

    Args:
        values: sorted conductances in S.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if not 1 < len(distinct) <= _STEPPED * len(values):
        return None
    return (distinct[1:] + distinct[:-1]) / 2, np.cumsum(counts)[:-1] / len(values)


def measured_quantiles(levels: list[_Floats]) -> tuple[list[float], list[list[float]]]:
    """Return probabilities, and the quantiles of each level at them.

    The probabilities reach from the lowest to the highest cell. Those between are added one by one where linear
    interpolation in the normal score is worst, in any level.

    Args:
        levels: sorted conductances in S of each level.
    """
    end = float(ndtri(1 - 0.5 / max(map(len, levels))))
    z = np.linspace(-end, end, _GRID)
    p = ndtr(z)
    quantiles = [_quantiles(G, p) for G in levels]
    chosen = sorted(
        {
            *np.linspace(0, _GRID - 1, _FIXED).astype(int).tolist(),
            *np.searchsorted(p, [0.01, 0.99]).clip(max=_GRID - 1).tolist(),
        }
    )
    while len(chosen) < _KNOTS:
        error = np.max([_error(z, p, Q, chosen) for Q in quantiles], axis=0)
        if error.max() <= 0.0:
            break
        chosen = sorted({*chosen, int(error.argmax())})
    return [float(f"{x:.9g}") for x in p[chosen]], [
        _matched(G, z, Q, chosen) for G, Q in zip(levels, quantiles, strict=True)
    ]


def _quantiles(values: _Floats, p: _Floats) -> _Floats:
    """Return quantiles of sorted values, without the steps of an ADC."""
    steps = steps_of(values)
    if steps is None:
        return np.quantile(values, p, method="hazen")
    places, below = steps
    ends = 0.5 / len(values)
    return np.interp(p, [ends, *below, 1 - ends], [values[0], *places, values[-1]])


def _error(z: _Floats, p: _Floats, Q: _Floats, chosen: list[int]) -> _Floats:
    """Return how wrong interpolation between chosen points is at each point, relative to the two goals."""
    linear = np.interp(z, z[chosen], Q[chosen])
    std = float(Q.std()) or 1.0
    quantile = np.abs(linear - Q) / std * np.sqrt(np.minimum(p, 1 - p))
    rising = np.concatenate([[True], np.diff(linear) > 0.0])
    probability = np.abs(np.interp(Q, linear[rising], p[rising]) - p) if Q[0] < Q[-1] else np.zeros(len(p))
    relative = np.abs(linear - Q) / np.maximum(Q, 1e-3 * std) * ((p > _OUTER) & (p < 1 - _OUTER))
    error = np.max([probability / _PROBABILITY, quantile / _QUANTILE, relative / _RELATIVE], axis=0)
    error[chosen] = 0.0
    return error


def _matched(values: _Floats, z: _Floats, Q: _Floats, chosen: list[int]) -> list[float]:
    """Return chosen quantiles, moved and stretched slightly to the mean and standard deviation of the values.

    Both change little, so that a few outliers do not move all quantiles; none is below the lowest value.
    """
    fine = np.sort(np.concatenate([ndtri((np.arange(4096) + 0.5) / 4096), z]))
    weights = np.diff(ndtr(np.concatenate([[-9.0], (fine[1:] + fine[:-1]) / 2, [9.0]])))
    law = np.interp(fine, z[chosen], Q[chosen])
    mean = float((weights * law).sum())
    std = math.sqrt(float((weights * (law - mean) ** 2).sum()))
    most = _STRETCH + 1.0 / len(values)
    factor = float(np.clip(values.std(ddof=1) / std, 1 - most, 1 + most)) if std > 0.0 else 1.0
    center = mean + float(np.clip(values.mean() - mean, -_STRETCH * std, _STRETCH * std))
    return [float(f"{q:.6g}") for q in np.maximum(center + (Q[chosen] - mean) * factor, values[0])]
