"""Random augmentation of training images."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._rng import BLOCK, Stream

#: pixels of 0 on every side, of which a place is cut out
_PADDING = 4


def flip_crop(images: Tensor, seed: int, epoch: int, first: int) -> Tensor:
    """Mirror and shift images [batch, channels, H, W] at random, by up to 4 pixels each way, filling with 0.

    Every image is mirrored with probability 1/2 and moved to one of 9 x 9 places with equal probability. Random numbers
    are addressed by seed, epoch and the image's place in the epoch, `first` for the first of these: they do not depend
    on batches or interruptions.
    """
    words = Stream(seed, "augment", "flip_crop").words(BLOCK * len(images), chip=0, epoch=epoch, block=first)
    drawn = torch.from_numpy(words.reshape(-1, BLOCK)[:, :3].astype(np.int64)).to(images.device)
    places = 2 * _PADDING + 1
    down, right = (drawn[:, i, None] * places // 2**16 for i in (0, 1))
    height, width = (torch.arange(n, device=images.device) for n in images.shape[2:])
    columns = torch.where(drawn[:, 2, None] < 2**15, width, width.flip(0))
    padded = F.pad(images, (_PADDING,) * 4)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[each, :, (down + height)[:, :, None], (right + columns)[:, None]].permute(0, 3, 1, 2)
