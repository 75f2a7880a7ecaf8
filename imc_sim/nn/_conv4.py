"""Conv4: the four-block encoder of few-shot learning, in the two layouts that trained checkpoints have.

Sources: Vinyals et al., NeurIPS 2016 (matching networks) and Snell et al., NeurIPS 2017 (prototypical networks) for
`padded`; Sung et al., CVPR 2018 (relation networks) for `relation`.
"""

from __future__ import annotations

from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest
from imc_sim.nn._layers import Conv2d, Policy

Statistics = Literal["running", "batch"]
#: layout -> per block (padding of the convolution, side of the max-pooling)
LAYOUTS: dict[str, tuple[tuple[int, int], ...]] = {
    "padded": ((1, 2), (1, 2), (1, 2), (1, 2)),
    "relation": ((0, 2), (0, 2), (1, 1), (1, 1)),
}
STATISTICS: tuple[Statistics, ...] = ("running", "batch")
_KERNEL, _EPS, _MOMENTUM = 3, 1e-5, 0.1


@final
class Norm(nn.Module):
    """Batch normalisation of [batch, channels, H, W], digital.

    statistics: `running`, kept from training; `batch`, those of the images that are there, as networks are run that
    never left training mode: a feature then depends on the images beside it.
    """

    def __init__(self, channels: int, statistics: Statistics) -> None:
        super().__init__()
        self.statistics: Statistics = statistics
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        kept = (self.running_mean, self.running_var)
        if self.statistics == "batch" and not self.training:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=_EPS)
        return F.batch_norm(x, *kept, self.weight, self.bias, self.training, _MOMENTUM, _EPS)


class _Block(nn.Module):
    """Convolution 3 x 3 with bias, batch norm, ReLU, max-pooling."""

    def __init__(self, channels: tuple[int, int], padding: int, pool: int, policy: Policy, kept: Statistics) -> None:
        super().__init__()
        self.conv = Conv2d(*channels, _KERNEL, policy, padding=padding)
        self.norm, self.pool = Norm(channels[1], kept), pool

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(x, self.pool) if self.pool > 1 else x


@final
class Conv4(nn.Module):
    """Images [batch, channels_in, size, size] -> features [batch, dim]; dim = width x side of the last map squared.

    layout: `padded` (28 pixels become 14, 7, 3, 1: 64 features of 64 maps) or `relation` (13, 5, 5, 5: 1600).
    statistics: of batch normalisation, see `Norm`. policy: of the convolutions, as for every product layer.
    """

    def __init__(
        self, layout: str = "padded", width: int = 64, channels_in: int = 1, size: int = 28,
        statistics: Statistics = "running", policy: Policy = "float",
    ) -> None:  # fmt: skip
        super().__init__()
        if layout not in LAYOUTS:
            step = f"{nearest(layout, LAYOUTS)}Choose a layout."
            raise InputError("arch.layout", repr(layout), ", ".join(LAYOUTS), step)
        if statistics not in STATISTICS:
            raise InputError("arch.statistics", repr(statistics), ", ".join(STATISTICS), "Choose one.")
        self.layout, self.size, self.channels_in = layout, size, channels_in
        inputs, side = channels_in, size
        for number, (padding, pool) in enumerate(LAYOUTS[layout], 1):
            setattr(self, f"block{number}", _Block((inputs, width), padding, pool, policy, statistics))
            inputs, side = width, (side + 2 * padding - _KERNEL + 1) // pool
        if side < 1:
            raise InputError("arch.size", size, "pixels enough for four blocks", "Use larger images.")
        self.dim = width * side * side

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.size:
            got, allowed = f"{x.shape[-2]} x {x.shape[-1]} pixels", f"{self.size} x {self.size}"
            raise InputError("images", got, allowed, f"Set task.size: {self.size}.")
        for number in range(1, len(LAYOUTS[self.layout]) + 1):
            x = self.get_submodule(f"block{number}")(x)
        return torch.flatten(x, 1)
