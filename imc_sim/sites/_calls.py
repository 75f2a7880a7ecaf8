"""Matrix products as torch calls: their factors, and how many multiply-adds they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor


@final
class Call(NamedTuple):
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
        return self._replace(factors=(w, self.factors[1]) if which == 0 else (self.factors[0], w))

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


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:  # noqa: A002  named as in torch
    return Call("linear", (input, weight), 1, {}, bias)


def _convolution(
    kind: str, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,  # noqa: A002
    dilation: Any = 1, groups: int = 1,
) -> Call:  # fmt: skip
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Call(kind, (input, weight), 1, settings, bias)


def _transposed(
    kind: str, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,  # noqa: A002
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Call:  # fmt: skip
    call = _convolution(kind, input, weight, bias, stride, padding, dilation, groups)
    return call._replace(settings={**call.settings, "output_padding": output_padding})


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Call:
    return Call("attention", (query, key), None, {}, values=value)


def _matmul(names: tuple[str, ...], *args: Any, **kwargs: Any) -> Call:
    given = dict(zip(names, args, strict=False)) | kwargs
    a, b = (given[name] for name in names[-2:])
    settings = {"stack": min(a.ndim, b.ndim) < 3}
    if len(names) == 2:
        return Call("matmul", (a, b), None, settings)
    return Call("matmul", (a, b), None, settings, given.get("beta", 1) * given["input"], float(given.get("alpha", 1)))


#: names of the two factors of functions of two matrices; their places are those before them
_PAIRS = {
    "matmul": ("input", "other"), "mm": ("input", "mat2"), "bmm": ("input", "mat2"), "mv": ("input", "vec"),
    "dot": ("input", "tensor"), "vdot": ("input", "other"),
    "addmm": ("input", "mat1", "mat2"), "baddbmm": ("input", "batch1", "batch2"), "addmv": ("input", "mat", "vec"),
}  # fmt: skip
#: torch function -> its product, from the same arguments
PRODUCTS: dict[Callable[..., Any], Callable[..., Call]] = {
    F.linear: _linear, F.scaled_dot_product_attention: _attention,
    torch.Tensor.__matmul__: partial(_matmul, _PAIRS["matmul"]),
    torch.linalg.matmul: partial(_matmul, _PAIRS["matmul"]),
    torch.Tensor.__rmatmul__: lambda right, left: _matmul(_PAIRS["matmul"], left, right),
} | {
    getattr(where, name): partial(_matmul, names) for name, names in _PAIRS.items() for where in (torch, torch.Tensor)
} | {
    getattr(F, f"conv{kind}{n}d"): partial(bind, f"conv{kind}{n}d")
    for kind, bind in (("", _convolution), ("_transpose", _transposed)) for n in (1, 2, 3)
}  # fmt: skip
#: functions that make products which nobody can watch, unless they are replaced
OPAQUE = frozenset(
    [getattr(torch, name) for name in ("einsum", "tensordot", "cdist", "conv_tbc", "convolution", "cov", "corrcoef")]
    + [getattr(torch.Tensor, name) for name in ("addmm_", "addmv_", "addbmm_", "baddbmm_")]
)
