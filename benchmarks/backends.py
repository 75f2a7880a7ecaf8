"""Backends: time of the MemTorch backend over this package's own for the same work, pairs in the same run.

    python benchmarks/backends.py [--rounds 5]

Needs MemTorch (`make memtorch`). Ratios only: absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from _common import ratio

import imc_sim as imc
from imc_sim.analog import AnalogModel
from imc_sim.backends.memtorch import why_not
from imc_sim.evaluate import evaluate_chips

Row = tuple[str, tuple[float, float, float]]
CONTROLLER = "batmann_small_xnor"
CHIP = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.2)
#: one chip of studies/memtorch_agreement.yaml
TASK = {
    "dataset": "glyphs", "split": "test", "episodes": 50, "classes": 40, "instances": 5, "rotations": False,
}  # fmt: skip


def programming(rounds: int) -> Iterator[Row]:
    """Sample all cells of the controller again."""
    both = [imc.map_model(imc.load_model(CONTROLLER), CHIP, engine=e) for e in ("memtorch", "native")]
    numbers = iter(range(1, 10**6))

    def program(model: AnalogModel) -> None:
        chip = next(numbers)
        model.program(range(chip, chip + 1))

    theirs, ours = both
    yield "programming the controller (6,192 weights)", ratio(lambda: program(theirs), lambda: program(ours), rounds)


def forward(rounds: int) -> Iterator[Row]:
    """Run a programmed controller on 50 images."""
    images = torch.randn(50, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    model = imc.load_model(CONTROLLER)
    theirs, ours = (imc.map_model(model, CHIP, engine=e) for e in ("memtorch", "native"))
    yield "forward of 50 images", ratio(lambda: theirs(images), lambda: ours(images), rounds)


def with_adcs(rounds: int) -> Iterator[Row]:
    """Run a programmed linear layer on tiles with ADCs."""
    chip = imc.load_chip("ideal").replace("tile", {"rows": 64, "cols": 64})
    chip = chip.replace("converter", {"kind": "auto", "bits": 8, "range": "calibrated"})
    weights = imc.nn.two_valued(torch.randn(128, 256, generator=torch.Generator().manual_seed(1)))
    x = torch.randn(200, 256, generator=torch.Generator().manual_seed(2))
    from imc_sim.backends.memtorch import MemTorchCrossbar

    ours = imc.Crossbar.program(weights, chip)
    ours.set_limits(*ours.tiled.profile(lambda rows: x[:, rows]))
    theirs = MemTorchCrossbar.program(weights, chip)
    yield "256 x 128 with 8 bits on every tile, 200 inputs", ratio(lambda: theirs.mvm(x), lambda: ours.mvm(x), rounds)


def trial(rounds: int) -> Iterator[Row]:
    """Evaluate one chip of the agreement study: the controller, and the memory rewritten in each of 50 episodes."""
    numbers = iter(range(10**6))

    def one(engine: str) -> None:
        evaluate_chips(CONTROLLER, CHIP.to_dict(), TASK, [next(numbers)], 0, engine=engine)

    yield "one chip of the agreement study", ratio(lambda: one("memtorch"), lambda: one("native"), rounds)


def main() -> int:
    """Print the table; exit 0 without MemTorch, which is an extra."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs per figure")
    rounds = parser.parse_args().rounds
    if why_not():
        print(f"left out: {why_not()} (make memtorch)")
        return 0
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    print(f"{'work, MemTorch 1.1.6 over imc_sim':<56}{'median':>8}{'least':>8}{'most':>8}")
    for part in (programming, forward, with_adcs, trial):
        for label, (median, least, most) in part(rounds):
            print(f"{label:<56}{median:8.1f}{least:8.1f}{most:8.1f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
