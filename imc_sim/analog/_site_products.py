"""Products of torch calls from layers that multiply vectors with matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._tensors import comparable
from imc_sim.analog._layers import AnalogConv2d, AnalogLayer
from imc_sim.analog._patches import patches
from imc_sim.analog._site_groups import Groups
from imc_sim.sites import Call, Samples, Site


def finished(call: Call, y: Tensor) -> Tensor:
    """Return the output of the call: the product with its factor, and what the call adds."""
    y = y if call.alpha == 1.0 else y * call.alpha
    if call.added is not None:
        y = y + (call.added.reshape(-1, *[1] * (call.factors[1].ndim - 2)) if call.convolution else call.added)
    if call.convolution and (_channels_last(call.factors[0]) or _channels_last(call.factors[1])):
        return y.contiguous(memory_format=torch.channels_last)
    return y.contiguous()


def _channels_last(x: Tensor) -> bool:
    """Return whether torch takes images or filters [n, channels, height, width] as channels last.

    Of one channel or one pixel both formats may hold; torch decides by the strides (`is_channels_last_strides_2d`).
    """
    if x.ndim != 4 or x.stride(1) == 0:
        return False
    least = 0
    for d in (1, 3, 2, 0):
        if x.shape[d] == 0 or x.stride(d) < least or (d == 0 and least == x.stride(1)):
            return False
        least = x.stride(d) * max(1, x.shape[d])
    return True


def equal_weights(found: Tensor, weight: Tensor) -> bool:
    """Return whether a factor is the mapped weight, or a batch of equal ones.

    A network that computes a weight may round it otherwise in a batch of another size.
    """
    if found.shape == weight.shape and bool((comparable(found) == comparable(weight)).all()):
        return True
    if found.ndim != weight.ndim or any(n not in (1, m) for n, m in zip(weight.shape, found.shape, strict=True)):
        return False
    return float((found.detach() - weight).abs().max()) <= 16 * torch.finfo(weight.dtype).eps * float(
        weight.abs().max()
    )


@final
class SiteCall(NamedTuple):
    """A call of a pass.

    Attributes:
        site: what the call multiplies.
        layers: those that make the product: one, or one per group or matrix; none for a product that stays digital.
        groups: reads the layers of a grouped convolution together.
    """

    site: Site
    layers: Sequence[AnalogLayer]
    groups: Groups | None = None

    @classmethod
    def of(cls, site: Site, layers: Sequence[AnalogLayer]) -> Self:
        """Return the calls of a site.

        Args:
            site: what the probe found.
            layers: of the site.
        """
        grouped = len(layers) > 1 and site.kind in ("conv1d", "conv2d", "conv3d")
        return cls(site, layers, Groups(layers) if grouped else None)


def product(call: Call, to: SiteCall, batch: int) -> Tensor:
    """Return the product of the call from its layers; batch: samples of the pass."""
    x = call.driven(1 - to.site.place)
    if x.is_floating_point():
        return _product(call, x, to, batch)
    return _product(call, x.double(), to, batch).round().to(x.dtype)  # a product of whole numbers is one


def _product(call: Call, x: Tensor, to: SiteCall, batch: int) -> Tensor:
    """Return the product of the call for inputs of floating point."""
    site, layers, _ = to
    if call.convolution:
        transposed = "transpose" in call.kind
        y = _transposed(call, x, site, layers, batch) if transposed else _convolved(call, x, to, batch)
        return y[0] if call.factors[0].ndim < call.factors[1].ndim else y
    y = _multiplied(x, site, layers, batch)
    single, vector = call.factors[1 - site.place].ndim == 1, call.factors[site.place].ndim == 1
    y = y[..., 0] if vector else y if site.place == 1 else y.mT
    dim = -1 if vector or site.place == 0 else -2
    return y.squeeze(dim) if single else y


def _multiplied(x: Tensor, site: Site, layers: Sequence[AnalogLayer], batch: int) -> Tensor:
    """Return the products of vectors [*, in] with one matrix, or with one of several by leading dimensions."""
    lead = () if site.weight is None else tuple(site.weight.shape[:-2])
    if site.stack:
        y = _by_samples(layers[0], x, site.samples, batch)
        return y.unflatten(-1, (*lead, -1)).movedim(0, -2) if lead else y
    added = max(0, len(lead) + 2 - x.ndim)
    x = x.reshape([1] * added + list(x.shape))
    first = x.ndim - 2 - len(lead)
    dims = [first + d for d, n in enumerate(lead) if n > 1]
    x = x.expand([*torch.broadcast_shapes(x.shape[:-2], lead), *x.shape[-2:]])
    place = site.samples
    if place is not None:
        dim = place.dim + added
        place = None if dim in dims else Samples(dim - sum(d < dim for d in dims), place.inner)
    if len(layers) == 1:
        return _by_samples(layers[0], x, place, batch)
    moved = x.movedim(dims, list(range(len(dims)))).flatten(0, len(dims) - 1)
    y = torch.stack([_by_samples(layer, part, place, batch) for layer, part in zip(layers, moved, strict=True)])
    return y.unflatten(0, [x.shape[d] for d in dims]).movedim(list(range(len(dims))), dims)


def _convolved(call: Call, x: Tensor, to: SiteCall, batch: int) -> Tensor:
    """Return the convolution of images, group by group where one product cannot read all."""
    site, layers, groups = to
    place = Samples() if site.samples is None else site.samples
    images = place.first(x, batch).flatten(0, 1) if place.inner else x
    reads = len(images) if isinstance(layers[0], AnalogConv2d) else batch if site.samples == Samples() else None
    y = None if groups is None else groups.product(call, images, reads)
    if y is None and isinstance(layers[0], AnalogConv2d):
        each = [layer(part) for layer, part in zip(layers, images.chunk(len(layers), dim=1), strict=True)]
        y = each[0] if len(each) == 1 else torch.cat(each, dim=1)
    if y is not None:
        return place.back(y.unflatten(0, (batch, -1))) if place.inner else y
    parts = [patches(part, call.factors[1].shape[2:], call.settings) for part in x.chunk(len(layers), dim=1)]
    vectors = [_by_samples(layer, v, site.samples, batch) for layer, (v, _) in zip(layers, parts, strict=True)]
    return torch.cat(vectors, dim=-1).transpose(1, 2).unflatten(2, parts[0][1])


def _transposed(call: Call, x: Tensor, site: Site, layers: Sequence[AnalogLayer], batch: int) -> Tensor:
    """Return the transposed convolution of images: every pixel drives a matrix, and overlapping outputs are added."""
    groups = x.flatten(2).mT.chunk(len(layers), dim=-1)
    each = [_by_samples(layer, part, site.samples, batch) for layer, part in zip(layers, groups, strict=True)]
    y = torch.cat(each, dim=-1).mT.unflatten(2, x.shape[2:])
    kernel = call.factors[1].shape[2:]
    count = math.prod(kernel)
    outputs, own = y.shape[1] // count, {k: v for k, v in call.settings.items() if k != "groups"}
    places = (
        torch.eye(count, dtype=y.dtype, device=y.device)
        .reshape(count, 1, *kernel)
        .repeat(outputs, *[1] * (1 + len(kernel)))
    )
    return getattr(F, call.kind)(y, places, groups=outputs, **own)


def _by_samples(layer: nn.Module, x: Tensor, place: Samples | None, batch: int) -> Tensor:
    """Return the outputs [*, out] of a layer for vectors [*, in]; the vectors of a sample are one read.

    A site that mixes samples makes a single read, whose noise then depends on the batch.
    """
    if place == Samples() and x.ndim < 4 and len(x) == batch:
        return layer(x)
    if place is None or place == Samples() or x.shape[place.dim] % batch:
        reads = 1 if place is None or x.shape[place.dim] % batch else batch
        return layer(x.reshape(reads, -1, x.shape[-1])).reshape(*x.shape[:-1], -1)
    rows = place.first(x, batch)
    return place.back(layer(rows.reshape(batch, -1, x.shape[-1])).reshape(*rows.shape[:-1], -1))
