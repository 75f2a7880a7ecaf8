"""Runs survive a kill at any moment, failures, other executors and wrong folders."""

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from imc_sim import InputError, ResultsError
from imc_sim._stats import chip_interval
from imc_sim.cli import main
from imc_sim.cli._run import table_rows
from imc_sim.config import find_content, read_yaml, write_yaml
from imc_sim.evaluate import ChipResult
from imc_sim.plotting import comparison_data
from imc_sim.report import page
from imc_sim.runs import RowStore, heal, sound_rows
from imc_sim.study import Results, run
from imc_sim.study._spec import Case, Chips
from imc_sim.study._store import read_study
from imc_sim.study._trials_file import TRIALS, rules_of
from imc_sim.testing._stand_in import FAIL


def payload(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return the results of a run without times and hosts."""
    return {k: (r["state"], r["correct"], r["total"]) for k, r in sound_rows(folder / TRIALS, rules_of()).items()}


@pytest.fixture(scope="module")
def whole(complete: Results) -> Path:
    return complete.folder


def test_the_table_is_over_chips(whole: Path) -> None:
    table = Results.load(whole).table
    assert table["case"].tolist() == ["a"] * 3 + ["b"] * 3
    rows = [r for r in sound_rows(whole / TRIALS, rules_of()).values() if r["case"] == "a" and r["values"] == [0.2]]
    values = [r["correct"] / r["total"] for r in rows]
    line = table.iloc[1]
    assert line["chips"] == 6
    assert line["median"] == np.median(values)
    assert (line["p05"], line["p95"]) == tuple(np.quantile(values, [0.05, 0.95], method="weibull"))
    assert line["half_width"] == pytest.approx(stats.sem(values) * stats.t.ppf(0.975, 5))
    assert (whole / "table.csv").read_text().count("\n") == 7


def test_a_stored_chip_without_the_texts_of_the_report_is_refused(whole: Path, tmp_path: Path) -> None:
    study = read_yaml(whole / "study.resolved.yaml")
    study["chip"] = read_yaml(find_content("chip", "rram_hfo2_1t1r"))
    for missing in ("", "name", "source", "validity"):
        chip = {key: value for key, value in study["chip"].items() if key != missing}
        (tmp_path / "study.resolved.yaml").write_text(write_yaml(study | {"chip": chip}))
        if missing:
            with pytest.raises(
                InputError, match=rf"^{tmp_path}/study.resolved.yaml, line \d+: chip.{missing}: got nothing"
            ):
                read_study(tmp_path)
        else:
            assert read_study(tmp_path)["chip"] == chip
    (tmp_path / "study.resolved.yaml").write_text(write_yaml(study | {"chip": "rram_hfo2_1t1r"}))
    with pytest.raises(InputError, match=r"line \d+: chip: got 'rram_hfo2_1t1r'; allowed: a mapping"):
        read_study(tmp_path)
    (tmp_path / "study.resolved.yaml").write_text(write_yaml(study | {"derived": True}))
    with pytest.raises(InputError, match=r"line \d+: derived: got True; allowed: a mapping"):
        read_study(tmp_path)


def test_a_stored_study_without_optional_settings_has_their_defaults(whole: Path, tmp_path: Path) -> None:
    """An editor may have removed lines; commands that read the folder take none of them for granted."""
    shutil.copytree(whole, tmp_path / "x")
    study = read_yaml(whole / "study.resolved.yaml")
    bare = {key: value for key, value in study.items() if key not in ("summary", "question", "weights")}
    bare["cases"] = [{"name": case["name"]} for case in study["cases"]]
    bare["axes"] = [{key: axis[key] for key in ("path", "values")} for axis in study["axes"]]
    bare["chips"], bare["metric"] = {}, None
    (tmp_path / "x" / "study.resolved.yaml").write_text(write_yaml(bare))
    found = read_study(tmp_path / "x")
    assert (found["summary"], found["question"], found["weights"]) == ("", "", {})
    assert all(case == Case(name=case["name"]).to_dict() for case in found["cases"])
    assert found["chips"] == Chips().to_dict()
    for command in (["report"], ["status"], ["plot"]):
        assert main([command[0], str(tmp_path / "x")]) == 0


def equal_scores(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
) -> list[ChipResult]:
    """Evaluate every chip as 10 of 10."""
    return [ChipResult(number, 10, 10, 0.0) for number in ([-1] if chip is None else chips)]


def test_equal_scores_of_chips_that_differ_have_an_interval(small: dict[str, Any], tmp_path: Path) -> None:
    """With sigma 0 both levels are exact, so that chips cannot differ."""
    case = {"name": "a", "sweep": ["chip.device.programming.sigma", "chip.device.programming.sigma_hrs"]}
    axis = {"path": "chip.device.programming.sigma", "values": [0, 0.2]}
    study = small | {"axes": [axis], "cases": [case], "chips": {"min": 10}}
    results = run(study, tmp_path / "table", evaluator=equal_scores)
    assert results.intervals[0] == (1.0, 1.0)
    assert results.intervals[1] == chip_interval([1.0] * 10)[1:]
    assert [row["mean, 95 % interval %"] for row in table_rows(results)] == [
        "100.00 [100.00, 100.00]", "100.00 [66.15, 100.00]",
    ]  # fmt: skip
    assert "100.00 (66.15 to 100.00)" in page(results)
    single = {key: value for key, value in study.items() if key not in ("axes", "cases")}
    compared = comparison_data(run(single, tmp_path / "comparison", evaluator=equal_scores)).iloc[0]
    assert (compared["on_chip_low"], compared["on_chip_high"]) == (66.1491, 100.0)


def test_running_again_computes_nothing(
    whole: Path, tmp_path: Path, trials_in_all: int, go: Callable[..., Results]
) -> None:
    shutil.copytree(whole, tmp_path / "x")
    before = (tmp_path / "x" / TRIALS).read_bytes()
    seen: list[int] = []
    go(tmp_path / "x", progress=lambda p: seen.append(p.total))
    assert (tmp_path / "x" / TRIALS).read_bytes() == before
    assert seen[-1] == 0
    assert len(payload(whole)) == trials_in_all


def test_rows_of_the_store_are_released_before_results_are_read(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go: Callable[..., Results]
) -> None:
    folder, load = shutil.copytree(whole, tmp_path / "x"), Results.load
    held: list[object] = []

    def loaded(path: Path) -> Results:
        stores = (each for each in gc.get_objects() if issubclass(type(each), RowStore))
        held.extend(each for each in stores if each.folder == folder)
        return load(path)

    monkeypatch.setattr(Results, "load", loaded)
    go(folder)
    assert not held


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=0))
def test_a_file_cut_anywhere_loses_its_last_line_at_most(whole: Path, tmp_path: Path, cut: int) -> None:
    data = (whole / TRIALS).read_bytes()
    cut %= len(data) + 1
    path = tmp_path / "cut.jsonl"
    path.write_bytes(data[:cut])
    heal(path)
    kept = path.read_bytes()
    assert kept in (data[: data[:cut].rfind(b"\n") + 1], data[:cut] + b"\n", data[:cut])
    assert len(sound_rows(path, rules_of())) == kept.count(b"\n") >= data[:cut].count(b"\n")


def test_a_killed_and_resumed_run_has_the_same_results(
    whole: Path, tmp_path: Path, small: dict[str, Any], trials_in_all: int, go: Callable[..., Results]
) -> None:
    folder, flag = tmp_path / "killed", tmp_path / "kill"
    flag.touch()
    script = (
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "from imc_sim.study import run\n"
        "from imc_sim.testing import stand_in_evaluator\n"
        "flag = Path(sys.argv[3])\n"
        "def watch(p):\n"
        "    if p.done >= 12:\n"
        "        os.environ['IMC_SIM_TEST_KILL'] = str(flag)\n"
        "run(json.loads(sys.argv[1]), sys.argv[2], evaluator=stand_in_evaluator, progress=watch)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, json.dumps(small), str(folder), str(flag)], check=False)
    assert done.returncode == -9
    partial = payload(folder)
    assert 12 <= len(partial) < trials_in_all
    go(folder)
    assert payload(folder) == payload(whole)
    assert (folder / TRIALS).read_bytes().count(b"\n") == trials_in_all


@pytest.mark.parametrize("workers", [1, 2])
def test_every_executor_gives_the_same(whole: Path, tmp_path: Path, workers: int, go: Callable[..., Results]) -> None:
    go(tmp_path / "x", executor="process", workers=workers)
    assert payload(tmp_path / "x") == payload(whole)


def test_failed_trials_are_rows_kept_until_they_are_retried(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go: Callable[..., Results]
) -> None:
    flag = tmp_path / "fail"
    flag.touch()
    monkeypatch.setenv(FAIL, str(flag))
    counts: list[tuple[int, int, int]] = []
    found = go(tmp_path / "x", progress=lambda now: counts.append((now.done, now.total, now.failed)))
    assert found.failed == 2 * 3  # chip 3 alone, not its batch, at every point
    assert (counts[0], counts[-1]) == ((0, 38, 0), (38, 38, 6))
    failed = [r for r in sound_rows(tmp_path / "x" / TRIALS, rules_of()).values() if r["state"] == "failed"]
    assert {r["chip"] for r in failed} == {3}
    assert all(r["error"] == "chip 3 is out of order" for r in failed)
    assert all("in stand_in_evaluator" in r["traceback"] for r in failed)
    before = (tmp_path / "x" / TRIALS).read_bytes()
    flag.unlink()
    assert go(tmp_path / "x").failed == 2 * 3
    assert (tmp_path / "x" / TRIALS).read_bytes() == before
    assert go(tmp_path / "x", retry_failed=True).failed == 0
    assert (tmp_path / "x" / TRIALS).read_bytes().startswith(before)
    assert payload(tmp_path / "x") == payload(whole)


def test_a_trial_that_fails_again_is_tried_once_per_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: dict[str, Any], go: Callable[..., Results]
) -> None:
    """Also under a stopping rule, which requests the early chips again at every checkpoint."""
    flag = tmp_path / "fail"
    flag.touch()
    monkeypatch.setenv(FAIL, str(flag))
    study = small | {"chips": {"min": 4, "max": 12, "half_width": 0.001}}
    go(tmp_path / "x", study)
    lines = (tmp_path / "x" / TRIALS).read_bytes().count(b"\n")
    assert lines == 2 + 2 * 3 * 12
    go(tmp_path / "x", study, retry_failed=True)
    assert (tmp_path / "x" / TRIALS).read_bytes().count(b"\n") == lines + 2 * 3


def test_points_in_common_are_run_once_and_every_model_has_its_baseline(
    tmp_path: Path, small: dict[str, Any], go: Callable[..., Results]
) -> None:
    path = small["axes"][0]["path"]
    models = {"path": "model", "values": ["batmann_5w1s_xnor", "batmann_small_xnor"]}
    stuck = {"name": "b", "set": {path: 0.0}, "sweep": ["chip.device.faults.stuck_lrs"]}
    axes = [{"path": path, "values": [0, 0.2]}, models]
    table = go(tmp_path / "x", small | {"cases": [{"name": "a"}, stuck], "axes": axes, "chips": {"min": 3}}).table
    assert (tmp_path / "x" / TRIALS).read_bytes().count(b"\n") == 2 + 2 * 3 * 3, "at 0 both cases are the same chips"
    assert len(table) == 8
    assert table["digital"].notna().to_list() == [True] * 8


def test_the_stopping_rule_stops_each_point_alone(
    tmp_path: Path, small: dict[str, Any], go: Callable[..., Results]
) -> None:
    rule = {"min": 6, "max": 40, "half_width": 0.013}  # reached with 21 or 32 chips of that variation
    table = go(tmp_path / "x", small | {"chips": rule}).table
    assert set(table["chips"]) <= {6, 9, 14, 21, 32, 40}
    assert len(set(table["chips"])) > 1
    converged = table[table["chips"] < 40]
    assert max(converged["half_width"]) <= 0.013
    again = go(tmp_path / "y", small | {"chips": rule}, executor="process", workers=2).table
    assert again.equals(table)


def test_more_chips_are_stored_in_the_same_folder(
    tmp_path: Path, small: dict[str, Any], go: Callable[..., Results]
) -> None:
    go(tmp_path / "x")
    table = go(tmp_path / "x", small | {"chips": {"min": 8}}).table
    assert set(table["chips"]) == {8}
    assert (tmp_path / "x" / TRIALS).read_bytes().count(b"\n") == 2 + 2 * 3 * 8
    stored = tmp_path / "x" / "study.resolved.yaml"
    stored.write_text(text := f"# mine\n{stored.read_text()}")
    go(tmp_path / "x", small | {"chips": {"min": 8}})
    assert stored.read_text() == text  # it says the same
    go(tmp_path / "x", small | {"chips": {"min": 9}})
    assert stored.read_text() == write_yaml(read_yaml(stored))
    assert read_yaml(stored)["chips"]["min"] == 9


def test_folders_of_other_studies_are_refused_and_unchanged(
    whole: Path, tmp_path: Path, small: dict[str, Any], go: Callable[..., Results]
) -> None:
    shutil.copytree(whole, tmp_path / "x")
    before = {p.name: p.read_bytes() for p in (tmp_path / "x").iterdir()}
    with pytest.raises(ResultsError, match="results of study 'small'"):
        go(tmp_path / "x", small | {"seed": 5})
    text = (tmp_path / "x" / "study.resolved.yaml").read_text()
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "x").iterdir()}
    (tmp_path / "x" / "study.resolved.yaml").write_text(text.replace("schema: 2", "schema: 3", 1))
    with pytest.raises(ResultsError, match="Use a newer imc_sim"):
        go(tmp_path / "x")
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="a file"):
        go(tmp_path / "file")


def test_a_second_writer_is_refused(whole: Path, tmp_path: Path) -> None:
    from imc_sim.study import ResultStore

    shutil.copytree(whole, tmp_path / "x")
    settings_ = read_yaml(tmp_path / "x" / "study.resolved.yaml")
    with (
        ResultStore(tmp_path / "x", settings_),
        pytest.raises(ResultsError, match="another run"),
        ResultStore(tmp_path / "x", settings_),
    ):
        pass


def test_a_differing_result_of_one_trial_is_an_error(whole: Path, tmp_path: Path) -> None:
    from imc_sim.study import ResultStore

    shutil.copytree(whole, tmp_path / "x")
    with ResultStore(tmp_path / "x", read_yaml(tmp_path / "x" / "study.resolved.yaml")) as store:
        row = next(iter(store.rows.values()))
        store.add([row])
        with pytest.raises(ResultsError, match="one result per trial"):
            store.add([row | {"correct": row["correct"] - 1}])


def test_damage_in_the_middle_names_its_line(whole: Path, tmp_path: Path) -> None:
    lines = (whole / TRIALS).read_bytes().split(b"\n")
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\n".join([*lines[:3], b"{oops", *lines[3:]]))
    with pytest.raises(ResultsError, match="line 4"):
        sound_rows(path, rules_of())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_names_the_file_and_keeps_it_whole(whole: Path, tmp_path: Path) -> None:
    from imc_sim.study import ResultStore

    shutil.copytree(whole, tmp_path / "x")
    before = (tmp_path / "x" / TRIALS).read_bytes()
    settings_ = read_yaml(tmp_path / "x" / "study.resolved.yaml")
    with contextlib.ExitStack() as stack, ResultStore(tmp_path / "x", settings_) as store:
        row = next(iter(store.rows.values()))
        stack.enter_context(store._file)  # type: ignore[arg-type]
        store._file = stack.enter_context(Path("/dev/full").open("ab", buffering=0))
        with pytest.raises(OSError, match="No space left") as caught:
            store.add([row | {"id": "new"}])
        assert caught.value.filename == str(tmp_path / "x" / TRIALS)
    assert (tmp_path / "x" / TRIALS).read_bytes() == before


def test_unknown_executors_are_named(tmp_path: Path, go: Callable[..., Results]) -> None:
    with pytest.raises(InputError, match="inline, process, dask"):
        go(tmp_path / "x", executor="proces")
    assert not (tmp_path / "x").exists()


def test_import_loads_no_torch() -> None:
    code = "import sys, imc_sim.study, imc_sim.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0
