"""Sensitivity of the loss to sign flips by the magnitude of latent weights, in networks and in a quadratic task.

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

from imc_sim._arguments import checked
from imc_sim._errors import InputError, shown_value
from imc_sim._rng import Stream
from imc_sim.nn import ProductLayer, evaluating, two_valued

#: largest magnitude of the optima of the published high-dimensional tasks
_LARGEST = 4.0


@final
@dataclass(frozen=True)
class FlippedBin:
    """Weights of similar magnitude, and the increase of the loss when their signs are flipped.

    Attributes:
        magnitude: mean magnitude of the flipped weights, relative to the largest of the layer.
        candidates: number of weights in the bin.
        increases: increase of the mean loss per flipped weight, float64 [draws].
    """

    magnitude: float
    candidates: int
    increases: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Return the mean increase over all draws."""
        return float(self.increases.mean())

    @property
    def deviation(self) -> float:
        """Return the standard deviation over draws; 0 for a single draw."""
        return float(self.increases.std(ddof=1)) if len(self.increases) > 1 else 0.0


@torch.no_grad()
def sign_switch(
    model: nn.Module, layer: str, batches: Sequence[tuple[Tensor, Tensor]], flips: int, bins: int = 15,
    draws: int = 100, seed: int = 0,
) -> list[FlippedBin]:  # fmt: skip
    """Measure the sensitivity of the loss to sign flips, by the magnitude of the latent weights of a layer.

    The range of magnitudes is divided into equal bins; in every bin, the signs of some weights are flipped together.
    The published probe flipped 1,000, 2,000 and 100 weights in the three layers of a network with 1,024 hidden units.

    Args:
        model: classifier; it is evaluated in inference mode and left unchanged.
        layer: name of a binary product layer with latent weights.
        batches: images and labels over which the loss (cross-entropy) is averaged.
        flips: number of weights flipped together; bins with fewer weights are left out.
        bins: number of bins.
        draws: number of random choices of weights per bin.
        seed: seed of these choices.

    Returns:
        The result of each bin, by increasing magnitude.

    Raises:
        InputError: the layer has no latent weights.
    """
    flipped = model.get_submodule(layer)
    if not isinstance(flipped, ProductLayer) or not (flipped.binary and flipped.kind.plain_gradient):
        step = "Name a binary layer of a network such as bnn_mlp."
        raise InputError("layer", repr(layer), "a product layer of policy latent", step)
    weight = flipped.weight.detach()
    size = weight.abs().flatten()
    places = (size / size.max() * bins).long().clamp_max(bins - 1)
    found = []
    with evaluating(model):
        start = _loss(model, batches)
        for each in range(bins):
            members = torch.nonzero(places == each).flatten()
            if len(members) < flips:
                continue
            picks = [_sampled(members, flips, Stream(seed, layer, "flips"), each, draw) for draw in range(draws)]
            costs = [(_flipped_loss(model, weight, pick, batches) - start) / flips for pick in picks]
            magnitude = float(torch.stack([size[pick].mean() for pick in picks]).mean() / size.max())
            found.append(FlippedBin(magnitude, len(members), np.array(costs)))
    return found


@final
@dataclass(frozen=True)
class QuadraticTask:
    """The quadratic loss 1/2 (s - optimum)^T H (s - optimum) of the signs s = +-1 of d latent weights.

    Training with w <- w - rate H (sign(w) - optimum) makes latent weights grow without bound if their optimum is beyond
    +-1, the faster the more their sign matters; the others oscillate about 0.

    Attributes:
        hessian: H, symmetric and positive definite, float64 [d, d].
        optimum: minimum of the loss over all real s, float64 [d].
    """

    hessian: Tensor
    optimum: Tensor

    @classmethod
    @checked
    def random(cls, eigenvalues: Sequence[float], seed: int) -> Self:
        """Return a task with a random basis (Haar measure) and an optimum that is uniform in [-4, 4]^d.

        Args:
            eigenvalues: eigenvalues of H [d], above 0.
            seed: seed of basis and optimum.

        Raises:
            InputError: eigenvalues that are not above 0.
        """
        values = torch.as_tensor([] if eigenvalues is None else eigenvalues, dtype=torch.float64)
        if values.ndim != 1 or not len(values) or not bool((values.isfinite() & (values > 0)).all()):
            step = "Give the eigenvalues of the Hessian."
            raise InputError("QuadraticTask.random, eigenvalues", shown_value(eigenvalues), "numbers above 0", step)
        count = len(values)
        drawn = Stream(seed, "quadratic", "basis").normal(count * count, chip=0).reshape(count, count)
        q, r = torch.linalg.qr(torch.from_numpy(drawn).double())
        basis = q * r.diagonal().sign()
        uniform = torch.from_numpy(Stream(seed, "quadratic", "optimum").uniform(count, chip=0)).double()
        hessian = basis @ torch.diag(values) @ basis.mT
        return cls((hessian + hessian.mT) / 2, (2 * uniform - 1) * _LARGEST)

    def loss(self, w: Tensor) -> Tensor:
        """Return the loss [*].

        Args:
            w: latent weights [*, d].
        """
        off = two_valued(w) - self.optimum
        return ((off @ self.hessian) * off).sum(-1) / 2

    def path(self, start: Tensor, rate: float, steps: int) -> Tensor:
        """Return the latent weights during training, before each step and after the last, [steps + 1, d].

        Args:
            start: latent weights before training [d].
            rate: learning rate.
            steps: number of steps.
        """
        w, rows = start.double(), [start.double()]
        for _ in range(steps):
            w = w - rate * self.hessian @ (two_valued(w) - self.optimum)
            rows.append(w)
        return torch.stack(rows)

    def flip_increases(self, w: Tensor) -> Tensor:
        """Return the increase of the loss when the sign of each weight alone is flipped, [d].

        Args:
            w: latent weights [d].
        """
        s = two_valued(w)
        # L(s - 2 s_i e_i) - L(s), with e_i the i-th unit vector
        return -2 * s * (self.hessian @ (s - self.optimum)) + 2 * self.hessian.diagonal()


def _sampled(members: Tensor, count: int, stream: Stream, place: int, draw: int) -> Tensor:
    """Sample `count` of the members without replacement."""
    keys = stream.words(4 * len(members), chip=place, epoch=draw).view(np.uint64)
    return members[torch.from_numpy(np.argpartition(keys, count - 1)[:count]).to(members.device)]


def _flipped_loss(model: nn.Module, weight: Tensor, pick: Tensor, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the loss with the signs of the picked weights (indices into the flattened layer) flipped."""
    flat = weight.view(-1)
    kept = flat[pick]
    flat[pick] = -two_valued(kept)  # a latent weight of 0 counts as -1: changing its sign would not flip it
    try:
        return _loss(model, batches)
    finally:
        flat[pick] = kept


def _loss(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the mean cross-entropy over all images."""
    losses = [F.cross_entropy(model(images).double(), labels, reduction="sum") for images, labels in batches]
    return float(torch.stack(losses).sum()) / sum(len(labels) for _, labels in batches)
