"""Matrix products as torch calls: their factors, and how many multiply-adds they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
        settings: stride, padding, dilation and groups of a convolution; of a matrix product whether the same vectors
            meet a `stack` of matrices.
        added: what the call adds to the product, in the shape of its output or one value per channel; None: nothing.
        alpha: what the call multiplies the product with.
        values: values of attention, which its scores weight.
    """

    kind: str
    factors: tuple[Tensor, Tensor]
    weight: int | None
    settings: Mapping[str, Any]
    added: Tensor | None = None
    alpha: float = 1.0
    values: Tensor | None = None

    @property
    def convolution(self) -> bool:
        """Return whether the call is a convolution, transposed or not."""
        return self.kind.startswith("conv")

    def matrix(self, which: int) -> Tensor:
        """Return a factor as a matrix [out, in] of its output channels.

        Args:
            which: 0 or 1.
        """
        w = self.factors[which]
        if self.kind.startswith("conv_transpose"):
            groups = self.settings["groups"]
            return w.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flatten(1)
        if w.ndim == 1:
            return w[None]
        if self.weight is not None:
            return w.flatten(1)
        return w.flatten(0, -2) if which == 0 else w.mT.flatten(0, -2)

    def collapsed(self, which: int) -> Call:
        """Return the call with one of each set of equal matrices, where a factor is a batch of weights.

        Args:
            which: the factor, 0 or 1.
        """
        w = self.factors[which]
        if self.convolution or self.settings.get("stack", w.ndim < 3):
            return self
        for dim in range(w.ndim - 2):
            one = w.narrow(dim, 0, 1)
            w = one if torch.equal(one.expand_as(w), w) else w
        return replace(self, factors=(w, self.factors[1]) if which == 0 else (self.factors[0], w))

    def driven(self, which: int) -> Tensor:
        """Return the other factor with samples in its first dimension, as the weight is driven with it.

        Args:
            which: the factor that is driven, 0 or 1.
        """
        x = self.factors[which]
        if self.convolution:
            return x[None] if x.ndim == self.factors[1].ndim - 1 else x
        return x[None] if x.ndim == 1 else x if which == 0 else x.mT

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
#: functions that make products which nobody can watch, unless they are replaced
OPAQUE = frozenset(
    [getattr(torch, name) for name in ("einsum", "tensordot", "cdist", "conv_tbc", "convolution", "cov", "corrcoef")]
    + [getattr(torch.Tensor, name) for name in ("addmm_", "addmv_", "addbmm_", "baddbmm_")]
)
#: names of the two factors of functions of two matrices; their places are those before them
_PAIRS = {
    "matmul": ("input", "other"), "mm": ("input", "mat2"), "bmm": ("input", "mat2"), "mv": ("input", "vec"),
    "dot": ("input", "tensor"), "vdot": ("input", "other"),
    "addmm": ("input", "mat1", "mat2"), "baddbmm": ("input", "batch1", "batch2"), "addmv": ("input", "mat", "vec"),
}  # fmt: skip
_MATMULS: dict[Callable[..., Any], tuple[str, ...]] = {
    getattr(where, name): names for name, names in _PAIRS.items() for where in (torch, torch.Tensor)
} | {torch.Tensor.__matmul__: _PAIRS["matmul"], torch.linalg.matmul: _PAIRS["matmul"],
     torch.Tensor.__rmatmul__: ("other", "input")}  # fmt: skip
#: functions that `product_of` knows
PRODUCTS = frozenset([F.linear, F.scaled_dot_product_attention, *_CONVOLUTIONS, *_MATMULS])
_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}


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
        return Call("attention", (given["query"], given["key"]), None, {}, values=given["value"])
    if function in _MATMULS:
        names = _MATMULS[function]
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        a, b = (given["other"], given["input"]) if names[0] == "other" else (given[name] for name in names[-2:])
        settings = {"stack": min(a.ndim, b.ndim) < 3}
        if len(names) == 2:
            return Call("matmul", (a, b), None, settings)
        return Call(
            "matmul", (a, b), None, settings, given.get("beta", 1) * given["input"], float(given.get("alpha", 1))
        )
    return None
