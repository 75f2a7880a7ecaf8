"""Members of an ensemble in one batched product a layer against one member after the other, pairs in the same run.

    python benchmarks/members.py [--rounds 15]

Figures are time batched over time one by one, of the convolutions of `benn` alone (a grouped convolution a layer holds
all members) on one thread: above 1 the members had better come one after the other, as `Ensemble` has them. The
results are compared.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from _common import ratio
from torch import Tensor

import imc_sim as imc
from imc_sim.nn import Conv2d, product_layers
from imc_sim.nn.networks import BinaryNin

#: pixels a side of what each of the seven convolutions sees
SIDES = (32, 32, 16, 16, 8, 8, 8)


def layers_of(width: float, members: int) -> list[list[Conv2d]]:
    """The convolutions of the members, layer by layer."""
    networks = [product_layers(BinaryNin("ab", width)) for _ in range(members)]
    return [[layer for layer in each if isinstance(layer, Conv2d)] for each in zip(*networks, strict=True)]


def one_by_one(layers: list[list[Conv2d]], inputs: list[list[Tensor]]) -> list[Tensor]:
    """The products of every layer, a convolution a member: [member, batch, …]."""
    return [
        torch.stack([F.conv2d(x, layer.weight, padding=layer.padding) for layer, x in zip(same, images, strict=True)])
        for same, images in zip(layers, inputs, strict=True)
    ]


def batched(layers: list[list[Conv2d]], inputs: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """The same, a grouped convolution for all members, whose channels lie side by side: [batch, member * out, …]."""
    return [
        F.conv2d(x, weight, padding=same[0].padding, groups=len(same))
        for same, x, weight in zip(layers, inputs, weights, strict=True)
    ]


def compared(width: float, members: int, batch: int, rounds: int) -> tuple[float, float, float]:
    """Median, least and largest ratio batched / one by one."""
    layers = layers_of(width, members)
    generator = torch.Generator().manual_seed(0)
    single = [
        [torch.randn(batch, layer.weight.shape[1], side, side, generator=generator) for layer in same]
        for same, side in zip(layers, SIDES, strict=True)
    ]
    side_by_side = [torch.cat(images, 1) for images in single]
    weights = [torch.cat([layer.weight for layer in same]) for same in layers]
    for each, together in zip(one_by_one(layers, single), batched(layers, side_by_side, weights), strict=True):
        torch.testing.assert_close(torch.cat(list(each), 1), together)
    return ratio(
        lambda: batched(layers, side_by_side, weights), lambda: one_by_one(layers, single), rounds
    )  # fmt: skip


@torch.no_grad()
def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs per figure")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)  # as the workers of a study have it
    torch.manual_seed(0)
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}, imc_sim {imc.__version__}")
    print("batched over one by one: median (least to largest)")
    for width, members, batch in ((0.25, 4, 25), (0.25, 8, 25), (0.25, 8, 4), (1.0, 4, 10)):
        middle, low, high = compared(width, members, batch, rounds)
        print(f"width {width:g}, {members} members, {batch:3d} images   {middle:5.2f} ({low:.2f} to {high:.2f})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
