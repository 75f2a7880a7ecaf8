"""Sums of products by index (`einsum` and its relatives) as matrix products."""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def einsum(equation: Any, *given: Any) -> Tensor | None:
    """Return `torch.einsum` as matrix products of two tensors each, from left to right.

    Args:
        equation: as torch takes it.
        *given: tensors, or one list of them.

    Returns:
        The result; None for the sublist format.
    """
    tensors = list(given[0]) if len(given) == 1 and isinstance(given[0], list | tuple) else list(given)
    if not isinstance(equation, str) or not all(isinstance(each, Tensor) for each in tensors):
        return None
    indices, result = _indices(equation.replace(" ", ""), [each.ndim for each in tensors])
    pairs = [_once(x, each) for x, each in zip(tensors, indices, strict=True)]
    return contracted([x for x, _ in pairs], [each for _, each in pairs], result)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor | None:
    """Return `torch.tensordot` as a matrix product.

    Args:
        a: first tensor.
        b: second tensor.
        dims: as torch takes them.
        out: not supported.

    Returns:
        The result; None with `out`, or if the dimensions are given as a tensor.
    """
    if out is not None or isinstance(dims, Tensor):
        return None
    pairs = (range(a.ndim - dims, a.ndim), range(dims)) if isinstance(dims, int) else dims
    left, right = list(string.ascii_letters[: a.ndim]), list(string.ascii_letters[a.ndim : a.ndim + b.ndim])
    for i, j in zip(*pairs, strict=True):
        right[j] = left[i]
    free = [x for x in left if x not in right] + [x for x in right if x not in left]
    return contracted([a, b], ["".join(left), "".join(right)], "".join(free))


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return `torch.inner`.

    Args:
        a: first tensor.
        b: second tensor.
    """
    return a * b if 0 in (a.ndim, b.ndim) else contracted(
        [a, b], [string.ascii_lowercase[: a.ndim - 1] + "Z", string.ascii_uppercase[: b.ndim - 1] + "Z"],
        string.ascii_lowercase[: a.ndim - 1] + string.ascii_uppercase[: b.ndim - 1],
    )  # fmt: skip


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `F.bilinear`: the product with the weight first.

    Args:
        input1: [*, in1].
        input2: [*, in2].
        weight: [out, in1, in2].
        bias: [out].
    """
    lead = string.ascii_uppercase[: input1.ndim - 1]
    y = contracted([input1, weight, input2], [lead + "i", "oij", lead + "j"], lead + "o")
    return y if bias is None else y + bias


def contracted(tensors: Sequence[Tensor], indices: Sequence[str], result: str) -> Tensor:
    """Return the sum over all indices that are not in the result.

    Args:
        tensors: one or more tensors.
        indices: the index of every dimension of each, every one once.
        result: indices of the result.
    """
    total, found = tensors[0], indices[0]
    for number in range(1, len(tensors)):
        kept = set(result).union(*indices[number + 1 :])
        total, found = _pair(total, found, tensors[number], indices[number], kept)
    gone = [d for d, index in enumerate(found) if index not in result]
    total = total.sum(gone) if gone else total
    found = "".join(index for index in found if index in result)
    return total.permute([found.index(index) for index in result])


def _pair(a: Tensor, of_a: str, b: Tensor, of_b: str, kept: set[str]) -> tuple[Tensor, str]:
    """Return the product of two tensors, summed over indices that are not kept, and its indices."""
    a, of_a = _summed(a, of_a, kept | set(of_b))
    b, of_b = _summed(b, of_b, kept | set(of_a))
    both = [index for index in of_a if index in of_b]
    batch, inside = ([i for i in both if (i in kept) == there] for there in (True, False))
    left, right = [i for i in of_a if i not in of_b], [i for i in of_b if i not in of_a]
    if not batch and len(right) > len(left):  # the tensor with more dimensions keeps them
        return _pair(b, of_b, a, of_a, kept)
    sizes = dict(zip(of_b, b.shape, strict=True))
    size = {i: max(n, sizes.get(i, 1)) for i, n in zip(of_a, a.shape, strict=True)}
    a = a.expand([size[i] if i in inside else n for i, n in zip(of_a, a.shape, strict=True)])
    b = b.expand([size[i] if i in inside else n for i, n in zip(of_b, b.shape, strict=True)])
    a, b = (
        a.permute([of_a.index(i) for i in batch + left + inside]),
        b.permute([of_b.index(i) for i in batch + inside + right]),
    )
    lead, outer = len(batch), [b.shape[d] for d in range(len(batch) + len(inside), b.ndim)]
    rows, depth = list(a.shape[lead : lead + len(left)]), math.prod(size[i] for i in inside)
    joined = rows if not batch and rows else [math.prod(rows)]
    a = a.reshape([*a.shape[:lead], *joined, depth])
    b = b.reshape([*b.shape[:lead], depth, math.prod(outer)])
    y = torch.matmul(a, b) if inside else a * b
    return y.reshape([*y.shape[:lead], *rows, *outer]), "".join(batch + left + right)


def _once(x: Tensor, indices: str) -> tuple[Tensor, str]:
    """Return the diagonal of a tensor along dimensions with the same index."""
    for index in dict.fromkeys(indices):
        while indices.count(index) > 1:
            first, second = indices.index(index), indices.rindex(index)
            x = x.diagonal(dim1=first, dim2=second)
            indices = indices[:first] + indices[first + 1 : second] + indices[second + 1 :] + index
    return x, indices


def _summed(x: Tensor, indices: str, kept: set[str]) -> tuple[Tensor, str]:
    """Return a tensor summed over the indices that are in no other place."""
    gone = [d for d, index in enumerate(indices) if index not in kept]
    return (x.sum(gone), "".join(i for i in indices if i in kept)) if gone else (x, indices)


def _indices(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """Return the indices of every tensor and of the result, with letters instead of `...`."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    ranks = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims, strict=True)]
    free = [letter for letter in string.ascii_letters if letter not in equation]
    dots = "".join(free[: max([rank for term, rank in zip(terms, ranks, strict=True) if "..." in term], default=0)])
    named = [
        term.replace("...", dots[len(dots) - rank :] if rank else "") for term, rank in zip(terms, ranks, strict=True)
    ]
    if arrow:
        return named, right.replace("...", dots)
    letters = sorted(functools.reduce(set.union, map(set, terms), set[str]()) - {"."})
    return named, dots + "".join(letter for letter in letters if left.count(letter) == 1)
