"""The product layer and the abstract kind of its weights.

A layer computes `rescale(product(operand(x), weight_operand()))`. The parts are public because a mapping replaces
`product` alone by a crossbar: `operand(x)` drives the word lines, cells store `weight_operand()`, and the digital
periphery computes `rescale`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from imc_sim.nn._binarize import integer_levels
from imc_sim.nn._checks import check_choice
from imc_sim.nn.rotation import START, RotationMode

Policy = Literal["float", "int8", "xnor", "rbnn", "sign", "latent"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
#: inputs of a layer of policy `latent`: -1 and 1, 0 and 1, or real numbers
LatentInputs = Literal["signs", "bits", "real"]
LATENT_INPUTS: tuple[LatentInputs, ...] = ("signs", "bits", "real")

#: a disturbance that a network learns to tolerate: weight operand -> disturbed one, and an offset of each output [out]
Disturbance = Callable[[Tensor], tuple[Tensor, Tensor]]


class WeightKind(abc.ABC):
    """Define one kind of weights of a product layer: its weight operand and input operand, and the rescaling.

    Attributes:
        chip_kind: The entry of a chip's policy for layers of this kind; `binary` for weights of +-1.
        stored: Form in a weights file: unchanged, as signs, or as integers and their step.
        rotated: The signs are those of rotated weights.
        makes_inputs: The layer makes its inputs -1 and +1; other exact layers depend on the layer before.
        plain_gradient: The gradient of the weight operand is that of the weights, unchanged.
    """

    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "binary"
    stored: ClassVar[Literal["plain", "bits", "integers"]] = "bits"
    rotated: ClassVar[bool] = False
    makes_inputs: ClassVar[bool] = False
    plain_gradient: ClassVar[bool] = False

    @abc.abstractmethod
    def weight(self, layer: ProductLayer) -> Tensor:
        """Return the weight operand, shaped as `layer.weight`.

        Args:
            layer: The layer.
        """

    def exact(self, layer: ProductLayer) -> bool:
        """Return whether weight and input operands are -1, 0 and 1.

        Args:
            layer: The layer.
        """
        return False

    def double(self, layer: ProductLayer) -> bool:
        """Return whether inference multiplies in double precision.

        Args:
            layer: The layer.
        """
        return False

    def operand(self, x: Tensor) -> Tensor:
        """Return the input operand.

        Args:
            x: Inputs [batch, …].
        """
        return x

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        """Return the outputs of the layer.

        Args:
            layer: The layer.
            y: Products [batch, out, …].
        """
        return layer.biased(y)

    def attach(self, layer: ProductLayer, alpha: Tensor) -> None:  # noqa: B027  a hook
        """Add the parameters and buffers of this kind to a new layer.

        Args:
            layer: The layer.
            alpha: Initial learned scale.
        """

    def constrain(self, layer: ProductLayer) -> None:  # noqa: B027  a hook
        """Restrict the weights to the range that this kind trains in.

        Args:
            layer: The layer.
        """

    def renew_alpha(self, layer: ProductLayer) -> None:  # noqa: B027  a hook
        """Store the scale that follows from the weights.

        Args:
            layer: The layer.
        """

    def improve_rotation(self, layer: ProductLayer) -> None:  # noqa: B027  a hook
        """Update the rotations.

        Args:
            layer: The layer.
        """


class ProductLayer(nn.Module, abc.ABC):
    """Multiply inputs with weights of one kind; `WEIGHT_KINDS` defines what each `policy` computes.

    Args:
        policy: Name of the kind of weights.
        bias: Add a bias to each output.
        outputs: Number of outputs.

    Attributes:
        rotation: Policy rbnn: whether the rotations follow the weights.
        sharpness: Policy rbnn: (t, k), which shape the gradient, see `imc_sim.nn.anneal`.
        inputs: Policy latent: the inputs that the layer receives.
    """

    weight: nn.Parameter
    alpha: Tensor
    rotate: nn.Parameter
    R1: Tensor
    R2: Tensor

    def __init__(self, policy: Policy, bias: bool, outputs: int) -> None:
        super().__init__()
        check_choice(f"{type(self).__name__}.policy", policy, POLICIES)
        self.policy: Policy = policy
        self.int8_scale = "absmax"
        self.inputs: LatentInputs = "signs"
        self.disturb: Disturbance | None = None
        self.rotation: RotationMode = "updated"
        self.sharpness = START
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @abc.abstractmethod
    def product(self, a: Tensor, w: Tensor) -> Tensor:
        """Multiply an input operand with a weight operand.

        Args:
            a: Activations [batch, …].
            w: Weights, shaped as `weight`.

        Returns:
            The products [batch, out, …].
        """

    @abc.abstractmethod
    def per_output(self, values: Tensor) -> Tensor:
        """Return one value per output, shaped to broadcast with the outputs of `product`.

        Args:
            values: Values [out].
        """

    @property
    @abc.abstractmethod
    def kind(self) -> WeightKind:
        """The kind of weights of the policy."""

    @property
    def binary(self) -> bool:
        """The weights are +-1."""
        return self.kind.chip_kind == "binary"

    @property
    def exact_operands(self) -> bool:
        """Both factors are -1, 0 and 1, so that sums of products are whole numbers, which float32 holds exactly."""
        return self.kind.exact(self)

    @property
    def zero_operands(self) -> bool:
        """Some of the exact inputs are 0, by padding or as bits."""
        return self.exact_operands and (bool(getattr(self, "padding", 0)) or self.inputs == "bits")

    @property
    def double_operands(self) -> bool:
        """Inference multiplies in double precision: a later sign depends on sums of real numbers."""
        return self.kind.double(self)

    def operand(self, x: Tensor) -> Tensor:
        """Return the input operand, which drives the word lines: x, the standardised sample (rbnn), or its +-1 (xnor).

        Args:
            x: Inputs [batch, …].
        """
        self.check_inputs(x)
        return self.kind.operand(x)

    def check_inputs(self, x: Tensor) -> None:
        """Check the shape of inputs.

        Args:
            x: Inputs [batch, …].

        Raises:
            InputError: The layer takes inputs of another shape.
        """

    def weight_operand(self) -> Tensor:
        """Return the weight operand, which cells store: +-1, integers of 8 bits (int8) or the weights (float)."""
        return self.kind.weight(self)

    def rescale(self, y: Tensor) -> Tensor:
        """Return products with the digital scale (step of integers, mean |w| or learned scale) and bias of the layer.

        Args:
            y: Products [batch, out, …].
        """
        return self.kind.rescale(self, y)

    def biased(self, y: Tensor) -> Tensor:
        """Return y plus the bias of the layer, where it has one.

        Args:
            y: Outputs [batch, out, …].
        """
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
        """Return `product` such that inference of a binarized network does not depend on the batch.

        Sums of +-1 are exact in float32. Real inputs of 8-bit layers and of signs of latent weights are multiplied in
        double precision, whose rounding changes no later sign. Float layers use float32, as double precision would make
        a float network ten times slower: where signs follow (a first float layer, binary activations), a sum within
        its rounding of the threshold may get another sign in a batch of another size.

        Args:
            a: Input operand [batch, …].
            w: Weight operand.
        """
        if self.training or not self.double_operands:
            return self.product(a, w)
        y = self.product(a.double(), w.double()).to(a.dtype)
        return y.contiguous(memory_format=torch.channels_last) if y.ndim == 4 else y

    @torch.no_grad()
    def improve_rotation(self) -> None:
        """Update the rotations, where this layer has updated ones, towards rotated weights that are signs."""
        self.kind.improve_rotation(self)

    @torch.no_grad()
    def constrain(self) -> None:
        """Subtract the mean over the input channels from weights of policy sign, clip them to +-1 and update alpha.

        The mean is that of each (filter, row, column). Weights that were loaded from their bits are signs, from which
        alpha cannot be computed.
        """
        self.kind.constrain(self)

    @torch.no_grad()
    def renew_alpha(self) -> None:
        """Store the mean |w| of each filter of policy sign, which inference uses."""
        self.kind.renew_alpha(self)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, policy={self.policy}"
