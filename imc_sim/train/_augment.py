"""Random augmentation of training images: mirror images and shifts."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._rng import BLOCK, Stream

#: pixels of 0 added on every side; the largest shift
_PADDING = 4


def flip_crop(images: Tensor, seed: int, epoch: int, first: int) -> Tensor:
    """Mirror images horizontally with probability 1/2, and shift them by up to 4 pixels in each direction.

    All 9 x 9 shifts have equal probability; pixels that enter the image are 0. Random numbers are addressed by seed,
    epoch and position in the epoch, so that they depend on neither the batch size nor interruptions.

    Args:
        images: [batch, channels, height, width].
        seed: seed of the recipe.
        epoch: number of the epoch, from 0.
        first: position of the first image in the epoch.

    Returns:
        The augmented images, in the shape of `images`.
    """
    words = Stream(seed, "augment", "flip_crop").words(BLOCK * len(images), chip=0, epoch=epoch, block=first)
    words16 = torch.from_numpy(words.reshape(-1, BLOCK)[:, :3].astype(np.int64)).to(images.device)
    places = 2 * _PADDING + 1
    down, right = (words16[:, i, None] * places // 2**16 for i in (0, 1))
    height, width = (torch.arange(n, device=images.device) for n in images.shape[2:])
    columns = torch.where(words16[:, 2, None] < 2**15, width, width.flip(0))
    padded = F.pad(images, (_PADDING,) * 4)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[each, :, (down + height)[:, :, None], (right + columns)[:, None]].permute(0, 3, 1, 2)
