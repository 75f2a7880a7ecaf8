"""A convolutional network with float weights, whose last hidden layer can be the features of other networks.

Sources: convolution, batch normalisation and ReLU after Simonyan and Zisserman, ICLR 2015, and Ioffe and Szegedy, ICML
2015; the mean over the image before the last layer after Lin et al., Network in Network, ICLR 2014.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._block import ConvBlock
from imc_sim.nn._checks import check_counts, check_size
from imc_sim.nn._layers import Conv2d, Linear
from imc_sim.nn._norm import Norm


@final
class ConvNet(nn.Module):
    """Classify images [batch, channels_in, size, size] into logits [batch, classes].

    Stages of 3 x 3 convolutions with max-pooling by 2 between them, a 1 x 1 convolution to `features` channels, the
    mean over the image and a linear layer with bias. Convolutions have no bias and end in batch normalisation and ReLU.

    Args:
        stages: Channels of the convolutions of every stage.
        features: Size of the last hidden layer, whose values are 0 or more.
        classes: Number of classes.
        channels_in: Channels of the images.
        size: Pixels a side.
    """

    def __init__(
        self, stages: Sequence[Sequence[int]] = ((32,), (64, 64), (128, 128), (256,)), features: int = 512,
        classes: int = 10, channels_in: int = 3, size: int = 32,
    ) -> None:  # fmt: skip
        super().__init__()
        if not stages or not all(stages) or min(map(min, stages)) < 1:
            step = "Use for example [[32, 64], [128]]."
            raise InputError("arch.stages", [list(stage) for stage in stages], "channels for every stage", step)
        if size >> (len(stages) - 1) < 1:
            allowed = f"pixels enough for {len(stages) - 1} halvings"
            raise InputError("arch.size", size, allowed, "Use larger images, or fewer stages.")
        check_counts(features=features, classes=classes, channels_in=channels_in)
        self.size, self.channels_in, self.classes = size, channels_in, classes
        channels = [channels_in, *(each for stage in stages for each in stage)]
        ends = list(itertools.accumulate(len(stage) for stage in stages))[:-1]
        self.blocks = nn.Sequential(
            *(
                _block(pair, 3, 2 if number in ends else 1)
                for number, pair in enumerate(itertools.pairwise(channels), 1)
            ),
            _block((channels[-1], features), 1, 1),
        )
        self.fc = Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels_in, self.size)
        return self.fc(self.blocks(x).mean((2, 3)))


def _block(channels: tuple[int, int], kernel: int, pool: int) -> ConvBlock:
    conv = Conv2d(*channels, kernel, bias=False, padding=kernel // 2)
    return ConvBlock(conv, Norm(channels[1]), pool, nn.ReLU())
