"""Compiled code that cannot be cached gives the same results, with one warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

PROGRAM = """
import warnings
from numba.core.caching import CacheImpl

CacheImpl._locator_classes = []  # as numba finds it where no folder can be written
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from imc_sim._rng import Stream
    numbers = Stream(3, "l", "s").normal(2**17, 0)
    from imc_sim import _philox
    assert _philox.pairs_in_pool.stats.cache_path is None
    warned = [str(w.message) for w in caught if "Compiled code cannot be kept" in str(w.message)]
print(len(warned), numbers.sum())
"""


def test_a_read_only_installation_computes_the_same_and_warns_once(repository: Path) -> None:
    from imc_sim._rng import Stream

    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, cwd=repository, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", str(Stream(3, "l", "s").normal(2**17, 0).sum())]
