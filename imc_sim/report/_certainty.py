"""Certainty of an answer: chips resampled with replacement, and rows of the table that are equal to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from imc_sim._rng import Stream

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

    accuracies: per row, in the order of chip numbers. medians: [resamplings, rows], in %, of chips resampled with
    replacement; the same in every run.
    """

    accuracies: tuple[tuple[float, ...], ...]
    medians: NDArray[np.float64]

    @classmethod
    def of(cls, results: Results) -> ChipSample:
        """Resample the chips of a results folder."""
        return cls(results.accuracies, resampled_medians(results.accuracies))

    def alone(self, rows: list[int]) -> bool:
        """Return whether one of these rows has fewer than two chips, of which nothing can be resampled."""
        return any(len(self.accuracies[row]) < 2 for row in rows)

    def equal(self, rows: list[int]) -> list[list[int]]:
        """Return the places of rows that agree on every chip to the bit, in groups of two or more."""
        groups: dict[tuple[float, ...], list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(self.accuracies[row], []).append(place)
        return [group for group in groups.values() if len(group) > 1]


def resampled_medians(accuracies: tuple[tuple[float, ...], ...], count: int = RESAMPLINGS) -> NDArray[np.float64]:
    """Return medians in % of `count` resamplings of the chips of every row, [count, rows].

    Rows with equally many chips take the same chips in each, since chips share their random numbers along an axis.
    """
    most = max(map(len, accuracies), default=0)
    found = np.empty((count, len(accuracies)))
    size = max(1, _BLOCK // max(1, most))
    for page, start in enumerate(range(0, count, size)):
        stop = min(count, start + size)
        drawn = Stream(0, "report", "resampling").uniform((stop - start) * most, 0, page).astype(np.float64)
        drawn = drawn.reshape(stop - start, most)
        for row, values in enumerate(accuracies):
            chosen = (drawn[:, : len(values)] * len(values)).astype(np.intp)
            found[start:stop, row] = 100 * np.median(np.asarray(values)[chosen], axis=1)
    return found
