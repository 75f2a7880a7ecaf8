"""Where a tensor holds the samples of a batch, and whether a pass of two batches keeps them apart."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: random projections that stand for a sample
_PROJECTIONS = 4


@final
class Samples(NamedTuple):
    """A dimension along which a tensor holds the samples of a batch.

    Attributes:
        dim: the dimension.
        inner: whether the samples change fastest in it, as in time steps times samples.
    """

    dim: int = 0
    inner: bool = False

    def first(self, x: Tensor, batch: int) -> Tensor:
        """Return a tensor with a first dimension of samples.

        Args:
            x: tensor with the samples in this dimension.
            batch: number of samples.

        Returns:
            The tensor [batch, …].
        """
        return x.unflatten(self.dim, (-1, batch) if self.inner else (batch, -1)).movedim(self.dim + self.inner, 0)

    def back(self, x: Tensor) -> Tensor:
        """Invert `first`.

        Args:
            x: tensor with a first dimension of samples.

        Returns:
            The tensor with the samples in this dimension.
        """
        return x.movedim(0, self.dim + self.inner).flatten(self.dim, self.dim + 1)


#: place of samples -> random projections [batch, projections] of every sample
Projections = Mapping[Samples, Tensor]


def projected(x: Tensor, batch: int, dims: int) -> Projections:
    """Return projections of every sample, for each place where the samples may be.

    Args:
        x: any tensor.
        batch: number of samples.
        dims: number of leading dimensions that may hold samples.
    """
    found = {}
    for dim in range(dims):
        if not x.numel() or x.shape[dim] % batch:
            continue
        for inner in (False, True) if x.shape[dim] > batch > 1 else (False,):
            rows = Samples(dim, inner).first(x.detach(), batch).reshape(batch, -1).float().numpy()
            # by numpy, so that a counter of torch's products does not count this one
            found[Samples(dim, inner)] = torch.from_numpy(rows @ _random(rows.shape[1]))
    return found


def place_of(first: Projections, second: Projections, both: Projections) -> Samples | None:
    """Return where a pass of two batches holds the samples of the first and then those of the second, or None.

    Args:
        first: projections of the first batch.
        second: of the second.
        both: of the pass of both.
    """
    for place, samples in first.items():
        if place in second and _same([samples, second[place]], both.get(place)):
            return place
    # One sample is outermost and innermost; two of them show which.
    inner = (place for place in both if place.inner)
    outer = {place: Samples(place.dim) for place in inner}
    found = (p for p, o in outer.items() if o in first and o in second and _same([first[o], second[o]], both[p]))
    return next(found, None)


def _same(alone: Sequence[Tensor], both: Tensor | None) -> bool:
    """Return whether projections are those of each batch alone, to rounding and to a rare sign that it flips."""
    if both is None:
        return False
    expected = torch.cat(list(alone))
    apart = (expected - expected.mean(0)).square().mean()
    return bool((both - expected).square().mean() <= 0.05**2 * apart + 1e-5**2 * expected.square().mean())


@functools.lru_cache(maxsize=64)
def _random(length: int) -> NDArray[np.float32]:
    return np.random.default_rng(length).standard_normal((length, _PROJECTIONS), np.float32)
