"""Convolutional classifiers with float weights and binary activations.

Source: DejasDejas/Pytorch_CNN_vanilla_binary_weights (2020), after Wizaron/binary-stochastic-neurons.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._block import ConvBlock
from imc_sim.nn._checks import check_choice, check_size
from imc_sim.nn._layers import Conv2d, Linear
from imc_sim.nn._norm import Norm
from imc_sim.nn.neurons import Estimator, HardSigmoid, activation, check_blocks

Down = Literal["pool", "stride"]
Otherwise = Literal["relu", "hard_sigmoid"]
OTHERWISE: dict[Otherwise, type[nn.Module]] = {"relu": nn.ReLU, "hard_sigmoid": HardSigmoid}
_DROP = 0.5


@dataclass(frozen=True)
class Layout:
    """Describe a published network: kernel, maps of every block, how they are halved, image size, hidden units and
    activation of the blocks that are not binary.
    """

    kernel: int
    maps: tuple[int, ...]
    down: Down
    size: int
    hidden: int = 0
    otherwise: type[nn.Module] = nn.ReLU


#: the published networks: 1A and 1B for digits of 28 pixels, 2A and 2B for characters of 105
LAYOUTS: dict[str, Layout] = {
    "1a": Layout(5, (16, 32), "pool", 28, otherwise=HardSigmoid),
    "1b": Layout(3, (10, 20), "stride", 28),
    "2a": Layout(3, (64, 64, 64, 64), "stride", 105),
    "2b": Layout(3, (64, 128, 256, 512, 512), "stride", 105, hidden=4096),
}


@final
class BinaryActivationNet(nn.Module):
    """Classify images [batch, channels_in, size, size] into logits [batch, classes].

    Args:
        layout: `1a` (two blocks of 5 x 5 with 16 and 32 maps), `1b` (3 x 3 with 10 and 20 maps), `2a` (four blocks of
            64 maps) or `2b` (five blocks of 64 to 512 maps, then 4,096 hidden units).
        binary: Numbers of the blocks, from 1, that end in a binary activation.
        estimator: Its estimator, see `BinaryActivation`.
        stochastic: Sample it at inference.
        down: How maps are halved, `pool` (max-pooling by 2) or `stride` (of the convolution); None for the layout's.
        mixt: Two parallel branches of half the maps, one with the binary blocks, one without.
        bias: Add biases to the convolutions.
        classes: Number of classes; None for the layout's, 10 or 1,623.
        channels_in: Channels of the images.
        size: Pixels a side; None for the layout's, 28 or 105.
        otherwise: Activation of the other blocks, `relu` or `hard_sigmoid`; None for a hard sigmoid in layout 1a, else
            ReLU. Networks 1B of April 2020 have hard sigmoids.
    """

    def __init__(
        self, layout: str = "1a", binary: Sequence[int] = (), estimator: Estimator = "straight_through",
        stochastic: bool = False, down: Down | None = None, mixt: bool = False, bias: bool = True,
        classes: int | None = None, channels_in: int = 1, size: int | None = None, otherwise: Otherwise | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.layout", layout, LAYOUTS)
        form = LAYOUTS[layout]
        if otherwise is not None:
            check_choice("arch.otherwise", otherwise, OTHERWISE)
            form = replace(form, otherwise=OTHERWISE[otherwise])
        if down is not None:
            check_choice("arch.down", down, ("pool", "stride"))
            form = replace(form, down=down)
        self.size, self.channels_in = form.size if size is None else size, channels_in
        wanted = check_blocks(binary, len(form.maps), estimator)
        side = _side(form, self.size)
        maps = [m // 2 for m in form.maps] if mixt else list(form.maps)
        kinds = (wanted, ()) if mixt else (wanted,)
        self.branches = nn.ModuleList(
            _branch(form, [channels_in, *maps], kind, estimator, stochastic, bias) for kind in kinds
        )
        width = len(kinds) * maps[-1] * side**2
        self.hidden = Linear(width, form.hidden) if form.hidden else None
        self.fc = Linear(form.hidden or width, classes or (10 if form.size == 28 else 1623))

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels_in, self.size)
        x = torch.cat([torch.flatten(branch(x), 1) for branch in self.branches], 1)
        if self.hidden is not None:
            x = F.dropout(F.relu(self.hidden(x)), _DROP, self.training)
        return self.fc(x)


def _side(form: Layout, size: int) -> int:
    """Return the pixels a side after the last block: pooling drops a remainder, a strided convolution keeps it."""
    for _ in form.maps:
        size = size // 2 if form.down == "pool" else (size + 1) // 2
    if size < 1:
        raise InputError("arch.size", size, f"pixels enough for {len(form.maps)} halvings", "Use larger images.")
    return size


def _branch(
    form: Layout, maps: list[int], binary: Sequence[int], estimator: Estimator, stochastic: bool, bias: bool
) -> nn.Sequential:
    """Return the blocks of one branch."""
    pool, stride = (2, 1) if form.down == "pool" else (1, 2)
    blocks = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(maps), 1):
        conv = Conv2d(inputs, outputs, form.kernel, bias=bias, stride=stride, padding=form.kernel // 2)
        act = activation(number, binary, estimator, stochastic, form.otherwise)
        blocks.append(ConvBlock(conv, Norm(outputs), pool, act))
    return nn.Sequential(*blocks)
