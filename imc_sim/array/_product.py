"""The matrix product on the fastest kernel that torch has for it.

Whole numbers give the same bits on every kernel. Where torch's BLAS is not tuned for the processor, oneDNN's 1 x 1
convolution is about twice as fast; elsewhere both are equally fast.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: multiply-adds below which calling oneDNN costs more than it gains
_SMALL = 2**17


def product(x: Tensor, w: Tensor) -> Tensor:
    """Return x [n, in] times w [out, in] transposed: [n, out]."""
    small = x.shape[0] * w.numel() < _SMALL
    if small or x.dtype != torch.float32 or x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return x @ w.mT
    pixels = x.contiguous()[None, :, None].permute(0, 3, 1, 2)
    kernel = w[:, :, None, None].contiguous(memory_format=torch.channels_last)
    y = torch.mkldnn_convolution(pixels, kernel, None, (0, 0), (1, 1), (1, 1), 1)
    return y[0, :, :, 0].mT


def convolution(images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return the convolution of images [batch, C, H, W] with a weight [out, C, k, k], both channels last."""
    images, weight = (t.contiguous(memory_format=torch.channels_last) for t in (images, weight))
    return torch.nn.functional.conv2d(images, weight, stride=stride, padding=padding)
