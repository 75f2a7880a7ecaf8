"""Torch functions that make several products inside, as the same functions made of calls that a mode can watch."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.sites._einsum import bilinear, einsum, inner, tensordot
from imc_sim.sites._recurrent import RECURRENT


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Return `F.scaled_dot_product_attention` without dropout.

    Args:
        query: [*, length, dim].
        key: [*, keys, dim].
        value: [*, keys, dim of the values].
        attn_mask: mask of the scores, boolean or added to them.
        dropout_p: ignored.
        is_causal: whether a query sees only keys up to its own place.
        scale: factor of the scores.
        enable_gqa: whether groups of queries share keys.
    """
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = torch.matmul(query, key.mT) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        boolean = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if boolean else scores + attn_mask
    return torch.matmul(scores.softmax(-1), value)


def _chain(*matrices: Any) -> Tensor:
    found = list(matrices[0]) if isinstance(matrices[0], list | tuple) else list(matrices)
    return functools.reduce(torch.matmul, found)


def _addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:  # noqa: A002  named as in torch
    return beta * input + alpha * torch.matmul(batch1, batch2).sum(0)


def _opened(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function written in Python whose inner calls a torch function mode sees.

    Unchanged, it hands the whole call to the mode, and makes its inner calls outside of it.
    """
    inside = {**function.__globals__, "has_torch_function": lambda *_: False}
    made = types.FunctionType(function.__code__, inside, function.__name__, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


#: torch function -> a function with the same arguments; None as its result: run the original
REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.einsum: einsum, torch.tensordot: tensordot, torch.inner: inner, torch.Tensor.inner: inner,
    F.bilinear: bilinear, torch.bilinear: bilinear, torch.chain_matmul: _chain, torch.linalg.multi_dot: _chain,
    torch.addbmm: _addbmm, torch.Tensor.addbmm: _addbmm,
    F.multi_head_attention_forward: _opened(F.multi_head_attention_forward),
} | RECURRENT  # fmt: skip
