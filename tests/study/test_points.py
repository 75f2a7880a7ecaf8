"""Trials are identified by all that affects them, also by what an architecture states and its weights do not."""

from __future__ import annotations

from pathlib import Path

import torch

from imc_sim.nn.networks import BinaryActivationNet
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.study import load_study
from imc_sim.study._points import points_of


def put(folder: Path, **args: object) -> str:
    """Save the same weights with these arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = BinaryActivationNet("1a", size=8, binary=[1])
    arch = Arch(name="binact", args={"layout": "1a", "size": 8, "binary": [1], **args})
    save_model(folder, network, ModelCard(name=folder.name, summary="test", arch=arch))
    return str(folder)


def ids(model: str) -> tuple[str, str]:
    study = load_study({
        "name": "s", "model": model, "chip": "ideal", "task": {"kind": "classification", "dataset": "digits"},
        "cases": [{"name": "all", "set": {"chip.policy.float": "digital"}}],
    })  # fmt: skip
    (point,) = points_of(study)
    return point.trial(0).id, point.reference().trial(-1).id


def test_equal_weights_with_other_neurons_are_other_trials(tmp_path: Path) -> None:
    one, same = put(tmp_path / "one", stochastic=False), put(tmp_path / "same", stochastic=False)
    other = put(tmp_path / "other", stochastic=True)
    assert ids(one) == ids(same)
    assert not set(ids(one)) & set(ids(other))
