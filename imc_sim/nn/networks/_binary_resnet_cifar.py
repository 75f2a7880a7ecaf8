"""BinaryResNet: the small residual network for CIFAR-10 with binary weights and activations (W1A1).

Sources: He et al., Deep Residual Learning, CVPR 2016 (section 4.2); a shortcut around every binary convolution after
Liu et al., Bi-Real Net, ECCV 2018.
"""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._checks import check_counts, check_size, scaled
from imc_sim.nn._layers import Conv2d, Linear
from imc_sim.nn._norm import Norm
from imc_sim.nn.networks._metaplastic_nets import GatedSign

#: channels of the three stages
_CHANNELS = (16, 32, 64)


class _Binary(nn.Module):
    """Sign, binary 3 x 3 convolution, batch norm, added to the input.

    With stride 2 the shortcut averages the input over 2 x 2 and fills missing channels with 0.
    """

    def __init__(self, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.act, self.stride, self.more = GatedSign(), stride, channels[1] - channels[0]
        self.conv = Conv2d(*channels, 3, "latent", bias=False, stride=stride, padding=1)
        self.norm = Norm(channels[1])
        nn.init.xavier_normal_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(self.act(x)))
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride)
        return y + F.pad(x, (0, 0, 0, 0, 0, self.more))


@final
class BinaryResNet(nn.Module):
    """Classify images [batch, channels_in, size, size] into logits [batch, classes].

    A float 3 x 3 convolution to 16 channels and a batch norm; three stages of 2 n binary 3 x 3 convolutions with 16, 32
    and 64 channels, the first of a later stage with stride 2; the mean over the image; a float linear layer. Weights of
    binary convolutions are the signs of hidden ones, their inputs signs, the padding 0. Real numbers flow past each of
    them through a shortcut without weights.

    Args:
        depth: 6 n + 2, such as 20, 32 or 44.
        width: Factor on the channels, rounded.
        classes: Number of classes.
        channels_in: Channels of the images.
        size: Pixels a side.
    """

    def __init__(
        self, depth: int = 20, width: float = 1.0, classes: int = 10, channels_in: int = 3, size: int = 32
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise InputError("arch.depth", depth, "6 n + 2: 8, 14, 20, 26, 32, …", "Use 20, the published size.")
        if size < 4 or size % 4:
            raise InputError("arch.size", size, "a multiple of 4", "Use images that can be halved twice.")
        check_counts(classes=classes, channels_in=channels_in)
        self.size, self.channels_in, self.classes = size, channels_in, classes
        first, *later = scaled(_CHANNELS, width)
        self.conv = Conv2d(channels_in, first, 3, bias=False, padding=1)
        self.norm = Norm(first)
        each = (depth - 2) // 3
        pairs = [((first, first), 1)] * each
        for count in later:
            pairs += [((pairs[-1][0][1], count), 2), *[((count, count), 1)] * (each - 1)]
        self.blocks = nn.Sequential(*(_Binary(channels, stride) for channels, stride in pairs))
        self.fc = Linear(later[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels_in, self.size)
        return self.fc(self.blocks(self.norm(self.conv(x))).mean((2, 3)))
