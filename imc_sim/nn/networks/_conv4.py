"""Conv4: the four-block encoder of few-shot learning, in the two layouts of published checkpoints.

Sources: Vinyals et al., NeurIPS 2016 (matching networks) and Snell et al., NeurIPS 2017 (prototypical networks) for
`padded`; Sung et al., CVPR 2018 (relation networks) for `relation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._block import ConvBlock
from imc_sim.nn._checks import check_choice, check_size
from imc_sim.nn._layers import Conv2d
from imc_sim.nn._norm import Norm, Statistics
from imc_sim.nn._product_layer import Policy
from imc_sim.nn.neurons import Estimator, activation, check_blocks

#: layout -> per block (padding of the convolution, side of the max-pooling)
LAYOUTS: dict[str, tuple[tuple[int, int], ...]] = {
    "padded": ((1, 2), (1, 2), (1, 2), (1, 2)),
    "relation": ((0, 2), (0, 2), (1, 1), (1, 1)),
}
_KERNEL = 3


@final
class Conv4(nn.Module):
    """Compute features [batch, dim] of images [batch, channels_in, size, size]; dim = width x last side squared.

    With the fourth block binary a feature vector is a key of bits.

    Args:
        layout: `padded` (28 pixels become 14, 7, 3, 1: 64 features of 64 maps) or `relation` (13, 5, 5, 5: 1600).
        width: Maps of every block.
        channels_in: Channels of the images.
        size: Pixels a side.
        statistics: Of batch normalisation, see `Norm`.
        policy: Kind of weights of the convolutions, see `ProductLayer`.
        binary: Numbers of the blocks (1 to 4) that end in a binary activation; the others end in ReLU.
        estimator: Its estimator, see `BinaryActivation`.
        stochastic: Sample it at inference.
    """

    def __init__(
        self, layout: str = "padded", width: int = 64, channels_in: int = 1, size: int = 28,
        statistics: Statistics = "running", policy: Policy = "float", binary: Sequence[int] = (),
        estimator: Estimator = "straight_through", stochastic: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.layout", layout, LAYOUTS)
        wanted = check_blocks(binary, len(LAYOUTS[layout]), estimator)
        self.layout, self.size, self.channels_in = layout, size, channels_in
        inputs, side = channels_in, size
        for number, (padding, pool) in enumerate(LAYOUTS[layout], 1):
            conv = Conv2d(inputs, width, _KERNEL, policy, padding=padding)
            act = activation(number, wanted, estimator, stochastic)
            setattr(self, f"block{number}", ConvBlock(conv, Norm(width, statistics), pool, act))
            inputs, side = width, (side + 2 * padding - _KERNEL + 1) // pool
        if side < 1:
            raise InputError("arch.size", size, "pixels enough for four blocks", "Use larger images.")
        self.dim = width * side * side

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels_in, self.size)
        for number in range(1, len(LAYOUTS[self.layout]) + 1):
            x = self.get_submodule(f"block{number}")(x)
        return torch.flatten(x, 1)
