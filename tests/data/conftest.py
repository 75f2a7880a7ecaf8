"""Decoded copies are stored in a folder of the test run; real sets are used where IMC_SIM_DATA points to them."""

import os
from pathlib import Path

import pytest

_FOLDERS = {
    "omniglot": "omniglot-py/images_background",
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "usps": "USPS",
    "cifar10": "cifar-10-batches-bin",
}


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture(autouse=True)
def _own_cache(session_cache, monkeypatch):
    monkeypatch.setenv("IMC_SIM_CACHE", str(session_cache))


@pytest.fixture
def real_root():
    """Return a function that returns the data root of a real set, or skips with the reason."""

    def find(name):
        root = os.environ.get("IMC_SIM_DATA")
        if not root:
            pytest.skip(f"IMC_SIM_DATA is not set, so the real {name} is not at hand")
        if not (Path(root) / _FOLDERS[name]).is_dir():
            pytest.skip(f"{name} does not lie under IMC_SIM_DATA ({root})")
        return Path(root)

    return find
