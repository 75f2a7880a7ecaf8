"""Replace a value without its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Instead(torch.autograd.Function):
    """Return the second argument with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, digital: Tensor, analog: Tensor) -> Tensor:
        return analog.to(digital).view_as(digital)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return grad[0], None


def instead(digital: Tensor, analog: Tensor) -> Tensor:
    """Return the value of `analog` to the bit, with the gradient of `digital`.

    Args:
        digital: tensor that gets the gradient.
        analog: tensor of the same shape with the value.
    """
    return _Instead.apply(digital, analog.detach())
