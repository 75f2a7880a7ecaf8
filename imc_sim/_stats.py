"""Intervals and bands that state what they are over: images, episodes, classes or chips."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

#: chips from which the 5 % and 95 % quantiles lie within the sample
FULL_BAND = 19
#: classes of an episode times this: the least number of classes that says how much classes differ
_POOL = 6


@final
@dataclass(frozen=True)
class Sample:
    """The sample behind an accuracy: `count` independent episodes or images (`of`), and their deviation.

    Replaces the list of single results. sd: unbiased standard deviation of a single one. classes: how many
    classes the episodes are sampled from, and class_error: the standard error of the mean if those classes are
    themselves a sample; None for images, and in results of older versions.
    """

    of: str
    count: int
    sd: float
    classes: int | None = None
    class_error: float | None = None

    @classmethod
    def over(cls, of: str, values: ArrayLike, classes: ArrayLike | None = None) -> Sample | None:
        """Summarise these results; None for a single one, whose deviation is unknown.

        classes: [episodes, way], the classes of each episode; None where classes are not sampled.
        """
        data = np.asarray(values, dtype=np.float64)
        if data.size < 2:
            return None
        own = (None, None) if classes is None else class_error(data, np.asarray(classes))
        return cls(of, data.size, float(data.std(ddof=1)), *own)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without what is unknown."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def interval(self, mean: float, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of the mean, for new samples from the same images or classes.

        Wilson's interval; for images, which are right or wrong, it is the binomial one. Episodes count as the
        number of binomial trials with the same standard error, with the quantile of Student's t.
        """
        variance = self.sd**2 * (self.count - 1) / self.count  # of images, exactly mean * (1 - mean)
        binomial = self.of == "images"
        return wilson(mean, math.sqrt(variance / self.count), self.count, None if binomial else self.count - 1, level)

    def class_interval(self, mean: float, level: float = 0.95) -> tuple[float, float] | None:
        """Return the interval of the expectation over new classes of the same kind; None where it is unknown."""
        if self.classes is None or self.class_error is None:
            return None
        return wilson(mean, self.class_error, self.classes, self.classes - 1, level)


def wilson(mean: float, error: float, draws: int, freedom: int | None, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a fraction with that standard error; it lies within [0, 1].

    The fraction counts as that of n = mean (1 - mean) / error^2 binomial trials, and as that of `draws` trials where
    nothing varies (all right, for example), which no standard error can describe. freedom: degrees of freedom of
    Student's t; None: the normal quantile.

    Reference: Wilson, J. Am. Stat. Assoc. 22:209 (1927); effective sample size as in Korn and Graubard, Survey
    Methodology 24:193 (1998).
    """
    upper = 0.5 + level / 2
    q = float(ndtri(upper) if freedom is None else stdtrit(freedom, upper))
    variance = max(0.0, mean * (1.0 - mean))
    trials = variance / error**2 if variance > 0.0 and error > 0.0 else float(draws)
    share = q * q / trials
    centre, half = mean + share / 2.0, q * math.sqrt(variance / trials + share / (4.0 * trials))
    low, high = (centre - half) / (1.0 + share), (centre + half) / (1.0 + share)
    return max(0.0, min(mean, low)), min(1.0, max(mean, high))  # of 1.0 the upper end is 1.0, whatever is rounded


def class_error(values: NDArray[np.float64], classes: NDArray[Any]) -> tuple[int | None, float | None]:
    """Return how many classes the episodes have, and the standard error of their mean accuracy over new classes.

    values: [episodes]. classes: [episodes, way]. (None, None) with fewer than six episodes' worth of classes,
    whose covariances are too uncertain.

    The variance is that of episodes sampled from the given classes plus that of the classes: covariances of episodes
    that share a class estimate what one class contributes to the accuracy (first term of Hoeffding's decomposition),
    scaled from the finite pool to new classes.

    Reference: overlapping clusters as in Cameron, Gelbach and Miller, J. Bus. Econ. Stat. 29:238 (2011).
    """
    count, way = classes.shape
    known, place = np.unique(classes, return_inverse=True)
    pool = len(known)
    if pool < _POOL * way:
        return None, None
    off = values - values.mean()
    own = float((off**2).sum())
    sums = np.bincount(place.reshape(-1), weights=np.repeat(off, way), minlength=pool)
    shared = max(0.0, float((sums**2).sum()) - way * (1.0 - way / pool) * own)
    new = pool * (pool - 1) / (pool - way) ** 2
    return pool, math.sqrt(own + new * shared) / count


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Return mean and two-sided Student-t interval of its expectation; the values are independent.

    Under two values the interval is (-inf, inf).
    """
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if data.size < 2:
        return mean, -math.inf, math.inf
    half = float(stdtrit(data.size - 1, 0.5 + level / 2) * data.std(ddof=1) / math.sqrt(data.size))
    return mean, mean - half, mean + half


def chip_interval(accuracies: ArrayLike, vary: bool = True) -> tuple[float, float, float]:
    """Return the mean accuracy over chips and its 95 % interval, within [0, 1].

    Student's t. Equal scores of chips that differ say little about other chips: their interval is Wilson's, with each
    chip as one trial, and that of a single chip is [0, 1]. vary: chips can differ; otherwise equal scores are exact.
    """
    data = np.asarray(accuracies, dtype=np.float64)
    mean, low, high = mean_interval(data)
    if bool((data == data[0]).all()):
        if not vary:
            return mean, mean, mean
        if data.size > 1:
            low, high = wilson(mean, 0.0, data.size, data.size - 1)
    return mean, max(0.0, low), min(1.0, high)


def band(values: ArrayLike) -> tuple[float, float]:
    """Return the 5 % and the 95 % quantile over chips, at the unbiased plotting positions k / (n + 1).

    On average 90 % of all chips lie between them. Under `FULL_BAND` chips they are the lowest and the highest, between
    which (n - 1) / (n + 1) of all chips lie on average.

    Reference: Weibull 1939; type 6 of Hyndman and Fan, Am. Stat. 50:361 (1996).
    """
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [0.05, 0.95], method="weibull")
    return float(low), float(high)


def band_label(counts: Iterable[int], named: bool = True) -> str:
    """Return what `band` shows of so many chips: `5-95 % of 30 chips`, `lowest to highest of 5 chips`.

    named: with the number of chips.
    """
    found = sorted({int(count) for count in counts})
    least, most = found[0], found[-1]
    number = f"{least}" if least == most else f"{least}-{most}"
    chips = "chips" if not named else f"{number} chip{'' if most == 1 else 's'}"
    if most < FULL_BAND:
        return f"lowest to highest of {chips}"
    return f"5-95 % of {chips}" + ("" if least >= FULL_BAND else f" (under {FULL_BAND}: lowest to highest)")
