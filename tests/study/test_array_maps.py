"""A measured map as the chip of studies and commands: identity, copies, and errors before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import imc_sim as imc
from imc_sim import InputError
from imc_sim.cli import main
from imc_sim.config import write_yaml
from imc_sim.nn.networks import BnnMlp
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.study import Results, load_study, points_of, run

TASK = {"kind": "classification", "dataset": "digits", "split": "test", "images": 60}
USE = "chip.device.programming.use"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a network of 64 x 32 and 16 x 20 cells, and two maps of 80 x 64 cells in both states."""
    home = tmp_path_factory.mktemp("lab")
    args = {"inputs": 64, "hidden": [16], "classes": 10}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        card = ModelCard(name="net", summary="test", arch=Arch(name="bnn_mlp", args=args))
        save_model(home / "net", BnnMlp(**args), card)
    rng = np.random.Generator(np.random.Philox(0))
    target = np.stack([np.full((80, 64), 5.0), np.full((80, 64), 60.0)])
    for name in ("one", "two"):
        factor = np.exp(0.6 * rng.standard_normal(target.shape))
        np.savez(home / f"{name}.npz", conductance_uS=target * factor, target_uS=target)
    return home


def study(lab: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "mapped", "model": str(lab / "net"), "chip": str(lab / "one.npz"), "task": TASK, "chips": {"min": 1},
        **changes,
    }  # fmt: skip


def test_a_study_of_measured_cells_equals_the_mapped_network(lab: Path, tmp_path: Path) -> None:
    axes = [{"path": USE, "values": ["cells", "resample"]}, {"path": "chip", "values": [str(lab / "one.npz"),
             str(lab / "two.npz")]}]  # fmt: skip
    found = run(study(lab, axes=axes[::-1]), tmp_path / "a")
    again = run(study(lab, axes=axes[::-1]), tmp_path / "b", batch=1)
    assert found.digest == again.digest
    assert len({point["id"] for point in found.study["points"]}) == 4
    assert len(set(found.accuracies)) > 1


def test_ids_follow_from_the_content_of_the_map(lab: Path, tmp_path: Path) -> None:
    first = points_of(load_study(study(lab)))[0]
    moved = tmp_path / "moved.npz"
    shutil.copy(lab / "one.npz", moved)
    assert points_of(load_study(study(lab, chip=str(moved))))[0].id == first.id
    shutil.copy(lab / "two.npz", moved)
    assert points_of(load_study(study(lab, chip=str(moved))))[0].id != first.id


@pytest.mark.parametrize("by", ["name", "settings"])
def test_the_results_folder_keeps_the_map(lab: Path, tmp_path: Path, by: str) -> None:
    """And runs again from it, elsewhere, with the same trials."""
    shutil.copy(lab / "one.npz", tmp_path / "map.npz")
    chip: Any = str(tmp_path / "map.npz")
    chip = chip if by == "name" else imc.load_chip(chip).replace("converter", {"kind": "auto", "bits": 6}).to_dict()
    (tmp_path / "s.yaml").write_text(write_yaml(study(lab, chip=chip)))
    assert main(["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "a")]) == 0
    shutil.move(tmp_path / "a", tmp_path / "b")
    (tmp_path / "map.npz").unlink()
    assert main(["run", str(tmp_path / "b" / "study.resolved.yaml"), "--out", str(tmp_path / "c")]) == 0
    assert Results.load(tmp_path / "b").digest == Results.load(tmp_path / "c").digest
    assert main(["report", str(tmp_path / "b")]) == 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "chips": ({"set": {USE: "cells"}, "chips": {"min": 2}}, "chips: got 2; allowed: 1 where"),
    "room": ({"set": {USE: "cells", "chip.encoding.copies": 4}}, "device.programming.*room for the next tile"),
    "faults": ({"set": {USE: "cells", "chip.device.faults.stuck_lrs": 0.1}}, "no faults, verify"),
    "file": ({"chip": "none.npz"}, r"chip: got no file 'none\.npz'"),
    "repeat of resampled cells": (
        {"axes": [{"path": "chip.device.programming.repeat", "values": [False, True]}]}, "changes no result|idle|acts",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "match"), REFUSED.values(), ids=REFUSED)
def test_what_a_map_cannot_be_is_one_error_before_anything_runs(
    lab: Path, tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    (tmp_path / "s.yaml").write_text(write_yaml(study(lab, **changes)))
    with pytest.raises(InputError, match=match):
        run(tmp_path / "s.yaml", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_commands_take_a_map_as_the_chip(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, chip = str(lab / "net"), str(lab / "one.npz")
    task = ("--set", "kind=classification", "--set", "dataset=digits", "--set", "images=40")
    cells = ("--set", f"{USE}=cells")
    for command in (
        ("map", net, chip), ("map", net, chip, *cells), ("show", "device", chip),
        ("evaluate", net, "--chip", chip, "--chips", "2", *task),
        ("evaluate", net, "--chip", chip, "--chips", "1", *cells, *task),
    ):  # fmt: skip
        assert main(command) == 0, f"{command}: {capsys.readouterr().err}"
    capsys.readouterr()
    assert main(["evaluate", net, "--chip", chip, "--chips", "3", *cells, *task]) == 2
    assert "the measured array is one chip" in capsys.readouterr().err
    assert main(["cost", net, chip]) == 2
    assert "cost" in capsys.readouterr().err
