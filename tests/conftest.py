"""Settings and fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is loaded, here and in programs that tests start: the workers of xdist share the processors.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

# The same examples in every run, as every statistical test has its key; HYPOTHESIS_PROFILE=explore looks for others.
# No deadline: how long an example takes says how busy the machine is.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", derandomize=False, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skipif(True, reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real data sets; skips where it is not."""
    folder = os.environ.get("IMC_SIM_DATA", "")
    if not folder or not Path(folder, "omniglot-py").is_dir():
        pytest.skip("needs the real data sets: set IMC_SIM_DATA to a folder that holds omniglot-py, MNIST, …")
    return Path(folder)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference vectors; skips where it is not."""
    folder = os.environ.get("IMC_SIM_REFERENCE", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the reference vectors: set IMC_SIM_REFERENCE to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """The folder of weights of other projects, which are not part of this one; skips where it is not."""
    folder = os.environ.get("IMC_SIM_CHECKPOINTS", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the checkpoints of other projects: set IMC_SIM_CHECKPOINTS to their folder")
    return Path(folder)
