"""Matrix products as torch calls: their factors, and how many multiply-adds they take."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor


@final
@dataclass(frozen=True)
class Call:
    """One product call.

    Attributes:
        kind: name of the function.
        factors: the two factors, in the order of the call.
        weight: which factor is a weight by its position; None if either may be one.
        settings: stride, padding, dilation and groups of a convolution.
        added: what the call adds to the product, in the shape of its output or one value per channel; None: nothing.
        alpha: what the call multiplies the product with.
    """

    kind: str
    factors: tuple[Tensor, Tensor]
    weight: int | None
    settings: Mapping[str, Any]
    added: Tensor | None = None
    alpha: float = 1.0

    def matrix(self, which: int) -> Tensor:
        """Return a factor as a matrix [out, in] of its output channels.

        Args:
            which: 0 or 1.
        """
        w = self.factors[which]
        if self.kind.startswith("conv_transpose"):
            groups = self.settings["groups"]
            return w.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flatten(1)
        if self.weight is not None:
            return w.flatten(1)
        if w.ndim == 1:
            return w[None]
        return w.flatten(0, -2) if which == 0 else w.mT.flatten(0, -2)

    def multiply_adds(self, output: Tensor) -> int:
        """Return the number of multiply-adds.

        Args:
            output: of the call.
        """
        a, w = self.factors
        if self.kind.startswith("conv_transpose"):
            return a.numel() * math.prod(w.shape[1:])
        if self.kind == "attention":
            return (a.numel() + output.numel()) * w.shape[-2]
        if self.kind.startswith("conv"):
            return output.numel() * math.prod(w.shape[1:])
        return output.numel() * a.shape[-1]


_CONVOLUTIONS = {
    getattr(F, f"conv{kind}{n}d"): f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)
}  # fmt: skip
#: functions that make products which nobody can watch
OPAQUE: dict[Callable[..., Any], str] = {
    getattr(torch, name): name
    for name in (
        "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "einsum",
        "tensordot", "inner", "chain_matmul", "bilinear", "dot", "addmv", "addbmm", "conv_tbc",
    )
} | {F.bilinear: "bilinear", torch.linalg.multi_dot: "multi_dot", torch.Tensor.inner: "inner",
     torch.Tensor.dot: "dot", torch.Tensor.addmv: "addmv", torch.Tensor.addbmm: "addbmm"}  # fmt: skip
#: functions written in Python that make products inside
COMPOSITES = frozenset({F.multi_head_attention_forward})
#: functions of two matrices -> places of the two among the arguments
_MATMULS: dict[Callable[..., Any], tuple[int, int]] = {
    torch.matmul: (0, 1), torch.mm: (0, 1), torch.bmm: (0, 1), torch.mv: (0, 1),
    torch.Tensor.matmul: (0, 1), torch.Tensor.mm: (0, 1), torch.Tensor.bmm: (0, 1), torch.Tensor.mv: (0, 1),
    torch.Tensor.__matmul__: (0, 1), torch.Tensor.__rmatmul__: (1, 0),
    torch.addmm: (1, 2), torch.baddbmm: (1, 2), torch.Tensor.addmm: (1, 2), torch.Tensor.baddbmm: (1, 2),
}  # fmt: skip
_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}


@functools.cache
def opened(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of `COMPOSITES` whose inner calls a torch function mode sees.

    Unchanged, it hands the whole call to the mode, and makes its inner calls outside of it.

    Args:
        function: one of `COMPOSITES`.
    """
    inner = {**function.__globals__, "has_torch_function": lambda *_: False}
    made = types.FunctionType(function.__code__, inner, function.__name__, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def product_of(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
    """Return the product that a torch call makes, or None.

    Args:
        function: what is called.
        args: its arguments.
        kwargs: its named arguments.
    """
    if function is F.linear:
        given = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
        return Call("linear", (given["input"], given["weight"]), 1, {}, given.get("bias"))
    if function in _CONVOLUTIONS:
        kind = _CONVOLUTIONS[function]
        names = _TRANSPOSED if "transpose" in kind else _NAMES
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        settings = {name: given.get(name, _DEFAULTS[name]) for name in names[3:]}
        return Call(kind, (given["input"], given["weight"]), 1, settings, given.get("bias"))
    if function is F.scaled_dot_product_attention:
        given = dict(zip(("query", "key", "value"), args, strict=False)) | dict(kwargs)
        return Call("attention", (given["query"], given["key"]), None, {})
    if function in _MATMULS and len(args) > max(_MATMULS[function]):
        a, b = (args[place] for place in _MATMULS[function])
        if len(args) < 3:
            return Call("matmul", (a, b), None, {})
        beta, alpha = float(kwargs.get("beta", 1)), float(kwargs.get("alpha", 1))
        return Call("matmul", (a, b), None, {}, beta * args[0], alpha)
    return None
