"""Product layers that stand for the sites of a network of any modules."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim.nn import ProductLayer, WeightKind
from imc_sim.sites import Site


class _SiteWeights(WeightKind):
    """Weights that a network of someone else made: whole numbers with a scale per output, or real ones."""

    def weight(self, layer: ProductLayer) -> Tensor:
        return layer.weight

    def operand(self, x: Tensor) -> Tensor:
        return x

    def exact(self, layer: ProductLayer) -> bool:
        return isinstance(layer, SiteLayer) and layer.exact


@final
class _Binary(_SiteWeights):
    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "binary"


@final
class _Integer(_SiteWeights):
    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "int8"


@final
class _Real(_SiteWeights):
    chip_kind: ClassVar[Literal["binary", "int8", "float"]] = "float"


class SiteLayer(ProductLayer, abc.ABC):
    """The product of one site with one matrix of weights.

    Args:
        site: what the probe found.
        weight: weights [out, *] as the network computes them.
        scale: of each output, [out]; the cells store weight / scale.
        padded: whether zeros of padding are among the inputs.
    """

    def __init__(self, site: Site, weight: Tensor, scale: Tensor, padded: bool) -> None:
        super().__init__("float", bias=False, outputs=len(weight))
        kind: Any = "real" if site.weights is None else site.weights.kind
        self.policy = kind  # as reports show it
        binary, whole = kind == "binary", kind != "real"
        self._kind: WeightKind = _Binary() if binary else _Integer() if whole else _Real()
        unit = torch.where(scale > 0, scale, torch.ones_like(scale)).reshape(-1, *[1] * (weight.ndim - 1))
        stored = (weight.double() / unit).round() if whole else weight.double()
        if binary:
            stored = torch.where(stored == 0, torch.ones_like(stored), stored)  # rows of zeros have scale 0
        computed = torch.promote_types(weight.dtype, torch.float32)
        self.weight = nn.Parameter(stored.to(computed), requires_grad=False)
        self.register_buffer("scale", (scale if whole else torch.ones_like(scale)).to(computed))
        exact_inputs = site.inputs.kind in ("binary", "bits") and not padded
        self.whole = whole
        self.exact = binary and exact_inputs
        self.input_scale = float(site.inputs.scale) if self.exact else 1.0
        self.inputs = "bits" if site.inputs.kind == "bits" else "signs"
        self.plain = bool((self.unit == 1.0).all())

    scale: Tensor

    @property
    def unit(self) -> Tensor:
        """Return the weight x input that one stored step times one step of the inputs stands for, of each output."""
        return self.scale * self.input_scale

    @property
    def kind(self) -> WeightKind:
        return self._kind

    def operand(self, x: Tensor) -> Tensor:
        return x if self.input_scale == 1.0 else x / self.input_scale

    def rescale(self, y: Tensor) -> Tensor:
        if self.plain:
            return y
        return y * self.per_output(self.unit).to(y.dtype)


@final
class SiteLinear(SiteLayer):
    """The product of vectors [reads, vectors, in] -> [reads, vectors, out]."""

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return a @ w.mT

    def per_output(self, values: Tensor) -> Tensor:
        return values


@final
class SiteConv2d(SiteLayer):
    """The convolution of images [reads, in, H, W] with square filters [out, in, kernel, kernel].

    Args:
        site: what the probe found.
        weight: filters as the network computes them.
        scale: of each filter.
        stride: on both axes.
        padding: zeros on each side.
    """

    def __init__(self, site: Site, weight: Tensor, scale: Tensor, stride: int, padding: int) -> None:
        super().__init__(site, weight, scale, padded=False)
        self.kernel, self.stride, self.padding = weight.shape[-1], stride, padding

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(a, w, stride=self.stride, padding=self.padding)

    def per_output(self, values: Tensor) -> Tensor:
        return values.reshape(-1, 1, 1)
