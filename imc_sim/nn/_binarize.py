"""Binarizers and quantizers with the gradients they train with.

Source of the forward and backward rules: Rastegari et al., XNOR-Net, ECCV 2016 (arXiv 1603.05279), as
varied by BATMANN (standardisation of weights and activations before the sign).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_TINY = 1e-12


def two_valued(x: Tensor) -> Tensor:
    """Sign as a cell can store it: +1 where x > 0, else -1 (torch.sign would give 0 at exactly 0).

    NaN gives -1: what enters the package is checked to be finite, see `imc_sim._tensors`.
    """
    x = x.detach()
    # A comparison that writes numbers, not bools, is several times faster than `where`.
    return torch.gt(x, 0, out=torch.empty_like(x)).mul_(2).sub_(1)


class _BinaryWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return two_valued(w)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0].clamp(-1.0, 1.0)


class _LatentSigns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return two_valued(w)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


class _BinaryActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a.abs() < 1.0)
        return two_valued(a)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return grad[0] * inside


def binary_weight(w: Tensor) -> Tensor:
    """+-1 of w. Gradient: upstream, clipped element-wise to [-1, 1], not gated by |w|."""
    return _BinaryWeight.apply(w)


def latent_signs(w: Tensor) -> Tensor:
    """+-1 of latent weights w. Gradient: upstream, unchanged."""
    return _LatentSigns.apply(w)


def clipped_signs(w: Tensor) -> Tensor:
    """+-1 of w. Gradient: upstream where |w| <= 1, else zero."""
    inside = w.clamp(-1.0, 1.0)
    return two_valued(w) + (inside - inside.detach())


def binary_activation(a: Tensor) -> Tensor:
    """+-1 of a. Gradient: upstream where |a| < 1, else zero."""
    return _BinaryActivation.apply(a)


def sample_mean(x: Tensor) -> Tensor:
    """Mean over all but the first dimension, kept; the same to the bit in any batch.

    Sums of one pixel's channels (or of the whole row of a matrix) first, the rest in double precision: a
    reduction that torch never splits between threads in a way that depends on the batch.
    """
    if x.ndim == 4:
        pixels = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).sum(-1)
        return (pixels.double().mean((1, 2)) / x.shape[1]).to(x.dtype).reshape(-1, 1, 1, 1)
    return x.flatten(1).double().mean(1).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def standardise(x: Tensor) -> Tensor:
    """(x - mean) / std over all but the first dimension; std is the unbiased one.

    Per output unit for weights, per sample for activations. A constant slice gives zeros, not NaN.
    """
    dims = tuple(range(1, x.ndim))
    centred = x - sample_mean(x)
    count = x.shape[1:].numel()
    std = (centred.square().sum(dims, keepdim=True) / max(count - 1, 1)).sqrt()
    return centred / std.clamp_min(_TINY)


def integer_levels(w: Tensor, bits: int = 8, scale: str = "absmax") -> tuple[Tensor, Tensor]:
    """Integers k and step s with w ~ k s, k = round(w / s), s = M / (2^(bits-1) - 1).

    scale: `absmax` takes M = max|w| (k fits `bits` bits); `signed_max` takes M = max w as the original
    BATMANN code did, so that k may exceed the range when the most negative weight is larger.
    Gradient: straight through, that of w itself.
    """
    top = 2 ** (bits - 1) - 1
    step = (w.detach().abs().max() if scale == "absmax" else w.detach().max()) / top
    step = step.clamp_min(_TINY)
    real = w / step
    return real + (real.round() - real).detach(), step


def filter_means(w: Tensor) -> Tensor:
    """Mean |w| over all but the first dimension: [out]."""
    return w.abs().flatten(1).mean(1)
