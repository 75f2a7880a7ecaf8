"""Train, evaluate and map from the command line, on the embedded characters and a tiny controller."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imc_sim.cli import _train
from imc_sim.config import write_yaml
from imc_sim.nn.store import load_card

TASK = {"dataset": "glyphs", "split": "test", "classes": 20, "rotations": False, "episodes": 6}
CARD = {
    "name": "tiny",
    "summary": "a tiny controller",
    "arch": {"name": "batmann", "args": {"kind": "xnor", "width": 4, "dim": 16}},
    "recipe": {
        "kind": "episodic", "dataset": "glyphs", "split": "test", "validation_split": "test", "way": 5, "episodes": 4,
        "rotations_as_classes": False, "validate_every": 2, "validation_episodes": 2, "precision": "float32",
        "measure": [{"task": TASK, "note": "for the test"}],
    },
}  # fmt: skip


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with an untrained card."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "model.yaml").write_text(write_yaml(CARD))
    return tmp_path


def test_the_training_curve_is_updated_at_the_first_row_and_then_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen, times = [100.0], list[int](), list[float]()
    monkeypatch.setattr(_train.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_train, "_draw", lambda _: times.append(now[0] - 100.0))
    show = _train._with_curve(lambda done, *_: seen.append(done), Path("folder"))
    rows = [{}, *({"epoch": float(n)} for n in range(10)), *5 * [{"epoch": 9.0}]]
    for number, row in enumerate(rows):
        now[0] = 100.0 + 6 * number
        show(number, len(rows), row)
    assert seen == list(range(len(rows)))
    assert times == [6.0, 30.0, 54.0, 78.0]


@pytest.mark.slow
def test_train_then_evaluate(run: Callable, workplace: Path) -> None:
    assert "not trained yet" in run("list", "models").out
    refused = run("evaluate", "tiny")
    assert refused.code == 2
    assert "imc-sim train tiny" in refused.err
    trained = run("train", "tiny")
    assert trained.code == 0, trained.err
    assert trained.out == "runs/tiny\n"
    card, folder = load_card(workplace / "runs" / "tiny")
    assert card.weights is not None
    assert card.measured[0].note == "for the test"
    assert {"model.yaml", "weights.safetensors"} <= {path.name for path in folder.iterdir()}
    ran = run("evaluate", "runs/tiny", "--chip", "ideal", "--chips", "2")
    assert ran.code == 0, ran.err
    head, digital, analog = ran.out.splitlines()
    assert head.split()[:2] == ["task", "accuracy"]
    assert f"{card.measured[0].accuracy:.6g}" in digital
    assert "2 chips" in analog
    again = run("evaluate", "runs/tiny", "--chip", "ideal", "--chips", "2")
    assert again.out == ran.out
    resumed = run("train", "tiny", "--resume")
    assert resumed.code == 0
    assert load_card(workplace / "runs" / "tiny")[0].weights == card.weights


def test_evaluate_refuses_an_unknown_chip_before_it_works(run: Callable, workplace: Path) -> None:
    ran = run("evaluate", "tiny", "--chip", "rram_hfo2")
    assert ran.code == 2
    assert "Did you mean 'rram_hfo2_1t1r'" in ran.err
    assert ran.out == ""


def test_an_unknown_name_is_answered_in_one_short_line(run: Callable, workplace: Path) -> None:
    model, study = run("evaluate", "runs/batmann_smal_xnor"), run("run", "quickstrat")
    assert "allowed: one of " in model.err
    assert "Did you mean 'batmann_small_xnor'" in model.err
    assert "Did you mean 'quickstart'" in study.err
    untrained = run("map", "tiny", "ideal", "--quiet")
    assert "a card without weights; allowed: a trained model." in untrained.err
    cells = run("import", "cells.csv", "--quiet")
    assert "cells.csv: got no such file; allowed: a file of measurements" in cells.err
    for ran in (model, study, untrained, cells):
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert len(ran.err) < 300


def test_settings_change_the_training_and_are_stored(run: Callable, workplace: Path) -> None:
    settings = ("--set", "recipe.episodes=2", "--set", "arch.args.kind=rbnn")
    assert run("train", "tiny", "--out", "a", *settings).code == 0
    card, _ = load_card("a")
    assert card.episodes == 2
    assert card.arch.args["kind"] == "rbnn"
    assert card.command == "imc-sim train tiny --set recipe.episodes=2 --set arch.args.kind=rbnn"
    assert card.curve["episode"] == (2,)
    refused = run("train", "tiny", "--out", "b", "--set", "name=other")
    assert refused.code == 2
    assert "recipe.…" in refused.err


def test_a_chip_is_changed_from_the_command_line(run: Callable) -> None:
    """A rotated network has float layers, for which this chip needs a setting."""
    refused = run("map", "batmann_s9", "rram_hfo2_1t1r")
    assert refused.code == 2
    assert "policy.float" in refused.err
    there = ("--set", "chip.policy.float=digital")
    assert "features.conv2  rbnn" in run("map", "batmann_s9", "rram_hfo2_1t1r", *there).out
    few = ("--set", "dataset=glyphs", "--set", "split=test", "--set", "classes=5", "--set", "instances=3")
    few += ("--set", "way=5", "--set", "shot=1")
    options = (*few, "--set", "queries=1", "--set", "episodes=2", "--set", "rotations=false", "--chips", "1")
    assert "on rram" in run("evaluate", "batmann_s9", "--chip", "rram_hfo2_1t1r", *options, *there).out
    wrong = run("map", "batmann_s9", "rram_hfo2_1t1r", "--set", "policy.float=digital")
    assert wrong.code == 2
    assert "chip.…" in wrong.err


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train_model", ["batmann_small_xnor", "--set", "recipe.seed=1", "--set", "arch.args.dim=64"]),
        ("run_queue", ["--queue", "published_sizes"]),
    ],
)
def test_a_stopped_training_names_the_command_that_continues_it(
    name: str, words: list[str], device: str, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model, folder, device and settings; a single model resumes."""
    calls: list[list[Any]] = []
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "checkpoint.pt").touch()

    def stopped(*arguments: Any) -> None:
        calls.append([each for each in arguments if not callable(each)])
        raise KeyboardInterrupt

    monkeypatch.setattr(f"imc_sim.train.{name}", stopped)
    first = run("train", *words, "--out", folder, "--device", device)
    assert first.code == 2
    command = first.err.strip().rpartition("o go on: ")[2]
    again = run(*shlex.split(command)[1:])
    assert again.err.strip().rpartition("o go on: ")[2] == command
    if name == "train_model":
        assert [call.pop(2) for call in calls] == [False, True]
    assert calls[0] == calls[1]
    assert device in calls[0]
