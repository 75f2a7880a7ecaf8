"""Measure how certain an answer is: resample chips with replacement, and find rows that are equal to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from imc_sim._rng import Stream
from imc_sim.plotting import Metric

if TYPE_CHECKING:
    from imc_sim.study import Results

#: resamplings of the chips: a probability of one half is known to 1.1 %
RESAMPLINGS = 2000
#: numbers that are resampled in one pass
_BLOCK = 2_000_000
#: different results of chips up to which their numbers are counted
_LEVELS = 128


@final
@dataclass(frozen=True)
class ChipSample:
    """The accuracies of single chips behind the rows of a table.

    Args:
        accuracies: per row, in the order of chip numbers.
        medians: medians over resampled chips as figures show them, [resamplings, rows]; the same in every run.
    """

    accuracies: tuple[tuple[float, ...], ...]
    medians: NDArray[np.float64]

    @classmethod
    def of(cls, results: Results) -> ChipSample:
        """Resample the chips of a results folder."""
        factor = Metric.of(results.study).factor
        return cls(results.accuracies, resampled_medians(results.accuracies, factor=factor))

    def alone(self, rows: list[int]) -> bool:
        """Tell whether one of these rows has fewer than two chips, so that there is nothing to resample."""
        return any(len(self.accuracies[row]) < 2 for row in rows)

    def equal(self, rows: list[int]) -> list[list[int]]:
        """Return groups of two or more of these rows that are equal on every chip, as indices into `rows`."""
        groups: dict[tuple[float, ...], list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(self.accuracies[row], []).append(place)
        return [group for group in groups.values() if len(group) > 1]


def resampled_medians(
    accuracies: tuple[tuple[float, ...], ...], count: int = RESAMPLINGS, factor: float = 100.0
) -> NDArray[np.float64]:
    """Return `factor` times medians over `count` resamplings of the chips of every row, [count, rows].

    Rows with equally many chips use the same chips in each resampling, since chips share their random numbers along an
    axis.
    """
    most = max(map(len, accuracies), default=0)
    found = np.empty((count, len(accuracies)))
    size = max(1, _BLOCK // max(1, most))
    for block, start in enumerate(range(0, count, size)):
        stop = min(count, start + size)
        uniform = Stream(0, "report", "resampling").uniform((stop - start) * most, 0, block).astype(np.float64)
        uniform = uniform.reshape(stop - start, most)
        times: dict[int, NDArray[np.float32]] = {}
        for row, values in enumerate(accuracies):
            levels, level = np.unique(np.asarray(values), return_inverse=True)
            if len(levels) <= _LEVELS < len(values):
                if len(values) not in times:
                    times = {len(values): _times(uniform, len(values))}
                found[start:stop, row] = factor * _medians(levels, level, times[len(values)])
            else:
                chosen = _chosen(uniform, len(values))
                found[start:stop, row] = factor * np.median(np.asarray(values)[chosen], axis=1)
    return found


def _chosen(uniform: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Return the chips of each resampling."""
    return (uniform[..., :count] * count).astype(np.intp)


def _times(uniform: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """Return how often each resampling contains each chip."""
    found = np.empty((len(uniform), count), np.float32)
    for row, some in zip(found, uniform, strict=True):
        row[:] = np.bincount(_chosen(some, count), minlength=count)
    return found


def _medians(levels: NDArray[np.float64], level: NDArray[np.intp], times: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the medians of resamplings of chips that have few different results, from the number of each.

    Args:
        levels: the different results, sorted.
        level: number of the result of each chip.
        times: how often each resampling contains each chip; sums of whole numbers below 2^24 are exact.
    """
    low, high = (len(level) - 1) // 2, len(level) // 2
    held, last = np.bincount(level).cumsum(), len(levels) - 1
    # Nearly all medians are within six standard deviations of the middle; if one is not, all levels are counted.
    near = np.searchsorted(held, len(level) / 2 + np.array([-3.0, 3.0]) * np.sqrt(len(level))).clip(0, last)
    for first, end in (near, (0, last)):
        counted = np.column_stack([level < first, level[:, None] == np.arange(first, end + 1)]).astype(np.float32)
        below = (times @ counted).cumsum(axis=1)
        if (below[:, 0] <= low).all() and (below[:, -1] > high).all():
            break
    lower, upper = (levels[first - 1 + (below <= place).sum(axis=1)] for place in (low, high))
    return (lower + upper) / 2
