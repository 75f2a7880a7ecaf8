"""Run the numerical tests on several instruction sets and thread counts, and print a table: `make isa`.

Libraries choose their kernels by the processor, and each kernel rounds its sums in another order. A test that demands
equal bits of two such sums passes on one machine and fails on another; this script finds it on one machine.

    python tests/isa.py [--set avx2 --set best] [--threads 1 --threads 2] [test files or folders …]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tests/exact", "tests/property", "tests/statistical", "tests/oracle", "tests/store", "tests/recorded")
#: name -> what limits oneDNN, MKL, ATen and numba; `best` leaves them to the processor
SETS = {
    "best": {},
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
        "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma",
    },
}  # fmt: skip
#: oneDNN at AVX2 aborts some backward convolutions on processors with AVX-512, and on two threads one of 1 x 1 never
#: ends; one step lower it computes them
_LOWER = {"ONEDNN_MAX_CPU_ISA": "AVX"}
#: seconds after which a test is taken for one that never ends
_LIMIT = 300
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Outcome(NamedTuple):
    """Counts of outcomes, and the names of the tests that failed."""

    counts: Counter[str]
    failed: list[str]


def run(paths: list[str], env: dict[str, str]) -> Outcome | None:
    """Run these tests in one process; return None where it was aborted or a test did not end."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow"]
    command += ["-o", f"faulthandler_timeout={_LIMIT}", "-o", "faulthandler_exit_on_timeout=true"]
    found = subprocess.run([*command, *paths], cwd=ROOT, env=env, capture_output=True, text=True)
    last = found.stdout.strip().rpartition("\n")[2]
    if found.returncode not in (0, 1, 5) or (found.returncode == 1 and not _COUNT.search(last)):
        return None  # 5: no tests were selected
    return Outcome(Counter({kind: int(n) for n, kind in _COUNT.findall(last)}), _FAILED.findall(found.stdout))


def run_all(paths: list[str], env: dict[str, str]) -> Outcome:
    """Run folders as a whole, and file by file where a library aborts the process."""
    counts: Counter[str] = Counter()
    failed: list[str] = []
    for path in paths:
        outcome = run([path], env)
        files = [path] if outcome is None and path.endswith(".py") else []
        if outcome is None and not files:
            files = sorted(str(p.relative_to(ROOT)) for p in (ROOT / path).glob("**/test_*.py"))
        for each in [outcome] if outcome is not None else [_lowered(file, env) for file in files]:
            counts += each.counts
            failed += each.failed
    return Outcome(counts, failed)


def _lowered(file: str, env: dict[str, str]) -> Outcome:
    """Run one file, on the next lower set of oneDNN where it does not end; if that fails too, it is a failure."""
    outcome = run([file], env)
    if outcome is None and "ONEDNN_MAX_CPU_ISA" in env:
        outcome = run([file], env | _LOWER)
    return outcome or Outcome(Counter(failed=1), [f"{file} (aborted, or without an end)"])


def main() -> int:
    """Run every setting; return 1 where a test failed."""
    parser = argparse.ArgumentParser(description="Run the numerical tests on several instruction sets.")
    parser.add_argument("--set", action="append", choices=sorted(SETS), dest="sets")
    parser.add_argument("--threads", action="append", type=int)
    parser.add_argument("paths", nargs="*", default=FOLDERS)
    options = parser.parse_args()
    failures: dict[str, list[str]] = {}
    print(f"{'set':6} {'threads':>7} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}", flush=True)
    for name in options.sets or SETS:
        for threads in options.threads or (1, 2):
            with tempfile.TemporaryDirectory() as cache:
                settings = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "NUMBA_CACHE_DIR": cache}
                start = time.monotonic()
                counts, failed = run_all(list(options.paths), os.environ | settings | SETS[name])
            wrong = counts["failed"] + counts["error"]
            figures = f"{counts['passed']:7} {wrong:7} {counts['skipped']:8} {time.monotonic() - start:8.0f}"
            print(f"{name:6} {threads:7} {figures}", flush=True)
            for test in failed:
                failures.setdefault(test, []).append(f"{name}, {threads}")
    for test, where in failures.items():
        print(f"FAILED {test} ({'; '.join(where)})")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
