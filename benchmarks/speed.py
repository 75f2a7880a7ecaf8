"""Speed as ratios to plain float32 torch of the same shape, measured in the same run.

    python benchmarks/speed.py [--rounds 7]

Plain torch runs in the memory format that is faster for it (channels last). Absolute times are not
shown, since they depend on the machine.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Iterator

import torch
from _common import plain_controller, ratio

import imc_sim as imc

Row = tuple[str, tuple[float, float, float], float]


def chips_of_controller(rounds: int) -> Iterator[Row]:
    """16 chips with device variation on 100 images, without programming, compared with 16 plain forwards."""
    model, plain = imc.nn.networks.BatmannController("xnor").eval(), plain_controller()
    images = torch.randn(100, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    yardstick = images.to(memory_format=torch.channels_last)
    chip = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.1)
    for label, converter, limit in (
        ("16 chips x 100 images, ideal ADCs", {"kind": "ideal"}, 1.3),
        ("16 chips x 100 images, 8 bits on every 128-row tile", {"kind": "auto", "bits": 8}, 2.2),
    ):
        analog = imc.map_model(model, chip.replace("converter", converter), chips=16)
        yield label, ratio(lambda: analog(images), lambda: [plain(yardstick) for _ in range(16)], rounds), limit  # noqa: B023


def programming(rounds: int) -> Iterator[Row]:
    """Sample the cells of one controller again, compared with one plain forward of 32 images."""
    model, plain = (
        imc.nn.networks.BatmannController("xnor").eval(),
        plain_controller(),
    )
    images = torch.randn(32, 1, 32, 32).to(memory_format=torch.channels_last)
    analog = imc.map_model(model, imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.1))
    numbers = iter(range(1, 10**6))

    def program() -> None:
        chip = next(numbers)
        analog.program(range(chip, chip + 1))

    yield "programming the controller / forward of 32 images", ratio(program, lambda: plain(images), 3 * rounds), 0.5


def search(rounds: int) -> Iterator[Row]:
    """Write 500 keys x 512 and search 500 queries, compared with the plain product."""
    generator = torch.Generator().manual_seed(1)
    keys, queries = (torch.randn(500, 512, generator=generator) for _ in range(2))
    labels = torch.arange(500) // 5
    memory = imc.AssociativeMemory("rram_hfo2_1t1r", dim=512)
    signs = imc.nn.two_valued(keys), imc.nn.two_valued(queries)

    def analog() -> None:
        memory.write(keys, labels)
        memory.similarity(queries)

    yield (
        "500 keys x 512, 500 queries, programming included",
        ratio(analog, lambda: signs[1] @ signs[0].T, 10 * rounds),
        3.0,
    )


def main() -> int:
    """Print the table; exit 1 if a median is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="pairs per figure")
    rounds = parser.parse_args().rounds
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    print(f"{'work, as a ratio to plain float32 torch':<56}{'median':>8}{'least':>8}{'most':>8}{'limit':>8}")
    worst = 0
    with torch.no_grad():
        for part in (chips_of_controller, programming, search):
            for label, (median, least, most), limit in part(rounds):
                print(f"{label:<56}{median:8.2f}{least:8.2f}{most:8.2f}{limit:8.1f}", flush=True)
                worst |= median > limit
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")
    return int(worst)


if __name__ == "__main__":
    raise SystemExit(main())
