"""Arithmetic of ensembles: the samples that a member learns from, and its weight in the vote. No network is trained
here.

References: Freund and Schapire, J. Comput. Syst. Sci. 55:119 (1997), for A; Zhu, Zou, Rosset, Hastie, Stat. Interface
2:349 (2009), for the classes in D; Zhu, Dong, Su, Binary Ensemble Neural Network, CVPR 2019, in the authors' code, for
the rules in this form.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError, nearest
from imc_sim._rng import Stream

Rule = Literal["bagging", "A", "B", "C", "D"]
#: rule -> what it does to the weights of samples
RULES: dict[Rule, str] = {
    "bagging": "nothing: every member has a bootstrap sample of its own",
    "A": "w exp(+-alpha), AdaBoost",
    "B": "the logit of w moves by +-alpha",
    "C": "1 - w times exp(-+alpha), normalised",
    "D": "w exp(+-alpha) with a damped alpha that knows the number of classes, SAMME",
}
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
#: factor on the alpha that knows the number of classes
_DAMPING = 0.1
_WORDS = 4


class Boosted(NamedTuple):
    """The weight of a finished member in the vote, and the samples' weights [n] for the next one."""

    alpha: float
    weights: Floats


def start_weights(count: int) -> Floats:
    """Return the weights of the samples before the first member: 1 / count each, [count]."""
    return np.full(count, 1 / _at_least_one(count))


def weighted_error(weights: Floats, missed: Flags) -> float:
    """Return e = sum of w over the missed samples / sum of w; weights and missed [n], never normalised."""
    w, miss = _checked(weights), np.asarray(missed, dtype=bool)
    if miss.shape != w.shape:
        raise InputError("boosting, missed", f"shape {miss.shape}", f"{w.shape}, as the weights", "One flag a sample.")
    return float(w[miss].sum() / w.sum())


def boost(rule: Rule, weights: Floats, missed: Flags, classes: int = 10, independent: bool = False) -> Boosted:
    """Return alpha of a member that misses the samples `missed` [n], and the weights [n] after it.

    Rule C clamps its weights at 0: its formula makes weights of samples that are always right negative, and nothing can
    be sampled with a negative weight. A member that misses nothing, or everything, has no finite alpha; it counts as if
    it missed, or hit, half a sample of the n.

    independent: members that start from new weights; it changes alpha of rule B.
    """
    if rule not in RULES:
        raise InputError("boosting, rule", repr(rule), ", ".join(RULES), f"{nearest(rule, RULES)}Choose one.")
    if classes < 2:
        raise InputError("boosting, classes", classes, "2 or more", "Say how many classes there are.")
    e, w = weighted_error(weights, missed), _checked(weights)
    if rule == "bagging":
        return Boosted(1.0, w.copy())
    odds = _log_odds(e, len(w))
    aware = rule == "D" or (rule == "B" and independent)
    alpha = _DAMPING * (odds + math.log(classes - 1)) if aware else odds / 2
    return Boosted(alpha, _updated(rule, w, np.where(missed, alpha, -alpha), classes))


def effective_size(weights: Floats) -> float:
    """Return (sum w)^2 / sum w^2, the number of samples of equal weight with the same variance (Kish, 1965)."""
    w = _checked(weights)
    return float(w.sum() ** 2 / np.square(w).sum())


def draw_rows(weights: Floats, count: int, seed: int, epoch: int, member: int) -> Ints:
    """Sample the rows [count] of one epoch of one member, with replacement and in proportion to weights [n]."""
    ends = np.cumsum(_checked(weights))
    # Divided by itself the last end is exactly 1, and no draw lies beyond it.
    uniform = _uniform(Stream(seed, "boosting", "rows"), _at_least_one(count), member, epoch)
    return np.searchsorted(ends / ends[-1], uniform, side="right").astype(np.int64)


def bagged_rows(count: int, seed: int, member: int) -> Ints:
    """Sample the bootstrap of one member: `count` rows of `count`, with replacement, the same in every epoch."""
    uniform = _uniform(Stream(seed, "bagging", "rows"), _at_least_one(count), member, 0)
    return (uniform * count).astype(np.int64)


def shuffled(rows: Ints, seed: int, epoch: int, member: int) -> Ints:
    """Return the rows of one member in the order of one epoch."""
    keys = Stream(seed, "bagging", "order").words(_WORDS * len(rows), member, epoch).view(np.uint64)
    return np.asarray(rows)[np.argsort(keys, kind="stable")]


def _log_odds(e: float, count: int) -> float:
    """Return ln((1 - e) / e), limited to half a sample from where it is infinite."""
    if e <= 0 or e >= 1:
        e = abs(e - 0.5 / count)
    return math.log((1 - e) / e)


def _updated(rule: Rule, w: Floats, change: Floats, classes: int) -> Floats:
    """Return the weights after a member; change is alpha where it missed, else -alpha."""
    if rule == "B":
        # 1 / ((1/w - 1) exp(-change) + 1), which is 0 at w = 0 as well
        return w / (w + (1 - w) * np.exp(-change))
    if rule == "C":
        rest = (1 - w) * np.exp(-change)
        return np.maximum(1 - rest * (len(w) / classes / np.abs(rest).sum()), 0.0)
    return w * np.exp(change)


def _uniform(stream: Stream, count: int, member: int, epoch: int) -> Floats:
    """Return `count` numbers in [0, 1) with 53 bits: 24 would favour some of 50,000 samples over others."""
    words = stream.words(_WORDS * count, member, epoch).view(np.uint64)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _checked(weights: Floats) -> Floats:
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or not np.isfinite(w).all() or bool((w < 0).any()) or not w.sum() > 0:
        got = f"shape {w.shape}, sum {w.sum():g}, smallest {w.min(initial=np.inf):g}"
        raise InputError("boosting, weights", got, "[n], finite, none negative, not all 0", "Begin at start_weights.")
    return w


def _at_least_one(count: int) -> int:
    if count < 1:
        raise InputError("boosting, count", count, "1 or more", "Give some samples.")
    return count
