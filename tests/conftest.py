"""Settings and fixtures for every test."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# Before torch is loaded, here and in programs that tests start: the workers of xdist share the processors.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import pytest
import torch

from imc_sim.runs import WORKER_NAME, _processes
from tests.warm import start_worker

# Collecting 12,000 tests makes no garbage, but garbage collections of all of them take seconds.
gc.disable()
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# About a hundred programs that tests start load this package: it is compiled once, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples in every run; HYPOTHESIS_PROFILE=explore looks for others.
# No deadline: the duration of an example depends on the load of the machine.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", derandomize=False, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes of files by their parameter: packers add the time, and all workers must collect the same names."""
    return argname if isinstance(val, bytes) and len(val) > 8 else None


def pytest_collection_finish() -> None:
    """Leave the tests and what they import out of every later garbage collection."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skipif(True, reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def trusted_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trust the code of the cards that tests write."""
    os.environ["IMC_SIM_TRUST"] = str(tmp_path_factory.getbasetemp())


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork worker processes from one that has imported the package; otherwise each imports it for seconds."""
    monkeypatch.setattr(_processes, "_start", lambda: start_worker(_processes._work, WORKER_NAME))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


def _folder(variable: str, what: str, held: str = "") -> Path:
    """Return the folder that an environment variable names; skip where it, or what it should hold, is missing."""
    folder = os.environ.get(variable, "")
    if not folder or not Path(folder, held).is_dir():
        pytest.skip(f"needs {what}: set {variable} to their folder{f', which holds {held}' if held else ''}")
    return Path(folder)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of the real data sets."""
    return _folder("IMC_SIM_DATA", "the real data sets", "omniglot-py")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Return the folder of reference vectors."""
    return _folder("IMC_SIM_REFERENCE", "the reference vectors")


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """Return the folder of weights that other projects trained."""
    return _folder("IMC_SIM_CHECKPOINTS", "the checkpoints of other projects")
