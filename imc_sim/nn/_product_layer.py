"""The product layer, and the kinds of weights that it can have.

Every layer is `rescale(product(operand(x), weight_operand()))`. The three parts are public because the
mapping replaces exactly the middle one by a crossbar: what drives the word lines is `operand(x)`, what the
cells store is `weight_operand()`, and what the digital periphery does afterwards is `rescale`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._tensors import check_finite
from imc_sim.nn._binarize import (
    binary_activation,
    binary_weight,
    clipped_signs,
    filter_means,
    integer_levels,
    latent_signs,
    sample_mean,
    standardise,
    two_valued,
)
from imc_sim.nn.rotation import START, RotationMode, adjusted, annealed_sign, attach_rotation, improved_rotation

Policy = Literal["float", "int8", "xnor", "rbnn", "sign", "latent"]
#: what reaches a layer of policy `latent`: -1 and 1, 0 and 1, or real numbers
LatentInputs = Literal["signs", "bits", "real"]
LATENT_INPUTS: tuple[LatentInputs, ...] = ("signs", "bits", "real")

#: what training does to a weight operand so that the network learns to tolerate it: the operand -> one of that shape,
#: and what is added to every output [out] of the product
Disturbance = Callable[[Tensor], tuple[Tensor, Tensor]]


class WeightKind(abc.ABC):
    """One kind of weights of a product layer: how they and the inputs become operands, and what follows the product.

    Attributes:
        chip_kind: The entry of a chip's policy that says where layers of this kind run; `binary` for weights of +-1.
        stored: How a weights file holds the weights: as they are, as signs, or as whole numbers and their step.
        rotated: The signs are those of rotated weights.
        makes_inputs: The layer makes its inputs -1 and +1 itself. Other exact layers depend on the layer before.
        plain_gradient: The gradient of the weight operand is that of the weights, unchanged.
    """

    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "binary"
    stored: ClassVar[Literal["plain", "bits", "integers"]] = "bits"
    rotated: ClassVar[bool] = False
    makes_inputs: ClassVar[bool] = False
    plain_gradient: ClassVar[bool] = False

    @abc.abstractmethod
    def weight(self, layer: ProductLayer) -> Tensor:
        """Return what the cells store, shaped as `layer.weight`."""

    def exact(self, layer: ProductLayer) -> bool:
        """Tell whether all operands are -1, 0 and 1."""
        return False

    def double(self, layer: ProductLayer) -> bool:
        """Tell whether inference multiplies in double precision."""
        return False

    def operand(self, x: Tensor) -> Tensor:
        """Return what drives the word lines for inputs x."""
        return x

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        """Return the outputs of the layer for products y."""
        return layer.biased(y)

    def attach(self, layer: ProductLayer, alpha: Tensor) -> None:  # noqa: B027  most kinds have nothing of their own
        """Add to a new layer the parameters and buffers of this kind; alpha: the initial learned scale."""

    def constrain(self, layer: ProductLayer) -> None:  # noqa: B027  a hook
        """Bring the weights back to the range that this kind trains in."""

    def renew_alpha(self, layer: ProductLayer) -> None:  # noqa: B027  a hook
        """Store the scale that follows from the weights."""

    def improve_rotation(self, layer: ProductLayer) -> None:  # noqa: B027  a hook
        """Update the rotations."""


@final
class FloatWeights(WeightKind):
    """Weights and inputs as they are."""

    chip_kind, stored, plain_gradient = "float", "plain", True

    def weight(self, layer: ProductLayer) -> Tensor:
        return layer.weight


@final
class Int8Weights(WeightKind):
    """Weights as integers of 8 bits times one step per layer; real inputs."""

    chip_kind, stored = "int8", "integers"

    def weight(self, layer: ProductLayer) -> Tensor:
        return layer.integers()[0]

    def double(self, layer: ProductLayer) -> bool:
        return True

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        return layer.biased(y * layer.integers()[1])


@final
class XnorWeights(WeightKind):
    """Standardised weights and inputs, both +-1, times a learned scale."""

    makes_inputs = True

    def weight(self, layer: ProductLayer) -> Tensor:
        return binary_weight(standardise(layer.weight))

    def exact(self, layer: ProductLayer) -> bool:
        return True

    def operand(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return binary_activation(standardise(x.float()))
        # The standard deviation does not change a sign: inference compares with the mean alone.
        mean = sample_mean(x)
        check_finite(mean, "input of a binarized layer")  # a NaN or an infinity of a sample passes on to its mean
        return two_valued(x - mean)

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        return layer.biased(y) * layer.alpha

    def attach(self, layer: ProductLayer, alpha: Tensor) -> None:
        layer.alpha = nn.Parameter(alpha)


@final
class RbnnWeights(WeightKind):
    """Signs of rotated weights on standardised real inputs, times a learned scale."""

    rotated = True

    def weight(self, layer: ProductLayer) -> Tensor:
        turned = adjusted(standardise(layer.weight), layer.rotate, layer.R1, layer.R2, layer.rotation)
        return annealed_sign(turned, *layer.sharpness)

    def operand(self, x: Tensor) -> Tensor:
        return standardise(x.float())

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        return layer.biased(y) * layer.alpha

    def attach(self, layer: ProductLayer, alpha: Tensor) -> None:
        layer.alpha = nn.Parameter(alpha)
        attach_rotation(layer, layer.weight.detach())

    def improve_rotation(self, layer: ProductLayer) -> None:
        if layer.rotation == "updated":
            r1, r2 = improved_rotation(standardise(layer.weight), layer.R1, layer.R2)
            layer.R1.copy_(r1)
            layer.R2.copy_(r2)


@final
class SignWeights(WeightKind):
    """Signs of the weights as they are, times the mean |w| of each filter; inputs that the layer before made +-1.

    Source: Rastegari et al., XNOR-Net, ECCV 2016, in the form that BENN (Zhu, Dong, Su, CVPR 2019) trains.
    """

    def weight(self, layer: ProductLayer) -> Tensor:
        return clipped_signs(self._steered(layer))

    def exact(self, layer: ProductLayer) -> bool:
        return True

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        return layer.biased(y * self._mean_magnitude(layer))

    def attach(self, layer: ProductLayer, alpha: Tensor) -> None:
        if layer.weight.shape[1] < 2:
            step = "Use more inputs, or another policy."
            where, allowed = f"{type(layer).__name__}.policy", "2 inputs, whose mean is taken out"
            raise InputError(where, "'sign' with one input", allowed, step)
        # No parameter: it follows from the weights.
        layer.register_buffer("alpha", layer.per_output(filter_means(layer.weight.detach())))

    def constrain(self, layer: ProductLayer) -> None:
        layer.weight.sub_(layer.weight.mean(1, keepdim=True)).clamp_(-1.0, 1.0)
        self.renew_alpha(layer)

    def renew_alpha(self, layer: ProductLayer) -> None:
        with torch.no_grad():
            layer.alpha.copy_(layer.per_output(filter_means(layer.weight)))

    def _mean_magnitude(self, layer: ProductLayer) -> Tensor:
        """Mean |w| per output: in training that of the weights, which is stored; else the stored one."""
        if not layer.training:
            return layer.alpha
        self.renew_alpha(layer)
        return layer.per_output(filter_means(self._steered(layer)))

    @staticmethod
    def _steered(layer: ProductLayer) -> Tensor:
        """The weights, with the published factor (1 - 1 / channels_in) n on their gradient; n weights a filter."""
        factor = (1 - 1 / layer.weight.shape[1]) * layer.weight[0].numel()
        larger = factor * layer.weight
        return layer.weight.detach() + (larger - larger.detach())


@final
class LatentWeights(WeightKind):
    """Signs of latent weights, which training alone sees, without a scale; inputs as the layer's `inputs` promises.

    Source: Hubara et al., NeurIPS 2016; Laborieux et al., Nat. Commun. 12:2549, 2021.
    """

    plain_gradient = True

    def weight(self, layer: ProductLayer) -> Tensor:
        return latent_signs(layer.weight)

    def exact(self, layer: ProductLayer) -> bool:
        return layer.inputs != "real"

    def double(self, layer: ProductLayer) -> bool:
        return layer.inputs == "real"


#: The kinds by the string that cards, YAML and arguments name them with.
WEIGHT_KINDS: dict[Policy, WeightKind] = {
    "float": FloatWeights(),
    "int8": Int8Weights(),
    "xnor": XnorWeights(),
    "rbnn": RbnnWeights(),
    "sign": SignWeights(),
    "latent": LatentWeights(),
}
POLICIES: tuple[Policy, ...] = tuple(WEIGHT_KINDS)


class ProductLayer(nn.Module, abc.ABC):
    """A linear map whose weights are of one kind: see `WEIGHT_KINDS` for what each `policy` does.

    `rbnn`: the attribute `rotation` says whether the rotations follow the weights, and `sharpness` (t, k) shapes the
    gradient (`imc_sim.nn.anneal`). `sign`: the trainer calls `constrain` before every forward pass and after the last
    step. `latent`: the attribute `inputs` promises what reaches the layer.
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
    def per_output(self, values: Tensor) -> Tensor:
        """One value an output [out], shaped to go with the outputs of `product`."""

    @property
    def kind(self) -> WeightKind:
        """What the policy does."""
        return WEIGHT_KINDS[self.policy]

    @property
    def binary(self) -> bool:
        """The weights are +-1."""
        return self.kind.chip_kind == "binary"

    @property
    def exact_operands(self) -> bool:
        """The operands are -1, 0 and 1: sums of products are whole numbers, which float32 holds exactly."""
        return self.kind.exact(self)

    @property
    def zero_operands(self) -> bool:
        """Some of the exact operands are 0: those of padding, or of inputs that are 0 and 1."""
        return self.exact_operands and (bool(getattr(self, "padding", 0)) or self.inputs == "bits")

    @property
    def double_operands(self) -> bool:
        """Inference multiplies in double precision: a later sign depends on sums of real numbers."""
        return self.kind.double(self)

    def operand(self, x: Tensor) -> Tensor:
        """What drives the word lines: x itself, the standardised sample (rbnn), or +-1 of it (xnor)."""
        return self.kind.operand(x)

    def weight_operand(self) -> Tensor:
        """What the cells store: +-1 (xnor, rbnn, sign, latent), integers of 8 bits (int8) or the weights (float)."""
        return self.kind.weight(self)

    def rescale(self, y: Tensor) -> Tensor:
        """Digital work after the product: step of the integers or mean |w| of the filters, bias, learned scale."""
        return self.kind.rescale(self, y)

    def biased(self, y: Tensor) -> Tensor:
        """Return y plus the bias of the layer, where it has one."""
        return y if self.bias is None else y + self.per_output(self.bias)

    def integers(self) -> tuple[Tensor, Tensor]:
        """Return the weights as integers of 8 bits, and their step."""
        return integer_levels(self.weight, scale=self.int8_scale)

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

        +-1 sums are exact in float32. Real operands of 8-bit layers, and of latent weights' signs, multiply in double
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
        self.kind.improve_rotation(self)

    @torch.no_grad()
    def constrain(self) -> None:
        """Policy sign: subtract the weights' mean over the input channels, bound them by +-1, renew alpha.

        The mean is that of each (filter, row, column). Not for weights that were loaded from their bits: those are
        signs, and alpha cannot be found from them.
        """
        self.kind.constrain(self)

    @torch.no_grad()
    def renew_alpha(self) -> None:
        """Policy sign: store the mean |w| of each filter, which inference uses."""
        self.kind.renew_alpha(self)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, policy={self.policy}"
