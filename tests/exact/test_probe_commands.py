"""Probe commands: hidden weights of a finished training run, and the files of both figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pandas import read_csv

from imc_sim import InputError
from imc_sim.cli import main
from imc_sim.config import write_yaml
from imc_sim.nn import product_layers
from imc_sim.train import hidden_network, probe_folder, sign_switch, train_model
from imc_sim.train._continual import training_images

CARD = {
    "name": "tiny", "summary": "one task",
    "arch": {"name": "bnn_mlp", "args": {"inputs": 64, "hidden": [24], "statistics": "batch"}},
    "recipe": {"kind": "continual", "dataset": "digits", "epochs": 3, "batch": 20, "validation": 47, "m": 2.0,
               "tasks": [{"permutation": 0}], "test_batch": 50},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.yaml").write_text(write_yaml(CARD))
    return train_model(str(tmp_path), tmp_path / "run")


def test_hidden_weights_are_restored_with_their_signs(folder: Path) -> None:
    network, recipe = hidden_network(folder)
    assert recipe.m == 2.0
    for layer in product_layers(network):
        assert len(torch.unique(layer.weight.detach().abs())) > 100
    found = probe_folder(folder, [30, 5], images=100, draws=3, seed=4)
    assert list(found) == ["fc.0", "fc.1"]
    data = training_images(recipe, 0)
    batches = [data.batch(data.train[start : start + 50], "cpu") for start in (0, 50)]
    wanted = sign_switch(network, "fc.1", batches, 5, draws=3, seed=4)
    assert [each.mean for each in found["fc.1"]] == [each.mean for each in wanted]
    assert any(each.mean != 0 for each in wanted)


def test_commands_write_their_figures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    words = ["show", "sign-flips", str(folder), "--flips", "30", "--flips", "5", "--draws", "2", "--images", "60"]
    assert main([*words, "--out", out]) == 0
    assert main(["show", "quadratic", "--out", out]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == [
        "signs.png", "signs.svg", "signs.csv", "quadratic.png", "quadratic.svg", "quadratic_path.csv", "quadratic.csv",
    ]  # fmt: skip
    path, large = read_csv(f"{out}/quadratic_path.csv"), read_csv(f"{out}/quadratic.csv")
    assert path["w1"].iloc[-1] > 100 > 5 > path["w2"].abs().max()  # the first optimum is outside of the cube of signs
    assert np.corrcoef(large["w"].abs(), large["increase"])[0, 1] > 0.9


def test_models_without_hidden_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint"):
        hidden_network(tmp_path)
    with pytest.raises(InputError, match="one per layer"):
        probe_folder(folder, [30])
