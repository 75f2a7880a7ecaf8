"""Rotated binary weights: two rotations that bring weights near their signs, and an annealed gradient.

Source: Lin et al., Rotated Binary Neural Network, NeurIPS 2020 (arXiv 2009.13055), as used by BATMANN.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from imc_sim.nn._binarize import signs

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
    """Return (a, b) with a b = n, a being the largest divisor of n up to its square root.

    Args:
        n: Number of weights of an output.
    """
    a = next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
    return a, n // a


def annealed(progress: float) -> tuple[float, float]:
    """Return the sharpness (t, k) of the gradient: log t rises evenly from t = 0.01 to 10, and k = max(1 / t, 1).

    The gradient starts near that of a clipped identity and ends near that of the sign.

    Args:
        progress: Fraction of the training that is done, 0 to 1.
    """
    t = 10 ** (_LOG_T[0] + (_LOG_T[1] - _LOG_T[0]) * progress)
    return t, max(1 / t, 1.0)


def annealed_sign(x: Tensor, t: float, k: float) -> Tensor:
    """Return +-1 of x. Gradient: upstream times max(0, k (sqrt(2) t - t^2 |x|)).

    Args:
        x: Rotated weights of any shape.
        t: Sharpness, see `annealed`.
        k: Scale, see `annealed`.
    """
    return signs(x, (k * (math.sqrt(2) * t - t * t * x.detach().abs())).clamp_min(0.0))


def random_rotation(n: int) -> Tensor:
    """Return a Haar-random orthogonal matrix [n, n], from torch's generator.

    Args:
        n: Number of rows.

    Reference:
        Mezzadri, Notices AMS 54 (2007).
    """
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def rotated(w: Tensor, r1: Tensor, r2: Tensor) -> Tensor:
    """Return R1^T X_i R2 for every output i, X_i being its weights as a row-major a x b matrix; shaped as w.

    Args:
        w: Weights [out, …].
        r1: Rotation [a, a].
        r2: Rotation [b, b].
    """
    x = w.reshape(len(w), len(r1), len(r2))
    return (r1.mT @ x @ r2).reshape(w.shape)


def improved_rotation(w: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
    """Improve rotations so that rotated weights are nearer to their signs.

    Three rounds, none of which makes it worse, alternate B_i = sign(R1^T X_i R2) with the orthogonal R1 and then R2
    that maximise sum_i tr(B_i^T R1^T X_i R2), in double precision.

    Args:
        w: Standardised weights [out, …].
        r1: Rotation [a, a].
        r2: Rotation [b, b].

    Returns:
        The improved R1 and R2.

    Reference:
        Schoenemann, Psychometrika 31 (1966).
    """
    x, a, b = w.detach().double().reshape(len(w), len(r1), len(r2)), r1.double(), r2.double()
    for _ in range(_ROUNDS):
        binary = torch.where(a.mT @ x @ b > 0, 1.0, -1.0).to(x)
        a = _procrustes((x @ b @ binary.mT).sum(0))
        b = _procrustes((x.mT @ a @ binary).sum(0))
    return a.to(r1), b.to(r2)


def alignment(w: Tensor, r1: Tensor, r2: Tensor) -> float:
    """Return the cosine of the angle between all rotated weights and their signs; 1 is no error.

    Args:
        w: Weights [out, …].
        r1: Rotation [a, a].
        r2: Rotation [b, b].
    """
    r = rotated(w, r1, r2)
    return float(r.abs().sum() / (r.norm() * math.sqrt(r.numel())))


def _procrustes(m: Tensor) -> Tensor:
    """Return the orthogonal R that maximises tr(R^T m)."""
    u, _, vt = torch.linalg.svd(m)
    return u @ vt


def adjusted(w: Tensor, theta: Tensor, r1: Tensor, r2: Tensor, mode: RotationMode) -> Tensor:
    """Return the adjustable weights w + |sin theta| (rotated w - w).

    Args:
        w: Weights [out, …].
        theta: Learned angle of each output, [out, 1, …].
        r1: Rotation [a, a].
        r2: Rotation [b, b].
        mode: `updated` for a gradient of w through its rotation too; `frozen` for the part 1 - |sin theta| that is not
            rotated alone, which is 0 at the start, theta = pi / 2.
    """
    turned = rotated(w if mode == "updated" else w.detach(), r1, r2)
    return w + theta.sin().abs() * (turned - w)


def attach_rotation(layer: nn.Module, weight: Tensor) -> None:
    """Add angles `rotate` at pi / 2, where weights are rotated fully, and random rotations R1 and R2 to a layer.

    Args:
        layer: The layer.
        weight: Its weights [out, …].
    """
    a, b = halves(weight[0].numel())
    layer.rotate = nn.Parameter(torch.full((len(weight), *[1] * (weight.ndim - 1)), math.pi / 2))
    layer.register_buffer("R1", random_rotation(a))
    layer.register_buffer("R2", random_rotation(b))


def fold_rotation(state: dict[str, Tensor], name: str, weight: Tensor) -> None:
    """Set the entries of a state dict with which a layer stores the signs of `weight` without a rotation.

    Args:
        state: The state dict, which is changed.
        name: Name of the layer.
        weight: Its weights [out, …].
    """
    a, b = halves(weight[0].numel())
    state[f"{name}.rotate"] = torch.zeros(len(weight), *[1] * (weight.ndim - 1))
    state[f"{name}.R1"], state[f"{name}.R2"] = torch.eye(a), torch.eye(b)
