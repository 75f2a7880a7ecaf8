"""The overhead of a study: its time over that of the same chips in a loop without a runner.

    python benchmarks/runner.py [--chips 1000] [--rounds 3] [--batch 1] [--smoke]

The loop does for each chip what a script without a runner would do: sample cells, run the controller on all images,
and write and search the keys of every episode. The study does the same, and also stores, flushes to disk, counts and
tabulates each chip. Its time is that of the whole call, including the specification and the table. It computes one chip
at a time like the loop, unless `--batch` is set. Loop and study take turns, and both must count the same number of
right answers on every chip.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import imc_sim as imc
from imc_sim.evaluate import FewShotData, FewShotTask, features_of
from imc_sim.evaluate._read_out import accuracy_of, crossbar_answers
from imc_sim.evaluate._sampled_chips import SampledChips

BAR = 1.15
MODEL, SIGMA = "batmann_small_xnor", 0.3
TASK = {
    "kind": "few_shot", "dataset": "glyphs", "split": "test", "way": 5, "shot": 1, "queries": 4, "classes": 40,
    "instances": 5, "rotations": False, "keys": "bipolar", "similarity": "dot",
}  # fmt: skip


def study(chips: int, episodes: int) -> dict[str, Any]:
    """Return a study of one point with that many chips."""
    base = imc.load_study("quickstart").to_dict()
    case = {"name": "on RRAM", "set": {"chip.device.programming.sigma": SIGMA}}
    changes = {"name": "overhead", "model": MODEL, "axes": [], "cases": [case], "chips": {"min": chips}}
    return base | changes | {"task": TASK | {"episodes": episodes}}


def in_a_study(chips: int, episodes: int, batch: int = 1) -> tuple[float, list[int]]:
    """Return the seconds of the whole call, and the right answers of every chip."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        results = imc.run(study(chips, episodes), Path(folder, "x"), batch=batch)
        seconds = time.perf_counter() - started
        rows = [json.loads(line) for line in (results.folder / "trials.jsonl").read_text().splitlines()]
    return seconds, [row["correct"] for row in sorted(rows, key=lambda row: row["chip"]) if row["chip"] >= 0]


def in_a_loop(chips: int, episodes: int) -> tuple[float, list[int]]:
    """Return the seconds of a loop over the chips, and the right answers of every chip."""
    started = time.perf_counter()
    model = imc.load_model(MODEL)
    chip = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", SIGMA)
    task = FewShotTask(**TASK, episodes=episodes)
    data = FewShotData.load(task)
    found = []
    for number in range(chips):
        one = SampledChips(chip, range(number, number + 1), 0)
        features = features_of(one.program(model)[0], data.images, task.batch)
        found += [accuracy_of(each, task, data) for each in crossbar_answers(features, task, data, one)[0]]
    return time.perf_counter() - started, [accuracy.correct for accuracy in found]


def main() -> int:
    """Print the table; exit 1 if the median is above the bar, or a chip differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chips", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of a study and a loop")
    parser.add_argument("--batch", type=int, default=1, help="chips per batch of the study")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="three chips, once; says nothing about speed")
    options = parser.parse_args()
    chips, rounds = (3, 1) if options.smoke else (options.chips, options.rounds)
    in_a_loop(2, options.episodes)
    in_a_study(2, options.episodes)
    print(f"{MODEL}, {options.episodes} episodes; {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'round':>6}{'ratio, study of ' + str(chips) + ' chips over as many single chips':>64}")
    ratios = []
    for number in range(1, rounds + 1):
        (loop_s, expected), (study_s, found) = (
            in_a_loop(chips, options.episodes),
            in_a_study(chips, options.episodes, options.batch),
        )
        if found != expected:
            print("a chip of the study differs from the same chip of the loop")
            return 1
        ratios.append(study_s / loop_s)
        print(f"{number:>6}{ratios[-1]:>64.3f}", flush=True)
    print(f"median {statistics.median(ratios):.3f}, bar {BAR}")
    return int(statistics.median(ratios) > BAR and not options.smoke)


if __name__ == "__main__":
    raise SystemExit(main())
