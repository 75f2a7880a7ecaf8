"""Costs of a study: columns next to accuracies, which they never change, and never of other prices."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import imc_sim as imc
from imc_sim._errors import InputError, ResultsWarning
from imc_sim.array import load_chip
from imc_sim.cost import count_actions, memory_cost, price
from imc_sim.evaluate import FewShotTask, Session, build_task, chip_costs, evaluate_chips
from imc_sim.nn.networks import BinaryActivationNet
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.study import Results, ResultStore, load_study, merge, points_of, run, trials_table
from imc_sim.study._store import read_study

COST = {
    "technology_m": "90 nm", "supply_V": 1.2, "read_pulse_s": "6.5 ns", "lines": {"capacitance_F": "34 fF"},
    "converter": {"kind": "survey", "columns": 8, "bits": 6}, "write": {"energy_J": "1 pJ"},
}  # fmt: skip
TASK = {"dataset": "glyphs", "split": "test", "episodes": 3, "queries": 2}


def study(cost: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    chip = load_chip("rram_hfo2_1t1r").to_dict()
    return {
        "name": "priced", "model": "batmann_small_xnor", "chip": chip if cost is None else {**chip, "cost": cost},
        "task": TASK, "axes": [{"path": "chip.device.programming.sigma", "values": [0.1, 0.5]}], "chips": {"min": 3},
        **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(study(None), tmp_path_factory.mktemp("plain") / "r")


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(study(COST), tmp_path_factory.mktemp("priced") / "r", batch=2)


def test_a_cost_changes_neither_ids_nor_accuracies(plain: Results, priced: Results) -> None:
    assert priced.digest == plain.digest
    assert priced.rows.keys() == plain.rows.keys()
    assert priced.accuracies == plain.accuracies
    shared = list(plain.table.columns)
    assert priced.table[shared].equals(plain.table)
    assert not plain.costs
    assert {path.name for path in priced.folder.iterdir()} - {path.name for path in plain.folder.iterdir()} == {
        "costs.jsonl"
    }


def test_energy_is_that_of_network_and_memory_on_the_same_chips(priced: Results) -> None:
    """Map and price the second point again, without the evaluation."""
    point = points_of(load_study(study(COST)))[1]
    chip, task = load_chip(point.chip or {}), build_task(point.task, "task")
    assert isinstance(task, FewShotTask)
    session = Session.on("cpu")
    data = session.episodes(session.sized(task, "batmann_small_xnor"))
    analog = imc.map_model(imc.load_model("batmann_small_xnor"), chip, range(3), 0)
    network = price(chip, count_actions(analog, data.some(8)))
    features = analog(data.images)
    keys, queries = (features[:, rows[0].ravel()] for rows in (data.support, data.query))
    memory = imc.AssociativeMemory(chip, keys.shape[-1], 3)
    memory.write(keys, torch.arange(5), epoch=0)
    both = network.joined(memory_cost(memory, queries))
    rows = sorted((row for row in priced.costs.values() if row["point"] == point.id), key=lambda row: row["chip"])
    assert [row["energy_J"] for row in rows] == pytest.approx(both.energies_J, rel=1e-12)
    assert [row["programming_J"] for row in rows] == pytest.approx(both.programming_J, rel=1e-12)
    assert (rows[0]["latency_s"], rows[0]["area_m2"]) == pytest.approx((both.latency_s, both.area_m2))
    assert sum(rows[0]["components"].values()) == pytest.approx(rows[0]["energy_J"])
    layers = rows[0]["layers"]
    assert sum(layer.get("energy_J", 0.0) for layer in layers.values()) == pytest.approx(rows[0]["energy_J"])
    assert layers["memory"]["energy_J"] == pytest.approx(memory_cost(memory, queries).energies_J[0])
    assert len({row["energy_J"] for row in rows}) == 3  # chips differ
    line = priced.table.iloc[1]
    assert line["energy_J"] == pytest.approx(both.energy_J)
    assert line["energy_J_p05"] < line["energy_J"] < line["energy_J_p95"]
    assert line["programming_J"] == pytest.approx(sum(both.programming_J) / 3)
    assert {"energy_J", "latency_s"} <= set(pd.read_csv(priced.folder / "table.csv").columns)


def test_another_price_computes_costs_only_and_uses_no_earlier_ones(priced: Results, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(priced.folder, folder)
    trials = (folder / "trials.jsonl").read_bytes()
    dearer = run(study({**COST, "supply_V": 2.4}), folder)
    assert (folder / "trials.jsonl").read_bytes() == trials
    assert len((folder / "costs.jsonl").read_text().splitlines()) == 2 * 6
    for trial, row in dearer.costs.items():
        before = priced.costs[trial]
        assert row["components"]["lines"] == pytest.approx(4 * before["components"]["lines"])
        assert row["components"]["cells"] == before["components"]["cells"]
    back = run(study(COST), folder)  # both prices are stored
    assert back.costs == priced.costs
    assert len((folder / "costs.jsonl").read_text().splitlines()) == 2 * 6


def test_protected_trials_and_costs_are_read_from_private_copies(
    priced: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imc_sim.runs._rows_file._BLOCK", 256)  # files are not held in memory
    folder = shutil.copytree(priced.folder, tmp_path / "r")
    with ResultStore(folder, read_study(folder)) as store:
        assert store.costs is not None
        held = dict(store.rows), dict(store.costs.rows)
        assert list(map(len, held)) == [7, 6]
        store.protect()
        for name in ("trials.jsonl", "costs.jsonl"):  # another program writes over them
            with (folder / name).open("r+b") as file:
                file.write(b"?" * (folder / name).stat().st_size)
        assert (dict(store.rows), dict(store.costs.rows)) == held


def test_costs_that_are_missing_or_damaged_are_computed_again_alone(priced: Results, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(priced.folder, folder)
    path = folder / "costs.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace('"energy_J":', '"energy_J":1'), *lines[2:]]) + "\n")
    trials = (folder / "trials.jsonl").read_bytes()
    with pytest.warns(ResultsWarning, match="1 damaged line was moved to costs.damaged.jsonl"):
        again = run(study(COST), folder)
    assert (folder / "trials.jsonl").read_bytes() == trials
    assert energies(again) == energies(priced)


def energies(results: Results) -> dict[str, float]:
    return {trial: row["energy_J"] for trial, row in results.costs.items()}


def test_costs_of_a_digital_network_a_foreign_backend_and_another_evaluator_are_left_out() -> None:
    whole, chip = study(COST), study(COST)["chip"]
    point = points_of(load_study(whole))[0]
    assert point.cost is not None
    assert [p.cost for p in point.digital()] == [None, None]
    assert points_of(load_study(whole), evaluator="0" * 64)[0].cost is None
    foreign = load_study({**whole, "chip": {**chip, "engine": "memtorch", "converter": {"kind": "ideal"}}})
    assert {p.cost for p in points_of(foreign)} == {None}
    assert points_of(load_study(study({**COST, "supply_V": 1.3})))[0].cost != point.cost


@pytest.mark.parametrize("axis", ["supply_V", "technology_m"])
def test_points_that_differ_in_price_alone_are_refused(axis: str) -> None:
    axes = [{"path": f"chip.cost.{axis}", "values": [1e-6, 2e-6]}]
    with pytest.raises(InputError, match="differ only in chip.cost, which changes no accuracy"):
        points_of(load_study(study(COST, axes=axes)))


def test_prices_may_follow_a_setting_that_changes_accuracies() -> None:
    axes = [
        {"path": "chip.device.programming.sigma", "values": [0.1, 0.5], "zip": "z"},
        {"path": "chip.cost.supply_V", "values": [1.0, 2.0], "zip": "z"},
    ]
    points = points_of(load_study(study(COST, axes=axes)))
    assert len({p.id for p in points}) == len({p.cost for p in points}) == 2


def test_tables_of_trials_and_merged_folders_keep_costs(priced: Results, tmp_path: Path) -> None:
    table = trials_table(priced.folder)
    known = table.set_index("id")["energy_J"].dropna().to_dict()
    assert known == energies(priced)
    half = tmp_path / "half"
    run(study(COST, chips={"min": 2}), half)
    merged = merge([half, priced.folder], tmp_path / "both")
    assert energies(merged) == energies(priced)
    assert merged.table.equals(priced.table)


def test_classifiers_and_functions_have_costs_which_their_accuracies_are_not_needed_for(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "import torch\n\ndef images():\n    return torch.linspace(-1, 1, 4 * 1024).reshape(4, 1, 32, 32)\n\n"
        "def score(network, chip):\n    return float(network(images()).square().mean())\n"
    )
    torch.manual_seed(0)
    arch = Arch(name="binact", args={"layout": "1a", "binary": [1, 2], "size": 8})
    network = BinaryActivationNet(**arch.args)
    save_model(tmp_path / "digits", network, ModelCard(name="digits", summary="test", arch=arch))
    chip = {**study(COST)["chip"], "policy": {"layers": {"*": "crossbar"}}}
    chip["encoding_multibit"] = {"kind": "sliced", "weight_bits": 8}
    chip["device"] = {**chip["device"], "verify": {"tolerance": 0.1, "max_pulses": 5}}  # chips take other pulses
    file = tmp_path / "score.py"
    each = {
        "batmann_small_xnor": [TASK, {"kind": "function", "call": f"{file}:score", "inputs": f"{file}:images"}],
        str(tmp_path / "digits"): [{"kind": "classification", "dataset": "digits", "split": "test", "images": 20}],
    }
    for model, task in [(model, task) for model, tasks in each.items() for task in tasks]:
        whole = build_task(task, "task").to_dict()
        found = evaluate_chips(model, chip, whole, [4, 5], 0)  # in one call
        alone = chip_costs(model, chip, whole, [5, 4], 0)
        assert [r.cost for r in found] == alone[::-1]
        assert alone[0].energy_J != alone[1].energy_J
        assert alone[0].programming_J != alone[1].programming_J
        assert ("memory" in alone[0].layers) == (task is TASK)
