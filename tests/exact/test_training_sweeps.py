"""Training sweeps: their runs, equality with runs of the card, resume, failures, table and command."""

import json
from pathlib import Path
from typing import Any

import pytest

from imc_sim import InputError
from imc_sim._errors import ResultsError, ResultsWarning
from imc_sim._stats import mean_interval
from imc_sim._threads import one_thread
from imc_sim.cli import main
from imc_sim.config import build, write_yaml
from imc_sim.plotting import trainings_data
from imc_sim.runs import FolderLock
from imc_sim.train import Trainings, load_trainings, run_trainings, sweep_status, train_model
from imc_sim.train._sweep import points_of

CARD = {
    "name": "tiny", "summary": "two tasks", "arch": {"name": "bnn_mlp", "args": {"inputs": 64, "hidden": [8]}},
    "recipe": {
        "kind": "continual", "dataset": "digits", "epochs": 1, "batch": 50, "images": 200, "validation": 47,
        "tasks": [{"permutation": 0}, {"permutation": 1}], "cells": {"window": 1.0},
    },
}  # fmt: skip
SWEEP: dict[str, Any] = {
    "name": "some", "model": "tiny", "set": {"recipe.weight_decay": 0.001}, "seeds": [0, 1],
    "cases": [{"name": "plain"}, {"name": "meta", "set": {"recipe.m": 9.0}}],
    "panels": [
        {"path": "recipe.cells.noise", "label": "noise", "values": [0.0, 2.0]},
        {"path": "arch.args.hidden", "values": [[8], [4]], "labels": ["8", "4"]},
    ],
}  # fmt: skip


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "model.yaml").write_text(write_yaml(CARD))
    (tmp_path / "studies" / "trainings").mkdir(parents=True)
    (tmp_path / "studies" / "trainings" / "some.yaml").write_text(write_yaml(SWEEP))
    monkeypatch.chdir(tmp_path)
    return load_trainings("some")


def test_points_with_equal_settings_are_trained_once(sweep: Trainings, tmp_path: Path) -> None:
    points = list(points_of(sweep))
    assert len(points) == 2 * 2 * 2 * 2
    assert len({point.id for point in points}) == 12  # no noise on [8] is in both panels
    rows = run_trainings(sweep, tmp_path / "out")
    assert len((tmp_path / "out" / "trainings.jsonl").read_text().splitlines()) == 12
    assert [(row["panel"], row["value"], row["case"], row["seed"]) for row in rows] == [
        (p.panel, p.value, p.case, p.seed) for p in points
    ]
    settings = ["recipe.weight_decay=0.001", "recipe.m=9.0", "recipe.cells.noise=2.0", "recipe.seed=1"]
    train_model("tiny", tmp_path / "alone", settings=settings)
    log = [json.loads(line) for line in (tmp_path / "alone" / "training.jsonl").read_text().splitlines()]
    assert rows[7]["row"] == log[-1]
    assert len({json.dumps(row["row"]) for row in rows}) == 12
    data = trainings_data(sweep.to_dict(), rows)
    values = [100 * row["row"]["mean"] for row in rows[6:8]]
    mean, low, _ = mean_interval(values)
    third = data.iloc[3]
    assert (third["setting"], third["value"], third["case"], third["seeds"]) == ("noise", "2", "meta", 2)
    assert (third["mean"], third["half_width"]) == pytest.approx((mean, mean - low), abs=1e-3)
    assert data["value"].tolist()[4:] == ["8", "8", "4", "4"]


def test_a_stopped_sweep_continues(sweep: Trainings, tmp_path: Path) -> None:
    whole = run_trainings(sweep, tmp_path / "whole")
    trained = []

    def halting(which: str) -> Any:
        trained.append(which)

        def halt(done: int, total: int, row: dict[str, float]) -> None:
            if len(trained) == 4 and done == 6:
                raise KeyboardInterrupt

        return halt

    with pytest.raises(KeyboardInterrupt):
        run_trainings(sweep, tmp_path / "parts", progress=halting)
    file = tmp_path / "parts" / "trainings.jsonl"
    assert len(file.read_text().splitlines()) == 3
    file.write_text(file.read_text()[:-20])  # the last line was cut off, too
    assert run_trainings(sweep, tmp_path / "parts") == whole
    assert run_trainings(sweep, tmp_path / "parts", progress=lambda which: pytest.fail(which)) == whole
    assert not (tmp_path / "parts" / "unfinished").exists()
    first, *others = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first.replace(b'"mean":0.', b'"mean":1.') + b"no json\n" + b"".join(others[1:]))
    assert [text.split(": ")[0] for text in sweep_status(tmp_path / "parts").damaged] == ["line 1", "line 2"]
    with pytest.warns(ResultsWarning, match=r"2 damaged lines were moved to trainings\.damaged\.jsonl"):
        assert run_trainings(sweep, tmp_path / "parts") == whole


def test_rows_without_state_and_checksum_are_read(sweep: Trainings, tmp_path: Path) -> None:
    """Earlier versions wrote the id and the row alone."""
    whole = run_trainings(sweep, tmp_path / "out")
    file = tmp_path / "out" / "trainings.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({"id": row["id"], "row": row["row"]}) + "\n" for row in rows))
    assert run_trainings(sweep, tmp_path / "out", progress=lambda which: pytest.fail(which)) == whole


@pytest.mark.usefixtures("forked_workers")
def test_workers_train_the_same_and_a_failure_is_a_row(
    sweep: Trainings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panels = ({"path": "recipe.learning_rate", "values": [0.002, 1e300]}, {"path": "recipe.m", "values": [2.0]})
    study = build(Trainings, sweep.to_dict() | {"panels": panels, "cases": [{"name": "all"}]}, "some")
    rows = run_trainings(study, tmp_path / "two", executor="process", workers=2)
    with one_thread():  # as workers have: floats of training are rounded by the number of threads
        assert rows == run_trainings(study, tmp_path / "one")
    assert [row["row"] is None for row in rows] == [False, False, True, True, False, False]
    found = sweep_status(tmp_path / "two")
    assert (found.done, found.failed, found.left, found.damaged) == (4, 2, 0, ())
    assert set(trainings_data(study.to_dict(), rows)["value"]) == {"0.002", "2"}
    lock = FolderLock(tmp_path / "two")
    lock.take()
    with pytest.raises(ResultsError, match="another run that is writing here"):
        run_trainings(study, tmp_path / "two")
    lock.release()
    trained: list[str] = []

    def note(which: str) -> Any:
        trained.append(which)
        return lambda done, total, row: None

    run_trainings(study, tmp_path / "one", progress=note)
    assert trained == []
    run_trainings(study, tmp_path / "one", progress=note, retry_failed=True)
    assert trained == ["training run 1 of 2", "training run 2 of 2"]
    (tmp_path / "failing.yaml").write_text(write_yaml(study.to_dict()))
    assert main(["train", "--sweep", "failing.yaml", "--out", "one", "--quiet"]) == 1
    assert "2 of 6 points failed" in capsys.readouterr().err
    assert main(["status", "one"]) == 0
    assert capsys.readouterr().out.startswith("some (complete, 2 failed): 4 done, 2 failed, 0 left")


def test_the_command_writes_table_and_figure(sweep: Trainings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--sweep", "some", "--quiet"]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["trainings.png", "trainings.svg", "trainings.csv"]
    assert main(["list", "sweeps"]) == 0
    assert "some" in capsys.readouterr().out


def test_a_classifier_is_compared_by_its_accuracy(sweep: Trainings, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"kind": "classification", "dataset": "digits", "epochs": 1, "images": 200, "validation": 47}
    folder = Path("models/one")
    folder.mkdir()
    (folder / "model.yaml").write_text(write_yaml({**CARD, "name": "one", "recipe": recipe}))
    panels = [{"path": "recipe.epochs", "values": [1, 2]}]
    one = {"name": "one", "model": "one", "panels": panels, "seeds": [0]}
    Path("sweep.yaml").write_text(write_yaml({**one, "measure": "mean"}))
    assert main(["train", "--sweep", "sweep.yaml", "--quiet"]) == 2
    assert "line 7: measure: got 'mean'; allowed: accuracy." in capsys.readouterr().err
    assert not Path("results/one").exists()
    Path("sweep.yaml").write_text(write_yaml(one))
    assert main(["train", "--sweep", "sweep.yaml", "--quiet"]) == 0
    rows = [json.loads(line)["row"] for line in Path("results/one/trainings.jsonl").read_text().splitlines()]
    table = Path("results/one/trainings.csv").read_text().splitlines()
    assert [float(line.split(",")[3]) for line in table[-2:]] == [round(100 * row["accuracy"], 3) for row in rows]


@pytest.mark.parametrize(
    ("change", "match"),
    [({"set": {"chip.tile.rows": 4}}, "recipe."), ({"panels": []}, "panels"),
     ({"panels": [{"path": "recipe.m", "values": [0.0], "labels": ["a", "b"]}]}, "labels")],
)  # fmt: skip
def test_impossible_sweeps_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(Trainings, SWEEP | change, "trainings")
