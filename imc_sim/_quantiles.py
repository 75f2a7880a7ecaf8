"""Columns of quantile tables: 65,536 equal parts of a law, and a finer division of the lowest and the highest part.

A 16-bit word picks one of the 65,536 parts. The words 0 and 65,535, two draws in 65,536, take a second word that picks
one of 4,096 equal parts of that part. So tables reach 5.9 standard deviations of a normal law instead of 4.3.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

#: parts of a law that one 16-bit word picks from
PARTS = 65536
#: parts of the lowest and of the highest of them, which the upper 12 bits of a second word pick from
TAIL = 4096
#: columns of a table: one for each part, then those of the lowest part, then those of the highest, all ascending
WIDTH = PARTS + 2 * TAIL


@functools.cache
def probabilities() -> NDArray[np.float64]:
    """Return the probability in the middle of every column's part: [WIDTH]."""
    tail = (np.arange(TAIL) + 0.5) / TAIL / PARTS
    return np.concatenate([(np.arange(PARTS) + 0.5) / PARTS, tail, 1.0 - tail[::-1]])


@functools.cache
def masses() -> NDArray[np.float64]:
    """Return the probability of every column: [WIDTH]; 0 for the two that are divided further."""
    mass = np.full(WIDTH, 1.0 / PARTS)
    mass[[0, PARTS - 1]] = 0.0
    mass[PARTS:] /= TAIL
    return mass


@functools.cache
def normal_quantiles() -> NDArray[np.float32]:
    """Return the mid-point quantiles of the standard normal law: [WIDTH].

    The 65,536 parts are scaled to unit variance, which leaves a Kolmogorov-Smirnov distance to the normal law under
    1.6e-5. The tails hold the law's own quantiles, up to 5.90.
    """
    found = ndtri(probabilities())
    found[PARTS + TAIL :] = -found[PARTS : PARTS + TAIL][::-1]
    found[:PARTS] /= found[:PARTS].std()
    return found.astype(np.float32)
