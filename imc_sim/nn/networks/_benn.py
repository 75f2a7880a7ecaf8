"""BinaryNin: the small network in network whose binary copies BENN combines.

Sources: Zhu, Dong, Su, Binary Ensemble Neural Network, CVPR 2019, in the authors' code; the network after Lin et al.,
Network in Network, ICLR 2014.
"""

from __future__ import annotations

from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._binarize import binary_activation
from imc_sim.nn._checks import check_choice, check_counts, check_size, scaled
from imc_sim.nn._layers import Conv2d, product_layers
from imc_sim.nn._norm import Norm

NinKind = Literal["sb", "ab"]
#: kind -> what is binary
NIN_KINDS: dict[NinKind, str] = {"sb": "all but the first and the last convolution", "ab": "every convolution"}
_WIDE, _NARROW = 192, 96
_EPS, _INITIAL_STD = 1e-4, 0.05


@final
class SignActivation(nn.Module):
    """Binarize to +-1. Gradient: upstream where |x| < 1, else zero.

    Zero becomes -1, which a word line can encode; the original's sign(0) is 0, but has probability zero after batch
    normalisation.
    """

    def forward(self, x: Tensor) -> Tensor:
        return binary_activation(x)


class BinaryBlock(nn.Module):
    """Batch norm, sign, dropout, binary convolution with bias and ReLU; the next batch norm centres the output."""

    def __init__(self, channels: tuple[int, int], kernel: int, dropout: float = 0.0, stride: int = 1) -> None:
        super().__init__()
        self.norm, self.sign, self.dropout = Norm(channels[0], eps=_EPS), SignActivation(), nn.Dropout(dropout)
        self.conv = Conv2d(*channels, kernel, "sign", stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(self.dropout(self.sign(self.norm(x)))))


class FirstBlock(nn.Module):
    """Float convolution, batch norm without scale and shift, ReLU."""

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = Conv2d(*channels, kernel, stride=stride, padding=kernel // 2)
        self.norm = Norm(channels[1], eps=_EPS, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class _LastBlock(nn.Module):
    """Batch norm without scale and shift, float convolution 1 x 1, ReLU."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        self.norm, self.conv = Norm(channels[0], eps=_EPS, affine=False), Conv2d(*channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(self.norm(x)))


@final
class BinaryNin(nn.Module):
    """Classify images [batch, channels_in, size, size] into logits [batch, classes], which are means after a ReLU.

    The padding around signs is 0. Training calls `constrain_weights` before every forward pass.

    Args:
        kind: `sb`, semi-binary (first and last convolution float), or `ab`, all binary (even the sign of the image).
        width: Factor on the 192 and 96 channels, rounded, at least 2.
        classes: Number of classes.
        channels_in: Channels of the images.
        size: Pixels a side.
        dropout: Fraction of signs of the 5 x 5 and of the 3 x 3 block that training sets to 0.
    """

    def __init__(
        self, kind: NinKind = "sb", width: float = 1.0, classes: int = 10, channels_in: int = 3, size: int = 32,
        dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.kind", kind, NIN_KINDS)
        check_counts(size=size)
        if not 0 <= dropout < 1:
            raise InputError("arch.dropout", dropout, "from 0 to below 1", "Use 0 for no dropout.")
        self.kind: NinKind = kind
        self.size, self.channels_in, self.classes = size, channels_in, classes
        # two channels or more: binary weights have no mean over the channels
        wide, narrow = scaled((_WIDE, _NARROW), width, least=2)
        ends = ((channels_in, wide), (wide, classes))
        binary = kind == "ab"
        self.block1 = BinaryBlock(ends[0], 5) if binary else FirstBlock(ends[0], 5)
        self.block2 = BinaryBlock((wide, narrow), 1)
        self.block3 = BinaryBlock((narrow, wide), 5, dropout)
        self.block4 = BinaryBlock((wide, wide), 1)
        self.block5 = BinaryBlock((wide, wide), 3, dropout)
        self.block6 = BinaryBlock((wide, wide), 1)
        self.block7 = BinaryBlock(ends[1], 1) if binary else _LastBlock(ends[1])
        self.redraw()

    def redraw(self) -> None:
        """Sample the weights of every convolution again from N(0, 0.05), with torch's generator, and set biases to 0.

        Independent members of an ensemble start so; batch normalisation is unchanged, as published.
        """
        for layer in product_layers(self):
            nn.init.normal_(layer.weight, 0.0, _INITIAL_STD)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            layer.renew_alpha()

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels_in, self.size)
        x = F.max_pool2d(self.block2(self.block1(x)), 3, stride=2, padding=1)
        x = F.avg_pool2d(self.block4(self.block3(x)), 3, stride=2, padding=1)
        x = self.block7(self.block6(self.block5(x)))
        return F.avg_pool2d(x, x.shape[-1]).flatten(1)
