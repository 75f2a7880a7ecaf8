"""Bagging and boosting: the training samples of each member of an ensemble, and its weight in the vote.

References: Freund and Schapire, J. Comput. Syst. Sci. 55:119 (1997), rule A; Zhu, Zou, Rosset and Hastie, Stat.
Interface 2:349 (2009), number of classes in rule D; Zhu, Dong and Su, Binary Ensemble Neural Network, CVPR 2019, and
the authors' code, all rules in this form.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._rng import Stream

Rule = Literal["bagging", "A", "B", "C", "D"]
#: rule -> change of the weight w of a sample; upper signs: the member missed the sample
RULES: dict[Rule, str] = {
    "bagging": "none: every member has a separate bootstrap sample",
    "A": "w exp(+-alpha), AdaBoost",
    "B": "logit(w) +- alpha",
    "C": "1 - w times exp(-+alpha), normalised",
    "D": "w exp(+-alpha) with a damped alpha that depends on the number of classes, SAMME",
}
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
#: factor on the alpha that depends on the number of classes
_DAMPING = 0.1
#: 16-bit words per random number of 64 bits
_WORDS = 4


class Boosted(NamedTuple):
    """Outcome of a boosting step.

    Attributes:
        alpha: weight of the finished member in the vote.
        weights: weights of the samples [n] for the next member.
    """

    alpha: float
    weights: Floats


@checked
def start_weights(count: int) -> Floats:
    """Return the weights of the samples before the first member, 1 / count each, [count].

    Args:
        count: number of samples.
    """
    return np.full(count, 1 / _at_least_one(count))


def weighted_error(weights: Floats, missed: Flags) -> float:
    """Return the weighted fraction of missed samples, sum(w[missed]) / sum(w).

    Args:
        weights: weights of the samples [n], 0 or more, with any sum.
        missed: whether the member misclassifies each sample, [n].

    Raises:
        InputError: the shapes differ, or the weights are not valid.
    """
    w, miss = _checked(weights), np.asarray(missed, dtype=bool)
    if miss.shape != w.shape:
        raise InputError(
            "boosting, missed", f"shape {miss.shape}", f"{w.shape}, as the weights", "Give one flag per sample."
        )
    return float(w[miss].sum() / w.sum())


@checked
def boost(rule: Rule, weights: Floats, missed: Flags, classes: int = 10, independent: bool = False) -> Boosted:
    """Return the weight of a member in the vote, and the weights of the samples after it.

    Weights of rule C are clamped at 0: its formula gives negative ones to samples that are always classified correctly.
    A member that misses no sample, or all of them, has no finite alpha; it is treated as if it missed half a sample, or
    all but half a sample.

    Args:
        rule: rule of the ensemble, see `RULES`.
        weights: weights of the samples before the member, [n].
        missed: whether the member misclassifies each sample, [n].
        classes: number of classes, used by rule D and by B with independent members.
        independent: whether members start from newly sampled network weights.

    Raises:
        InputError: unknown rule, fewer than 2 classes, or invalid weights.
    """
    if classes < 2:
        raise InputError("boosting, classes", classes, "2 or more", "Set the number of classes.")
    e, w = weighted_error(weights, missed), _checked(weights)
    if rule == "bagging":
        return Boosted(1.0, w.copy())
    odds = _log_odds(e, len(w))
    damped = rule == "D" or (rule == "B" and independent)
    alpha = _DAMPING * (odds + math.log(classes - 1)) if damped else odds / 2
    return Boosted(alpha, _updated(rule, w, np.where(missed, alpha, -alpha), classes))


def effective_size(weights: Floats) -> float:
    """Return the effective sample size (sum w)^2 / sum w^2 of Kish (1965).

    Args:
        weights: weights of the samples [n].
    """
    w = _checked(weights)
    return float(w.sum() ** 2 / np.square(w).sum())


@checked
def draw_rows(weights: Floats, count: int, seed: int, epoch: int, member: int) -> Ints:
    """Sample the training rows of one epoch of a boosted member, with replacement, in proportion to weights.

    Args:
        weights: weights of the samples [n].
        count: number of rows to sample.
        seed: seed of the recipe.
        epoch: number of the epoch, from 0.
        member: number of the member, from 0.

    Returns:
        Rows from 0 to n - 1, [count].
    """
    ends = np.cumsum(_checked(weights))
    # The last end divided by itself is exactly 1, above every random number.
    uniform = _uniform(Stream(seed, "boosting", "rows"), _at_least_one(count), member, epoch)
    return np.searchsorted(ends / ends[-1], uniform, side="right").astype(np.int64)


@checked
def bagged_rows(count: int, seed: int, member: int) -> Ints:
    """Sample the bootstrap of a bagged member, the same rows in every epoch.

    Args:
        count: number of samples, and of rows to sample with replacement.
        seed: seed of the recipe.
        member: number of the member, from 0.

    Returns:
        Rows from 0 to count - 1, [count].
    """
    uniform = _uniform(Stream(seed, "bagging", "rows"), _at_least_one(count), member, 0)
    return (uniform * count).astype(np.int64)


@checked
def shuffled(rows: Ints, seed: int, epoch: int, member: int) -> Ints:
    """Return rows in the random order of one epoch of a member.

    Args:
        rows: rows of the training set [n].
        seed: seed of the recipe.
        epoch: number of the epoch, from 0.
        member: number of the member or training phase, from 0.
    """
    return np.asarray(rows)[Stream(seed, "bagging", "order").order(len(rows), member, epoch)]


def _log_odds(e: float, count: int) -> float:
    """Return ln((1 - e) / e) of a weighted error; at 0 and 1 the error of half a sample replaces it."""
    if e <= 0 or e >= 1:
        e = abs(e - 0.5 / count)
    return math.log((1 - e) / e)


def _updated(rule: Rule, w: Floats, change: Floats, classes: int) -> Floats:
    """Return the weights after a member; `change` is alpha for missed samples, else -alpha."""
    if rule == "B":
        # 1 / ((1/w - 1) exp(-change) + 1), written so that it is 0 at w = 0
        return w / (w + (1 - w) * np.exp(-change))
    if rule == "C":
        rest = (1 - w) * np.exp(-change)
        return np.maximum(1 - rest * (len(w) / classes / np.abs(rest).sum()), 0.0)
    return w * np.exp(change)


def _uniform(stream: Stream, count: int, member: int, epoch: int) -> Floats:
    """Return `count` uniform numbers in [0, 1) with 53 bits; 24 bits would favour some of 50,000 samples."""
    words = stream.words(_WORDS * count, member, epoch).view(np.uint64)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _checked(weights: Floats) -> Floats:
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or not np.isfinite(w).all() or bool((w < 0).any()) or not w.sum() > 0:
        got = f"shape {w.shape}, sum {w.sum():g}, smallest {w.min(initial=np.inf):g}"
        raise InputError("boosting, weights", got, "[n], finite, none negative, not all 0", "Start from start_weights.")
    return w


def _at_least_one(count: int) -> int:
    check_whole(count, "boosting, count", 1)
    return count
