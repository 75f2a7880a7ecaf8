"""The block of convolutional classifiers and encoders."""

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
    """Convolve, normalise, pool and activate.

    With ReLU the order of pooling and activation makes no difference, to the bit.

    Args:
        conv: The convolution.
        norm: The batch norm.
        pool: Side of the max-pooling, 1 for none.
        act: The activation.
    """

    def __init__(self, conv: Conv2d, norm: Norm, pool: int, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.pool, self.act = conv, norm, pool, act

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.act(F.max_pool2d(x, self.pool) if self.pool > 1 else x)

    def fold(self) -> bool:
        """Replace batch norm and a binary activation by the comparator that equals both.

        The comparator precedes the pooling, which of bits is an OR: a channel with a negative scale fires below its
        threshold, and its largest normalised value is not that of its largest sum.

        Returns:
            False, with nothing changed, for other activations, sampled ones and statistics of the batch.
        """
        if not isinstance(self.act, BinaryActivation) or (self.act.stochastic and not self.act.comparator):
            return False
        if not isinstance(self.norm, Norm) or self.norm.statistics != "running":
            return False
        self.norm: nn.Module = comparator_of(self.norm)
        self.act = nn.Identity()
        return True


def fold_comparators(network: nn.Module) -> nn.Module:
    """Return a copy of a trained network for inference whose binary blocks compare instead of normalising.

    Results are equal to the bit, see `Comparator`. Blocks without a binary activation are unchanged.

    Args:
        network: The trained network.
    """
    folded = copy.deepcopy(network).eval()
    fold_in_place(folded)
    return folded


def fold_in_place(network: nn.Module) -> int:
    """Fold every block of a network that can be folded.

    Args:
        network: The network, which is changed.

    Returns:
        The number of folded blocks.
    """
    return sum(block.fold() for block in network.modules() if isinstance(block, ConvBlock))
