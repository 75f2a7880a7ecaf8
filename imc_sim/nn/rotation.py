"""Rotated binary weights: a bi-rotation that brings weights near their signs, and an annealed gradient.

Source: Lin et al., Rotated Binary Neural Network, NeurIPS 2020 (arXiv 2009.13055), as used by BATMANN.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from imc_sim.nn._binarize import two_valued

__all__ = [
    "ROTATIONS",
    "START",
    "RotationMode",
    "adjusted",
    "alignment",
    "annealed",
    "annealed_sign",
    "attach_rotation",
    "fold_rotation",
    "halves",
    "improved_rotation",
    "random_rotation",
    "rotated",
]

#: `updated`: the rotations follow the weights, and their gradient passes through; `frozen`: neither, as published
RotationMode = Literal["updated", "frozen"]
ROTATIONS: tuple[RotationMode, ...] = ("updated", "frozen")
#: sharpness (t, k) before the first annealing step
START = (0.1, 10.0)
_LOG_T = (-2.0, 1.0)
_ROUNDS = 3


def halves(n: int) -> tuple[int, int]:
    """(a, b) with a b = n, a the largest divisor of n that is not above its square root."""
    a = next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
    return a, n // a


def annealed(progress: float) -> tuple[float, float]:
    """(t, k) at `progress` (0 to 1) through the training: t from 0.01 to 10 in even steps of its logarithm.

    k = max(1 / t, 1): the gradient starts near that of a clipped identity and ends near that of the sign.
    """
    t = 10 ** (_LOG_T[0] + (_LOG_T[1] - _LOG_T[0]) * progress)
    return t, max(1 / t, 1.0)


class _AnnealedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.sharpness = t, k
        return two_valued(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        (x,), (t, k) = ctx.saved_tensors, ctx.sharpness
        return grad[0] * (k * (math.sqrt(2) * t - t * t * x.abs())).clamp_min(0.0), None, None


def annealed_sign(x: Tensor, t: float, k: float) -> Tensor:
    """+-1 of x. Gradient: upstream times max(0, k (sqrt(2) t - t^2 |x|))."""
    return _AnnealedSign.apply(x, t, k)


def random_rotation(n: int) -> Tensor:
    """A Haar-random orthogonal matrix [n, n], from torch's generator (Mezzadri, Notices AMS 54, 2007)."""
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def rotated(w: Tensor, r1: Tensor, r2: Tensor) -> Tensor:
    """R1^T X_i R2 for the weights of every output unit i, X_i being its row-major a x b matrix; shaped as w."""
    x = w.reshape(len(w), len(r1), len(r2))
    return (r1.mT @ x @ r2).reshape(w.shape)


def improved_rotation(w: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations that bring standardised weights w nearer to their signs; three rounds, none makes it worse.

    Alternates B_i = sign(R1^T X_i R2) with the orthogonal R1 and then R2 that maximise sum_i tr(B_i^T R1^T X_i R2)
    (Schoenemann, Psychometrika 31, 1966). Works in double precision.
    """
    x, a, b = w.detach().double().reshape(len(w), len(r1), len(r2)), r1.double(), r2.double()
    for _ in range(_ROUNDS):
        signs = torch.where(a.mT @ x @ b > 0, 1.0, -1.0).to(x)
        a = _procrustes((x @ b @ signs.mT).sum(0))
        b = _procrustes((x.mT @ a @ signs).sum(0))
    return a.to(r1), b.to(r2)


def alignment(w: Tensor, r1: Tensor, r2: Tensor) -> float:
    """Cosine of the angle between the rotated weights and their signs, over all of them: 1 is no error."""
    r = rotated(w, r1, r2)
    return float(r.abs().sum() / (r.norm() * math.sqrt(r.numel())))


def _procrustes(m: Tensor) -> Tensor:
    """The orthogonal R that maximises tr(R^T m)."""
    u, _, vt = torch.linalg.svd(m)
    return u @ vt


def adjusted(w: Tensor, theta: Tensor, r1: Tensor, r2: Tensor, mode: RotationMode) -> Tensor:
    """w + |sin theta| (rotated w - w), the adjustable weight; theta [out, 1, …] is learned, one per output unit.

    `updated`: w is also trained through its rotation. `frozen`: only through what is not rotated, 1 - |sin theta| of
    it, which at the starting value theta = pi / 2 is nothing.
    """
    turned = rotated(w if mode == "updated" else w.detach(), r1, r2)
    return w + theta.sin().abs() * (turned - w)


def attach_rotation(layer: nn.Module, weight: Tensor) -> None:
    """Give `layer` theta (`rotate`) at pi / 2, where rotated weights count fully, and random rotations R1 and R2."""
    a, b = halves(weight[0].numel())
    layer.rotate = nn.Parameter(torch.full((len(weight), *[1] * (weight.ndim - 1)), math.pi / 2))
    layer.register_buffer("R1", random_rotation(a))
    layer.register_buffer("R2", random_rotation(b))


def fold_rotation(state: dict[str, Tensor], name: str, weight: Tensor) -> None:
    """Entries of a state dict that make layer `name` store the signs of `weight` as they are: no rotation."""
    a, b = halves(weight[0].numel())
    state[f"{name}.rotate"] = torch.zeros(len(weight), *[1] * (weight.ndim - 1))
    state[f"{name}.R1"], state[f"{name}.R2"] = torch.eye(a), torch.eye(b)
