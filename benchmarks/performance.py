"""Simulated chips compared with the digital network in plain float32 torch: time as a ratio, and the error.

    python benchmarks/performance.py [--rounds 7] [--threads 1] [--clock cpu] [--only memory] [--smoke]

Each number is the median of pairs of calls in turn, in one process. `--clock cpu` counts the processor time of this
process instead of the wall time, for machines that others use too and one thread only. error: root mean square of the
difference to the same cells, inputs and ADCs in float64, over the root mean square of those results. `--smoke` runs
every line once at a size that says nothing about speed.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import torch
from _common import Clock, plain_controller, ratio
from torch import Tensor, nn

import imc_sim as imc
from imc_sim.analog import AnalogModel
from imc_sim.array import Chip, Crossbar, kernel_name, why_not_compiled
from imc_sim.array._compiled import _product
from imc_sim.evaluate._whole_numbers import in_whole_numbers

Compute = Literal["float32", "int16", "int8"]
COMPUTE: tuple[Compute, ...] = ("float32", "int16", "int8")
ADC = {"kind": "auto", "bits": 8}
CHIP = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.1)
#: all effects; wires are solved when cells are programmed, which is not in the time
EFFECTS: dict[str, object] = {
    "device.read.sigma": 0.02,
    "device.faults.stuck_lrs": 0.005,
    "device.faults.stuck_hrs": 0.005,
    "device.time": {"t_s": 3600.0, "drift": {"nu": 0.01, "nu_std": 0.003, "t0_s": 1.0}},
    "wires": {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 1.0},
}


@dataclass(frozen=True)
class Size:
    """Sizes of all parts."""

    chips: int = 16
    images: int = 100
    width: int = 128
    keys: int = 500
    dim: int = 512
    batch: int = 64
    images_per_call: int = 25


@dataclass(frozen=True)
class Work:
    """One line: the timed work and its reference, the bar of the ratio, and the error of the result."""

    label: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    bar: float | None
    error: Callable[[], float]


def relative(y: Tensor, truth: Tensor) -> float:
    """Return the root mean square of the difference over that of the true values."""
    y, truth = y.double(), truth.double()
    return float((y - truth).square().mean().sqrt() / truth.square().mean().sqrt())


def in_float64(analog: AnalogModel) -> AnalogModel:
    """Return the same cells with all products in float64."""
    for layer in analog.analog_layers.values():
        layer._single = False
        layer.program(analog.chips[: analog.block])
    return analog


def controllers(size: Size) -> tuple[nn.Module, Tensor, Callable[[], Tensor]]:
    """Return the controller, its images, and a forward pass of the plain network of the same shape."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = imc.nn.networks.BatmannController("xnor", width=size.width).eval()
        images = torch.randn(size.images, 1, 32, 32)
    plain, yardstick = plain_controller(size.width), images.to(memory_format=torch.channels_last)
    return model, images, lambda: plain(yardstick)


def controller(size: Size) -> Iterator[Work]:
    """The controller with 8-bit ADCs on every 128-row tile: chips are programmed, then evaluated on all images."""
    model, images, plain = controllers(size)
    few, numbers = images[:4], iter(range(1, 10**6))
    for compute, bar in (("float32", 1.6), ("int16", None), ("int8", 0.9)):
        chip = CHIP.replace("converter", ADC).replace("compute", compute)

        def ours(chip: Chip = chip) -> None:
            start = next(numbers) * size.chips
            analog = imc.map_model(model, chip, chips=range(start, start + size.chips))
            analog.batch = size.images_per_call or None
            analog(images)

        def error(chip: Chip = chip) -> float:
            truth = in_float64(imc.map_model(model, chip))
            return relative(imc.map_model(model, chip)(few), truth(few))

        label = f"controller, {size.chips} chips x {size.images} images, with programming, 8-bit ADCs, {compute}"
        yield Work(label, ours, lambda: [plain() for _ in range(size.chips)], bar, error)


def effects(size: Size) -> Iterator[Work]:
    """All effects on programmed chips: read noise is sampled for every sum of a tile."""
    model, images, plain = controllers(size)
    chip = CHIP.replace("converter", ADC)
    for path, value in EFFECTS.items():
        chip = chip.replace(path, value)
    analog = imc.map_model(model, chip, size.chips)
    analog.batch = size.images_per_call or None

    def error() -> float:
        one, truth = imc.map_model(model, chip), in_float64(imc.map_model(model, chip))
        return relative(one(images[:1]), truth(images[:1]))

    label = f"controller, {size.chips} chips x {size.images} images, all effects and exact wires, float32"
    yield Work(label, lambda: analog(images), lambda: [plain() for _ in range(size.chips)], 2.5, error)


def digital(size: Size) -> Iterator[Work]:
    """The digital controller, as evaluations compute it: products of -1 and 1 in whole numbers."""
    model, images, plain = controllers(size)
    forward = in_whole_numbers(model, 10**6, size.images)
    for _ in range(2):  # compared with torch
        forward(images)
    label = f"controller, digital network, {size.images} images, in whole numbers"
    error = lambda: relative(forward(images), model(images))  # noqa: E731
    yield Work(label, lambda: forward(images), plain, None, error)


def memory(size: Size) -> Iterator[Work]:
    """Write keys and search with as many queries, compared with the product of their signs."""
    generator = torch.Generator().manual_seed(1)
    keys, queries = (torch.randn(size.keys, size.dim, generator=generator) for _ in range(2))
    labels = torch.arange(size.keys) // 5
    signs = imc.nn.two_valued(keys), imc.nn.two_valued(queries)
    for compute, draws, bar in (
        ("float32", "cells", 1.5), ("int16", "cells", None), ("int8", "cells", 0.9), ("int8", "pairs", None),
    ):  # fmt: skip
        chip = imc.load_chip("rram_hfo2_1t1r").replace("compute", compute).replace("draws", draws)
        held = imc.AssociativeMemory(chip, dim=size.dim)

        def ours(held: imc.AssociativeMemory = held) -> None:
            held.write(keys, labels)
            held.similarity(queries)

        def error(chip: Chip = chip, held: imc.AssociativeMemory = held) -> float:
            held.write(keys, labels, epoch=0)
            truth = Crossbar.program(signs[0].double(), chip, layer="memory").mvm(signs[1].double())
            return relative(held.similarity(queries) * size.dim, truth)

        once = ", one sample per pair" if draws == "pairs" else ""
        label = f"memory, {size.keys} keys x {size.dim}, {size.keys} queries, with writing{once}, {compute}"
        yield Work(label, ours, lambda: signs[1] @ signs[0].T, bar, error)


def linear(size: Size) -> Iterator[Work]:
    """One programmed layer on 128-row tiles with ADCs."""
    generator = torch.Generator().manual_seed(2)
    w, x = (imc.nn.two_valued(torch.randn(n, size.dim, generator=generator)) for n in (size.dim, size.batch))
    for compute in COMPUTE:
        chip = CHIP.replace("converter", ADC).replace("compute", compute)
        bar = Crossbar.program(w, chip)
        truth = Crossbar.program(w.double(), chip)
        label = f"linear layer {size.dim} x {size.dim}, batch {size.batch}, 8-bit ADCs, {compute}"
        yield Work(
            label, lambda bar=bar: bar.mvm(x), lambda: x @ w.T, None,
            lambda bar=bar, truth=truth: relative(bar.mvm(x), truth.mvm(x.double())),
        )  # fmt: skip


def tools(size: Size) -> Iterator[Work]:
    """Three ways to compute the tiles of a 5 x 5 convolution and their ADCs, compared with torch's convolution."""
    generator = torch.Generator().manual_seed(3)
    tiles, pixels, n = 25, 8 * size.images, size.width
    w = torch.randint(-90, 91, (n, tiles * n), generator=generator).float() / 64
    x = imc.nn.two_valued(torch.randn(pixels, tiles * n, generator=generator))
    chip = imc.load_chip("ideal").replace("tile.rows", n).replace("converter", ADC)
    chip = chip.replace("device.levels", 91).replace("compute", "int8")
    bar = Crossbar.program(w, chip)
    step = n / 127 * 90

    def by_int_mm() -> Tensor:
        whole, codes = x.to(torch.int8), torch.zeros(pixels, n)
        for t in range(tiles):
            u = torch._int_mm(  # type: ignore[reportPrivateImportUsage]
                whole[:, t * n : (t + 1) * n], packed[t]
            )
            codes.add_((u * (1 / step)).round_().clamp_(-127, 127))
        return codes

    packed = [(w[:, t * n : (t + 1) * n] * 64).to(torch.int8).T.contiguous() for t in range(tiles)]
    truth = Crossbar.program(w.double(), chip).mvm(x.double())

    def by_torch() -> Tensor:
        with mock.patch.object(_product, "why_not", return_value="switched off"):
            return bar.mvm(x)

    plain = lambda: x @ w.T  # noqa: E731
    for label, ours in (("compiled", lambda: bar.mvm(x)), ("torch, float32", by_torch), ("torch._int_mm", by_int_mm)):
        scale = step / 64 if ours is by_int_mm else 1.0  # its results are codes
        error = lambda ours=ours, scale=scale: relative(ours() * scale, truth)  # noqa: E731
        yield Work(f"{tiles} tiles of {n} x {n}, {pixels} vectors, int8, {label}", ours, plain, None, error)


PARTS: dict[str, Callable[[Size], Iterator[Work]]] = {
    "controller": controller, "effects": effects, "digital": digital,
    "memory": memory, "linear": linear, "tools": tools,
}  # fmt: skip


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=7, help="pairs per figure; works of milliseconds take ten times that"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of the compiled kernel")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--only", choices=tuple(PARTS), help="one part")
    parser.add_argument("--chips", type=int, default=Size.chips)
    parser.add_argument(
        "--images-per-call", type=int, default=Size.images_per_call, help="images per call of the chips; 0: all"
    )
    parser.add_argument("--smoke", action="store_true", help="every line once, at a size that takes seconds")
    return parser.parse_args()


def machine() -> str:
    """Return the machine and versions that the numbers belong to."""
    kernel = why_not_compiled() or kernel_name()
    return f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, kernel: {kernel}"


def keep_freed_memory() -> None:
    """Free something large, as a program that runs networks does: malloc then keeps pages that are freed later.

    Otherwise it returns them to the system, and works of milliseconds take twice as long, for new pages.
    """
    torch.zeros(6 * 2**20)


@torch.no_grad()
def main() -> int:
    """Print the table; exit 1 if a median is above its bar, except at the smoke size."""
    options: Any = arguments()
    torch.set_num_threads(options.threads)
    size = (
        Size(2, 10, 8, 40, 64, 3)
        if options.smoke
        else Size(chips=options.chips, images_per_call=options.images_per_call)
    )
    clock: Clock = time.process_time if options.clock == "cpu" else time.perf_counter
    keep_freed_memory()
    print(machine())
    print(f"{'ratio to plain float32 torch':<88}{'median':>8}{'least':>8}{'most':>8}{'bar':>6}{'error':>10}")
    failed = False
    for name, part in PARTS.items():
        if options.only not in (None, name):
            continue
        for work in part(size):
            rounds = 1 if options.smoke else options.rounds * (10 if name in ("memory", "linear") else 1)
            median, least, most = ratio(work.ours, work.plain, rounds, clock)
            bar = "-" if work.bar is None else f"{work.bar:.1f}"
            print(f"{work.label:<88}{median:8.2f}{least:8.2f}{most:8.2f}{bar:>6}{work.error():10.1e}", flush=True)
            failed |= work.bar is not None and median > work.bar and not options.smoke
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
