"""BinaryResNet18: the residual network whose binary copies BENN combines on ImageNet.

Sources: He et al., Deep Residual Learning, CVPR 2016; its binary form after Rastegari et al., XNOR-Net, ECCV 2016, and
Zhu, Dong, Su, Binary Ensemble Neural Network, CVPR 2019.
"""

from __future__ import annotations

import itertools
from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim.nn._checks import check_choice, check_counts, check_size, scaled
from imc_sim.nn._layers import Linear, product_layers
from imc_sim.nn._norm import Norm
from imc_sim.nn.networks._benn import BinaryBlock, FirstBlock

ResnetStem = Literal["imagenet", "cifar"]
#: stem -> (kernel, stride) of the first convolution, and whether a max-pooling 3 x 3 of stride 2 follows
RESNET_STEMS: dict[ResnetStem, tuple[int, int, bool]] = {"imagenet": (7, 2, True), "cifar": (3, 1, False)}
#: channels of the four stages of two blocks
_CHANNELS = (64, 128, 256, 512)
_EPS, _INITIAL_STD = 1e-4, 0.05


class _Residual(nn.Module):
    """Two binary 3 x 3 convolutions, added to their input, or to a binary 1 x 1 convolution of it."""

    def __init__(self, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.first = BinaryBlock(channels, 3, stride=stride)
        self.second = BinaryBlock((channels[1], channels[1]), 3)
        same = stride == 1 and channels[0] == channels[1]
        self.shortcut = nn.Identity() if same else BinaryBlock(channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x))


@final
class BinaryResNet18(nn.Module):
    """Classify images [batch, channels_in, size, size] into logits [batch, classes].

    The first convolution and the last layer are float; the others, 16 of 3 x 3 and the three of 1 x 1 in the shortcuts
    where a stage halves the image, are binary: batch norm, sign, convolution with the signs of its weights and a bias,
    ReLU, in this order. A shortcut bypasses each of the eight blocks of two, so that real numbers flow past the signs.
    Batch norm without scale and shift and the mean over the image precede the last layer. Weights start from
    N(0, 0.05), biases from 0; the padding around signs is 0. Training calls `constrain_weights` before every forward
    pass. The network file of BENN's ImageNet runs was never published: this is our reading of "ResNet-18, first and
    last layer float", after XNOR-Net's ResNet-18 and the blocks of BENN's other networks.

    Args:
        width: Factor on the 64 to 512 channels, rounded, at least 2.
        classes: Number of classes.
        channels_in: Channels of the images.
        size: Pixels a side.
        stem: `imagenet` (7 x 7 with stride 2, max-pooling) or `cifar` (3 x 3 with stride 1) for small images.
    """

    def __init__(
        self, width: float = 1.0, classes: int = 1000, channels_in: int = 3, size: int = 224,
        stem: ResnetStem = "imagenet",
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.stem", stem, RESNET_STEMS)
        check_counts(classes=classes, channels_in=channels_in, size=size)
        self.size, self.channels_in, self.classes = size, channels_in, classes
        channels = scaled(_CHANNELS, width, least=2)  # binary weights have no mean over the channels
        kernel, stride, self.pooled = RESNET_STEMS[stem]
        self.stem = FirstBlock((channels_in, channels[0]), kernel, stride)
        self.stage1 = _stage((channels[0], channels[0]), 1)
        self.stage2, self.stage3, self.stage4 = (_stage(pair, 2) for pair in itertools.pairwise(channels))
        self.norm = Norm(channels[3], eps=_EPS, affine=False)
        self.fc = Linear(channels[3], classes)
        for layer in product_layers(self):
            nn.init.normal_(layer.weight, 0.0, _INITIAL_STD)
            layer.renew_alpha()

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels_in, self.size)
        x = self.stem(x)
        x = F.max_pool2d(x, 3, stride=2, padding=1) if self.pooled else x
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.fc(F.avg_pool2d(self.norm(x), x.shape[-1]).flatten(1))


def _stage(channels: tuple[int, int], stride: int) -> nn.Sequential:
    return nn.Sequential(_Residual(channels, stride), _Residual((channels[1], channels[1]), 1))
