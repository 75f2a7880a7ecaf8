"""Gradients of a network on a chip: forward through the crossbars, backward through the digital layers."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from imc_sim.analog._layers import AnalogLayer
from imc_sim.analog._model import AnalogModel


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


def straight_through(analog: AnalogModel, images: Tensor, position: int = 0) -> Tensor:
    """Return the features [batch, dim] of one chip, differentiable in the images.

    The value equals `analog(images)[position]` at the same reads, to the bit. The gradient of every analog layer is
    that of its digital layer at the inputs on this chip. Each call is a new read.

    Args:
        analog: network on chips.
        images: [batch, …].
        position: position of the chip.

    Reference:
        Straight-through rule: Bengio et al., arXiv 1308.3432; for attacks on hardware without a gradient (BPDA):
        Athalye et al., ICML 2018.
    """
    hooks = [layer.register_forward_hook(_differentiable) for layer in analog.analog_layers.values()]
    try:
        return analog.on_chip(position, images)
    finally:
        for hook in hooks:
            hook.remove()


def _differentiable(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Return an analog layer's output with the gradient of its digital layer."""
    return instead(cast("AnalogLayer", layer).digital(inputs[0]), output)
