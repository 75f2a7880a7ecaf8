"""The kinds of weights of product layers, one for each policy."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._tensors import check_finite
from imc_sim.nn._binarize import (
    binary_activation,
    binary_weight,
    clipped_signs,
    filter_means,
    sample_mean,
    signs,
    standardise,
    standardised_signs,
    two_valued,
)
from imc_sim.nn._product_layer import Policy, ProductLayer, WeightKind
from imc_sim.nn.rotation import adjusted, annealed_sign, attach_rotation, improved_rotation


@final
class FloatWeights(WeightKind):
    """Weights and inputs unchanged."""

    chip_kind, stored, plain_gradient = "float", "plain", True

    def weight(self, layer: ProductLayer) -> Tensor:
        return layer.weight


@final
class Int8Weights(WeightKind):
    """Integers of 8 bits times one step per layer, with real inputs."""

    chip_kind, stored = "int8", "integers"

    def weight(self, layer: ProductLayer) -> Tensor:
        return layer.integers()[0]

    def double(self, layer: ProductLayer) -> bool:
        return True

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        return layer.biased(y * layer.integers()[1])


@final
class XnorWeights(WeightKind):
    """Signs of standardised weights and inputs, times a learned scale."""

    makes_inputs = True

    def weight(self, layer: ProductLayer) -> Tensor:
        return binary_weight(standardise(layer.weight))

    def exact(self, layer: ProductLayer) -> bool:
        return True

    def operand(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            if torch.is_autocast_enabled(x.device.type):  # rounds gradients anyway
                return standardised_signs(x, torch.get_autocast_dtype(x.device.type))
            return binary_activation(standardise(x.float()))
        # The standard deviation does not change a sign: inference compares with the mean alone.
        mean = sample_mean(x)
        check_finite(mean, "input of a binarized layer")  # a sample with NaN or infinity has such a mean
        return two_valued(x, above=mean)

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
    """Signs of the weights, times the mean |w| of each filter; the layer before makes the inputs +-1.

    Source: Rastegari et al., XNOR-Net, ECCV 2016, in the form that BENN (Zhu, Dong, Su, CVPR 2019) trains.
    """

    def weight(self, layer: ProductLayer) -> Tensor:
        return clipped_signs(self._with_published_gradient(layer))

    def exact(self, layer: ProductLayer) -> bool:
        return True

    def rescale(self, layer: ProductLayer, y: Tensor) -> Tensor:
        return layer.biased(y * self._mean_magnitude(layer))

    def attach(self, layer: ProductLayer, alpha: Tensor) -> None:
        if layer.weight.shape[1] < 2:
            step = "Use more inputs, or another policy."
            where, allowed = f"{type(layer).__name__}.policy", "2 inputs, whose mean is taken out"
            raise InputError(where, "'sign' with one input", allowed, step)
        # not a parameter, since it follows from the weights
        layer.register_buffer("alpha", layer.per_output(filter_means(layer.weight.detach())))

    def constrain(self, layer: ProductLayer) -> None:
        layer.weight.sub_(layer.weight.mean(1, keepdim=True)).clamp_(-1.0, 1.0)
        self.renew_alpha(layer)

    def renew_alpha(self, layer: ProductLayer) -> None:
        with torch.no_grad():
            layer.alpha.copy_(layer.per_output(filter_means(layer.weight)))

    def _mean_magnitude(self, layer: ProductLayer) -> Tensor:
        """Return the mean |w| per output; training computes and stores it."""
        if not layer.training:
            return layer.alpha
        self.renew_alpha(layer)
        return layer.per_output(filter_means(self._with_published_gradient(layer)))

    @staticmethod
    def _with_published_gradient(layer: ProductLayer) -> Tensor:
        """Return the weights with the factor (1 - 1 / channels_in) n on their gradient; n weights per filter."""
        factor = (1 - 1 / layer.weight.shape[1]) * layer.weight[0].numel()
        larger = factor * layer.weight
        return layer.weight.detach() + (larger - larger.detach())


@final
class LatentWeights(WeightKind):
    """Signs of latent weights, which only training sees, without a scale; inputs are as `inputs` of the layer states.

    Source: Hubara et al., NeurIPS 2016; Laborieux et al., Nat. Commun. 12:2549, 2021.
    """

    plain_gradient = True

    def weight(self, layer: ProductLayer) -> Tensor:
        return signs(layer.weight)

    def exact(self, layer: ProductLayer) -> bool:
        return layer.inputs != "real"

    def double(self, layer: ProductLayer) -> bool:
        return layer.inputs == "real"


#: policy, as cards, YAML and arguments name it -> kind of weights
WEIGHT_KINDS: dict[Policy, WeightKind] = {
    "float": FloatWeights(),
    "int8": Int8Weights(),
    "xnor": XnorWeights(),
    "rbnn": RbnnWeights(),
    "sign": SignWeights(),
    "latent": LatentWeights(),
}
