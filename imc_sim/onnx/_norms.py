"""Normalisations of ONNX."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.onnx._node import Node, Operator


def _batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if node.get("training_mode", 0) or len(node.outputs) > 1:
        raise node.refuse("statistics of the batch", "networks in eval mode")
    node.require("spatial", 1)
    return F.batch_norm(x, mean, variance, scale, bias, eps=node.get("epsilon", 1e-5))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
    """Normalise the last dimensions; with more outputs, return mean and inverse deviation too."""
    axis, eps = node.get("axis", -1) % x.ndim, node.get("epsilon", 1e-5)
    shape, dims = x.shape[axis:], tuple(range(axis, x.ndim))
    if scale.shape == shape and (bias is None or bias.shape == shape):
        y = F.layer_norm(x, shape, scale, bias, eps)
    else:
        y = F.layer_norm(x, shape, eps=eps) * scale
        y = y if bias is None else y + bias
    if len(node.outputs) == 1:
        return (y,)
    return y, x.mean(dims, keepdim=True), torch.rsqrt(x.var(dims, keepdim=True, correction=0) + eps)


def _rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    dims = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt((x * x).mean(dims, keepdim=True) + node.get("epsilon", 1e-5)) * scale


def _group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.group_norm(x, node.get("num_groups"), scale, bias, node.get("epsilon", 1e-5))


def _local_response(node: Node, x: Tensor) -> Tensor:
    size = node.get("size")
    squares = F.pad((x * x).movedim(1, -1), ((size - 1) // 2, size // 2)).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * squares) ** node.get("beta", 0.75)


def _lp_norm(node: Node, x: Tensor) -> Tensor:
    norm = x.norm(node.require("p", 2, 1), node.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


NORMS: dict[str, Operator] = {
    "BatchNormalization": _batch_norm, "GroupNormalization": _group_norm, "InstanceNormalization": _instance_norm,
    "LRN": _local_response, "LayerNormalization": _layer_norm, "LpNormalization": _lp_norm,
    "RMSNormalization": _rms_norm,
}  # fmt: skip
