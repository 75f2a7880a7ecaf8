"""Commands of the store: list, import, map, doctor, data."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from imc_sim.config import content_names
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.store import load_card

ARGS = {"kind": "xnor", "width": 4, "dim": 8, "size": 28}


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a checkpoint in a new working folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(2)
    torch.save(BatmannController(**ARGS).state_dict(), tmp_path / "best.pth")
    return tmp_path / "best.pth"


@pytest.mark.parametrize(("what", "kind"), [("models", "model"), ("chips", "chip"), ("studies", "study")])
def test_list_shows_all_content_with_a_summary(what: str, kind: str, run: Callable) -> None:
    ran = run("list", what)
    names = content_names(kind)  # type: ignore[arg-type]
    assert names, f"nothing is shipped in {what}"
    lines = ran.out.splitlines()
    assert lines[0].split() == ["name", "summary"]
    assert [line.split()[0] for line in lines[1:]] == names
    assert all(len(line.split()) > 2 for line in lines[1:]), "a summary is missing"
    assert "cannot be read" not in ran.out


def test_list_survives_a_broken_file(run: Callable, checkpoint: Path) -> None:
    (checkpoint.parent / "device_configs").mkdir()
    (checkpoint.parent / "device_configs" / "odd.yaml").write_text("a: 1\na: 2\n")
    ran = run("list", "chips")
    assert ran.code == 0
    assert "a second 'a'" in next(line for line in ran.out.splitlines() if line.startswith("odd "))


@pytest.fixture(scope="module")
def shipped() -> dict[str, set[str]]:
    """Return a place for the names that a folder without content lists, by kind."""
    return {}


@pytest.mark.parametrize("what", ["a folder", "a link that leads nowhere", "a pipe, socket or device"])
@pytest.mark.parametrize(
    ("listed", "file", "command"),
    [
        ("studies", "studies/odd.yaml", ["run", "odd", "--dry-run"]),
        ("chips", "device_configs/odd.yaml", ["show", "device", "odd"]),
        ("models", "models/odd/model.yaml", ["evaluate", "odd"]),
        ("queues", "studies/queues/odd.yaml", ["train", "--queue", "odd"]),
    ],
)
def test_what_is_no_file_is_named_and_hides_no_others(
    what: str, listed: str, file: str, command: list[str], run: Callable, checkpoint: Path, shipped: dict[str, set[str]]
) -> None:
    before = shipped.get(listed) or {line.split()[0] for line in run("list", listed).out.splitlines()}
    shipped[listed] = before
    path = checkpoint.parent / file
    path.parent.mkdir(parents=True)
    made = {"a folder": path.mkdir, "a pipe, socket or device": lambda: os.mkfifo(path)}
    made.get(what, lambda: path.symlink_to("nowhere"))()
    ran = run("list", listed)
    assert ran.code == 0
    assert {line.split()[0] for line in ran.out.splitlines()} == {"odd"} | before
    row = next((line for line in ran.out.splitlines() if line.startswith("odd ")), "")
    place = f"{path}: got {what}; allowed: the file of a "
    assert "cannot be read" in row
    assert place in row
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert place in ran.err


def test_list_names_families_and_those_that_cannot_be_read(run: Callable, checkpoint: Path) -> None:
    for name, text in (("odd", "models: {odd_x: 3}\n"), ("own", "summary: ours\nmodels: {own_a: {summary: first}}\n")):
        (checkpoint.parent / "models" / name).mkdir(parents=True)
        (checkpoint.parent / "models" / name / "family.yaml").write_text(text)
    ran = run("list", "models")
    assert ran.code == 0
    rows = {line.split()[0]: line for line in ran.out.splitlines()[1:]}
    assert sorted(rows) == sorted(["odd", *content_names("model")])
    assert "cannot be read" in rows["odd"]
    assert rows["own_a"].split()[1] == "first"
    assert "own: ours (1 model)" in ran.err
    assert run("list", "models", "--quiet").err == ""


def test_list_names_data_sets_and_architectures(run: Callable) -> None:
    assert {"omniglot", "glyphs"} <= {line.split()[0] for line in run("list", "datasets").out.splitlines()}
    assert "batmann" in run("list", "archs").out


def test_map_measures_driven_rows_on_request(run: Callable) -> None:
    wires = "{kind: nodal, r_row_ohm: 1.0, r_col_ohm: 1.0}"
    call = ["map", "batmann_small_xnor", "rram_hfo2_1t1r"]
    for setting in ("chip.encoding={kind: bnn_i}", f"chip.wires={wires}"):
        call += ["--set", setting]
    assert "50 % assumed" in run(*call).out
    measured = run(*call, "--calibrate").out
    assert "assumed" not in measured
    assert "% measured" in measured
    error = lambda *more: json.loads(run(*call, "--calibrate", "--json", *more).out)["layers"][1]["gating"]["error"]  # noqa: E731
    assert error()["rms"] < 0.5 * error("--set", "chip.wires.density=0.5")["rms"], "both measured on the same inputs"


def test_import_then_list_then_map(run: Callable, checkpoint: Path) -> None:
    ran = run("import", str(checkpoint), "--arch", "batmann", "--out", "models/mine")
    assert ran.code == 0
    assert "kind=xnor" in ran.out
    assert "mine" in run("list", "models").out
    assert load_card("mine")[0].summary == "imported from best.pth"
    table = run("map", "mine", "ideal")
    assert table.code == 0, table.err
    assert "features.conv2" in table.out
    report = json.loads(run("map", "mine", "ideal", "--json").out)
    assert [row["layer"] for row in report["layers"]][-1] == "fc1"


def test_import_with_arguments(run: Callable, checkpoint: Path) -> None:
    ran = run(
        "import", str(checkpoint), "--arch", "batmann", "--out", "m", "--arg", "size=30", "--arg", "bias_init=0.5"
    )
    assert ran.code == 0, ran.err
    assert load_card("m")[0].arch.args["size"] == 30


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--arg", "size"], "key=value"),
        (["--arg", "kind=xnorr"], "Did you mean 'xnor'"),
        (["--arg", "size=64"], "wrong shape"),
    ],
)
def test_import_refuses_and_leaves_nothing(extra: list[str], text: str, run: Callable, checkpoint: Path) -> None:
    ran = run("import", str(checkpoint), "--arch", "batmann", "--out", "models/mine", *extra)
    assert ran.code == 2
    assert text in ran.err
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_doctor_finds_a_complete_installation(run: Callable) -> None:
    ran = run("doctor")
    assert ran.code == 0, ran.out + ran.err
    assert "torch 2." in ran.out
    assert "omniglot" in ran.out
    if importlib.util.find_spec("numba"):
        assert re.search(r"compiled code: (kept|compiled now, in \d+ s, and kept) in \S+", ran.out)
    assert f"{len(content_names('model'))} models" in ran.out
    assert "every model's weights are those of its card" in ran.out


def test_doctor_finds_a_damaged_model(run: Callable, checkpoint: Path) -> None:
    run("import", str(checkpoint), "--arch", "batmann", "--out", "models/mine")
    path = checkpoint.parent / "models" / "mine" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    ran = run("doctor")
    assert ran.code == 1
    assert "model 'mine'" in ran.out


def test_data_check_verifies_a_downloaded_set(run: Callable, data_root: Path) -> None:
    ran = run("data", "check", "mnist")
    assert ran.code == 0, ran.out
    assert str(data_root) in ran.out


def test_missing_and_misspelt_data_sets_are_refused(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMC_SIM_DATA", str(tmp_path))
    ran = run("data", "check", "mnist")
    assert ran.code in {1, 2}
    assert str(tmp_path) in ran.out + ran.err
    assert "imc-sim data fetch mnist" in ran.out + ran.err
    ran = run("data", "check", "mnits")
    assert ran.code == 2
    assert "mnist" in ran.err
    ran = run("data", "fetch", "mnits")
    assert ran.code == 2
    assert "mnist" in ran.err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["import", "net.pth"], "without --arch"),
        (["import", "net.pth", "--arch", "batmann"], "no --out"),
        (["import", "net.pth", "--arch", "batmann", "--out", "x", "--name", "y"], "--name with a checkpoint"),
        (["import", "cells.csv", "--layout", "y"], "--layout with measured cells"),
        (["report"], "no results folder"),
        (["report", "a", "--out", "b"], "--out without --trials"),
        (["report", "a", "--trials", "csv", "--page", "p.md"], "one of them"),
        (["train"], "nothing to train"),
        (["train", "m", "--sweep", "s"], "a model and --sweep"),
        (["train", "--queue", "q", "--sweep", "s"], "--queue and --sweep"),
        (["train", "--sweep", "s", "--set", "recipe.m=1"], "settings in the sweep's file"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    argv: list[str], text: str, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*argv)
    assert ran.code == 2
    assert text in ran.err
    assert len(ran.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
