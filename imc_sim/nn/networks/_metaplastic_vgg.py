"""The deep binary convolutional network that learns CIFAR-10 as a stream.

Source: Laborieux, Ernoult, Hirtzlin and Querlioz, Nat. Commun. 12:2549 (2021), in the authors' code.
"""

from __future__ import annotations

import itertools
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._checks import scaled
from imc_sim.nn._layers import Conv2d, Linear, product_layers
from imc_sim.nn._norm import Norm, Statistics
from imc_sim.nn.networks._metaplastic_nets import GatedSign

#: channels of the six convolutions, and units of the two hidden layers behind them
_CHANNELS, _UNITS = (128, 128, 256, 256, 512, 512), (2048, 2048)


@final
class BnnVgg(nn.Module):
    """Classify images [batch, channels_in, size, size] into logits [batch, classes], the outputs of the last norm.

    Six binary 3 x 3 convolutions without bias, all but the last padded by 1, with the maximum over 2 x 2 after the
    second, fourth and sixth; then three fully connected layers. A norm follows every product, and a sign every norm but
    the last. All weights are signs of hidden ones, which start Xavier-normal (torch's generator). The published network
    has width 1, with 18,226,560 binary weights for images of 32 x 32.

    Args:
        width: Factor on all channels and units, rounded, at least 1.
        classes: Number of classes.
        channels_in: Channels of the images.
        size: Pixels a side.
        dropout: Fraction of signs after the first two fully connected layers that training sets to 0.
        statistics: Of norms at inference, see `Norm`.
        affine: Learn a scale and a shift of norms.
    """

    def __init__(
        self, width: float = 1.0, classes: int = 10, channels_in: int = 3, size: int = 32, dropout: float = 0.5,
        statistics: Statistics = "running", affine: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        last = (size // 2 // 2 - 2) // 2
        if not (0 <= dropout < 1 and last >= 1):
            got, allowed = f"dropout {dropout}, size {size}", "dropout from 0 to below 1, size 16 or more"
            raise InputError("arch.args", got, allowed, "Use 0 for no dropout, or larger images.")
        self.size, self.channels_in = size, channels_in
        maps = [channels_in, *scaled(_CHANNELS, width)]
        units = [maps[-1] * last**2, *scaled(_UNITS, width), classes]
        pads = (1, 1, 1, 1, 1, 0)
        self.conv = nn.ModuleList(
            Conv2d(*pair, 3, "latent", bias=False, padding=pad)
            for pair, pad in zip(itertools.pairwise(maps), pads, strict=True)
        )
        self.fc = nn.ModuleList(Linear(*pair, "latent", bias=False) for pair in itertools.pairwise(units))
        product_layers(self)[0].inputs = "real"
        self.norm = nn.ModuleList(Norm(count, statistics, affine=affine) for count in (*maps[1:], *units[1:]))
        self.act, self.dropout = GatedSign(), nn.Dropout(dropout)
        for layer in product_layers(self):
            nn.init.xavier_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        for number, conv in enumerate(self.conv):
            y = conv(x)
            x = self.act(self.norm[number](F.max_pool2d(y, 2) if number % 2 else y))
        first, second, last = self.fc
        x = self._dropped(self.act(self.norm[6](first(x.flatten(1)))))
        x = self._dropped(self.act(self.norm[7](second(x))))
        return self.norm[8](last(x))

    def _dropped(self, x: Tensor) -> Tensor:
        """Return signs or 0, without the factor of dropout: the original takes the sign of the rest."""
        return self.dropout(x) * (1 - self.dropout.p) if self.training else x
