"""Speed-up of two worker processes over one, on the same study.

    python benchmarks/scaling.py [--rounds 3] [--executor process] [--chips 12]

Runs of one and of two workers take turns, each with a new folder and new processes. Rates are from the end of the first
trials, when the workers have started and loaded their data, to the end of the last. Two busy loops without any memory,
timed before and after each pair, measure the speed-up that the machine allows now: 2 on two free cores. On a machine
that others use, the limit applies to the share of that.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imc_sim as imc
from imc_sim.study import Progress

LIMIT = 1.7
SPIN = "import time\nn = 0\nend = time.monotonic() + {seconds}\n"
SPIN += "while time.monotonic() < end:\n    n += 1\nprint(n)"


def study(chips: int) -> dict[str, object]:
    """Return a study of accuracy against device variation, as in the quick start, with `chips` per point."""
    base = imc.load_study("quickstart").to_dict()
    axis = {"path": "chip.device.programming.sigma", "values": [0.1, 0.3, 0.5, 0.7]}
    return base | {"name": "scaling", "axes": [axis], "chips": {"min": chips}, "task": base["task"] | {"episodes": 40}}


def rate(executor: str, workers: int, chips: int) -> tuple[float, str]:
    """Return trials per second, and the digest of the results."""
    seen: list[tuple[float, int]] = []

    def watch(progress: Progress) -> None:
        seen.append((time.perf_counter(), progress.done))

    with tempfile.TemporaryDirectory() as folder:
        results = imc.run(study(chips), Path(folder, "x"), executor, workers, watch, batch=2)
    # Every worker has delivered its first batch once a few more batches than workers are in.
    started = next(k for k, (_, done) in enumerate(seen) if done > 2 * workers)
    (begin, first), (end, last) = seen[started], seen[-1]
    return (last - first) / (end - begin), results.digest


def spin(processes: int, seconds: float = 3.0) -> float:
    """Return the turns of that many busy loops together."""
    argv = [sys.executable, "-c", SPIN.format(seconds=seconds)]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return sum(float(process.communicate()[0]) for process in running)


def loops() -> float:
    """Return the work of two busy loops over that of one."""
    return spin(2) / spin(1)


def main() -> int:
    """Print the table; exit 1 if the median is under the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    parser.add_argument("--executor", default="process", choices=("process", "dask"))
    parser.add_argument("--chips", type=int, default=12, help="per point; a run has 4 points")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{options.executor}, {len(os.sched_getaffinity(0))} cores, load {load:.1f} before the start")
    print(f"{'round':>6}{'1 worker':>12}{'2 workers':>12}{'ratio':>8}{'busy loops':>12}{'share':>8}   (trials/s)")
    pairs: list[tuple[float, float]] = []
    digests: set[str] = set()
    for number in range(1, options.rounds + 1):
        before = loops()
        (one, first), (two, second) = (rate(options.executor, workers, options.chips) for workers in (1, 2))
        allowed = (before + loops()) / 2
        digests |= {first, second}
        ratio, share = two / one, two / one / allowed
        pairs.append((ratio, share))
        print(f"{number:>6}{one:>12.2f}{two:>12.2f}{ratio:>8.2f}{allowed:>12.2f}{share:>8.2f}", flush=True)
    ratio, share = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"median {ratio:.2f}, {100 * share:.0f} % of the busy loops; {len(digests)} digest of results")
    print(f"required: {LIMIT} on two free cores, {100 * LIMIT / 2:.0f} % on others")
    return int((ratio < LIMIT and share < LIMIT / 2) or len(digests) != 1)


if __name__ == "__main__":
    raise SystemExit(main())
