"""The product layers that stand for a site: one per group of a convolution, or per matrix of a batch of weights."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from imc_sim.analog import SiteConv2d, SiteLayer, SiteLinear
from imc_sim.sites import Site


def layers_of(site: Site) -> list[tuple[str, SiteLayer]]:
    """Return the layers of a site with their names.

    Args:
        site: what the probe found.
    """
    if site.weight is None or site.weights is None:
        return []
    parts, square = _parts(site, site.weight, site.weights.scale), _square(site)
    names = [site.name] if len(parts) == 1 else [f"{site.name}[{number}]" for number in range(len(parts))]
    if square is not None:
        return [(name, SiteConv2d(site, *part, *square)) for name, part in zip(names, parts, strict=True)]
    padding = site.settings.get("padding", 0)
    padded = _convolves(site) and padding != "valid" and any(_sizes(padding))
    return [
        (name, SiteLinear(site, w.flatten(1), scale, padded)) for name, (w, scale) in zip(names, parts, strict=True)
    ]


def _convolves(site: Site) -> bool:
    return site.kind in ("conv1d", "conv2d", "conv3d")


def _sizes(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, int | str) else tuple(value)


def _square(site: Site) -> tuple[int, int] | None:
    """Return stride and padding of a convolution with one size, stride and padding on both axes; None for others."""
    kernels = set(site.shape[2:])
    if site.kind != "conv2d" or len(kernels) > 1 or set(_sizes(site.settings["dilation"])) != {1}:
        return None
    (kernel,), strides, paddings = kernels, set(_sizes(site.settings["stride"])), set(_sizes(site.settings["padding"]))
    if paddings == {"same"}:
        paddings = {(kernel - 1) // 2, kernel // 2}
    paddings = {0} if paddings == {"valid"} else paddings
    return (strides.pop(), paddings.pop()) if len(strides) == len(paddings) == 1 else None


def _parts(site: Site, w: Tensor, scale: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the weights of each layer, each with the scale of its outputs: matrices [out, in] or square filters."""
    if "transpose" in site.kind:  # a pixel drives all outputs of its kernel
        found = w.unflatten(0, (site.settings["groups"], -1)).flatten(2).mT
        scale = scale.repeat_interleave(math.prod(w.shape[2:]))
    elif _convolves(site):
        found = w.unflatten(0, (site.settings["groups"], -1))
        found = found if _square(site) is not None else found.movedim(2, -1).flatten(2)
    else:
        matrix = w[None] if w.ndim == 1 else w if site.place == 0 or site.kind == "linear" else w.mT
        found = matrix.reshape(1, -1, matrix.shape[-1]) if site.stack else matrix.flatten(0, -3)
    return list(zip(found, scale.chunk(len(found)), strict=True))
