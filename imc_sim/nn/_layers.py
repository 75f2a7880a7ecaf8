"""Layers whose core is one matrix product, each with a binarization policy.

Every layer is `rescale(product(operand(x), weight_operand()))`. The three parts are public because the
mapping replaces exactly the middle one by a crossbar: what drives the word lines is `operand(x)`, what the
cells store is `weight_operand()`, and what the digital periphery does afterwards is `rescale`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._tensors import check_finite
from imc_sim.nn._binarize import (
    binary_activation,
    binary_weight,
    integer_levels,
    sample_mean,
    standardise,
    two_valued,
)
from imc_sim.nn.rotation import (
    START,
    RotationMode,
    adjusted,
    annealed,
    annealed_sign,
    attach_rotation,
    improved_rotation,
)

Policy = Literal["float", "int8", "xnor", "rbnn", "sign", "latent"]
POLICIES: tuple[Policy, ...] = ("float", "int8", "xnor", "rbnn", "sign", "latent")
#: what reaches a layer of policy `latent`: -1 and 1, 0 and 1, or real numbers
LatentInputs = Literal["signs", "bits", "real"]
LATENT_INPUTS: tuple[LatentInputs, ...] = ("signs", "bits", "real")

#: what training does to a weight operand so that the network learns to bear it: the operand -> one of that shape, and
#: what is added to every output [out] of the product
Disturbance = Callable[[Tensor], tuple[Tensor, Tensor]]


class ProductLayer(nn.Module, abc.ABC):
    """A linear map with a policy for its operands.

    policy `float`: weights and activations as they are. `int8`: weights as integers of 8 bits times one step
    per layer, activations real. `xnor`: standardised weights and activations, both +-1, times a learned scale.
    `rbnn`: standardised activations, real, on the signs of rotated weights, times a learned scale; `rotation` says
    whether the rotations follow the weights, and `sharpness` (t, k) shapes the gradient (`imc_sim.nn.anneal`).
    `sign`: the signs of the weights as they are, times the mean |w| of each filter; the inputs as they come, which
    the layer before has made +-1. Its trainer calls `constrain` before every forward pass and after the last step.
    Source of `sign`: Rastegari et al., XNOR-Net, ECCV 2016, in the form that BENN (Zhu, Dong, Su, CVPR 2019) trains.
    `latent`: the signs of the weights, no scale; the weights are hidden ones that training alone sees, and the gradient
    of the signs passes to them unchanged (Hubara et al., NeurIPS 2016; Laborieux et al., Nat. Commun. 12:2549, 2021).
    Inputs as they come; the attribute `inputs` promises what they are, of this policy alone.
    """

    weight: nn.Parameter
    alpha: Tensor
    rotate: nn.Parameter
    R1: Tensor
    R2: Tensor

    def __init__(self, policy: Policy, bias: bool, outputs: int) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise InputError(f"{type(self).__name__}.policy", repr(policy), ", ".join(POLICIES), "Name one of them.")
        self.policy: Policy = policy
        self.int8_scale = "absmax"
        self.inputs: LatentInputs = "signs"
        self.disturb: Disturbance | None = None
        self.rotation: RotationMode = "updated"
        self.sharpness = START
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @abc.abstractmethod
    def product(self, a: Tensor, w: Tensor) -> Tensor:
        """The bare product of operands: activations [batch, …] with weights shaped as `weight`."""

    @abc.abstractmethod
    def _per_output(self, values: Tensor) -> Tensor:
        """One value an output [out], shaped to go with the outputs of `product`."""

    @property
    def binary(self) -> bool:
        """The weights are +-1."""
        return self.policy in ("xnor", "rbnn", "sign", "latent")

    @property
    def exact_operands(self) -> bool:
        """The operands are -1, 0 and 1: sums of products are whole numbers, which float32 holds exactly."""
        return self.policy in ("xnor", "sign") or (self.policy == "latent" and self.inputs != "real")

    @property
    def zero_operands(self) -> bool:
        """Some of the exact operands are 0: those of padding, or of inputs that are 0 and 1."""
        return self.exact_operands and (bool(getattr(self, "padding", 0)) or self.inputs == "bits")

    @property
    def double_operands(self) -> bool:
        """Inference multiplies in double precision: a later sign hangs on sums of real numbers."""
        return self.policy == "int8" or (self.policy == "latent" and self.inputs == "real")

    def operand(self, x: Tensor) -> Tensor:
        """What drives the word lines: x itself, the standardised sample (rbnn), or +-1 of it (xnor)."""
        if self.policy == "rbnn":
            return standardise(x.float())
        if self.policy != "xnor":
            return x
        if torch.is_grad_enabled():
            return binary_activation(standardise(x.float()))
        # The standard deviation does not change a sign: inference compares with the mean alone.
        mean = sample_mean(x)
        check_finite(mean, "input of a binarized layer")  # a NaN or an infinity of a sample passes on to its mean
        return two_valued(x - mean)

    def weight_operand(self) -> Tensor:
        """What the cells store: +-1 (xnor, rbnn, sign, latent), integers of 8 bits (int8) or the weights (float)."""
        if self.policy == "xnor":
            return binary_weight(standardise(self.weight))
        if self.policy == "sign":
            return _signs(self._steered())
        if self.policy == "latent":
            return _LatentSigns.apply(self.weight)
        if self.policy == "rbnn":
            turned = adjusted(standardise(self.weight), self.rotate, self.R1, self.R2, self.rotation)
            return annealed_sign(turned, *self.sharpness)
        return self._integers()[0] if self.policy == "int8" else self.weight

    def rescale(self, y: Tensor) -> Tensor:
        """Digital work after the product: step of the integers or mean |w| of the filters, bias, learned scale."""
        if self.policy == "int8":
            y = y * self._integers()[1]
        elif self.policy == "sign":
            y = y * self._mean_magnitude()
        if self.bias is not None:
            y = y + self._per_output(self.bias)
        return y * self.alpha if self.policy in ("xnor", "rbnn") else y

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

        +-1 sums are exact in float32. Real operands of 8-bit layers, and of hidden weights' signs, multiply in double
        precision, whose rounding no later sign sees. A float layer is left to float32: it decides no sign, and double
        precision would make a float network ten times slower.
        """
        if self.training or not self.double_operands:
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

    @torch.no_grad()
    def constrain(self) -> None:
        """Policy sign: take their mean over the input channels from the weights, bound them by +-1, renew alpha.

        The mean is that of each (filter, row, column). Not for weights that were loaded from their bits: those are
        signs, and alpha cannot be found from them.
        """
        if self.policy == "sign":
            self.weight.sub_(self.weight.mean(1, keepdim=True)).clamp_(-1.0, 1.0)
            self.renew_alpha()

    @torch.no_grad()
    def renew_alpha(self) -> None:
        """Policy sign: store the mean |w| of each filter, which inference uses."""
        if self.policy == "sign":
            self.alpha.copy_(self._per_output(_filter_means(self.weight)))

    def _mean_magnitude(self) -> Tensor:
        """Mean |w| per output: in training that of the weights, which is stored; else the stored one."""
        if not self.training:
            return self.alpha
        self.renew_alpha()
        return self._per_output(_filter_means(self._steered()))

    def _steered(self) -> Tensor:
        """The weights, with the published factor (1 - 1 / channels_in) n on their gradient; n weights a filter."""
        factor = (1 - 1 / self.weight.shape[1]) * self.weight[0].numel()
        larger = factor * self.weight
        return self.weight.detach() + (larger - larger.detach())

    def _binarize(self, alpha: Tensor) -> None:
        """What a layer of +-1 weights has beside them: the scale and, with policy rbnn, its rotations."""
        if self.policy == "sign":
            _check_channels(self.weight, type(self).__name__)
            # No parameter: it follows from the weights.
            self.register_buffer("alpha", self._per_output(_filter_means(self.weight.detach())))
        elif self.policy in ("xnor", "rbnn"):
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
        self._binarize(self.weight.detach().abs().mean((1, 2, 3)).reshape(-1, 1, 1))

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        a = a.contiguous(memory_format=torch.channels_last)
        w = w.contiguous(memory_format=torch.channels_last)
        return F.conv2d(a, w, stride=self.stride, padding=self.padding)

    def _per_output(self, values: Tensor) -> Tensor:
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
        self._binarize(self.weight.detach().abs().mean())

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return F.linear(a, w)

    def _per_output(self, values: Tensor) -> Tensor:
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


class _LatentSigns(torch.autograd.Function):
    """+-1 of hidden weights; gradient: upstream, unchanged."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return two_valued(w)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


def _signs(w: Tensor) -> Tensor:
    """+-1 of w. Gradient: upstream where |w| <= 1, else zero."""
    inside = w.clamp(-1.0, 1.0)
    return two_valued(w) + (inside - inside.detach())


def _filter_means(w: Tensor) -> Tensor:
    """Mean |w| over all but the first dimension: [out]."""
    return w.abs().flatten(1).mean(1)


def _check_channels(weight: Tensor, where: str) -> None:
    if weight.shape[1] < 2:
        step = "Give it more, or another policy."
        raise InputError(f"{where}.policy", "'sign' with one input", "2 inputs, whose mean is taken out", step)
