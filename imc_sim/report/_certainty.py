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
        for row, values in enumerate(accuracies):
            chosen = (uniform[:, : len(values)] * len(values)).astype(np.intp)
            found[start:stop, row] = factor * np.median(np.asarray(values)[chosen], axis=1)
    return found
