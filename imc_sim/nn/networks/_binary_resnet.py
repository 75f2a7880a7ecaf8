"""BinaryResNet18: the residual network whose binary copies BENN puts together on ImageNet.

Sources: He et al., Deep Residual Learning, CVPR 2016; its binary form after Rastegari et al., XNOR-Net, ECCV 2016, and
Zhu, Dong, Su, Binary Ensemble Neural Network, CVPR 2019.
"""

from __future__ import annotations

import math
from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest
from imc_sim.nn._layers import Conv2d, Linear, product_layers
from imc_sim.nn._norm import Norm
from imc_sim.nn.networks._benn import SignActivation

ResnetStem = Literal["imagenet", "cifar"]
#: stem -> (kernel, stride) of the first convolution, and whether a max-pooling 3 x 3 of stride 2 follows
RESNET_STEMS: dict[ResnetStem, tuple[int, int, bool]] = {"imagenet": (7, 2, True), "cifar": (3, 1, False)}
#: channels of the four stages of two blocks
_CHANNELS = (64, 128, 256, 512)
_EPS, _INITIAL_STD = 1e-4, 0.05


class _BinaryConv(nn.Module):
    """Batch norm, sign, binary convolution with bias, ReLU."""

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int) -> None:
        super().__init__()
        self.norm, self.sign = Norm(channels[0], eps=_EPS), SignActivation()
        self.conv = Conv2d(*channels, kernel, "sign", stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(self.sign(self.norm(x))))


class _Residual(nn.Module):
    """Two binary 3 x 3 convolutions, added to what came in, or to a binary 1 x 1 convolution of it."""

    def __init__(self, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.first = _BinaryConv(channels, 3, stride)
        self.second = _BinaryConv((channels[1], channels[1]), 3, 1)
        same = stride == 1 and channels[0] == channels[1]
        self.shortcut = nn.Identity() if same else _BinaryConv(channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x))


class _Stem(nn.Module):
    """Float convolution, batch norm without scale and shift, ReLU, and the max-pooling of that stem."""

    def __init__(self, channels: tuple[int, int], stem: ResnetStem) -> None:
        super().__init__()
        kernel, stride, self.pooled = RESNET_STEMS[stem]
        self.conv = Conv2d(*channels, kernel, stride=stride, padding=kernel // 2)
        self.norm = Norm(channels[1], eps=_EPS, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(x, 3, stride=2, padding=1) if self.pooled else x


@final
class BinaryResNet18(nn.Module):
    """Images [batch, channels_in, size, size] -> logits [batch, classes].

    The first convolution and the last layer are float; the others, 16 of 3 x 3 and the three of 1 x 1 in the shortcuts
    where a stage halves the image, are binary: batch norm, sign, convolution with the signs of its weights and a bias,
    ReLU, in this order. A residual addition stands around each of the eight blocks of two, after their ReLU, so that
    real numbers flow past the signs. Batch norm without scale and shift and the mean over the image precede the last
    layer. The network file of BENN's ImageNet runs was never published: this is our reading of "ResNet-18, first and
    last layer float", after XNOR-Net's ResNet-18 and the blocks of BENN's other networks.

    width: factor on the 64 to 512 channels, rounded, at least 2. stem: `imagenet` (7 x 7 of stride 2, max-pooling) or
    `cifar` (3 x 3 of stride 1) for small images. The padding around signs is 0. Weights start from N(0, 0.05), biases
    from 0. Trained with `constrain_weights` before every forward pass.
    """

    def __init__(
        self, width: float = 1.0, classes: int = 1000, channels_in: int = 3, size: int = 224,
        stem: ResnetStem = "imagenet",
    ) -> None:  # fmt: skip
        super().__init__()
        _check(width, classes, channels_in, size, stem)
        self.size, self.channels_in, self.classes = size, channels_in, classes
        # One channel would be nothing but the mean over the channels, which binary weights do without.
        channels = [max(2, math.floor(each * width + 0.5)) for each in _CHANNELS]
        self.stem = _Stem((channels_in, channels[0]), stem)
        self.stage1 = _stage((channels[0], channels[0]), 1)
        self.stage2 = _stage((channels[0], channels[1]), 2)
        self.stage3 = _stage((channels[1], channels[2]), 2)
        self.stage4 = _stage((channels[2], channels[3]), 2)
        self.norm = Norm(channels[3], eps=_EPS, affine=False)
        self.fc = Linear(channels[3], classes)
        for layer in product_layers(self):
            nn.init.normal_(layer.weight, 0.0, _INITIAL_STD)
            layer.renew_alpha()

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (self.channels_in, self.size, self.size):
            got, allowed = (" x ".join(map(str, s)) for s in (x.shape[1:], (self.channels_in, self.size, self.size)))
            step = "Set arch.args.size and arch.args.channels_in, or the task's size."
            raise InputError("images", f"{got} (channels, pixels)", allowed, step)
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        return self.fc(F.avg_pool2d(self.norm(x), x.shape[-1]).flatten(1))


def _stage(channels: tuple[int, int], stride: int) -> nn.Sequential:
    return nn.Sequential(_Residual(channels, stride), _Residual((channels[1], channels[1]), 1))


def _check(width: float, classes: int, channels_in: int, size: int, stem: str) -> None:
    if stem not in RESNET_STEMS:
        step = f"{nearest(stem, RESNET_STEMS)}Choose a stem."
        raise InputError("arch.stem", repr(stem), ", ".join(RESNET_STEMS), step)
    if not 0 < width < math.inf:
        raise InputError("arch.width", width, "a factor above 0", "Take 1 for the published width.")
    for name, value in (("classes", classes), ("channels_in", channels_in), ("size", size)):
        if value < 1:
            raise InputError(f"arch.{name}", value, "1 or more", "Give what the images have.")
