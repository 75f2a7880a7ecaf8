"""Operators of ONNX that compute each element alone, activations among them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.onnx._node import TYPES, Node, Operator


def plain(function: Callable[..., Any]) -> Operator:
    """Return the operator of a torch function that takes the inputs of a node unchanged.

    Args:
        function: the torch function.
    """

    def run(_node: Node, *inputs: Tensor) -> Any:
        return function(*inputs)

    return run


def _joined(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Return the operator that joins any number of inputs by a function of two."""

    def run(_node: Node, *inputs: Tensor) -> Tensor:
        return functools.reduce(function, inputs)

    return run


def _mean(_node: Node, *inputs: Tensor) -> Tensor:
    return functools.reduce(torch.add, inputs) / len(inputs)


def _div(_node: Node, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _pow(_node: Node, base: Tensor, exponent: Tensor) -> Tensor:
    return torch.pow(base, exponent).to(base.dtype)


def _mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def _is_inf(node: Node, x: Tensor) -> Tensor:
    positive, negative = node.get("detect_positive", 1), node.get("detect_negative", 1)
    return x.isinf() & (((x > 0) & bool(positive)) | ((x < 0) & bool(negative)))


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if node.version < 11:
        low, high = node.get("min"), node.get("max")
    return x if low is None and high is None else torch.clamp(x, low, high)


def _prelu(_node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def _leaky_relu(node: Node, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


def _elu(node: Node, x: Tensor) -> Tensor:
    return F.elu(x, node.get("alpha", 1.0))


def _celu(node: Node, x: Tensor) -> Tensor:
    return F.celu(x, node.get("alpha", 1.0))


def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = node.get("alpha", 1.6732631921768188), node.get("gamma", 1.0507010221481323)
    return gamma * F.elu(x, alpha)


def _thresholded_relu(node: Node, x: Tensor) -> Tensor:
    return torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return (x * node.get("alpha", 0.2) + node.get("beta", 0.5)).clamp(0, 1)


def _gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.require("approximate", "none", "tanh"))


def _swish(node: Node, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.get("alpha", 1.0) * x)


def _softmax(function: Callable[..., Tensor]) -> Operator:
    """Return a softmax; before operator set 13 it is one over all dimensions from the axis on."""

    def run(node: Node, x: Tensor) -> Tensor:
        if node.version >= 13:
            return function(x, dim=node.get("axis", -1))
        axis = node.get("axis", 1) % max(x.ndim, 1)
        return function(x.flatten(axis), dim=axis).reshape(x.shape)

    return run


def _hardmax(x: Tensor, dim: int) -> Tensor:
    return torch.zeros_like(x).scatter_(dim, x.argmax(dim, keepdim=True), 1)


def _cast(node: Node, x: Tensor, like: Tensor | None = None) -> Tensor:
    if like is not None:
        return x.to(like.dtype)
    to = node.get("to")
    if to not in TYPES or to in (4, 12, 13, 21, 22):
        raise node.refuse(f"the element type {to}", "float, bool and integers of 8 to 64 bits")
    return x.to(TYPES[to])


POINTWISE: dict[str, Operator] = {
    name: plain(function)
    for name, function in {
        "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Add": torch.add, "And": torch.logical_and,
        "Asin": torch.asin, "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil,
        "Cos": torch.cos, "Cosh": torch.cosh, "Equal": torch.eq, "Erf": torch.erf, "Exp": torch.exp,
        "Floor": torch.floor, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "HardSwish": F.hardswish,
        "IsNaN": torch.isnan, "Less": torch.lt, "LessOrEqual": torch.le, "Log": torch.log, "Mish": F.mish,
        "Mul": torch.mul, "Neg": torch.neg, "Not": torch.logical_not, "Or": torch.logical_or,
        "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round, "Sigmoid": torch.sigmoid,
        "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh, "Softplus": F.softplus, "Softsign": F.softsign,
        "Sqrt": torch.sqrt, "Sub": torch.sub, "Tan": torch.tan, "Tanh": torch.tanh, "Where": torch.where,
        "Xor": torch.logical_xor,
    }.items()
} | {
    "Cast": _cast, "CastLike": _cast, "Celu": _celu, "Clip": _clip, "Div": _div, "Elu": _elu, "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid, "Hardmax": _softmax(_hardmax), "IsInf": _is_inf, "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax(F.log_softmax), "Max": _joined(torch.maximum), "Mean": _mean,
    "Min": _joined(torch.minimum), "Mod": _mod, "PRelu": _prelu, "Pow": _pow, "Selu": _selu,
    "Softmax": _softmax(F.softmax), "Sum": _joined(torch.add), "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
}  # fmt: skip
