"""Classifiers with binary activations as first published: names, shapes, and the published accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from imc_sim import CheckpointError
from imc_sim.evaluate import digital_accuracy
from imc_sim.mapping import import_checkpoint
from imc_sim.nn.neurons import hard_sigmoid
from imc_sim.nn.store import load_model


class Theirs(nn.Module):
    """Net 1A as its authors build it, with random weights and statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer1 = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16))
        self.layer2 = nn.Sequential(nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32))
        self.fc = nn.Linear(1568, 10)
        for norm in (self.layer1[1], self.layer2[1]):
            nn.init.normal_(norm.weight, 0.0, 1.0)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.layer1, self.layer2):
            x = hard_sigmoid(nn.functional.max_pool2d(layer(x), 2))
        return self.fc(x.flatten(1))


def test_published_names_are_translated_and_outputs_are_equal(tmp_path: Path) -> None:
    theirs = Theirs().eval()
    torch.save(theirs.state_dict(), tmp_path / "c.pt")
    with pytest.raises(
        CheckpointError, match=r"do not tell binary, stochastic;.*--arg binary=… and --arg stochastic=…"
    ):
        import_checkpoint(tmp_path / "c.pt", "binact", tmp_path / "mine")
    report = import_checkpoint(tmp_path / "c.pt", "binact", tmp_path / "mine", {"binary": []})
    assert report.card.arch.args == {
        "layout": "1a", "otherwise": "hard_sigmoid", "down": "pool", "classes": 10, "channels_in": 1, "bias": True,
        "binary": [],
    }  # fmt: skip
    x = torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "mine")(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_other_names_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 1, 5, 5)}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="layer1"):
        import_checkpoint(tmp_path / "c.pt", "binact", tmp_path / "mine")


PUBLISHED = [
    ("nonbinary", {"binary": []}, 0.9879, 0.0341),
    ("det_first_st", {"binary": [1], "stochastic": False}, 0.9865, 0.0391),
    ("det_both_st", {"binary": [1, 2], "stochastic": False}, 0.9757, 0.0745),
    ("det_last_frozen", {"binary": [2], "stochastic": False, "estimator": "frozen"}, 0.9542, 0.5570),
]


@pytest.mark.parametrize(("file", "args", "accuracy", "loss"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_weights_reach_the_published_accuracy(
    tmp_path: Path, data_root: Path, checkpoints: Path, file: str, args: dict, accuracy: float, loss: float
) -> None:
    """On all 10,000 test images, to the last printed digit."""
    path = checkpoints / f"binary_activations_mnist_{file}.pt"
    import_checkpoint(path, "binact", tmp_path / "m", args)
    found = digital_accuracy(str(tmp_path / "m"), {"kind": "classification", "dataset": "mnist", "batch": 500})
    assert found.correct == round(10_000 * accuracy)
    assert found.loss == pytest.approx(loss, abs=6e-5)


def test_published_stochastic_weights_reach_the_accuracy_measured_over_repeats(
    tmp_path: Path, data_root: Path, checkpoints: Path
) -> None:
    """98.30 to 98.45 % over repeats, widened by 3 binomial standard deviations of 0.125 points; loss 0.051 to 0.054."""
    path = checkpoints / "binary_activations_mnist_stoch_first_st.pt"
    import_checkpoint(path, "binact", tmp_path / "m", {"binary": [1], "stochastic": True})
    task = {"kind": "classification", "dataset": "mnist", "batch": 500}
    runs = [digital_accuracy(str(tmp_path / "m"), {**task, "seed": seed}) for seed in (0, 1)]
    assert all(0.9793 < run.mean < 0.9882 for run in runs)
    assert all(run.loss is not None and 0.049 < run.loss < 0.056 for run in runs)
    assert runs[0].loss != runs[1].loss
