"""Networks on arrays that were measured: in studies, sweeps and `imc-sim evaluate`, and errors before anything runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
from imc_sim.study._work import Batch, evaluate_batch

CHIP = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.5)
TASK = {"kind": "classification", "dataset": "digits", "split": "test", "images": 60}
SIGMA = "chip.device.programming.sigma"


def save(folder: Path, seed: int) -> None:
    args = {"inputs": 64, "hidden": [16], "classes": 10}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BnnMlp(**args)
    save_model(folder, network, ModelCard(name=folder.name, summary="test", arch=Arch(name="bnn_mlp", args=args)))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two networks, and cells of three chips of the first, as two laboratories measured them."""
    home = tmp_path_factory.mktemp("lab")
    save(home / "net", 0)
    save(home / "other", 1)
    network = imc.load_model(home / "net")
    imc.map_model(network, CHIP, chips=3, seed=0).to_npz(home / "one.npz")
    imc.map_model(network, CHIP, chips=3, seed=9).to_npz(home / "two.npz")
    return home


def study(lab: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "measured", "model": str(lab / "net"), "chip": CHIP.to_dict(), "task": TASK, "chips": {"min": 3},
        "conductances": str(lab / "one.npz"), **changes,
    }  # fmt: skip


def correct(results: Results) -> list[tuple[float, ...]]:
    return list(results.accuracies)


def test_a_study_of_exported_cells_equals_one_that_simulates_them(lab: Path, tmp_path: Path) -> None:
    """The same accuracy on every chip, in batches of any size; another file and no file are other points."""
    cases = [
        {"name": "one"}, {"name": "two", "set": {"conductances": str(lab / "two.npz")}},
        {"name": "simulated", "set": {"conductances": None}},
        {"name": "seed 9", "set": {"conductances": None, "seed": 9}},
    ]  # fmt: skip
    found = run(study(lab, cases=cases), tmp_path / "a")
    one, two, simulated, nine = correct(found)
    assert (one, two) == (simulated, nine)
    assert one != two
    assert len({point["id"] for point in found.study["points"]}) == 4
    assert len({point["baseline"] for point in found.study["points"]}) == 1
    again = run(study(lab, cases=cases), tmp_path / "b", batch=1)
    assert again.digest == found.digest


def test_what_acts_after_programming_is_swept_on_measured_cells(lab: Path, tmp_path: Path) -> None:
    """To a study, cells that do not follow from the chip are chips that differ."""
    axes = [{"path": "chip.device.read.sigma", "values": [0, 3.0]}]
    ideal = CHIP.without_effects().to_dict()
    found = run(study(lab, axes=axes, chip=ideal), tmp_path / "a")
    quiet, noisy = correct(found)
    assert quiet == correct(run(study(lab), tmp_path / "b"))[0]
    assert noisy != quiet
    assert [point["vary"] for point in found.study["points"]] == [True, True]


def test_a_function_is_scored_on_measured_cells(lab: Path, tmp_path: Path) -> None:
    network, x = imc.load_model(lab / "net"), torch.rand(5, 64, generator=torch.Generator().manual_seed(0))

    def score(model: Any, chip_index: int | None) -> float:
        return float(model(x).square().mean())

    table = imc.sweep(network, CHIP, {"device.read.sigma": [0.0]}, score, chips=3, out=tmp_path / "s",
                      conductances=lab / "two.npz", progress=False)  # fmt: skip
    analog = imc.map_model(network, CHIP, chips=3, seed=9)
    with torch.no_grad():
        expected = sorted(score(lambda x, n=number: analog.on_chip(n, x), None) for number in range(3))
    assert table[["p05", "median", "p95"]].to_numpy().tolist() == [expected]


def test_ids_follow_from_the_content_of_the_file(lab: Path, tmp_path: Path) -> None:
    first = points_of(load_study(study(lab)))[0]
    shutil.copy(lab / "one.npz", tmp_path / "moved.npz")
    (tmp_path / "s.yaml").write_text(write_yaml(study(lab, conductances="moved.npz")))  # relative to the study
    assert points_of(load_study(tmp_path / "s.yaml"))[0].id == first.id
    shutil.copy(lab / "two.npz", tmp_path / "moved.npz")
    assert points_of(load_study(tmp_path / "s.yaml"))[0].id != first.id
    held = points_of(load_study(study(lab, conductances=None)))[0]
    assert held.id == points_of(load_study({k: v for k, v in study(lab).items() if k != "conductances"}))[0].id


def swept(path: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"axes": [{"path": path, "values": list(values), **more}]}


REFUSED: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "programming": (
        lambda _: swept(SIGMA, 0.0, 0.5),
        f"{SIGMA}: got two values for the measured cells of .*one.npz'; allowed: one value for each file",
    ),
    "tiles": (lambda _: swept("chip.tile.rows", 32, 64), r"chip\.tile\.rows: got two values"),
    "encoding": (lambda _: swept("chip.encoding.kind", "differential", "bnn_ii"), r"chip\.encoding\.kind: got two"),
    "levels": (lambda _: swept("chip.device.g_hrs_S", 1e-6, 1e-5), r"chip\.device\.g_hrs_S: got two values"),
    "network": (lambda lab: swept("model", *(str(lab / name) for name in ("net", "other"))), "model: got two values"),
    "file": (lambda lab: {"conductances": str(lab / "no.npz")}, r"no\.npz.* \(No such file.*an \.npz file"),
    "number": (lambda _: {"conductances": 3}, "conductances: got 3"),
    "layers": (lambda _: swept("chip.policy.binary", "digital"), "conductances: got layer 'fc.0'; allowed: none"),
    "shape": (lambda _: swept("chip.tile.rows", 32), r"shape \(3, 1, 128, 128\); allowed: \[chips, 2, 32, 128\]"),
    "chips": (lambda _: {"chips": {"min": 2, "max": 4}}, "3 measured chips for 4; .* Set chips.min and chips.max"),
    "backend": (lambda _: {"engine": {"kind": "memtorch"}}, "conductances: got the backend memtorch"),
}


@pytest.mark.parametrize(("changes", "match"), REFUSED.values(), ids=REFUSED)
def test_what_measured_cells_cannot_do_is_one_error_before_anything_runs(
    lab: Path, tmp_path: Path, changes: Callable[[Path], dict[str, Any]], match: str
) -> None:
    with pytest.raises((InputError, ValueError), match=match):
        run(study(lab, **changes(lab)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_value_can_have_its_own_file(lab: Path) -> None:
    """Such as arrays that were programmed with different pulses."""
    axes = [
        {"path": SIGMA, "values": [0.5, 0.6], "zip": "array"},
        {"path": "conductances", "values": [str(lab / "one.npz"), str(lab / "two.npz")], "zip": "array"},
    ]
    assert len(points_of(load_study(study(lab, axes=axes)))) == 2


def test_a_file_that_changes_during_a_run_is_named(lab: Path, tmp_path: Path) -> None:
    shutil.copy(lab / "one.npz", tmp_path / "cells.npz")
    (point,) = points_of(load_study(study(lab, conductances=str(tmp_path / "cells.npz"))))
    batch = Batch.of([point.trial(0)], imc.evaluate.evaluate_chips, "cpu")
    assert evaluate_batch(batch)[0].chip == 0
    shutil.copy(lab / "two.npz", tmp_path / "cells.npz")
    with pytest.raises(InputError, match=r"cells\.npz': got content .* Do not change the file while a study runs"):
        evaluate_batch(batch)


def test_evaluate_measures_all_chips_of_the_file(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chip.yaml").write_text(write_yaml(CHIP.to_dict()))
    words = ["evaluate", str(lab / "net"), *(w for key, v in TASK.items() for w in ("--set", f"{key}={v}"))]
    words += ["--chip", str(tmp_path / "chip.yaml")]
    assert main([*words, "--conductances", str(lab / "two.npz")]) == 0
    found = capsys.readouterr().out
    assert main([*words, "--chips", "3", "--seed", "9"]) == 0
    simulated = capsys.readouterr().out
    assert "3 measured chips" in found
    assert found.replace(" measured", "").split() == simulated.split()
    for more, match in (
        (["--chips", "4"], "3 measured chips for 4; allowed: 1 to 3 chips. Evaluate fewer chips: --chips."),
        (["--set", "chip.tile.rows=32"], "shape (3, 1, 128, 128)"),
    ):
        assert main([*words, "--conductances", str(lab / "two.npz"), *more]) == 2
        assert match in capsys.readouterr().err
    assert main([*words[:-2], "--conductances", str(lab / "two.npz")]) == 2
    assert "no --chip" in capsys.readouterr().err


def test_one_chip_without_a_chip_axis_is_evaluated(lab: Path, tmp_path: Path) -> None:
    with np.load(lab / "one.npz") as held:
        np.savez(tmp_path / "one.npz", **{k: v[1] for k, v in held.items() if k.endswith("/conductance_S")})
    found = run(study(lab, conductances=str(tmp_path / "one.npz"), chips={"min": 1}), tmp_path / "a")
    assert correct(found)[0][0] == correct(run(study(lab), tmp_path / "b"))[0][1]
