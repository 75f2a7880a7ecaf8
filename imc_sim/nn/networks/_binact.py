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

from imc_sim._errors import InputError, nearest
from imc_sim.nn._block import ConvBlock
from imc_sim.nn._layers import Conv2d, Linear
from imc_sim.nn._norm import Norm
from imc_sim.nn.neurons import Estimator, HardSigmoid, activation, check_blocks

Down = Literal["pool", "stride"]
Otherwise = Literal["relu", "hard_sigmoid"]
OTHERWISE: dict[Otherwise, type[nn.Module]] = {"relu": nn.ReLU, "hard_sigmoid": HardSigmoid}
_DROP = 0.5


@dataclass(frozen=True)
class Layout:
    """kernel, maps of every block, how a block halves its map, pixels a side, hidden units, what is not binary."""

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
    """Images [batch, channels_in, size, size] -> logits [batch, classes].

    layout: `1a` (two blocks of 5 x 5, 16 and 32 maps; what is not binary is a hard sigmoid), `1b` (3 x 3, 10 and 20
    maps), `2a` (four blocks of 64 maps), `2b` (64 to 512 maps in five blocks, then 4,096 hidden units). down: `pool`
    (max-pooling by 2) or `stride` (in the convolution); None: as the layout was published. binary: numbers of the
    blocks that end in a binary activation of that `estimator`, `stochastic` or not. mixt: two branches of half the
    maps side by side, one with the binary blocks, one without. bias: of the convolutions. size, classes: None for
    those of the layout (28 pixels and 10 classes, 105 and 1,623). otherwise: activation of the blocks that are not
    binary; None: a hard sigmoid in layout 1a, else ReLU. Networks 1B of April 2020 have hard sigmoids.
    """

    def __init__(
        self, layout: str = "1a", binary: Sequence[int] = (), estimator: Estimator = "straight_through",
        stochastic: bool = False, down: Down | None = None, mixt: bool = False, bias: bool = True,
        classes: int | None = None, channels_in: int = 1, size: int | None = None, otherwise: Otherwise | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if layout not in LAYOUTS:
            raise InputError("arch.layout", repr(layout), ", ".join(LAYOUTS), f"{nearest(layout, LAYOUTS)}Choose one.")
        if otherwise not in (None, *OTHERWISE):
            raise InputError("arch.otherwise", repr(otherwise), ", ".join(OTHERWISE), "Choose one, or leave it out.")
        form = LAYOUTS[layout]
        form = form if otherwise is None else replace(form, otherwise=OTHERWISE[otherwise])
        if down not in (None, "pool", "stride"):
            raise InputError("arch.down", repr(down), "pool or stride", "Choose one, or leave it out.")
        self.size, self.channels_in = form.size if size is None else size, channels_in
        wanted = check_blocks(binary, len(form.maps), estimator)
        side = _side(form, self.size, down or form.down)
        maps = [m // 2 for m in form.maps] if mixt else list(form.maps)
        kinds = (wanted, ()) if mixt else (wanted,)
        self.branches = nn.ModuleList(
            _branch(form, [channels_in, *maps], down or form.down, kind, estimator, stochastic, bias) for kind in kinds
        )
        width = len(kinds) * maps[-1] * side**2
        self.hidden = Linear(width, form.hidden) if form.hidden else None
        self.fc = Linear(form.hidden or width, classes or (10 if form.size == 28 else 1623))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.size:
            got = f"{x.shape[-2]} x {x.shape[-1]} pixels"
            raise InputError("images", got, f"{self.size} x {self.size}", f"Set task.size: {self.size}.")
        x = torch.cat([torch.flatten(branch(x), 1) for branch in self.branches], 1)
        if self.hidden is not None:
            x = F.dropout(F.relu(self.hidden(x)), _DROP, self.training)
        return self.fc(x)


def _side(form: Layout, size: int, down: Down) -> int:
    """Pixels a side after the last block: pooling drops a remainder, a strided convolution keeps it."""
    for _ in form.maps:
        size = size // 2 if down == "pool" else (size + 1) // 2
    if size < 1:
        raise InputError("arch.size", size, f"pixels enough for {len(form.maps)} halvings", "Use larger images.")
    return size


def _branch(
    form: Layout, maps: list[int], down: Down, binary: Sequence[int], estimator: Estimator, stochastic: bool, bias: bool
) -> nn.Sequential:
    pool, stride = (2, 1) if down == "pool" else (1, 2)
    blocks = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(maps), 1):
        conv = Conv2d(inputs, outputs, form.kernel, bias=bias, stride=stride, padding=form.kernel // 2)
        act = activation(number, binary, estimator, stochastic, form.otherwise)
        blocks.append(ConvBlock(conv, Norm(outputs), pool, act))
    return nn.Sequential(*blocks)
