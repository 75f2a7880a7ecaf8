"""Tasks whose metric is a function of the user: scores of any range, identified by the code and its files."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

import imc_sim as imc
from imc_sim import InputError, ResultsError
from imc_sim.config import read_yaml, write_yaml
from imc_sim.evaluate import ChipResult, Session
from imc_sim.nn.networks import BnnMlp
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.plotting import (
    convergence_data,
    convergence_figure,
    draw,
    heatmap_data,
    robustness_data,
    robustness_figure,
    style,
)
from imc_sim.report import conclusion, write_report
from imc_sim.runs import sound_rows
from imc_sim.study import Results, dry_run, load_study, points_of, run, trials_table, with_settings
from imc_sim.study._trials_file import TRIALS, rules_of

SIGMA = "chip.device.programming.sigma"
SCORE = """
import torch

def images():
    return torch.rand(12, 64, generator=torch.Generator().manual_seed(3))

def score(model, chip_index):
    outputs = model(images())
    assert outputs.shape == (12, 4)
    index = -1.0 if chip_index is None else float(chip_index)
    return {"rms": 1000 * float(outputs.square().mean().sqrt()), "index": index}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a network, eval.py and study.yaml."""
    args = {"inputs": 64, "hidden": [16], "classes": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = BnnMlp(**args)
    save_model(tmp_path / "net", network, ModelCard(name="net", summary="test", arch=Arch(name="bnn_mlp", args=args)))
    (tmp_path / "eval.py").write_text(SCORE)
    (tmp_path / "study.yaml").write_text(write_yaml(study(tmp_path)))
    return tmp_path


def study(home: Path, **changes: Any) -> dict[str, Any]:
    task = {"kind": "function", "call": "./eval.py:score", "metric": "rms", "unit": "mV", "better": "lower"}
    return {
        "name": "scored", "model": str(home / "net"), "chip": "rram_hfo2_1t1r", "task": task,
        "axes": [{"path": SIGMA, "values": [0.1, 0.5], "label": "sigma"}], "chips": {"min": 3}, **changes,
    }  # fmt: skip


def scores(folder: Path) -> dict[tuple[str, int], dict[str, float]]:
    rows = sound_rows(folder / TRIALS, rules_of(read_yaml(folder / "study.resolved.yaml"))).values()
    return {(row["point"], row["chip"]): row["scores"] for row in rows}


def test_scores_are_those_of_the_network_and_of_each_chip_alone(home: Path, tmp_path: Path) -> None:
    """Equal to mapping and scoring by hand, with batches of any size and with worker processes."""
    found = run(home / "study.yaml", tmp_path / "a")
    network = imc.load_model(home / "net").eval()
    images = torch.rand(12, 64, generator=torch.Generator().manual_seed(3))
    digital = 1000 * float(network(images).detach().square().mean().sqrt())
    assert found.table["digital"].tolist() == [digital, digital]
    for point, sigma in zip(found.study["points"], (0.1, 0.5), strict=True):
        chip = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", sigma)
        for number in range(3):
            with torch.no_grad():
                outputs = imc.map_model(network, chip, range(number, number + 1)).on_chip(0, images)
            expected = {"rms": 1000 * float(outputs.square().mean().sqrt()), "index": float(number)}
            assert scores(tmp_path / "a")[point["id"], number] == expected
    for name, options in {"b": {"batch": 1}, "c": {"executor": "process", "workers": 1}}.items():
        assert run(home / "study.yaml", tmp_path / name, **options).digest == found.digest


def test_table_figures_report_and_answer_name_the_metric_in_its_range(home: Path, tmp_path: Path) -> None:
    results = run(home / "study.yaml", tmp_path / "out")
    assert float(results.table["mean"].to_numpy().min()) > 100, "scores are no fractions"
    for name in ("median", "p95", "digital"):
        assert robustness_data(results)[name].tolist() == results.table[name].tolist()
    with style():
        (axes,) = robustness_figure(robustness_data(results)).axes
    assert axes.get_ylabel() == "rms (mV)"
    assert axes.get_ylim()[1] > float(results.table["p95"].to_numpy().max())
    (legend,) = axes.get_figure().legends  # type: ignore[union-attr]
    (patch,), (band,) = legend.get_patches(), axes.collections
    assert to_hex(patch.get_facecolor(), keep_alpha=True) == to_hex(
        np.asarray(band.get_facecolor())[0].tolist(), keep_alpha=True
    )
    assert convergence_data(results)["score"].tolist() == [score for each in results.accuracies for score in each]
    names = {path.name for path in draw(results)}
    assert {"robustness.png", "convergence.csv"} <= names
    text = write_report(results).read_text(encoding="utf-8")
    assert "median (mV)" in text
    with style():
        above, below = convergence_figure(convergence_data(results)).axes
    assert above.get_ylabel() == "mean rms (mV)"
    last = convergence_data(results).groupby("point").tail(1)
    mean, half = last["mean"].to_numpy(), last["half_width"].to_numpy()
    high, low = float(np.max(mean + half)), float(np.min(mean - half))
    assert above.get_ylim()[1] - above.get_ylim()[0] == pytest.approx(
        1.1 * (high - low)
    )  # the intervals of the last chips
    for ax in (above, below):
        assert all(tick == round(tick) for tick in ax.get_xticks())
    assert "accuracy" not in re.sub(r"<(svg|pre|details)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert conclusion(results).startswith("The median rms of 3 chips stays within 5 % of digital (")
    table = trials_table(results.folder)
    chips = table[table["chip"] >= 0]
    assert chips["scores.index"].tolist() == chips["chip"].tolist()
    assert table["score"].tolist() == table["scores.rms"].tolist()
    assert not {"correct", "total", "accuracy"} & set(table.columns)


@pytest.mark.parametrize(
    ("better", "tolerance", "reach"),
    [
        ("lower", 10.0, "up to x 1; at 2 it is 120 V"),
        ("higher", 10.0, "at every x tried"),
        ("lower", None, "up to x 0"),
    ],
)
def test_the_answer_follows_the_direction_and_the_tolerance(better: str, tolerance: float | None, reach: str) -> None:
    from imc_sim.plotting import Metric
    from imc_sim.report._answer import answer

    data = pd.DataFrame(
        {"series": "all", "x": [0, 1, 2], "chips": 3, "median": [100.0, 109.0, 120.0], "digital": 100.0}
    )
    metric = Metric.of({"metric": {"name": "error", "unit": "V", "better": better, "tolerance": tolerance}})
    data.attrs = {"x_name": "x", "x_unit": "", "metric": metric}
    assert reach in answer(data)


def test_a_study_without_axes_and_one_of_two_axes_have_their_figures(home: Path, tmp_path: Path) -> None:
    single = run(study(home, axes=[]) | task_at(home), tmp_path / "single")
    assert "robustness.svg" in {path.name for path in draw(single)}
    axes = [{"path": SIGMA, "values": [0.1, 0.5]}, {"path": "seed", "values": [0, 1]}]
    crossed = run(study(home, axes=axes, chips={"min": 1}) | task_at(home), tmp_path / "crossed")
    assert float(heatmap_data(crossed)["median"].to_numpy().min()) > 100
    assert "heatmap.png" in {path.name for path in draw(crossed)}


def task_at(home: Path, **changes: Any) -> dict[str, Any]:
    """The task of the study with absolute paths, for studies that are no files."""
    return {"task": study(home)["task"] | {"call": f"{home / 'eval.py'}:score"} | changes}


def test_the_study_of_the_page_runs(
    repository: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repository / "docs" / "your_network.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"^```\w+\n# file: (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        if name in ("eval.py", "study.yaml"):
            (tmp_path / name).write_text(text)
    (tmp_path / "models").mkdir()
    (home / "net").rename(tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    found = run(with_settings(load_study("study.yaml"), ["chips.min=1", "axes.0.values=[0.2]"]), tmp_path / "out")
    assert set(next(iter(found.rows.values()))["scores"]) == {"rms", "largest"}


# -- identity ----------------------------------------------------------------------------------------------


def test_stored_scores_are_reused_only_for_the_same_code(home: Path, tmp_path: Path) -> None:
    before = run(home / "study.yaml", tmp_path / "out")
    lines = (tmp_path / "out" / TRIALS).read_bytes()
    assert run(home / "study.yaml", tmp_path / "out").digest == before.digest
    assert (tmp_path / "out" / TRIALS).read_bytes() == lines
    (home / "eval.py").write_text(SCORE.replace("1000 *", "2000 *"))
    with pytest.raises(ResultsError, match="Choose another folder"):
        run(home / "study.yaml", tmp_path / "out")
    after = run(home / "study.yaml", tmp_path / "new")
    np.testing.assert_allclose(after.table["mean"], 2 * before.table["mean"])


@pytest.mark.parametrize(
    ("changes", "same"),
    [({}, True), ({"unit": "V"}, True), ({"tolerance": 3.0}, True), ({"metric": "index"}, False), ({"seed": 1}, False),
     ({"files": ["data.txt"]}, False), ({"inputs": "./eval.py:images"}, False), ({"call": "./eval.py:images"}, False),
     ({"call": "./moved.py:score"}, True)],
)  # fmt: skip
def test_the_id_covers_what_changes_scores_and_nothing_else(changes: dict[str, Any], same: bool, home: Path) -> None:
    (home / "data.txt").write_text("1")
    (home / "moved.py").write_text(SCORE)
    (home / "other.yaml").write_text(write_yaml(study(home) | {"task": study(home)["task"] | changes}))
    ids = [[point.id for point in points_of(load_study(home / name))] for name in ("study.yaml", "other.yaml")]
    assert (ids[0] == ids[1]) is same
    if "files" in changes:
        (home / "data.txt").write_text("2")
        assert [point.id for point in points_of(load_study(home / "other.yaml"))] != ids[1]


def test_a_results_folder_can_be_run_again_from_another_place(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are relative to the study file, also those of cases and of --set; results keep their absolute paths."""
    (home / "more.py").write_text(SCORE)
    cases = [{"name": "a"}, {"name": "b", "set": {"task.call": "./more.py:score", "task.seed": 1}}]
    (home / "study.yaml").write_text(write_yaml(study(home, cases=cases, chips={"min": 1})))
    found = run(home / "study.yaml", tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(tmp_path / "out" / "study.resolved.yaml", tmp_path / "again").digest == found.digest
    changed = with_settings(load_study(home / "study.yaml"), ["task.metric=index"])
    assert points_of(changed)[0].task["call"] == f"{home / 'eval.py'}:score"


def test_random_numbers_depend_on_seed_and_chip_alone(home: Path, tmp_path: Path) -> None:
    """Equal at every point and for every batch; different between chips; the caller's generators are left alone."""
    (home / "eval.py").write_text(
        "import random\nimport numpy as np\nimport torch\n"
        "def score(model, chip_index):\n"
        "    return {'a': random.random(), 'b': np.random.rand(), 'c': torch.rand(1), 'rms': 1}\n"
    )
    random.seed(5)
    expected = random.random()
    random.seed(5)
    found = run(home / "study.yaml", tmp_path / "a")
    assert random.random() == expected
    rows = scores(tmp_path / "a")
    points = [point["id"] for point in found.study["points"]]
    assert [rows[points[0], chip] for chip in range(3)] == [rows[points[1], chip] for chip in range(3)]
    assert len({row[key] for row in rows.values() for key in "abc"}) == 4 * 3
    assert run(home / "study.yaml", tmp_path / "b", batch=1).digest == found.digest


def test_a_worker_with_other_code_is_refused(home: Path) -> None:
    from imc_sim.evaluate import evaluate_chips
    from imc_sim.study._work import Batch, evaluate_batch

    point = points_of(load_study(home / "study.yaml"))[0]
    batch = Batch.of([point.trial(0)], evaluate_chips, "cpu")
    assert evaluate_batch(batch)[0].scores["index"] == 0.0
    (home / "eval.py").write_text(SCORE + "\n")
    with pytest.raises(InputError, match="other content"):
        evaluate_batch(batch)


# -- evaluators --------------------------------------------------------------------------------------------


def at_one(model: str, chip: Any, task: Any, chips: Any, seed: int) -> list[ChipResult]:
    return [ChipResult(-1 if chip is None else number, 5, 10, 0.0) for number in chips]


def at_five(model: str, chip: Any, task: Any, chips: Any, seed: int) -> list[ChipResult]:
    return [ChipResult(-1 if chip is None else number, 9, 10, 0.0) for number in chips]


def test_results_of_one_evaluator_are_not_those_of_another(home: Path, tmp_path: Path) -> None:
    plain = study(home, task={"dataset": "glyphs", "split": "test", "episodes": 2})
    assert run(plain, tmp_path / "out", evaluator=at_five).table["mean"].tolist() == [0.9, 0.9]
    with pytest.raises(ResultsError, match="Choose another folder"):
        run(plain, tmp_path / "out", evaluator=at_one)
    with pytest.raises(ResultsError, match="Choose another folder"):
        run(plain, tmp_path / "out")
    with pytest.raises(InputError, match="a function at the top level of a Python file"):
        run(plain, tmp_path / "other", evaluator=lambda *_: [])


# -- errors ------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, str]] = {
    "raises": ("    return {}['missing']", r"eval\.py, line 2 \(return \{\}\['missing'\]\): got KeyError: 'missing'"),
    "nothing": ("    return None", "got None; allowed: a finite number"),
    "a word": ("    return 'good'", "got 'good'; allowed: a finite number"),
    "NaN": ("    return {'rms': float('nan')}", "score 'rms': got nan"),
    "a truth value": ("    return True", "got True; allowed: a finite number"),
    "another name": ("    return {'mse': 1.0}", "no 'rms' in the scores; allowed: 'mse'"),
    "two values": ("    import time; return time.perf_counter()", "equal scores of the digital network in two calls"),
    "one parameter": ("    pass\ndef score(model): return 1", "TypeError"),
}


@pytest.mark.parametrize(("body", "match"), WRONG.values(), ids=WRONG)
def test_a_function_that_cannot_score_the_network_is_refused_before_anything_runs(
    body: str, match: str, home: Path, tmp_path: Path
) -> None:
    (home / "eval.py").write_text(f"def score(model, chip_index):\n{body}\n")
    for start in (lambda: run(home / "study.yaml", tmp_path / "out"), lambda: dry_run(str(home / "study.yaml"))):
        with pytest.raises(InputError, match=match):
            start()
    assert not (tmp_path / "out").exists()


def test_an_error_on_one_chip_is_its_row_with_the_line_of_the_user(home: Path, tmp_path: Path) -> None:
    (home / "eval.py").write_text(
        SCORE.replace("    index =", "    if chip_index == 1:\n        raise OSError('disk')\n    index =")
    )
    found = run(home / "study.yaml", tmp_path / "out")
    assert found.failed == 2
    rows = sound_rows(tmp_path / "out" / TRIALS, rules_of(found.study)).values()
    failed = [row for row in rows if row["state"] == "failed"]
    assert {row["chip"] for row in failed} == {1}
    assert all("eval.py, line 11 (raise OSError('disk')): got OSError: disk" in row["error"] for row in failed)
    assert found.table["chips"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (lambda home: task_at(home, call="eval:score"), "allowed: FILE.py:FUNCTION"),
        (lambda home: task_at(home, call=f"{home}/none.py:score"), "no file"),
        (lambda home: task_at(home, call=f"{home}/eval.py:scores"), "Did you mean 'score'"),
        (lambda home: task_at(home, files=["none.npz"]), "No such file"),
        (lambda home: {"chips": {"min": 1, "max": 2, "half_width": 2.0}, "task": {"dataset": "glyphs"}}, "below 1"),
        (lambda home: task_at(home) | {"cases": [{"name": "a", "published": 0.5}]}, "published with a function task"),
        (lambda home: task_at(home) | {"cases": [{"name": "a", "published": 0.0}]}, "published with a function task"),
        (lambda home: task_at(home) | {"cases": [
            {"name": "a"}, {"name": "b", "set": {"task": {"dataset": "glyphs", "split": "test"}}}]}, "2 different"),
        (lambda home: task_at(home) | {"chip": "pcm_hermes", "axes": []}, "inputs, on which chip"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(changes: Callable[[Path], Any], match: str, home: Path) -> None:
    with pytest.raises(InputError, match=match):
        run(study(home) | changes(home), home / "out")
    assert not (home / "out").exists()


def test_a_score_stops_at_a_half_width_in_its_unit(home: Path, tmp_path: Path) -> None:
    rule = {"min": 3, "max": 12, "half_width": 1e9}
    assert set(run(study(home, chips=rule) | task_at(home), tmp_path / "wide").table["chips"]) == {3}
    rule = {"min": 3, "max": 5, "half_width": 1e-9}
    found: Results = run(study(home, chips=rule) | task_at(home), tmp_path / "narrow")
    assert set(found.table["chips"]) == {5}
    assert convergence_data(found).attrs["target"] == 1e-9


def test_calibration_uses_the_inputs_of_the_task(home: Path, tmp_path: Path) -> None:
    chip = imc.load_chip("rram_hfo2_1t1r").to_dict()
    chip["converter"] |= {"kind": "sym", "bits": 6, "range": "calibrated"}
    task = task_at(home, inputs=f"{home / 'eval.py'}:images")
    found = run(study(home, chip=chip, chips={"min": 1}) | task, tmp_path / "out")
    network = imc.load_model(home / "net")
    analog = imc.map_model(network, imc.load_chip(chip | {"name": "x"}).replace("device.programming.sigma", 0.1))
    ranges = analog.calibrate(torch.rand(12, 64, generator=torch.Generator().manual_seed(3)))
    row = next(row for row in found.rows.values() if row["chip"] == 0)
    assert {name: tuple(ends) for name, ends in row["ranges"].items()} == ranges


def test_the_network_of_a_session_is_not_changed_by_a_function(home: Path, tmp_path: Path) -> None:
    body = "    for p in model.parameters():\n        p.data.zero_()\n    return 1.0\n"
    (home / "eval.py").write_text(f"def score(model, chip_index):\n{body}")
    run(home / "study.yaml", tmp_path / "out")
    assert any(bool(p.any()) for p in Session.on("cpu").model(str(home / "net")).parameters())
