"""Training as ratios: the metaplastic optimizer over torch's Adam, and the memory of gradients of spiking networks.

    python benchmarks/training.py [--rounds 9] [--threads 1]

The first table is the time of one step of a matrix over that of torch.optim.Adam on the same matrix, in turn. The
second is the memory of autograd for one gradient step of a BITnet on CIFAR-10 images, without weights, by the number of
time steps: all steps stored, or recomputed in the backward pass (`memory: recompute`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Literal

import torch
from _common import ratio
from torch import Tensor, nn

from imc_sim.nn.networks import BitNet
from imc_sim.nn.spiking import rate_loss
from imc_sim.train import MetaplasticAdam

_MEMORIES: tuple[Literal["steps", "recompute"], ...] = ("steps", "recompute")
#: settings of the published networks
_ADAM = {"lr": 5e-3, "weight_decay": 1e-7}


class Kept:
    """Count the bytes of tensors kept for a backward pass: now and at the peak."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def keep(self, tensor: Tensor) -> _Held:
        return _Held(self, tensor)


class _Held:
    def __init__(self, count: Kept, tensor: Tensor) -> None:
        self.tensor, self.count = tensor, count
        self.bytes = 0 if isinstance(tensor, nn.Parameter) else tensor.numel() * tensor.element_size()
        count.now += self.bytes
        count.peak = max(count.peak, count.now)

    def __del__(self) -> None:
        self.count.now -= self.bytes


def optimizer_step(size: int, make: Callable[..., torch.optim.Optimizer], **more: Any) -> Callable[[], object]:
    """Return one step of a size x size matrix that has a gradient."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(size, size, generator=generator) * 0.1)
    weight.grad = torch.randn(size, size, generator=generator)
    return make([weight], **_ADAM, **more).step


def kept_bytes(memory: Literal["steps", "recompute"], steps: int, images: int) -> int:
    """Return the peak of a whole gradient step of BITnet6 at scale 1/4."""
    torch.manual_seed(0)
    model = BitNet(scale=0.25, training_steps=steps, memory=memory).train()
    count = Kept()
    with torch.autograd.graph.saved_tensors_hooks(count.keep, lambda held: held.tensor):
        rate_loss(model(torch.randn(images, 3, 32, 32)), torch.arange(images) % 10).backward()
    return count.peak


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="at a size that takes seconds")
    options: Any = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"step of MetaplasticAdam / torch.optim.Adam, {options.threads} thread{'s' * (options.threads > 1)}")
    for size in (64,) if options.smoke else (512, 1024, 4096):
        for m in (0.0, 1.35):
            found = ratio(
                optimizer_step(size, MetaplasticAdam, m=m), optimizer_step(size, torch.optim.Adam), options.rounds
            )
            print(f"{size} x {size}, m = {m:<5}  {found[0]:.2f}  ({found[1]:.2f} to {found[2]:.2f})")
    images = 1 if options.smoke else 16
    print(f"kept for the gradient, MiB, {images} images")
    for steps in (1, 2) if options.smoke else (1, 4, 16, 64):
        sizes = (kept_bytes(memory, steps, images) / 2**20 for memory in _MEMORIES)
        print(f"{steps:>3} steps  all kept {next(sizes):8.1f}  recomputed {next(sizes):8.1f}")


if __name__ == "__main__":
    main()
