"""Binarizers and quantizers with the gradients that training uses.

Source of the forward and backward rules: Rastegari et al., XNOR-Net, ECCV 2016 (arXiv 1603.05279), as
varied by BATMANN (standardisation of weights and activations before the sign).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from imc_sim._arguments import checked

_TINY = 1e-12
#: numbers that are processed together, such that they stay in the cache of a core
_CACHED = 2**18


def two_valued(x: Tensor, above: Tensor | float = 0.0) -> Tensor:
    """Return the sign as a cell can store it: +1 where x > above, else -1.

    torch.sign gives 0 at exactly 0. NaN gives -1; inputs of the package are checked to be finite.

    Args:
        x: Real numbers of any shape.
        above: A number, or numbers of a shape that broadcasts to that of x.
    """
    x = x.detach()
    # A comparison that writes numbers, not bools, is several times faster than `where`.
    return torch.gt(x, above, out=torch.empty_like(x)).mul_(2).sub_(1)


class _BinaryWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return two_valued(w)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0].clamp(-1.0, 1.0)


class _Signs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor | None) -> Tensor:
        ctx.save_for_backward(factor)
        return two_valued(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        (factor,) = ctx.saved_tensors
        return grad[0] if factor is None else grad[0] * factor, None


def signs(x: Tensor, factor: Tensor | None = None) -> Tensor:
    """Return +-1 of x. Gradient: upstream times `factor`, shaped as x; unchanged without one."""
    return _Signs.apply(x, factor)


def binary_weight(w: Tensor) -> Tensor:
    """Return +-1 of weights. Gradient: upstream, clipped element-wise to [-1, 1], for any magnitude of the weights.

    Args:
        w: Weights of any shape.
    """
    return _BinaryWeight.apply(w)


def clipped_signs(w: Tensor) -> Tensor:
    """Return +-1 of weights. Gradient: upstream where |w| <= 1, else zero."""
    inside = w.clamp(-1.0, 1.0)
    return two_valued(w) + (inside - inside.detach())


def binary_activation(a: Tensor) -> Tensor:
    """Return +-1 of activations. Gradient: upstream where |a| < 1, else zero.

    Args:
        a: Activations of any shape.
    """
    return signs(a, a.detach().abs() < 1.0)


class _StandardisedSigns(torch.autograd.Function):
    """binary_activation(standardise(x)) in another type, with a gradient that is computed from x in few passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x)
        found = torch.empty_like(x, dtype=dtype)
        for part in _parts(x):
            real = x[part].float()
            found[part] = torch.gt(real, sample_mean(real), out=torch.empty_like(real)).mul_(2).sub_(1)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad: Tensor) -> Any:  # type: ignore[override]  # the decorator's own signature
        """With z = (x - mean) / std and g the gradient where |z| < 1: (g - mean g - z sum(g z) / (n - 1)) / std."""
        (x,) = ctx.saved_tensors
        found, dims, count = torch.empty_like(x), tuple(range(1, x.ndim)), x.shape[1:].numel()
        for part in _parts(x):
            real = x[part].float()
            z = real - sample_mean(real)
            std = torch.linalg.vector_norm(z, dim=dims, keepdim=True) / max(count - 1, 1) ** 0.5
            z /= std.clamp_min_(_TINY)
            g = grad[0][part].float() * (z.abs() < 1)
            slope = (g * z).sum(dims, keepdim=True) / max(count - 1, 1)
            found[part] = (g - g.mean(dims, keepdim=True)).addcmul_(z, slope, value=-1).div_(std)
        return found, None


def _parts(x: Tensor) -> list[slice]:
    """Return slices of whole samples that are small enough to stay in the cache of a core."""
    samples = max(1, _CACHED // max(1, x.shape[1:].numel()))
    return [slice(at, at + samples) for at in range(0, len(x), samples)]


def standardised_signs(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return binary_activation(standardise(x)), whose gradient has other rounding errors and takes half of the time.

    Args:
        x: Activations [batch, …].
        dtype: Type of the signs, such as that of mixed precision.
    """
    return _StandardisedSigns.apply(x, dtype)


def sample_mean(x: Tensor) -> Tensor:
    """Return the mean over all but the first dimension, which are kept; equal to the bit in any batch.

    The channels of a pixel (or a row of a matrix) are summed first, the rest in double precision: torch never splits
    this reduction between threads in a way that depends on the batch.
    """
    if x.ndim == 4:
        pixels = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).sum(-1)
        return (pixels.double().mean((1, 2)) / x.shape[1]).to(x.dtype).reshape(-1, 1, 1, 1)
    return x.flatten(1).double().mean(1).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def standardise(x: Tensor) -> Tensor:
    """Return (x - mean) / std over all but the first dimension, with the unbiased standard deviation.

    That is per output unit for weights and per sample for activations. A constant slice gives zeros, not NaN.

    Args:
        x: Weights [out, …] or activations [batch, …].
    """
    dims = tuple(range(1, x.ndim))
    centred = x - sample_mean(x)
    count = x.shape[1:].numel()
    std = (centred.square().sum(dims, keepdim=True) / max(count - 1, 1)).sqrt()
    return centred / std.clamp_min(_TINY)


@checked
def integer_levels(w: Tensor, bits: int = 8, scale: str = "absmax") -> tuple[Tensor, Tensor]:
    """Return integers k and a step s with w close to k s: k = round(w / s), s = M / (2^(bits-1) - 1).

    Gradient: straight through, that of w.

    Args:
        w: Weights of any shape.
        bits: Bits of an integer with its sign.
        scale: `absmax` for M = max |w|, with which k fits `bits` bits; `signed_max` for M = max w as in the original
            BATMANN code, with which k exceeds the range where the most negative weight is larger.
    """
    top = 2 ** (bits - 1) - 1
    step = (w.detach().abs().max() if scale == "absmax" else w.detach().max()) / top
    step = step.clamp_min(_TINY)
    real = w / step
    return real + (real.round() - real).detach(), step


def filter_means(w: Tensor) -> Tensor:
    """Return the mean |w| over all but the first dimension, [out]."""
    return w.abs().flatten(1).mean(1)
