"""Event-driven products compared with dense ones, pairs in the same run: below which density of spikes they are faster.

    python benchmarks/events.py [--rounds 15]

Numbers are dense time over event time; above 1 events are faster. They are the least processor times of `rounds` calls
of each in turn, since other work of the machine is long compared with such short calls. Ratios only: absolute times
depend on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

import imc_sim as imc
from imc_sim.nn import Conv2d, EventProduct, Linear, product_layers
from imc_sim.nn.networks import BitNet, firing_rates

DENSITIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
#: layers of BitNet at scale 1, and the widest convolution at scale 4: batch, then the layer's input
LAYERS: tuple[tuple[str, Callable[[], Conv2d | Linear], tuple[int, ...]], ...] = (
    ("conv 64 -> 64, 32 x 32", lambda: Conv2d(64, 64, 3, padding=1), (8, 64, 32, 32)),
    ("conv 64 -> 128, 16 x 16", lambda: Conv2d(64, 128, 3, padding=1), (8, 64, 16, 16)),
    ("conv 128 -> 256, 8 x 8", lambda: Conv2d(128, 256, 3, padding=1), (8, 128, 8, 8)),
    ("conv 256 -> 512, 8 x 8", lambda: Conv2d(256, 512, 3, padding=1), (8, 256, 8, 8)),
    ("conv 1024 -> 2048, 8 x 8", lambda: Conv2d(1024, 2048, 3, padding=1), (2, 1024, 8, 8)),
    ("linear 8192 -> 10", lambda: Linear(8192, 10), (8, 8192)),
    ("linear 8192 -> 1000", lambda: Linear(8192, 1000), (8, 8192)),
)


def gain(dense: Callable[[], object], events: Callable[[], object], rounds: int) -> float:
    """Return the quickest dense over the quickest event-driven call, after one warm-up of each."""
    dense()
    events()
    times = [(_seconds(dense), _seconds(events)) for _ in range(rounds)]
    return min(t for t, _ in times) / min(t for _, t in times)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def gains(layer: Conv2d | Linear, shape: tuple[int, ...], rounds: int) -> Iterator[float]:
    """Yield dense time over event time at each density."""
    generator = torch.Generator().manual_seed(0)
    events = EventProduct(layer)
    for density in DENSITIES:
        x = (torch.rand(*shape, generator=generator) < density).float()
        if x.ndim == 4:  # in the layout of the layer before
            x = x.contiguous(memory_format=torch.channels_last)
        yield gain(lambda: layer(x), lambda: events(x), rounds)  # noqa: B023


def crossing(found: list[float]) -> str:
    """The density at which both take the same time, between the two neighbours that part them (log-log)."""
    if found[0] < 1.0:
        return f"< {DENSITIES[0]:.1%}"
    for (below, above), (left, right) in zip(pairwise(DENSITIES), pairwise(found), strict=True):
        if right < 1.0 <= left:
            share = torch.log(torch.tensor(left)) / torch.log(torch.tensor(left / right))
            return f"{below * (above / below) ** float(share):.1%}"
    return f"> {DENSITIES[-1]:.0%}"


def quiet_network(target: float, images: Tensor) -> tuple[BitNet, BitNet, float]:
    """BitNet at scale 1, dense and with events, its biases lowered until about `target` of the inputs are active."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dense = BitNet(1, steps=8).eval()
    for layer in product_layers(dense):
        layer.weight.mul_(4.0)
    for number, name in enumerate(("conv1", "conv2", "conv3", "conv4", "conv5")):
        bias = dense.get_submodule(name).bias
        low, high = -8.0, 2.0
        for _ in range(8):
            bias.fill_((low + high) / 2)  # type: ignore[operator, union-attr]
            active = firing_rates(dense, images)[number + 1].active_inputs
            low, high = (low, (low + high) / 2) if active > target else ((low + high) / 2, high)
    events = BitNet(1, steps=8, events=True).eval()
    events.load_state_dict(dense.state_dict())
    reached = [row.active_inputs for row in firing_rates(dense, images)[1:]]
    return dense, events, sum(reached) / len(reached)


@torch.no_grad()
def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs per figure")
    rounds = parser.parse_args().rounds
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}, imc_sim {imc.__version__}")
    print(
        "".join([f"{'dense over events, at a share of spikes of':<44}", *(f"{d:>8.1%}" for d in DENSITIES), "   even"])
    )
    for label, make, shape in LAYERS:
        found = list(gains(make().eval(), shape, rounds))
        print("".join([f"{label + f', batch {shape[0]}':<44}", *(f"{f:8.2f}" for f in found), f"{crossing(found):>7}"]))
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for target in (0.02, 0.05, 0.1, 0.2):
        dense, events, reached = quiet_network(target, images)
        found = gain(lambda: dense(images), lambda: events(images), max(1, rounds // 3))  # noqa: B023
        print(f"{f'BitNet s = 1, 8 steps, {reached:.1%} of inputs active':<44}{found:8.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
