"""Accuracies with the sample that they are a mean over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from imc_sim._stats import Sample


@final
@dataclass(frozen=True)
class Accuracy:
    """Fraction of right answers per independent sample: per episode or per image.

    The interval is over these samples, since the queries of one episode are not independent.

    Args:
        values: fraction of right answers of each sample, float64 [samples].
        total: number of answers.
        of: unit of a sample, `episodes` or `images`.
        loss: mean negative log-likelihood (natural logarithm), where outputs are classes.
        classes: classes of each episode, [draws, way].
    """

    values: NDArray[np.float64]
    total: int
    of: str
    loss: float | None = None
    classes: NDArray[np.int64] | None = None

    @property
    def mean(self) -> float:
        """Return the accuracy as a fraction."""
        return float(self.values.mean())

    @property
    def correct(self) -> int:
        """Return the number of right answers."""
        return round(self.mean * self.total)

    @property
    def sample(self) -> Sample | None:
        """Return the sample that the mean is over."""
        return Sample.over(self.of, self.values, self.classes)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of the mean over samples, within [0, 1]; (0, 1) for a single sample. See `Sample`.

        Args:
            level: confidence of the interval.
        """
        sample = self.sample
        return (0.0, 1.0) if sample is None else sample.interval(self.mean, level)
