"""The block that convolutional classifiers and encoders are made of."""

from __future__ import annotations

import copy
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim.nn._layers import Conv2d
from imc_sim.nn._norm import Norm, comparator_of
from imc_sim.nn.neurons import BinaryActivation


@final
class ConvBlock(nn.Module):
    """Convolution, batch norm, max-pooling (pool 1: none), activation.

    With ReLU the order of pooling and activation makes no difference, to the bit.
    """

    def __init__(self, conv: Conv2d, norm: Norm, pool: int, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.pool, self.act = conv, norm, pool, act

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.act(F.max_pool2d(x, self.pool) if self.pool > 1 else x)

    def fold(self) -> bool:
        """Replace batch norm and a binary activation that does not draw by the comparator that they are together.

        The comparator stands before the pooling, which of bits is an OR: a channel whose scale is negative fires
        below its threshold, and the largest normalised value is then not that of the largest sum. False, and nothing
        done, for other activations and for statistics of the batch.
        """
        if not isinstance(self.act, BinaryActivation) or (self.act.stochastic and not self.act.comparator):
            return False
        if not isinstance(self.norm, Norm) or self.norm.statistics != "running":
            return False
        self.norm: nn.Module = comparator_of(self.norm)
        self.act = nn.Identity()
        return True


def fold_comparators(network: nn.Module) -> nn.Module:
    """A copy of a trained network for inference in which no block multiplies to normalise before it fires.

    Equal to the bit: see `Comparator`. What has no binary activation stays as it is.
    """
    folded = copy.deepcopy(network).eval()
    fold_in_place(folded)
    return folded


def fold_in_place(network: nn.Module) -> int:
    """Fold every block that can be folded; how many there were."""
    return sum(block.fold() for block in network.modules() if isinstance(block, ConvBlock))
