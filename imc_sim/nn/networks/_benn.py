"""BinaryNin: the slim network in network whose binary copies BENN puts together.

Sources: Zhu, Dong, Su, Binary Ensemble Neural Network, CVPR 2019, in the authors' code; the network after Lin et al.,
Network in Network, ICLR 2014.
"""

from __future__ import annotations

import math
from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest
from imc_sim.nn._binarize import binary_activation
from imc_sim.nn._layers import Conv2d, product_layers
from imc_sim.nn._norm import Norm

NinKind = Literal["sb", "ab"]
#: kind -> what is binary
NIN_KINDS: dict[NinKind, str] = {"sb": "all but the first and the last convolution", "ab": "every convolution"}
_WIDE, _NARROW = 192, 96
_EPS, _INITIAL_STD = 1e-4, 0.05


@final
class SignActivation(nn.Module):
    """+-1 of x, any shape. Gradient: upstream where |x| < 1, else zero.

    Zero becomes -1, which a cell can be driven with. The original's sign(0) is 0, but an input of exactly 0 after
    batch normalisation has probability zero.
    """

    def forward(self, x: Tensor) -> Tensor:
        return binary_activation(x)


class _BinaryBlock(nn.Module):
    """Batch norm, sign, dropout, binary convolution with bias, ReLU: the next batch norm centres the output anew."""

    def __init__(self, channels: tuple[int, int], kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.sign, self.dropout = Norm(channels[0], eps=_EPS), SignActivation(), nn.Dropout(dropout)
        self.conv = Conv2d(*channels, kernel, "sign", padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(self.dropout(self.sign(self.norm(x)))))


class _FirstBlock(nn.Module):
    """Float convolution, batch norm without scale and shift, ReLU."""

    def __init__(self, channels: tuple[int, int], kernel: int) -> None:
        super().__init__()
        self.conv = Conv2d(*channels, kernel, padding=kernel // 2)
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
    """Images [batch, channels_in, size, size] -> logits [batch, classes], none below 0: they are means after a ReLU.

    kind: `sb`, semi-binary (first and last convolution float), or `ab`, all binary (the sign of the image itself).
    width: factor on the 192 and 96 channels, rounded, at least 2. dropout: after the signs of the 5 x 5 and of the
    3 x 3 block. The padding around signs is 0. Trained with `constrain_weights` before every forward pass.
    """

    def __init__(
        self, kind: NinKind = "sb", width: float = 1.0, classes: int = 10, channels_in: int = 3, size: int = 32,
        dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        _check(kind, width, size, dropout)
        self.kind: NinKind = kind
        self.size, self.channels_in, self.classes = size, channels_in, classes
        # One channel would be nothing but the mean over the channels, which binary weights do without.
        wide, narrow = (max(2, math.floor(channels * width + 0.5)) for channels in (_WIDE, _NARROW))
        ends = ((channels_in, wide), (wide, classes))
        binary = kind == "ab"
        self.block1 = _BinaryBlock(ends[0], 5) if binary else _FirstBlock(ends[0], 5)
        self.block2 = _BinaryBlock((wide, narrow), 1)
        self.block3 = _BinaryBlock((narrow, wide), 5, dropout)
        self.block4 = _BinaryBlock((wide, wide), 1)
        self.block5 = _BinaryBlock((wide, wide), 3, dropout)
        self.block6 = _BinaryBlock((wide, wide), 1)
        self.block7 = _BinaryBlock(ends[1], 1) if binary else _LastBlock(ends[1])
        self.redraw()

    def redraw(self) -> None:
        """Weights of every convolution anew from N(0, 0.05), torch's generator, and biases 0; the rest stays.

        What independent members of an ensemble start from: batch normalisation goes on as it is, as published.
        """
        for layer in product_layers(self):
            nn.init.normal_(layer.weight, 0.0, _INITIAL_STD)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            layer.renew_alpha()

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.size, self.size):
            got, allowed = f"{x.shape[-2]} x {x.shape[-1]} pixels", f"{self.size} x {self.size}"
            raise InputError("images", got, allowed, f"Set arch.args.size: {x.shape[-1]}.")
        x = F.max_pool2d(self.block2(self.block1(x)), 3, stride=2, padding=1)
        x = F.avg_pool2d(self.block4(self.block3(x)), 3, stride=2, padding=1)
        x = self.block7(self.block6(self.block5(x)))
        return F.avg_pool2d(x, x.shape[-1]).flatten(1)


def _check(kind: str, width: float, size: int, dropout: float) -> None:
    if kind not in NIN_KINDS:
        raise InputError("arch.kind", repr(kind), ", ".join(NIN_KINDS), f"{nearest(kind, NIN_KINDS)}Choose a kind.")
    if not width > 0:
        raise InputError("arch.width", width, "a factor above 0", "Take 1 for the published network.")
    if size < 1:
        raise InputError("arch.size", size, "1 pixel or more", "Give the side of the images.")
    if not 0 <= dropout < 1:
        raise InputError("arch.dropout", dropout, "from 0 to below 1", "Take 0 for no dropout.")
