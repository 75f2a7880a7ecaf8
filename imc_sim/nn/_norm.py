"""Batch normalisation as digital periphery, and the comparator that it becomes before a binary activation."""

from __future__ import annotations

from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError

Statistics = Literal["running", "batch"]
STATISTICS: tuple[Statistics, ...] = ("running", "batch")
_EPS, _MOMENTUM = 1e-5, 0.1
#: halvings that part any two float32 numbers in their order
_HALVINGS = 33


@final
class Norm(nn.Module):
    """Batch normalisation of [batch, channels, H, W] or [batch, channels], digital.

    statistics: `running`, kept from training; `batch`, those of the images that are there, as networks are run that
    never left training mode: a feature then depends on the images beside it. affine: with a learned scale and shift.
    Inference is one rounded product and one rounded sum a number, the same to the bit in any batch and layout.
    """

    def __init__(
        self, channels: int, statistics: Statistics = "running", eps: float = _EPS, affine: bool = True
    ) -> None:
        super().__init__()
        if statistics not in STATISTICS:
            raise InputError("arch.statistics", repr(statistics), ", ".join(STATISTICS), "Choose one.")
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
        """Scale and shift [channels] of inference with running statistics."""
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -self.running_mean * scale
        return scale, shift if self.bias is None else shift + self.bias


@final
class Comparator(nn.Module):
    """A threshold a channel: 1 where sign x > limit, else 0; [batch, channels, …] -> the same shape.

    What batch normalisation and a binary activation are together: no multiplication is left.
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
    """The comparator that gives 1 for exactly those float32 numbers that `norm` turns positive.

    Inference is monotone in its input, roundings included, so there is a last number that is not turned positive; it
    is found by halving the ordered float32 numbers. Raises InputError for statistics of the batch.
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
    # No number on one side: a channel that is constant, or that every finite input turns positive (or none).
    limit = torch.where(-infinite * steep + shift > 0, -torch.inf, limit)
    return Comparator(sign, torch.where(infinite * steep + shift > 0, limit, torch.inf))


def _rank(x: Tensor) -> Tensor:
    """float32 numbers as integers in the same order."""
    bits = x.view(torch.int32).long()
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _number(rank: Tensor) -> Tensor:
    magnitude = rank.abs().to(torch.int32).view(torch.float32)
    return torch.where(rank < 0, -magnitude, magnitude)
