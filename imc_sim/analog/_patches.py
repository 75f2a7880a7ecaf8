"""The vectors that a convolution of any dimensions multiplies its filters with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def patches(x: Tensor, kernel: Sequence[int], settings: Any) -> tuple[Tensor, tuple[int, ...]]:
    """Return the vectors that a convolution multiplies its filters with.

    Args:
        x: images [batch, channels, *sizes].
        kernel: sizes of the filters.
        settings: stride, padding and dilation, as torch takes them.

    Returns:
        Vectors [batch, pixels, kernel x channels], and the sizes of the output.
    """
    x = windows(x, kernel, settings)  # [batch, *pixels, *kernel, channels]
    pixels = tuple(x.shape[1 : 1 + len(kernel)])
    return x.reshape(len(x), math.prod(pixels), -1), pixels


def windows(x: Tensor, kernel: Sequence[int], settings: Any) -> Tensor:
    """Return these vectors as a view of the padded images: [batch, *pixels, *kernel, channels].

    Args:
        x: images [batch, channels, *sizes].
        kernel: sizes of the filters.
        settings: stride, padding and dilation, as torch takes them.
    """
    n = len(kernel)
    stride, dilation = (_each(settings[name], n) for name in ("stride", "dilation"))
    x = F.pad(x, _padding(settings["padding"], kernel, dilation))
    for d in range(n):
        x = x.unfold(2 + d, dilation[d] * (kernel[d] - 1) + 1, stride[d])[..., :: dilation[d]]
    return x.movedim(1, -1)


def output_sizes(x: Tensor, kernel: Sequence[int], settings: Any) -> tuple[int, ...]:
    """Return the sizes of the output of a convolution.

    Args:
        x: images [batch, channels, *sizes].
        kernel: sizes of the filters.
        settings: stride, padding and dilation, as torch takes them.
    """
    return tuple(windows(x[:0, :1], kernel, settings).shape[1 : 1 + len(kernel)])


def _each(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value) if len(value) == n else tuple(value) * n


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return the padding of every side in the order of torch's `pad`: the last dimension first."""
    if padding == "valid":
        return []
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(p, p) for p in _each(padding, len(kernel))]
    return [side for pair in reversed(sides) for side in pair]
