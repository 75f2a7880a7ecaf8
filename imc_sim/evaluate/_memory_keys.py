"""Keys and queries of a key memory: features projected, centred, averaged per class and brought into the form of keys.

References: random projection before the sign, Charikar, STOC 2002 (the Hamming distance of the codes estimates the
angle between features); averaged supports as keys, Snell et al., NeurIPS 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._rng import Stream
from imc_sim._tensors import check_finite
from imc_sim.evaluate._tasks import FewShotTask, Form
from imc_sim.nn import two_valued
from imc_sim.nn.similarity import cosine, dot, key_form


class Keys(NamedTuple):
    """Keys [*, e, n, dim] and queries [*, e, way x queries, dim] of some episodes, ordered by class."""

    keys: Tensor
    queries: Tensor


@final
class KeyMaker:
    """Make keys and queries of episodes from features [u, d] or [chip, u, d], as the task says.

    support, query: rows of the features, [e, way, shot] and [e, way, queries].
    """

    def __init__(
        self, features: Tensor, task: FewShotTask, support: NDArray[np.int64], query: NDArray[np.int64]
    ) -> None:
        check_finite(features, "features")
        self.features = projected(features, task.dim, task.seed)
        self.task, self._support, self._query = task, support, query

    @property
    def labels(self) -> Tensor:
        """Return the class of every key: [way x shot], or [way] where keys are averages."""
        each = self.task.shot if self.task.prototypes == "none" else 1
        return torch.arange(self.task.way).repeat_interleave(each)

    def of(self, episodes: slice) -> Keys:
        """Return the keys and queries of these episodes."""
        keys, queries = (self._rows(index[episodes]) for index in (self._support, self._query))
        if self.task.threshold == "support_mean":
            mean = keys.double().mean(-2, keepdim=True).to(keys.dtype)
            keys, queries = keys - mean, queries - mean
        form = self.task.query_form or self.task.keys
        return Keys(self._formed(keys), key_form(queries, form))

    def one(self, episode: int) -> Keys:
        """Return keys [*, n, dim] and queries [*, way x queries, dim] of one episode."""
        keys, queries = self.of(slice(episode, episode + 1))
        return Keys(keys.squeeze(-3), queries.squeeze(-3))

    def all(self) -> Keys:
        """Return keys [*, n, dim] and queries [*, m, dim] of all episodes together."""
        found = self.of(slice(None))
        return Keys(found.keys.flatten(-3, -2), found.queries.flatten(-3, -2))

    def _rows(self, index: NDArray[np.int64]) -> Tensor:
        return self.features[..., torch.from_numpy(index).flatten(1), :]

    def _formed(self, keys: Tensor) -> Tensor:
        if self.task.prototypes == "none":
            return key_form(keys, self.task.keys)
        if self.task.prototypes == "majority":
            keys = two_valued(keys)
        each = keys.unflatten(-2, (self.task.way, self.task.shot)).double().mean(-2)
        return key_form(each.to(keys.dtype), self.task.keys)


def projected(features: Tensor, dim: int | None, seed: int) -> Tensor:
    """Project features [*, d] with a Gaussian matrix [dim, d] over sqrt(d), sampled by the seed; dim None: no
    projection.

    A smaller dim uses the first rows of a larger one's matrix. Computed in double precision, so that no sign depends on
    the number of features in one call.
    """
    if dim is None:
        return features
    d = features.shape[-1]
    drawn = Stream(seed, "memory", f"projection of {d}").normal(dim * d, chip=0)
    matrix = torch.from_numpy(drawn).double().reshape(dim, d).to(features.device) / math.sqrt(d)
    return (features.double() @ matrix.T).to(features.dtype)


def centred_forms(features: Tensor, task: FewShotTask) -> Tensor:
    """Return features [n, d] as keys outside episodes: projected, and centred by their own mean where the task
    centres.
    """
    check_finite(features, "features")
    features = projected(features, task.dim, task.seed)
    if task.threshold == "support_mean":
        features = features - features.double().mean(0, keepdim=True).to(features.dtype)
    form: Form = task.keys
    return key_form(features, form)


def minus_squared_distance(queries: Tensor, keys: Tensor) -> Tensor:
    """Return -|q - k|^2 [*, b, k] of queries [*, b, d] and keys [*, k, d], plus a constant per query.

    The nearest key has 0, so that exp, as in the attention of matching networks (Vinyals et al., NeurIPS 2016), does
    not vanish for all keys.
    """
    q, k = queries.double(), keys.double()
    near = 2 * q @ k.mT - k.square().sum(-1)[..., None, :]
    return (near - near.amax(-1, keepdim=True)).to(queries.dtype)


#: similarity -> queries [*, b, d] and keys [*, k, d] to [*, b, k]
SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine, "dot": dot, "l2": minus_squared_distance,
}  # fmt: skip
