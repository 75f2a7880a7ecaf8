"""Batch normalisation as digital periphery, and the comparator that replaces it before a binary activation."""

from __future__ import annotations

from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._checks import check_choice

Statistics = Literal["running", "batch"]
STATISTICS: tuple[Statistics, ...] = ("running", "batch")
_EPS, _MOMENTUM = 1e-5, 0.1
#: halvings after which two float32 numbers are neighbours
_HALVINGS = 33


@final
class Norm(nn.Module):
    """Normalise [batch, channels, H, W] or [batch, channels] by channel, digitally.

    Inference with running statistics is one rounded product and one rounded sum per number, equal to the bit in any
    batch and layout.

    Args:
        channels: Number of channels.
        statistics: `running`, kept from training, or `batch`, those of the images of a call, as in networks that are
            evaluated in training mode; a feature then depends on the other images of the call.
        eps: Added to variances.
        affine: Learn a scale and a shift.
    """

    def __init__(
        self, channels: int, statistics: Statistics = "running", eps: float = _EPS, affine: bool = True
    ) -> None:
        super().__init__()
        check_choice("arch.statistics", statistics, STATISTICS)
        self.statistics: Statistics = statistics
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            kept = (self.running_mean, self.running_var)
            return F.batch_norm(x, *kept, self.weight, self.bias, True, _MOMENTUM, self.eps)
        if self.statistics == "batch":
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        scale, shift = self.line()
        shape = (-1, *[1] * (x.ndim - 2))
        return x * scale.reshape(shape) + shift.reshape(shape)

    def line(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift [channels] of inference with running statistics."""
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -self.running_mean * scale
        return scale, shift if self.bias is None else shift + self.bias


@final
class Comparator(nn.Module):
    """Compare [batch, channels, …] with a threshold per channel: 1 where sign x > limit, else 0.

    It equals batch normalisation with a binary activation, without a multiplication.

    Args:
        sign: +1 or -1 per channel, [channels].
        limit: The threshold per channel, [channels].
    """

    def __init__(self, sign: Tensor, limit: Tensor) -> None:
        super().__init__()
        self.sign: Tensor
        self.limit: Tensor
        self.register_buffer("sign", sign)
        self.register_buffer("limit", limit)

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *[1] * (x.ndim - 2))
        return (x * self.sign.reshape(shape) > self.limit.reshape(shape)).to(x.dtype)


@torch.no_grad()
def comparator_of(norm: Norm) -> Comparator:
    """Return the comparator that is 1 for exactly those float32 numbers that a norm maps above 0.

    Inference is monotone in its input, roundings included, so there is a last number that is not mapped above 0; it
    is found by bisection of the ordered float32 numbers.

    Args:
        norm: A norm with running statistics.

    Raises:
        InputError: The norm uses statistics of the batch.
    """
    if norm.statistics != "running":
        raise InputError("comparator", f"statistics {norm.statistics!r}", "running", "Set arch.args.statistics.")
    scale, shift = (x.float() for x in norm.line())
    sign = torch.where(scale < 0, -1.0, 1.0).to(scale)
    steep = scale * sign
    infinite = torch.finfo(torch.float32).max
    low, high = (_rank(torch.full_like(shift, end)) for end in (-infinite, infinite))
    for _ in range(_HALVINGS):
        middle = (low + high) // 2
        positive = _number(middle) * steep + shift > 0
        low, high = torch.where(positive, low, middle), torch.where(positive, middle, high)
    limit = _number(low)
    # A constant channel, or one that every finite input, or none, turns positive, has no number on one side.
    limit = torch.where(-infinite * steep + shift > 0, -torch.inf, limit)
    return Comparator(sign, torch.where(infinite * steep + shift > 0, limit, torch.inf))


def _rank(x: Tensor) -> Tensor:
    """Return float32 numbers as integers in the same order."""
    bits = x.view(torch.int32).long()
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _number(rank: Tensor) -> Tensor:
    magnitude = rank.abs().to(torch.int32).view(torch.float32)
    return torch.where(rank < 0, -magnitude, magnitude)
