"""The product layers of networks, and what training does to all of them."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim.nn._product_layer import Policy, ProductLayer
from imc_sim.nn.rotation import annealed


@final
class Conv2d(ProductLayer):
    """2-D convolution, square kernel. Weight [out, in, k, k]; binary: one alpha per filter, [out, 1, 1].

    Learned scale (xnor, rbnn): y = alpha (conv + bias); sign: y = alpha conv + bias; other policies: y = conv + bias.
    alpha starts at the mean |w| per filter.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, policy: Policy = "float", bias: bool = True,
        stride: int = 1, padding: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(policy, bias, channels_out)
        self.kernel, self.stride, self.padding = kernel, stride, padding
        bound = 1 / math.sqrt(channels_in * kernel * kernel)
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel).uniform_(-bound, bound))
        self.kind.attach(self, self.weight.detach().abs().mean((1, 2, 3)).reshape(-1, 1, 1))

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        a = a.contiguous(memory_format=torch.channels_last)
        w = w.contiguous(memory_format=torch.channels_last)
        return F.conv2d(a, w, stride=self.stride, padding=self.padding)

    def per_output(self, values: Tensor) -> Tensor:
        return values.reshape(-1, 1, 1)


@final
class Linear(ProductLayer):
    """Fully connected layer. Weight [out, in].

    Learned scale (xnor, rbnn): y = (product + bias) alpha with one scalar alpha; sign: y = alpha product + bias with
    one alpha per output.
    """

    def __init__(self, inputs: int, outputs: int, policy: Policy = "float", bias: bool = True) -> None:
        super().__init__(policy, bias, outputs)
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.kind.attach(self, self.weight.detach().abs().mean())

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return F.linear(a, w)

    def per_output(self, values: Tensor) -> Tensor:
        return values


def product_layers(network: nn.Module) -> list[ProductLayer]:
    """The product layers of a network, in its order."""
    return [module for module in network.modules() if isinstance(module, ProductLayer)]


def anneal(network: nn.Module, progress: float) -> None:
    """Set the sharpness of the rotated layers' gradient for `progress` (0 to 1) through the training."""
    for layer in product_layers(network):
        layer.sharpness = annealed(progress)


def improve_rotations(network: nn.Module) -> None:
    """One update of the rotations of every rotated layer that has them updated."""
    for layer in product_layers(network):
        layer.improve_rotation()


def constrain_weights(network: nn.Module) -> None:
    """`constrain` every product layer: before each forward pass of training, and after its last step."""
    for layer in product_layers(network):
        layer.constrain()
