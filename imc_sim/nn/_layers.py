"""The product layers of networks, and the updates of all of them in training."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.nn._product_layer import Policy, ProductLayer, WeightKind
from imc_sim.nn._weight_kinds import WEIGHT_KINDS
from imc_sim.nn.rotation import annealed

#: Numbers of float32 in a register of AVX2.
_REGISTER = 8


class _PolicyLayer(ProductLayer):
    """A product layer whose policy names one of the kinds of this package."""

    @property
    def kind(self) -> WeightKind:
        return WEIGHT_KINDS[self.policy]


@final
class Conv2d(_PolicyLayer):
    """Convolve in two dimensions with a square kernel; the weight is [out, in, k, k].

    With a learned scale (policies xnor, rbnn) y = alpha (conv + bias), with policy sign y = alpha conv + bias, with
    others y = conv + bias. alpha [out, 1, 1] starts at the mean |w| of each filter.

    Args:
        channels_in: Input channels.
        channels_out: Output channels.
        kernel: Side of the kernel.
        policy: Kind of weights, see `ProductLayer`.
        bias: Add a bias to each output channel.
        stride: Stride on both axes.
        padding: Zeros on each side.
    """

    @checked
    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, policy: Policy = "float", bias: bool = True,
        stride: int = 1, padding: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(policy, bias, channels_out)
        self.kernel, self.stride, self.padding = kernel, stride, padding
        bound = 1 / math.sqrt(channels_in * kernel * kernel)
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel).uniform_(-bound, bound))
        self.kind.attach(self, self.weight.detach().abs().mean((1, 2, 3)).reshape(-1, 1, 1))

    def check_inputs(self, x: Tensor) -> None:
        channels, least = self.weight.shape[1], self.kernel - 2 * self.padding
        if x.ndim != 4 or x.shape[1] != channels or min(x.shape[2:]) < least:
            raise _other_shape(x, f"[batch, {channels}, height, width] of {max(1, least)} x {max(1, least)} or more")

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        stride = self.stride
        if self.kernel == 1 and self.padding == 0 and stride > 1 and a.shape[1] < _REGISTER:
            # The same pixels. oneDNN (3.12) on AVX2 writes past its buffer in the backward pass of such strides.
            a, stride = a[..., ::stride, ::stride], 1
        a = a.contiguous(memory_format=torch.channels_last)
        w = w.contiguous(memory_format=torch.channels_last)
        return F.conv2d(a, w, stride=stride, padding=self.padding)

    def per_output(self, values: Tensor) -> Tensor:
        return values.reshape(-1, 1, 1)


@final
class Linear(_PolicyLayer):
    """Connect all inputs to all outputs; the weight is [out, in].

    With a learned scale (policies xnor, rbnn) y = (product + bias) alpha with a scalar alpha, with policy sign
    y = alpha product + bias with one alpha per output.

    Args:
        inputs: Number of inputs.
        outputs: Number of outputs.
        policy: Kind of weights, see `ProductLayer`.
        bias: Add a bias to each output.
    """

    @checked
    def __init__(self, inputs: int, outputs: int, policy: Policy = "float", bias: bool = True) -> None:
        super().__init__(policy, bias, outputs)
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.kind.attach(self, self.weight.detach().abs().mean())

    def check_inputs(self, x: Tensor) -> None:
        if x.ndim < 2 or x.shape[-1] != self.weight.shape[1]:
            raise _other_shape(x, f"[batch, …, {self.weight.shape[1]}]")

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return F.linear(a, w)

    def per_output(self, values: Tensor) -> Tensor:
        return values


def _other_shape(x: Tensor, allowed: str) -> InputError:
    """Return the error for inputs of another shape than a layer takes."""
    step = "Give images of the shape that the network takes."
    return InputError("inputs of a layer", f"shape {tuple(x.shape)}", allowed, step)


def product_layers(network: nn.Module) -> list[ProductLayer]:
    """Return the product layers of a network, in its order.

    Args:
        network: The network.
    """
    return [module for module in network.modules() if isinstance(module, ProductLayer)]


def anneal(network: nn.Module, progress: float) -> None:
    """Set the sharpness of the gradient of rotated layers.

    Args:
        network: The network.
        progress: Fraction of the training that is done, 0 to 1.
    """
    for layer in product_layers(network):
        layer.sharpness = annealed(progress)


def improve_rotations(network: nn.Module) -> None:
    """Update the rotations of every rotated layer with updated rotations once.

    Args:
        network: The network.
    """
    for layer in product_layers(network):
        layer.improve_rotation()


def constrain_weights(network: nn.Module) -> None:
    """Constrain the weights of every product layer, before each forward pass of training and after its last step.

    Args:
        network: The network.
    """
    for layer in product_layers(network):
        layer.constrain()
