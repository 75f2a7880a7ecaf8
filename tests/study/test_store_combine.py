"""All trials as CSV and Parquet, several folders as one, and the progress of a run."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from imc_sim import InputError, ResultsError
from imc_sim.runs import sealed, sound_rows
from imc_sim.study import Progress, Results, combine, run, status, trials_table
from imc_sim.study._trials_file import TRIALS, rules_of
from imc_sim.testing import stand_in_evaluator
from imc_sim.testing._stand_in import FAIL

needs_parquet = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs the extra parquet")
SIGMA = "chip.device.programming.sigma"


def test_one_row_a_trial_in_the_order_of_the_study(complete: Results, trials_in_all: int) -> None:
    table = trials_table(complete.folder)
    assert len(table) == trials_in_all
    assert table["chip"].tolist() == [-1] * 2 + 6 * list(range(6))
    assert table[SIGMA].tolist()[2:] == 2 * [v for v in (0.0, 0.2, 0.4) for _ in range(6)]
    assert table["accuracy"].tolist() == (table["correct"] / table["total"]).tolist()
    assert table.groupby(["case", SIGMA])["accuracy"].median().tolist() == complete.table["median"].tolist()
    assert table.groupby("case")["digital"].nunique().tolist() == [1, 1]
    assert set(table["id"]) == set(sound_rows(complete.folder / TRIALS, rules_of()))


@needs_parquet
def test_csv_and_parquet_hold_the_same(complete: Results, tmp_path: Path) -> None:
    csv, parquet = combine([complete.folder], tmp_path / "out")
    assert [csv.name, parquet.name] == ["trials.csv", "trials.parquet"]
    a, b = pd.read_csv(csv), pd.read_parquet(parquet)
    assert a.columns.tolist() == b.columns.tolist()
    for column in ("case", SIGMA, "chip", "correct", "total", "accuracy", "digital", "id"):
        assert a[column].equals(b[column].astype(a[column].dtype)), column
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"trials.csv", "trials.parquet"}


@needs_parquet
def test_values_of_several_types_become_text(small: dict, go: Callable[..., Results], tmp_path: Path) -> None:
    axis = {"path": "chip.device.programming.sigma_hrs", "values": [0.5, 0.25]}
    mixed = {"path": "task.keys", "values": ["bipolar", "binary"]}
    go(tmp_path / "x", small | {"axes": [axis, mixed], "cases": [{"name": "a"}], "chips": {"min": 1}})
    table = pd.read_parquet(combine([tmp_path / "x"])[1])
    assert table[axis["path"]].tolist()[-4:] == [0.5, 0.5, 0.25, 0.25]
    assert table["task.keys"].tolist()[-2:] == ["bipolar", "binary"]


def test_folders_of_one_study_are_merged(
    complete: Results, small: dict, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has fewer chips, one a failed chip 3: together they hold all results, in an ordinary folder."""
    flag = tmp_path / "flag"
    flag.touch()
    monkeypatch.setenv(FAIL, str(flag))
    go(tmp_path / "failed")
    flag.unlink()
    go(tmp_path / "few", small | {"chips": {"min": 4}})
    combine([tmp_path / "few", tmp_path / "failed"], tmp_path / "both")
    merged = Results.load(tmp_path / "both")
    assert merged.failed == 0
    assert merged.digest == complete.digest
    assert merged.table.equals(complete.table)
    assert (tmp_path / "both" / "table.csv").read_text() == (complete.folder / "table.csv").read_text()
    before = (tmp_path / "both" / TRIALS).read_bytes()
    go(tmp_path / "both")
    combine([tmp_path / "few", tmp_path / "both"], tmp_path / "both", ["csv"])
    assert (tmp_path / "both" / TRIALS).read_bytes() == before


def test_folders_of_different_studies_are_not_merged(
    complete: Results, small: dict, go: Callable[..., Results], tmp_path: Path
) -> None:
    go(tmp_path / "seed", small | {"seed": 1, "chips": {"min": 1}})
    with pytest.raises(ResultsError, match="Combine folders of one study only"):
        combine([complete.folder, tmp_path / "seed"], tmp_path / "x")
    other = shutil.copytree(complete.folder, tmp_path / "other")
    lines = (other / TRIALS).read_text().splitlines()
    row = json.loads(lines[5])
    lines[5] = sealed(row | {"correct": row["correct"] - 1}).rstrip()
    (other / TRIALS).write_text("\n".join(lines) + "\n")
    with pytest.raises(ResultsError, match=rf"trial {row['id'][:12]}: got {row['correct']} of 1000 correct in"):
        combine([complete.folder, other], tmp_path / "x")
    with pytest.raises(InputError, match="--out with several folders"):
        combine([complete.folder, other])
    with pytest.raises(ResultsError, match="no such folder"):
        combine([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match=r"no study\.resolved\.yaml"):
        combine([tmp_path / "empty"])
    with pytest.raises(InputError, match="csv, parquet"):
        combine([complete.folder], tmp_path / "x", ["xlsx"])
    assert not (tmp_path / "x").exists()


def test_without_pyarrow_csv_is_written(complete: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imc_sim.study import _combine

    monkeypatch.setattr(_combine, "has_parquet", lambda: False)
    assert [p.name for p in combine([complete.folder], tmp_path / "x")] == ["trials.csv"]
    with pytest.raises(InputError, match=r"pip install 'imc-sim\[parquet\]'"):
        combine([complete.folder], tmp_path / "x", ["parquet"])


# -- status ------------------------------------------------------------------------------------------------------


def test_status_while_a_run_goes_on(go: Callable[..., Results], trials_in_all: int, tmp_path: Path) -> None:
    seen = []

    def watch(progress: Progress) -> None:
        seen.append((progress.done, status(tmp_path / "x")))

    go(tmp_path / "x", progress=watch, batch=2)
    assert [s.done for _, s in seen] == [done for done, _ in seen]
    assert all(s.done + s.left == trials_in_all and s.failed == 0 and s.writer for _, s in seen)
    assert seen[0][1].rate_per_s is seen[0][1].eta_s is None
    assert all(s.eta_s == s.left / s.rate_per_s and not s.at_least for _, s in seen[1:])
    after = status(tmp_path / "x")
    assert (after.done, after.left, after.writer, after.eta_s) == (trials_in_all, 0, None, None)
    assert after.complete


def test_status_of_failures_and_of_a_stopping_rule(
    small: dict, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    monkeypatch.setenv(FAIL, str(flag))
    study = small | {"chips": {"min": 6, "max": 40, "half_width": 0.012}}
    seen = []
    go(tmp_path / "x", study, progress=lambda _: seen.append(status(tmp_path / "x")))
    assert seen[0].left == 2 + 2 * 3 * 6
    assert seen[0].at_least
    after = status(tmp_path / "x")
    assert (after.left, after.failed, after.at_least, after.complete) == (0, 6, False, False)
    assert after.done + after.failed == len(sound_rows(tmp_path / "x" / TRIALS, rules_of())) > 2 + 2 * 3 * 6


def test_a_torn_line_is_ignored(complete: Results, trials_in_all: int, tmp_path: Path) -> None:
    folder = shutil.copytree(complete.folder, tmp_path / "x")
    data = (folder / TRIALS).read_bytes()
    (folder / TRIALS).write_bytes(data[:-7])
    assert (status(folder).done, status(folder).left) == (trials_in_all - 1, 1)
    assert len(trials_table(folder)) == trials_in_all - 1
    assert (folder / TRIALS).read_bytes() == data[:-7]


def test_an_axis_called_chip_leaves_the_number_of_the_chip(small: dict[str, Any], tmp_path: Path) -> None:
    axes = [{"path": "chip", "values": ["ideal", "rram_hfo2_1t1r"]}]
    study = {key: value for key, value in small.items() if key not in ("axes", "cases", "chip_task")}
    run(study | {"axes": axes, "chips": {"min": 3}}, tmp_path / "r", evaluator=stand_in_evaluator)
    table = trials_table(tmp_path / "r")
    assert len(table) == len((tmp_path / "r" / "trials.jsonl").read_text().splitlines())
    places = list(zip(table["chip"].fillna(""), table["chip_number"], strict=True))
    assert sorted(places) == [("", -1), *[(name, k) for name in ("ideal", "rram_hfo2_1t1r") for k in range(3)]]
