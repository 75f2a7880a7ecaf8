"""Points have the settings of their study, and trials are identified by all that affects them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.config import write_yaml
from imc_sim.nn.networks import BinaryActivationNet
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.study import _points, json_schema, load_study
from imc_sim.study._point import Point
from imc_sim.study._points import points_of
from imc_sim.study._work import evaluator_digest
from imc_sim.testing import _stand_in, stand_in_evaluator


def put(folder: Path, **args: object) -> str:
    """Save the same weights with these arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = BinaryActivationNet("1a", size=8, binary=[1])
    arch = Arch(name="binact", args={"layout": "1a", "size": 8, "binary": [1], **args})
    save_model(folder, network, ModelCard(name=folder.name, summary="test", arch=arch))
    return str(folder)


def ids(model: str) -> tuple[str, str]:
    study = load_study({
        "name": "s", "model": model, "chip": "ideal", "task": {"kind": "classification", "dataset": "digits"},
        "cases": [{"name": "all", "set": {"chip.policy.float": "digital"}}],
    })  # fmt: skip
    (point,) = points_of(study)
    return point.trial(0).id, point.reference().trial(-1).id


def test_equal_weights_with_other_neurons_are_other_trials(tmp_path: Path) -> None:
    one, same = put(tmp_path / "one", stochastic=False), put(tmp_path / "same", stochastic=False)
    other = put(tmp_path / "other", stochastic=True)
    assert ids(one) == ids(same)
    assert not set(ids(one)) & set(ids(other))


# -- settings of points -------------------------------------------------------------------------------------

STUDY: dict[str, Any] = {
    "name": "s", "model": "batmann_small_xnor", "chip": "ideal", "chips": {"min": 2},
    "task": {"dataset": "glyphs", "split": "test", "attack": {"kind": "fgsm", "epsilon": 0.1}},
}  # fmt: skip


def points(**changes: Any) -> list[Point]:
    return points_of(load_study(STUDY | changes))


def test_the_backend_of_a_study_replaces_that_of_its_chip() -> None:
    foreign = load_chip("ideal").to_dict() | {"engine": {"kind": "memtorch", "adc_overflow_rate": 0.25}}
    for changes, wanted in (
        ({}, ("native", None)),
        ({"chip": foreign}, ("memtorch", 0.25)),
        ({"chip": foreign, "engine": "native"}, ("native", None)),
        ({"engine": {"kind": "memtorch", "adc_overflow_rate": 0.5}}, ("memtorch", 0.5)),
        ({"chip": foreign, "cases": [{"name": "a", "set": {"engine.adc_overflow_rate": 0.75}}]}, ("memtorch", 0.75)),
    ):
        (point,) = points(**changes)
        rate = point.engine.to_dict().get("adc_overflow_rate") if point.engine.kind == "memtorch" else None
        assert (point.engine.kind, rate) == wanted
        assert point.content.get("engine") == (None if wanted[0] == "native" else point.engine.to_dict())


def test_paths_below_a_setting_change_the_point_and_not_the_study() -> None:
    study = load_study(
        STUDY
        | {"chip": load_chip("ideal").to_dict(), "chip_task": {"attack": {"kind": "fgsm", "epsilon": 0.2}}}
        | {"cases": [{"name": "a"}, {"name": "b", "set": {"task.attack.epsilon": 0.3, "chip.tile.rows": 7,
                                                          "chip_task.attack.epsilon": 0.4}}]}
    )  # fmt: skip
    before = study.to_dict()
    first, second = points_of(study)
    assert study.to_dict() == before
    assert [p.reference().task["attack"]["epsilon"] for p in (first, second)] == [0.1, 0.3]
    assert [p.task["attack"]["epsilon"] for p in (first, second)] == [0.2, 0.4]
    assert second.chip is not None
    assert second.chip["tile"]["rows"] == 7


def test_a_longer_path_is_set_after_a_shorter_one() -> None:
    (point,) = points(cases=[{"name": "a", "set": {"chip.tile.rows": 8, "chip": "rram_hfo2_1t1r", "chip.tile": {}}}])
    assert point.chip is not None
    assert (point.chip["name"], point.chip["tile"]["rows"]) == ("rram_hfo2_1t1r", 8)


def test_a_case_redirects_the_first_axis_alone() -> None:
    axes = [{"path": "chip.tile.rows", "also": ["chip.tile.cols"], "values": [8, 16]}, {"path": "seed", "values": [3]}]
    cases = [{"name": "a"}, {"name": "b", "sweep": ["task.way"], "set": {"chip.converter.kind": "auto"}}]
    found = points(axes=axes, cases=cases, chip=load_chip("rram_hfo2_1t1r").replace("converter.kind", "auto").to_dict())
    tiles = [(p.chip or {})["tile"] for p in found]
    assert [(t["rows"], t["cols"]) for t in tiles[:2]] == [(8, 8), (16, 16)]
    assert tiles[2] == tiles[3]
    assert [(p.task["way"], p.seed) for p in found] == [(5, 3), (5, 3), (8, 3), (16, 3)]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"chips": {"min": 2, "half_width": 1.0}}, "chips.half_width: got 1.0; allowed: below 1"),
        ({"cases": [{"name": "a", "set": {"seed": True}}]}, "seed: got True; allowed: a whole number"),
        ({"cases": [{"name": "a", "set": {"seed": -1}}]}, "seed: got -1"),
        ({"cases": [{"name": "a", "set": {"model": 3}}]}, "model: got 3"),
        ({"cases": [{"name": "a", "set": {"conductances": 3}}]}, "conductances: got 3"),
        ({"cases": [{"name": "a", "set": {"task": 3}}]}, "task: got 3"),
        ({"cases": [{"name": "a", "set": {"chip_task": 3}}]}, "chip_task: got 3"),
        ({"cases": [{"name": "a", "set": {"chip": 3}}]}, "chip: got 3"),
        ({"skip": [{"seed": 0}]}, "hold at all 1 points"),
    ],
)
def test_settings_of_a_point_are_of_their_type(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        points(**changes)
    points(chips={"min": 2, "half_width": 0.999}, cases=[{"name": "a", "set": {"seed": 0}}])


def test_an_error_names_the_lines_of_the_study_that_set_its_key() -> None:
    study = load_study(
        STUDY
        | {"axes": [{"path": "chip.device.levels", "values": [2]}, {"path": "seed", "values": [0, 1]}]}
        | {"cases": [{"name": "a"}, {"name": "b", "sweep": ["chip.device.spacing"], "set": {"chip.device.g_lrs_S": 1}}]}
        | {"derived": {"chip.device.g_hrs_S": "seed"}}
    )

    def step(key: str, hint: str = "") -> str:
        error = InputError(f"study 's', case 'b', chip: {key}", "x", "y", f"{hint}Old step.")
        return _points._with_lines(error, study, study.cases[1]).next_step

    assert step("device.g_lrs_S", "Did you mean 'z'? ") == (
        "Did you mean 'z'? The study sets it in cases.1.set (chip.device.g_lrs_S) and axes.0.path (chip.device.levels) "
        "and axes.0.path (chip.device.spacing) and derived (chip.device.g_hrs_S). Take a chip whose chip.device has "
        "it, or change that: --set cases.1.set={} --set axes.0.path=…."
    )
    assert step("device.spacing").startswith("The study sets it in cases.1.set")
    assert step("device.temperature_K") == "Old step.", "a key that the study does not set"
    assert step("tile.rows") == "Old step."
    study = load_study(STUDY | {"cases": [{"name": "a"}, {"name": "b"}], "derived": {"chip.device.g_hrs_S": "seed"}})
    assert step("device.g_hrs_S") == (
        "The study sets it in derived (chip.device.g_hrs_S). Take a chip whose chip.device has it, or change that."
    )


def test_metrics_of_functions_are_compared_in_full() -> None:
    task = {"kind": "function", "metric": "m", "unit": "u", "better": "lower", "tolerance": 0.5, "seed": 3}
    assert _points._metric(task) == {"name": "m", "unit": "u", "better": "lower", "tolerance": 0.5}
    assert _points._metric({"kind": "few_shot"}) is None
    (one,) = points()
    study = load_study(STUDY)
    for other in ({"kind": "few_shot"}, *(task | {key: "x"} for key in ("metric", "unit", "better", "tolerance"))):
        two = [dataclasses.replace(one, task=each, digital_task=None) for each in (task, other)]
        with pytest.raises(InputError, match="2 different metrics"):
            _points._check_metric(study, two)
    _points._check_metric(study, [dataclasses.replace(one, task=task | {"seed": n}, digital_task=None) for n in (1, 2)])
    with pytest.raises(InputError, match="different metrics"):
        _points._check_metric(study, [dataclasses.replace(one, task=task, digital_task={"kind": "few_shot"})])


def test_a_resolved_study_states_what_reports_say_of_its_points() -> None:
    study = load_study(
        STUDY
        | {"chip_task": {"episodes": 7}, "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.5]}]}
        | {"chip": "rram_hfo2_1t1r", "name": "one"}
    )
    found = points_of(study)
    whole = _points.resolved(study, found)
    assert whole["digest"] != _points.resolved(study.model_copy(update={"name": "two"}), found)["digest"]
    exact, varied = whole["points"]
    assert [each["chance"] for each in whole["points"]] == [0.2, 0.2]
    assert (exact["vary"], varied["vary"]) == (found[0].chip is not None and load_chip(found[0].chip).varies, True)
    assert exact["chip_task"] == {"episodes": 7}
    assert {exact["baseline"], exact["reference"]} == {p.id for p in found[0].digital()}
    assert (exact["model"], exact["chip"]) == ("batmann_small_xnor", "rram_hfo2_1t1r")
    assert whole["weights"] == {"batmann_small_xnor": found[0].weights}
    plain = _points.resolved(load_study(STUDY), points())
    assert "reference" not in plain["points"][0], "the same as the baseline"
    assert "chip_task" not in plain["points"][0]
    assert plain["points"][0]["vary"] is False


def test_data_of_the_user_are_identified_by_content_and_not_by_their_path(tmp_path: Path) -> None:
    found = []
    for place, level in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / place).mkdir()
        file = tmp_path / place / "own.npz"
        np.savez(file, images=np.full((4, 8, 8), level, np.uint8), labels=np.arange(4))
        task = {"kind": "classification", "dataset": str(file), "split": "test"}
        (point,) = points(task=task, model=put(tmp_path / place / "m"))
        assert point.content["task"]["dataset"] == "arrays"
        assert set(point.content["data"]) == {"arrays test"}
        assert set(point.data) == set(point.own_data) == {f"{file} test"}
        found.append(point.id)
    assert found[0] == found[1] != found[2]


def test_an_evaluator_is_what_its_name_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decorated or replaced function is another one: workers would import that one."""
    known = evaluator_digest(stand_in_evaluator)
    assert known is not None
    monkeypatch.setattr(_stand_in, "stand_in_evaluator", lambda *_: [])
    with pytest.raises(InputError, match="a function at the top level of a Python file"):
        evaluator_digest(stand_in_evaluator)


@pytest.mark.parametrize("key", ["chip_task", "task", "chip", "engine"])
def test_a_misspelt_path_below_a_base_is_found_by_editors(key: str) -> None:
    schema = Draft202012Validator(json_schema("study"))
    right = {"task": "episodes", "chip_task": "episodes", "chip": "tile.rows", "engine": "kind"}[key]
    value = "native" if key == "engine" else 4
    for path, accepted in ((right, True), (right[:-1], False)):
        study = {"name": "s", "base": "quickstart", "set": {f"{key}.{path}": value}}
        assert schema.is_valid(study) is accepted, path
    free = {"name": "s", "base": "quickstart", "set": {"chips.min": 4, "seed": 1, "axes.0.values": [1]}}
    assert schema.is_valid(free)


def test_a_chip_in_yaml_has_conductances_or_a_table() -> None:
    schema = Draft202012Validator(json_schema("chip"))
    both = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}
    relaxed = {"kind": "logarithmic", "sigma_S": 2e-6}
    for device, accepted in (
        (both, True), ({"g_lrs_S": 1e-4}, False), ({}, False), ({"table_S": [1e-5, 1e-4]}, True),
        (both | {"time": {"t_s": 10.0, "relaxation": relaxed}}, True),
        (both | {"time": {"t_s": 10.0, "relaxation": {"sigma_S": 2e-6}}}, False),
    ):  # fmt: skip
        assert schema.is_valid({"name": "c", "device": device}) is accepted
    encodings = ({"kind": "differential"}, True), ({"copies": 2}, False), ({"kind": "diferential"}, False)
    for encoding, accepted in encodings:
        assert schema.is_valid({"name": "c", "device": both, "encoding": encoding}) is accepted


def test_content_is_next_to_the_file_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.mkdir()
    (folder / "own.yaml").write_text(write_yaml(load_chip("ideal").replace("tile.rows", 7).to_dict()))
    study = {
        "name": "s", "model": "batmann_small_xnor", "chip": "mine", "chips": {"min": 1},
        "task": {"dataset": "glyphs", "split": "test"}, "content": {"chip": {"mine": "./own.yaml"}},
    }  # fmt: skip
    (folder / "study.yaml").write_text(write_yaml(study))
    monkeypatch.chdir(elsewhere)
    found = load_study("../results/study.yaml")
    assert Path(found.content.chip["mine"]).is_absolute()
    (point,) = points_of(found)
    assert point.chip is not None
    assert point.chip["tile"]["rows"] == 7


@pytest.mark.parametrize(
    ("change", "end"),
    [
        (
            {"axes": [{"path": "seed", "values": [-1]}]},
            r"seed: got -1; allowed: a whole number of 0 or more\. Set such a number\.$",
        ),
        ({"set": {"axes.3.values": [1]}}, "allowed: no number: the list is empty"),
    ],
)
def test_errors_of_whole_parts_and_of_empty_lists_are_sentences(small: dict[str, Any], change: Any, end: str) -> None:
    with pytest.raises(InputError, match=end):
        points_of(load_study({key: value for key, value in small.items() if key != "axes"} | change))
