"""Gradients of a network on a chip: forward as the crossbars compute it, backward as if they were the digital layers.

The straight-through rule of Bengio et al. (arXiv 1308.3432), as used for attacks on hardware that has no gradient
(BPDA: Athalye et al., ICML 2018).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from imc_sim.analog._layers import AnalogLayer
from imc_sim.analog._model import AnalogModel


class _Instead(torch.autograd.Function):
    """The second argument's value with the first one's gradient."""

    @staticmethod
    def forward(ctx: Any, digital: Tensor, analog: Tensor) -> Tensor:
        return analog.to(digital).view_as(digital)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return grad[0], None


def instead(digital: Tensor, analog: Tensor) -> Tensor:
    """The value of `analog` to the bit; the gradient goes to `digital`, which has its shape."""
    return _Instead.apply(digital, analog.detach())


def straight_through(analog: AnalogModel, images: Tensor, position: int = 0) -> Tensor:
    """Features [batch, dim] of the chip at `position`, differentiable in images [batch, …].

    The value is the chip's, to the bit what `analog(images)[position]` gives at the same reads. Every analog layer
    passes its gradient on as the digital layer that it stands for, at the inputs that it has on this chip. Each call
    reads anew.
    """
    hooks = [layer.register_forward_hook(_differentiable) for layer in analog.analog_layers.values()]
    try:
        return analog.on_chip(position, images)
    finally:
        for hook in hooks:
            hook.remove()


def _differentiable(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return instead(cast("AnalogLayer", layer).digital(inputs[0]), output)
