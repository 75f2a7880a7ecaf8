"""Limits of calibrated ADCs, from the histogram of their inputs.

Reference: CIM-Explorer, arXiv 2505.14303, for the rule `sigma` (mean +- 3 standard deviations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim.array._converter import Converter

#: bins of a histogram, and number of limits that are tried on either side
_BINS, _TRIED = 4096, 128
#: decimal digits to which errors are compared: the order of a sum, which differs between machines, has no effect
_DIGITS = 9


@final
@dataclass(frozen=True)
class Histogram:
    """Hold counts [bins] of values between `low` and `high`, in bins of equal width."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, batches: Iterable[Tensor], low: float, high: float) -> Histogram:
        """Count the values of all batches, which are between `low` and `high`."""
        counts = torch.zeros(_BINS, dtype=torch.int64)
        for u in batches:
            bins = (u.double() - low).mul_(_BINS / (high - low)).long().clamp_(0, _BINS - 1)
            counts += torch.bincount(bins.reshape(-1), minlength=_BINS).cpu()
        return cls(low, high, counts.numpy())

    @property
    def centres(self) -> NDArray[np.float64]:
        """Return the centre of every bin."""
        width = (self.high - self.low) / _BINS
        return np.asarray(self.low + (np.arange(_BINS) + 0.5) * width, np.float64)


def calibrated(batches: Callable[[], Iterable[Tensor]], rule: Converter, signed: bool) -> tuple[float, float]:
    """Return the limits that the rule of an ADC sets for all values, which are computed twice and not stored.

    The least and the largest value where the rule finds no range.
    """
    low, high = float("inf"), float("-inf")
    for u in batches():
        low, high = min(low, float(u.min())), max(high, float(u.max()))
    if rule.limits == "minmax" or not low < high:
        return low, high
    law = {"percentile": _percentile, "sigma": _sigma, "mse": _mse, "auto": _wider}[rule.limits]
    chosen = law(Histogram.of(batches(), low, high), rule, signed)
    return chosen if chosen[0] < chosen[1] else (low, high)


def _percentile(h: Histogram, rule: Converter, signed: bool) -> tuple[float, float]:
    """Return the limits of the share `percentile` of the values; of signed ones, by their magnitude."""
    share = rule.percentile / 100
    if signed:
        order = np.argsort(np.abs(h.centres), kind="stable")
        reached = np.cumsum(h.counts[order])
        top = float(np.abs(h.centres)[order][np.searchsorted(reached, share * reached[-1])])
        return -top, top
    reached = np.cumsum(h.counts)
    ends = (np.searchsorted(reached, part * reached[-1]) for part in ((1 - share) / 2, (1 + share) / 2))
    low, high = (float(h.centres[i]) for i in ends)
    return low, high


def _sigma(h: Histogram, rule: Converter, signed: bool) -> tuple[float, float]:
    """Return the mean -+ `sigmas` standard deviations."""
    total = h.counts.sum()
    mean = float((h.counts * h.centres).sum() / total)
    std = float(np.sqrt((h.counts * (h.centres - mean) ** 2).sum() / total))
    low, high = (float(f"{mean + s * rule.sigmas * std:.{_DIGITS}g}") for s in (-1, 1))
    return max(low, h.low), min(high, h.high)


def _mse(h: Histogram, rule: Converter, signed: bool) -> tuple[float, float]:
    """Return the limits with the least mean square error of converted values.

    Both ends are first searched together around the mean, because one end at a time would stop at outliers, then in
    turn.
    """
    shares = np.arange(1, _TRIED + 1) / _TRIED
    if signed:
        tops = shares * max(abs(h.low), abs(h.high))
        top = tops[_best(h, rule, [(-t, t) for t in tops], signed)]
        return -float(top), float(top)
    mean = float((h.counts * h.centres).sum() / h.counts.sum())
    reach = shares * max(h.high - mean, mean - h.low)
    around = [(max(h.low, mean - r), min(h.high, mean + r)) for r in reach]
    low, high = around[_best(h, rule, around, signed)]
    for _ in range(2):
        ends = low + shares * (h.high - low)
        high = float(ends[_best(h, rule, [(low, e) for e in ends], signed)])
        starts = high - shares * (high - h.low)
        low = float(starts[_best(h, rule, [(s, high) for s in starts], signed)])
    return low, high


def _wider(h: Histogram, rule: Converter, signed: bool) -> tuple[float, float]:
    """Return the wider of `sigma`, which is best with few bits, and `mse`, which clips nothing with many."""
    lows, highs = zip(_sigma(h, rule, signed), _mse(h, rule, signed), strict=True)
    return min(lows), max(highs)


def _best(h: Histogram, rule: Converter, tried: list[tuple[float, float]], signed: bool) -> int:
    """Return the number of the limits with the least error; of equal ones the last, which are the widest."""
    values, counts = torch.from_numpy(h.centres), h.counts
    errors = np.array(
        [(((rule.quantiser(low, high, signed)(values) - values).numpy() ** 2) * counts).sum() for low, high in tried]
    )
    least = errors.min()
    errors = errors if least == 0.0 else np.round(errors / least, _DIGITS)
    return len(errors) - 1 - int(errors[::-1].argmin())
