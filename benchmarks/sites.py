"""Products of any network against layers of imc_sim.nn of the same shape, pairs in the same run.

    python benchmarks/sites.py [--rounds 5] [--chips 8]

A ratio is the processor time of the site over that of the layer, each the least of `rounds` calls in turn. `call` is
the difference of both for one small product on one chip: what watching costs.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim.analog import AnalogModel
from imc_sim.nn import Conv2d, Linear

#: kernel (0: linear), channels, pixels a side, batch
SHAPES = ((0, 64, 1, 1), (0, 512, 1, 64), (0, 1024, 1, 256), (3, 32, 16, 16), (3, 128, 14, 32), (1, 256, 14, 16))


class Signs(nn.Module):
    """A layer as others write it: signs of inputs times signs of weights."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        return F.linear(x.sign(), w) if w.ndim == 2 else F.conv2d(x.sign(), w, padding=w.shape[-1] // 2)


class Sign(nn.Module):
    """Signs of the inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sign()


def pair(kernel: int, channels: int, pixels: int, batch: int, chips: int) -> tuple[AnalogModel, AnalogModel, Tensor]:
    """Return a site and a layer of one shape on chips with device variation, and inputs."""
    chip = imc.load_chip("ideal").replace("device.programming.sigma", 0.1)
    weight = torch.randn(channels, channels, *([kernel] * 2 if kernel else [])).sign()
    x = torch.randn(batch, channels, *([pixels] * 2 if kernel else []))
    layer = (
        Conv2d(channels, channels, kernel, "latent", bias=False, padding=kernel // 2) if kernel
        else Linear(channels, channels, "latent", bias=False)
    )  # fmt: skip
    layer.weight.data.copy_(weight)
    site = imc.map_model(Signs(weight), chip, chips=chips, inputs=x)
    return site, imc.map_model(nn.Sequential(Sign(), layer), chip, chips=chips), x


def seconds(site: AnalogModel, layer: AnalogModel, x: Tensor, rounds: int, calls: int) -> tuple[float, float]:
    """Return the least processor time of a call of each."""
    found: list[list[float]] = [[], []]
    for _ in range(rounds + 1):  # the first one warms up
        for times, network in zip(found, (site, layer), strict=True):
            start = time.process_time()
            for _ in range(calls):
                network(x)
            times.append((time.process_time() - start) / calls)
    return min(found[0][1:]), min(found[1][1:])


def main() -> None:
    """Print the ratio of each shape, and the cost of a call."""
    parser = argparse.ArgumentParser(description="Compare sites with layers of imc_sim.nn.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chips", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for kernel, channels, pixels, batch in SHAPES:
        a, b = seconds(*pair(kernel, channels, pixels, batch, args.chips), args.rounds, 2)
        name = f"conv {kernel} x {kernel}, {pixels} x {pixels}" if kernel else "linear"
        print(f"{name}, {channels} channels, batch {batch}: {a / b:.2f}")
    a, b = seconds(*pair(0, 64, 1, 1, 1), args.rounds, 300)
    print(f"call: {1e6 * (a - b):.0f} us")


if __name__ == "__main__":
    main()
