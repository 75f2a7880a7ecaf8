"""Sensitivity to sign flips by the magnitude of latent weights, in a network and in a quadratic loss of signs.

Reference: Laborieux, Ernoult, Hirtzlin and Querlioz, Nat. Commun. 12:2549 (2021), Fig. 5 and Methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.nn import ProductLayer, two_valued

#: what the published high-dimensional tasks' optima lie within, on both sides of 0
_SPREAD = 4.0


@final
@dataclass(frozen=True)
class FlippedBin:
    """Weights of similar magnitude, and the cost of flipping their signs.

    magnitude: mean |w| of the flipped weights over the layer's largest. candidates: weights in the bin. increases:
    float64 [draws], of the mean loss per flipped weight.
    """

    magnitude: float
    candidates: int
    increases: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(self.increases.mean())

    @property
    def deviation(self) -> float:
        """Return the standard deviation between draws; 0 for a single one."""
        return float(self.increases.std(ddof=1)) if len(self.increases) > 1 else 0.0


@torch.no_grad()
def sign_switch(
    model: nn.Module, layer: str, batches: Sequence[tuple[Tensor, Tensor]], flips: int, bins: int = 15,
    draws: int = 100, seed: int = 0,
) -> list[FlippedBin]:  # fmt: skip
    """Measure the cost of flipping `flips` binary weights of a layer, by the magnitude of their latent weights.

    The magnitudes up to the largest are divided into `bins` equal ranges; those with fewer than `flips` weights are
    left out. Each of `draws` picks other weights of the range. The published probe flipped 1,000, 2,000 and 100 weights
    in the three layers of a network of 1,024 hidden units. The model is in inference mode, and left unchanged.

    layer: name of a product layer with latent weights. batches: images and labels of the training, over which the loss
    (cross-entropy) is averaged.
    """
    flipped = model.get_submodule(layer)
    if not isinstance(flipped, ProductLayer) or not (flipped.binary and flipped.kind.plain_gradient):
        step = "Name a binary layer of a network such as bnn_mlp."
        raise InputError("layer", repr(layer), "a product layer of policy latent", step)
    was = model.training
    model.eval()
    weight = flipped.weight.detach()
    size = weight.abs().flatten()
    places = (size / size.max() * bins).long().clamp_max(bins - 1)
    start, found = _loss(model, batches), []
    for each in range(bins):
        members = torch.nonzero(places == each).flatten()
        if len(members) < flips:
            continue
        picks = [_drawn(members, flips, Stream(seed, layer, "flips"), each, draw) for draw in range(draws)]
        costs = [(_flipped_loss(model, weight, pick, batches) - start) / flips for pick in picks]
        magnitude = float(torch.stack([size[pick].mean() for pick in picks]).mean() / size.max())
        found.append(FlippedBin(magnitude, len(members), np.array(costs)))
    model.train(was)
    return found


@final
@dataclass(frozen=True)
class QuadraticTask:
    """The loss 1/2 (s - optimum)^T H (s - optimum) of signs s = +-1 of latent weights; no network.

    hessian: H [d, d], symmetric and positive definite; optimum [d]; both float64. Training that uses only signs, w <- w
    - rate H (sign(w) - optimum), makes those latent weights grow without bound whose optimum lies outside the cube of
    signs, the faster the more their sign matters; the others oscillate about 0.
    """

    hessian: Tensor
    optimum: Tensor

    @classmethod
    def random(cls, eigenvalues: Sequence[float], seed: int) -> Self:
        """Return a task with these eigenvalues in a random basis (Haar), and an optimum uniform within 4 of 0."""
        count = len(eigenvalues)
        drawn = Stream(seed, "quadratic", "basis").normal(count * count, chip=0).reshape(count, count)
        q, r = torch.linalg.qr(torch.from_numpy(drawn).double())
        basis = q * r.diagonal().sign()
        uniform = torch.from_numpy(Stream(seed, "quadratic", "optimum").uniform(count, chip=0)).double()
        hessian = basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.mT
        return cls((hessian + hessian.mT) / 2, (2 * uniform - 1) * _SPREAD)

    def loss(self, w: Tensor) -> Tensor:
        """Return the loss [*] of latent weights w [*, d]."""
        off = two_valued(w) - self.optimum
        return ((off @ self.hessian) * off).sum(-1) / 2

    def path(self, start: Tensor, rate: float, steps: int) -> Tensor:
        """Return the latent weights from `start` [d] on, before each step and after the last: [steps + 1, d]."""
        w, rows = start.double(), [start.double()]
        for _ in range(steps):
            w = w - rate * self.hessian @ (two_valued(w) - self.optimum)
            rows.append(w)
        return torch.stack(rows)

    def flip_increases(self, w: Tensor) -> Tensor:
        """Return the increase of the loss of w [d] when the sign of one weight is flipped, [d], one after the other."""
        s = two_valued(w)
        # L(s - 2 s_i e_i) - L(s), with e_i the i-th unit vector.
        return -2 * s * (self.hessian @ (s - self.optimum)) + 2 * self.hessian.diagonal()


def _drawn(members: Tensor, count: int, stream: Stream, place: int, draw: int) -> Tensor:
    """Sample `count` of the members without replacement."""
    keys = stream.words(4 * len(members), chip=place, epoch=draw).view(np.uint64)
    return members[torch.from_numpy(np.argpartition(keys, count - 1)[:count]).to(members.device)]


def _flipped_loss(model: nn.Module, weight: Tensor, pick: Tensor, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the loss with the picked weights (places in the flattened layer) flipped."""
    flat = weight.view(-1)
    kept = flat[pick]
    # A hidden weight of 0 counts as -1, and has no other sign that a minus could give it.
    flat[pick] = -two_valued(kept)
    try:
        return _loss(model, batches)
    finally:
        flat[pick] = kept


def _loss(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the mean cross-entropy over all images."""
    losses = [F.cross_entropy(model(images).double(), labels, reduction="sum") for images, labels in batches]
    return float(torch.stack(losses).sum()) / sum(len(labels) for _, labels in batches)
