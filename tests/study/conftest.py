"""A small study that is quick to run, and its results."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imc_sim.data import _fingerprint
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

_list_once = functools.cache(_fingerprint.list_part)


@pytest.fixture
def listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """List the 32,460 files of omniglot once for many tests of shipped studies, not in each."""
    monkeypatch.setattr(_fingerprint, "list_part", _list_once)


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Return 2 cases x 3 values x 6 chips, and 2 digital baselines."""
    return {
        "name": "small",
        "model": "batmann_5w1s_xnor",
        "chip": "rram_hfo2_1t1r",
        "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
        "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.2, 0.4]}],
        "cases": [{"name": "a"}, {"name": "b", "set": {"task.keys": "binary"}}],
        "chips": {"min": 6},
    }


@pytest.fixture(scope="session")
def trials_in_all() -> int:
    """Return the number of trials of `small`."""
    return 2 + 2 * 3 * 6


@pytest.fixture(scope="session")
def go(small: dict[str, Any]) -> Callable[..., Results]:
    """Return a function that runs a study (default: `small`) into a folder with the evaluator without a network."""

    def call(folder: Path, study: dict[str, Any] = small, **options: Any) -> Results:
        return run(study, folder, evaluator=stand_in_evaluator, **options)

    return call


@pytest.fixture(scope="session")
def complete(go: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return `small`, run inline; not to be written to."""
    return go(tmp_path_factory.mktemp("complete"))
