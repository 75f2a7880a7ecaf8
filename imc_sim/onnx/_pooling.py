"""Operators of ONNX that pool, resize and reduce."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.onnx._node import Node, Operator, axes_of, ints
from imc_sim.onnx._products import flat, pads_of, window

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _windows(node: Node, x: Tensor) -> tuple[list[tuple[int, int]], list[int]]:
    """Return the padding of a pooling, and how far its last windows reach beyond it with `ceil_mode`."""
    kernel, dims = node.get("kernel_shape"), x.ndim - 2
    pads = pads_of(node, x.shape[2:], kernel)
    beyond = []
    for size, k, (before, after), stride, dilation in zip(x.shape[2:], kernel, pads, *window(node, dims), strict=True):
        reach, padded = (k - 1) * dilation + 1, size + before + after
        count = math.ceil((padded - reach) / stride) if node.get("ceil_mode", 0) else (padded - reach) // stride
        count -= count * stride >= size + before  # no window begins behind the input
        beyond.append(max(count * stride + reach - padded, 0))
    return pads, beyond


def _max_pool(node: Node, x: Tensor) -> Tensor:
    """Return the largest value of each window; padding is no value."""
    if sum(map(bool, node.outputs)) > 1:
        raise node.refuse("the indices as output", "values only")
    pads, beyond = _windows(node, x)
    strides, dilations = window(node, x.ndim - 2)
    reach = [(before, after + more) for (before, after), more in zip(pads, beyond, strict=True)]
    y = x if x.is_floating_point() else x.float()
    y = F.pad(y, flat(reach), value=-math.inf) if any(map(any, reach)) else y
    return _MAX[x.ndim - 2](y, node.get("kernel_shape"), strides, 0, dilations).to(x.dtype)


def _average_pool(node: Node, x: Tensor) -> Tensor:
    """Return the mean of each window, over all places or those that are not padding."""
    dims = x.ndim - 2
    strides, dilations = window(node, dims)
    if set(dilations) != {1}:
        raise node.refuse("dilations", "dilations of 1")
    pads, beyond = _windows(node, x)
    kernel = list(node.get("kernel_shape"))
    if not any(map(any, pads)) and not any(beyond):
        return _pooled(x, kernel, strides, math.prod(kernel))
    reach = flat([(before, after + more) for (before, after), more in zip(pads, beyond, strict=True)])
    counted = x.new_ones(1, 1, *x.shape[2:])
    if node.get("count_include_pad", 0):
        counted = F.pad(counted, flat(pads), value=1.0)
        counted = F.pad(counted, flat([(0, more) for more in beyond]))
    else:
        counted = F.pad(counted, reach)
    return _pooled(F.pad(x, reach), kernel, strides, 1) / _pooled(counted, kernel, strides, 1)


def _pooled(x: Tensor, kernel: list[int], strides: list[int], divisor: int) -> Tensor:
    """Return the sums of all windows by a divisor."""
    if len(kernel) == 3:
        return F.avg_pool3d(x, kernel, strides, divisor_override=divisor)
    if len(kernel) == 1:
        return F.avg_pool2d(x[..., None, :], [1, *kernel], [1, *strides], divisor_override=divisor)[..., 0, :]
    return F.avg_pool2d(x, kernel, strides, divisor_override=divisor)


def _global_average(_node: Node, x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _global_max(_node: Node, x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def _reduce(function: Callable[[Tensor, tuple[int, ...], bool], Tensor], since: int = 18) -> Operator:
    """Return a reduction over axes, which are an input since this operator set."""

    def run(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = axes_of(node, axes, since) or []
        if not chosen and node.get("noop_with_empty_axes", 0):
            return x
        return function(x, tuple(chosen or range(x.ndim)), bool(node.get("keepdims", 1)))

    return run


def _sum(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(dims, keep, dtype=x.dtype) if dims else x


def _prod(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    for dim in sorted((d % x.ndim for d in dims), reverse=True):
        x = x.prod(dim, keep, dtype=x.dtype)
    return x


def _average(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return x.mean(dims, keep) if x.is_floating_point() else x.double().mean(dims, keep).trunc().to(x.dtype)


def _largest(function: Callable[..., Tensor]) -> Operator:
    """Return argmax or argmin."""

    def run(node: Node, x: Tensor) -> Tensor:
        axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
        if node.get("select_last_index", 0):
            return x.shape[axis] - 1 - function(x.flip(axis), axis, keep)
        return function(x, axis, keep)

    return run


def _top_k(node: Node, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    count, axis = node.get("k") if k is None else int(k), node.get("axis", -1)
    order = x.sort(dim=axis, descending=bool(node.get("largest", 1)), stable=True)
    return order.values.narrow(axis, 0, count), order.indices.narrow(axis, 0, count)


def _resize(node: Node, x: Tensor, *given: Tensor | None) -> Tensor:
    """Resize one axis after the other, by scales or to sizes."""
    _, scales, sizes = (None, *given, None)[:3] if node.version < 11 else (*given, None, None, None)[:3]
    axes = node.get("axes") or list(range(x.ndim))
    if node.get("antialias", 0):
        raise node.refuse("antialias", "no antialias")
    node.require("keep_aspect_ratio_policy", "stretch")
    for number, axis in enumerate(axes):
        old = x.shape[axis]
        if sizes is not None and sizes.numel():
            new = ints(sizes)[number]
            scale = new / old
        else:
            scale = float((node.get("scales") if scales is None else scales.tolist())[number])
            new = math.floor(old * scale)
        if new != old or scale != 1:
            x = _resized(node, x, axis, new, scale)
    return x


def _resized(node: Node, x: Tensor, axis: int, new: int, scale: float) -> Tensor:
    """Return a tensor resized along one axis: a weighted sum of elements at one, two or four places."""
    place, old = _places(node, new, x.shape[axis], scale), x.shape[axis]
    shape = [-1 if k == axis % x.ndim else 1 for k in range(x.ndim)]
    total: Any = 0
    for offset, weight in _taps(node, place):
        chosen = x.index_select(axis, offset.clamp(0, old - 1))
        total = chosen if weight is None else total + chosen * weight.to(x.dtype).reshape(shape)
    return total


def _places(node: Node, new: int, old: int, scale: float) -> Tensor:
    """Return the place in the old axis of each element of the new one."""
    k = torch.arange(new, dtype=torch.float32)  # as onnxruntime does, so that equal places round equally
    default = "half_pixel" if node.version >= 11 else "asymmetric"
    mode = node.require(
        "coordinate_transformation_mode", default, "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
        "half_pixel_symmetric",
    )  # fmt: skip
    if mode == "asymmetric":
        return k / scale
    if mode == "align_corners":
        return k * (old - 1) / (scale * old - 1) if new > 1 else torch.zeros(1)
    if mode == "pytorch_half_pixel" and new == 1:
        return torch.zeros(1)
    if mode == "half_pixel_symmetric":
        return old / 2 * (1 - new / (scale * old)) + (k + 0.5) / scale - 0.5
    return (k + 0.5) / scale - 0.5


def _taps(node: Node, place: Tensor) -> Sequence[tuple[Tensor, Tensor | None]]:
    """Return the elements that each new element is made of, with their weights; None: the element alone."""
    mode = node.require("mode", "nearest", "linear", "cubic")
    first = place.floor()
    part = place - first
    if mode == "linear":
        return [(first.long(), 1 - part), (first.long() + 1, part)]
    if mode == "cubic":
        a = node.get("cubic_coeff_a", -0.75)
        node.require("exclude_outside", 0)
        return [(first.long() + k, _cubic((part - k).abs(), a)) for k in (-1, 0, 1, 2)]
    default = "round_prefer_floor" if node.version >= 11 else "floor"
    rounding = node.require("nearest_mode", default, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    found = {"floor": first, "ceil": place.ceil(), "round_prefer_floor": (place - 0.5).ceil()}
    return [(found.get(rounding, (place + 0.5).floor()).long(), None)]


def _cubic(distance: Tensor, a: float) -> Tensor:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, far)


POOLING: dict[str, Operator] = {
    "ArgMax": _largest(torch.argmax), "ArgMin": _largest(torch.argmin), "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average, "GlobalMaxPool": _global_max, "MaxPool": _max_pool,
    "ReduceL1": _reduce(lambda x, dims, keep: _sum(x.abs(), dims, keep)),
    "ReduceL2": _reduce(lambda x, dims, keep: _sum(x * x, dims, keep).sqrt()),
    "ReduceLogSum": _reduce(lambda x, dims, keep: _sum(x, dims, keep).log()),
    "ReduceLogSumExp": _reduce(torch.logsumexp),
    "ReduceMax": _reduce(lambda x, dims, keep: x.amax(dims, keep)),
    "ReduceMean": _reduce(_average),
    "ReduceMin": _reduce(lambda x, dims, keep: x.amin(dims, keep)),
    "ReduceProd": _reduce(_prod),
    "ReduceSum": _reduce(_sum, since=13),
    "ReduceSumSquare": _reduce(lambda x, dims, keep: _sum(x * x, dims, keep)),
    "Resize": _resize, "TopK": _top_k, "Upsample": _resize,
}  # fmt: skip
