"""Operators of ONNX that move, select or repeat elements, and those that compute with shapes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.onnx._node import Node, Operator, axes_of, ints


def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    wanted = ints(shape)
    if not node.get("allowzero", 0):
        wanted = [x.shape[k] if size == 0 else size for k, size in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm") or tuple(reversed(range(x.ndim))))


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = axes_of(node, axes, 13)
    return x.squeeze() if chosen is None else x.squeeze(chosen)


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = axes_of(node, axes, 13) or []
    for axis in sorted(a % (x.ndim + len(chosen)) for a in chosen):
        x = x.unsqueeze(axis)
    return x


def _concat(node: Node, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, node.get("axis", 1))


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis, given = node.get("axis", 0), sizes if node.version >= 13 else node.get("split")
    if given is not None:
        return x.split(ints(given), axis)
    return x.split(math.ceil(x.shape[axis] / node.get("num_outputs", len(node.outputs))), axis)


def _slice(node: Node, x: Tensor, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Tensor:
    """Return the chosen places of each axis, also in reverse order."""
    if node.version < 10:
        starts, ends, axes = (node.get(name) for name in ("starts", "ends", "axes"))
    first, last = ints(starts), ints(ends)
    along = list(range(len(first))) if axes is None else ints(axes)
    by = [1] * len(first) if steps is None else ints(steps)
    for start, end, axis, step in zip(first, last, along, by, strict=True):
        chosen = range(*slice(start, end, step).indices(x.shape[axis]))
        if step == 1:
            x = x.narrow(axis, chosen.start, len(chosen))
        else:
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x


def _gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    chosen = _positive(indices, x.shape[axis]).reshape(-1)
    return x.index_select(axis, chosen).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _positive(indices: Tensor, size: int) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


def _gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    return torch.gather(x, axis, _positive(indices, x.shape[axis]))


def _gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    node.require("batch_dims", 0)
    return x[tuple(indices.long().unbind(-1))]


def _scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    node.require("reduction", "none")
    axis = node.get("axis", 0)
    return x.scatter(axis, _positive(indices, x.shape[axis]), updates)


def _scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    node.require("reduction", "none")
    return x.index_put(tuple(indices.long().unbind(-1)), updates)


def _expand(_node: Node, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, ints(shape)))


def _tile(_node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(ints(repeats))


def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[node.get("start", 0) : node.get("end")], dtype=torch.int64)


def _size(_node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = node.get("value", torch.zeros(1))
    return value.reshape(()).expand(ints(shape)).clone()


def _range(_node: Node, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def _non_zero(_node: Node, x: Tensor) -> Tensor:
    return x.nonzero().T


def _cum_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    node.require("exclusive", 0)
    dim = int(axis)
    return x.flip(dim).cumsum(dim).flip(dim) if node.get("reverse", 0) else x.cumsum(dim, dtype=x.dtype)


def _trilu(node: Node, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    return (torch.triu if node.get("upper", 1) else torch.tril)(x, 0 if diagonal is None else int(diagonal))


def _one_hot(node: Node, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    size = int(depth)
    indices = indices.long()
    found = F.one_hot(torch.remainder(indices, size), size).bool() & ((indices >= -size) & (indices < size))[..., None]
    axis = node.get("axis", -1)
    return torch.where(found, values[1], values[0]).movedim(-1, axis)


def _pad(node: Node, x: Tensor, *given: Tensor | None) -> Tensor:
    """Pad or crop each axis; reflection and the like by choosing elements."""
    pads, value, axes = (*given, None, None, None)[:3]
    if node.version < 11:
        pads, value = node.get("pads"), node.get("value", 0.0)
    each, mode = ints(pads), node.require("mode", "constant", "reflect", "edge", "wrap")  # type: ignore[arg-type]
    along = list(range(x.ndim)) if axes is None else [a % x.ndim for a in ints(axes)]
    amounts = {axis: (each[k], each[len(along) + k]) for k, axis in enumerate(along)}
    if mode == "constant":
        filled = 0 if value is None else value.item() if isinstance(value, Tensor) else value
        return F.pad(x, [n for axis in reversed(range(x.ndim)) for n in amounts.get(axis, (0, 0))], value=filled)
    for axis, (before, after) in amounts.items():
        if before or after:
            x = x.index_select(axis, _outside(mode, torch.arange(-before, x.shape[axis] + after), x.shape[axis]))
    return x


def _outside(mode: str, places: Tensor, size: int) -> Tensor:
    """Return for each place along an axis, outside too, the element that padding puts there."""
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * (size - 1), 1)
    folded = places % period
    return torch.where(folded < size, folded, period - folded)


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    b, (n, c, h, w) = node.get("blocksize"), x.shape
    if node.require("mode", "DCR", "CRD") == "DCR":
        x = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    b, (n, c, h, w) = node.get("blocksize"), x.shape
    order = (0, 3, 5, 1, 2, 4) if node.require("mode", "DCR", "CRD") == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.reshape(n, c, h // b, b, w // b, b).permute(order).reshape(n, c * b**2, h // b, w // b)


def _same(_node: Node, x: Tensor, *_: Any) -> Tensor:
    return x


def _dropout(node: Node, x: Tensor, _ratio: Tensor | None = None, training: Tensor | None = None) -> Any:
    if training is not None and bool(training):
        raise node.refuse("training_mode true", "networks in eval mode")
    return x, torch.ones_like(x, dtype=torch.bool)


SHAPES: dict[str, Operator] = {
    "Concat": _concat, "ConstantOfShape": _constant_of_shape, "CumSum": _cum_sum, "DepthToSpace": _depth_to_space,
    "Dropout": _dropout, "Expand": _expand, "Flatten": _flatten, "Gather": _gather,
    "GatherElements": _gather_elements, "GatherND": _gather_nd, "Identity": _same, "NonZero": _non_zero,
    "OneHot": _one_hot, "Pad": _pad, "Range": _range, "Reshape": _reshape, "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd, "Shape": _shape, "Size": _size, "Slice": _slice, "SpaceToDepth": _space_to_depth,
    "Split": _split, "Squeeze": _squeeze, "Tile": _tile, "Transpose": _transpose, "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}  # fmt: skip
