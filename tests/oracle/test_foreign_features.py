"""Features of a published run (30 digits, 512 numbers each) in our memories, compared with its results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from imc_sim import AssociativeMemory
from imc_sim.array import Chip, load_chip
from imc_sim.nn.similarity import KeyForm, cosine, dot, key_form


@pytest.fixture(scope="module")
def found(checkpoints: Path) -> tuple[Tensor, Tensor]:
    """Return features [30, 512] and labels [30], three per digit."""
    features, labels = (np.load(checkpoints / f"batmann_mnist_a2_{what}.npy") for what in ("features", "labels"))
    return torch.from_numpy(features), torch.from_numpy(labels).long()


def left_out(similarity: Tensor, labels: Tensor) -> int:
    """Count right answers of 30: each image against the class means of the similarities [30, 30] with all others."""
    others = 1 - torch.eye(len(labels))
    members = torch.nn.functional.one_hot(labels).float()
    mean = (similarity * others) @ members / (others @ members)
    return int((mean.argmax(1) == labels).sum())


def on_chip(features: Tensor, labels: Tensor, form: KeyForm, chip: Chip, seed: int = 0) -> int:
    memory = AssociativeMemory(chip, 512, seed=seed, form=form)
    if chip.calibrates:
        memory.calibrate(features, features)
    memory.write(features, labels)
    return left_out(memory.similarity(features)[0], labels)


def test_digital_read_outs_reach_the_published_numbers(found: tuple[Tensor, Tensor]) -> None:
    features, labels = found
    assert left_out(cosine(features, features), labels) == 29
    for form in ("bipolar", "binary"):
        signs = key_form(features, form)
        assert left_out(dot(signs, signs), labels) == 28


@pytest.mark.parametrize(
    ("form", "encoding"), [("bipolar", "differential"), ("bipolar", "bnn_iii"), ("binary", "unipolar")]
)
def test_key_memories_on_cells_reach_the_digital_numbers(
    found: tuple[Tensor, Tensor], form: KeyForm, encoding: str
) -> None:
    """Ideal cells give the digital answers; phase-change cells and 8-bit ADCs at most one fewer or more."""
    features, labels = found
    chips = [load_chip(name).replace("encoding", {"kind": encoding}) for name in ("ideal", "pcm_hermes")]
    assert on_chip(features, labels, form, chips[0]) == 28
    assert all(abs(on_chip(features, labels, form, chips[1], seed) - 28) <= 1 for seed in range(5))
