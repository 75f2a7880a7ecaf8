"""Quantiles of measured levels at common probabilities, chosen where interpolation between them would be wrong."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from imc_sim.device._measured import monotone_cubic

_Floats = NDArray[np.float64]
#: Probabilities of a law, those that are always among them, and points of which they are chosen.
_KNOTS, _FIXED, _GRID = 33, 13, 481
#: Error of a probability, and of a quantile in standard deviations, that count as much as each other.
_PROBABILITY, _QUANTILE = 0.01, 0.03
#: Relative error of a quantile that counts as much, at probabilities further than this from 0 and 1.
_RELATIVE, _OUTER = 0.05, 0.004
#: Largest change of the mean, in standard deviations, and of the standard deviation after interpolation; and relative
#: one of a quantile, since the lowest cells of wide levels are small next to the standard deviation.
_STRETCH = 0.03
#: Normal score from which on quantiles may be moved out further: that of 99.3 %.
_TAILS = 2.45
#: Quantiles this close to 0 and 1 are those at (n - 1) p, the others the less biased ones at n p - 1/2.
_CONVENTION = 0.015
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

    The probabilities reach from the lowest to the highest cell. Those between are added one by one where interpolation
    in the normal score is worst, in any level.

    Args:
        levels: sorted conductances in S of each level.
    """
    end = float(ndtri(1 - 0.5 / max(map(len, levels))))
    z = np.linspace(-end, end, _GRID)
    p = ndtr(z)
    quantiles = np.stack([_quantiles(G, p) for G in levels])
    outer = np.searchsorted(p, [0.01, 0.99]).clip(max=_GRID - 1)
    chosen = sorted({*np.linspace(0, _GRID - 1, _FIXED).astype(int).tolist(), *outer.tolist()})
    while len(chosen) < _KNOTS:
        error = _error(p, quantiles, _interpolated(z, quantiles, chosen, z))
        error[chosen] = 0.0
        if error.max() <= 0.0:
            break
        chosen = sorted({*chosen, int(error.argmax())})
    return [float(f"{x:.9g}") for x in p[chosen]], _matched(levels, z, quantiles, chosen)


def _interpolated(z: _Floats, quantiles: _Floats, chosen: list[int], where: _Floats) -> _Floats:
    """Return the law of each level [levels, where] between chosen quantiles, as programming interpolates."""
    rows = torch.arange(len(quantiles))[:, None]
    values = torch.from_numpy(quantiles[:, chosen].copy())
    return monotone_cubic(torch.from_numpy(z[chosen]), values, rows, torch.from_numpy(where)[None]).numpy()


def _quantiles(values: _Floats, p: _Floats) -> _Floats:
    """Return quantiles of sorted values from the lowest to the highest, without the steps of an ADC."""
    steps = steps_of(values)
    if steps is None:
        outer = np.minimum(p, 1 - p) <= _CONVENTION  # there, those that numpy and spreadsheets report
        found = np.where(outer, np.quantile(values, p), np.quantile(values, p, method="hazen"))
        found = np.maximum.accumulate(found)
    else:
        ends = 0.5 / len(values)
        found = np.interp(p, [ends, *steps[1], 1 - ends], [values[0], *steps[0], values[-1]])
    found[[0, -1]] = values[[0, -1]]
    return found


def _error(p: _Floats, quantiles: _Floats, law: _Floats) -> _Floats:
    """Return how wrong the law of any level is at each point, relative to what counts as much."""
    worst = np.zeros(len(p))
    for Q, found in zip(quantiles, law, strict=True):
        std = float(Q.std())
        if std == 0.0:
            continue
        rising = np.concatenate([[True], np.diff(found) > 0.0])
        probability = np.abs(np.interp(Q, found[rising], p[rising]) - p)
        off = np.abs(found - Q)
        inner = (p > _OUTER) & (p < 1 - _OUTER)
        relative = off / np.maximum(Q, 1e-3 * std) * inner
        quantile = off / std * np.sqrt(np.minimum(p, 1 - p))
        worst = np.max([worst, probability / _PROBABILITY, quantile / _QUANTILE, relative / _RELATIVE], axis=0)
    return worst


def _matched(levels: list[_Floats], z: _Floats, quantiles: _Floats, chosen: list[int]) -> list[list[float]]:
    """Return chosen quantiles, moved and stretched slightly to the mean and standard deviation of each level.

    Both change little, so that a few outliers do not move all quantiles, none of which leaves the measured range.
    """
    fine = np.sort(np.concatenate([ndtri((np.arange(4096) + 0.5) / 4096), z]))
    weights = np.diff(ndtr(np.concatenate([[-9.0], (fine[1:] + fine[:-1]) / 2, [9.0]])))
    matched = []
    for values, Q, law in zip(levels, quantiles, _interpolated(z, quantiles, chosen, fine), strict=True):
        mean = float((weights * law).sum())
        std = math.sqrt(float((weights * (law - mean) ** 2).sum()))
        most = _STRETCH + 2.0 / len(values)
        factor = float(np.clip(values.std(ddof=1) / std, 1 - most, 1 + most)) if std > 0.0 else 1.0
        center = mean + float(np.clip(values.mean() - mean, -_STRETCH * std, _STRETCH * std))
        stretched = (center + (Q[chosen] - mean) * factor).clip((1 - most) * Q[chosen], (1 + most) * Q[chosen])
        stretched = stretched.clip(values[0], values[-1])
        matched.append([float(f"{q:.6g}") for q in _with_tails(values, z[chosen], stretched, fine, weights)])
    return matched


def _with_tails(values: _Floats, z: _Floats, Q: _Floats, fine: _Floats, weights: _Floats) -> _Floats:
    """Return quantiles whose outermost ones are moved out where the standard deviation is that of a few cells far out.

    Between such cells, interpolation loses variance.
    """
    goal, tails = (1.0 - _STRETCH) * float(values.std(ddof=1)), np.abs(z) > _TAILS
    center = float(np.median(values))
    moved = Q
    for factor in np.linspace(1.0, 2.0, 41):
        moved = np.where(tails, center + (Q - center) * factor, Q).clip(values[0], values[-1])
        law = _interpolated(z, moved[None], list(range(len(z))), fine)[0]
        if float(weights @ np.square(law - weights @ law)) >= goal**2:
            break
    return moved
