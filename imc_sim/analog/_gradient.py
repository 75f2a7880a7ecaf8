"""Gradients of a network on a chip: forward through the crossbars, backward through the digital layers."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from imc_sim._arguments import checked
from imc_sim.analog._instead import instead
from imc_sim.analog._layers import AnalogLayer
from imc_sim.analog._model import AnalogModel
from imc_sim.sites import Arguments


@checked
def straight_through(analog: AnalogModel, images: Any, position: int = 0) -> Any:
    """Return the output of one chip, such as features [batch, dim], differentiable in the images.

    The value equals `analog(images)[position]` at the same reads, to the bit. The gradient of every analog layer is
    that of its digital layer at the inputs on this chip. Each call is a new read.

    Args:
        analog: network on chips.
        images: [batch, …]; of a network of any modules its inputs, as `map_model` takes them.
        position: position of the chip.

    Reference:
        Straight-through rule: Bengio et al., arXiv 1308.3432; for attacks on hardware without a gradient (BPDA):
        Athalye et al., ICML 2018.
    """
    given = Arguments.given(images)
    if analog.sites is not None:  # every site has the gradient of the network's own call
        return analog.on_chip(position, *given.args, **given.kwargs)
    hooks = [layer.register_forward_hook(_differentiable) for layer in analog.analog_layers.values()]
    try:
        return analog.on_chip(position, images)
    finally:
        for hook in hooks:
            hook.remove()


def _differentiable(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Return an analog layer's output with the gradient of its digital layer."""
    return instead(cast("AnalogLayer", layer).digital(inputs[0]), output)
