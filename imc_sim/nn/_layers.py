"""Layers whose core is one matrix product, each with a binarization policy.

Every layer is `rescale(product(operand(x), weight_operand()))`. The three parts are public because the
mapping replaces exactly the middle one by a crossbar: what drives the word lines is `operand(x)`, what the
cells store is `weight_operand()`, and what the digital periphery does afterwards is `rescale`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._binarize import (
    binary_activation,
    binary_weight,
    integer_levels,
    sample_mean,
    standardise,
    two_valued,
)
from imc_sim.nn._rotation import (
    START,
    RotationMode,
    adjusted,
    annealed,
    annealed_sign,
    attach_rotation,
    improved_rotation,
)

Policy = Literal["float", "int8", "xnor", "rbnn"]
POLICIES: tuple[Policy, ...] = ("float", "int8", "xnor", "rbnn")


#: what training does to a weight operand so that the network learns to bear it: the operand -> one of that shape, and
#: what is added to every output [out] of the product
Disturbance = Callable[[Tensor], tuple[Tensor, Tensor]]


class ProductLayer(nn.Module, abc.ABC):
    """A linear map with a policy for its operands.

    policy `float`: weights and activations as they are. `int8`: weights as integers of 8 bits times one step
    per layer, activations real. `xnor`: standardised weights and activations, both +-1, times a learned scale.
    `rbnn`: standardised activations, real, on the signs of rotated weights, times a learned scale; `rotation` says
    whether the rotations follow the weights, and `sharpness` (t, k) shapes the gradient (`imc_sim.nn.anneal`).
    """

    weight: nn.Parameter
    alpha: nn.Parameter
    rotate: nn.Parameter
    R1: Tensor
    R2: Tensor

    def __init__(self, policy: Policy, bias: bool, outputs: int) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise InputError(f"{type(self).__name__}.policy", repr(policy), ", ".join(POLICIES), "Name one of them.")
        self.policy: Policy = policy
        self.int8_scale = "absmax"
        self.disturb: Disturbance | None = None
        self.rotation: RotationMode = "updated"
        self.sharpness = START
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @abc.abstractmethod
    def product(self, a: Tensor, w: Tensor) -> Tensor:
        """The bare product of operands: activations [batch, …] with weights shaped as `weight`."""

    @abc.abstractmethod
    def _scaled(self, y: Tensor) -> Tensor:
        """Apply alpha and bias in the order of this kind of layer."""

    @property
    def binary(self) -> bool:
        """The weights are +-1."""
        return self.policy in ("xnor", "rbnn")

    def operand(self, x: Tensor) -> Tensor:
        """What drives the word lines: x itself, the standardised sample (rbnn), or +-1 of it (xnor)."""
        if self.policy == "rbnn":
            return standardise(x.float())
        if self.policy != "xnor":
            return x
        if torch.is_grad_enabled():
            return binary_activation(standardise(x.float()))
        # The standard deviation does not change a sign: inference compares with the mean alone.
        return two_valued(x - sample_mean(x))

    def weight_operand(self) -> Tensor:
        """What the cells store: +-1 (xnor, rbnn), integers of 8 bits (int8) or the weights (float)."""
        if self.policy == "xnor":
            return binary_weight(standardise(self.weight))
        if self.policy == "rbnn":
            turned = adjusted(standardise(self.weight), self.rotate, self.R1, self.R2, self.rotation)
            return annealed_sign(turned, *self.sharpness)
        return self._integers()[0] if self.policy == "int8" else self.weight

    def rescale(self, y: Tensor) -> Tensor:
        """Digital work after the product: step of the integers, alpha, bias."""
        return self._scaled(y * self._integers()[1] if self.policy == "int8" else y)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.disturb is not None:
            return self.rescale(self._disturbed_product(self.operand(x), self.disturb))
        return self.rescale(self.digital_product(self.operand(x), self.weight_operand()))

    def _disturbed_product(self, a: Tensor, disturb: Disturbance) -> Tensor:
        w, offset = disturb(self.weight_operand())
        y = self.product(a, w)
        return y + offset.reshape(-1, *[1] * (y.ndim - 2))

    def digital_product(self, a: Tensor, w: Tensor) -> Tensor:
        """`product` so that inference of a binarized network does not depend on the batch.

        +-1 sums are exact in float32. The real operands of its 8-bit layers multiply in double precision,
        whose rounding no later sign sees. A float layer is left to float32: it decides no sign, and double
        precision would make a float network ten times slower.
        """
        if self.training or self.policy != "int8":
            return self.product(a, w)
        y = self.product(a.double(), w.double()).to(a.dtype)
        return y.contiguous(memory_format=torch.channels_last) if y.ndim == 4 else y

    @torch.no_grad()
    def improve_rotation(self) -> None:
        """Bring the rotated weights nearer to their signs, where this layer has rotations that are updated."""
        if self.policy == "rbnn" and self.rotation == "updated":
            r1, r2 = improved_rotation(standardise(self.weight), self.R1, self.R2)
            self.R1.copy_(r1)
            self.R2.copy_(r2)

    def _binarize(self, alpha: Tensor) -> None:
        """What a layer of +-1 weights has beside them: the scale and, with policy rbnn, its rotations."""
        if self.binary:
            self.alpha = nn.Parameter(alpha)
        if self.policy == "rbnn":
            attach_rotation(self, self.weight.detach())

    def _integers(self) -> tuple[Tensor, Tensor]:
        return integer_levels(self.weight, scale=self.int8_scale)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, policy={self.policy}"


@final
class Conv2d(ProductLayer):
    """2-D convolution, square kernel. Weight [out, in, k, k]; binary: one alpha per filter, [out, 1, 1].

    Binary: y = alpha (conv + bias); other policies: y = conv + bias. alpha starts at the mean |w| per filter.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, policy: Policy = "float", bias: bool = True,
        stride: int = 1, padding: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(policy, bias, channels_out)
        self.kernel, self.stride, self.padding = kernel, stride, padding
        bound = 1 / math.sqrt(channels_in * kernel * kernel)
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel).uniform_(-bound, bound))
        self._binarize(self.weight.detach().abs().mean((1, 2, 3)).reshape(-1, 1, 1))

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        a = a.contiguous(memory_format=torch.channels_last)
        w = w.contiguous(memory_format=torch.channels_last)
        return F.conv2d(a, w, stride=self.stride, padding=self.padding)

    def _scaled(self, y: Tensor) -> Tensor:
        if self.bias is not None:
            y = y + self.bias.reshape(-1, 1, 1)
        return y * self.alpha if self.binary else y


@final
class Linear(ProductLayer):
    """Fully connected layer. Weight [out, in]; binary: y = (product + bias) alpha with one scalar alpha."""

    def __init__(self, inputs: int, outputs: int, policy: Policy = "float", bias: bool = True) -> None:
        super().__init__(policy, bias, outputs)
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self._binarize(self.weight.detach().abs().mean())

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return F.linear(a, w)

    def _scaled(self, y: Tensor) -> Tensor:
        if self.bias is not None:
            y = y + self.bias
        return y * self.alpha if self.binary else y


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
