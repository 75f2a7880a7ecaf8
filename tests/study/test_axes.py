"""Study files beyond lists: short forms, zipped and derived axes, whole values, conditions, a base."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_sim import InputError
from imc_sim.config import write_yaml
from imc_sim.study import Axis, Point, Results, Study, load_study, points_of, resolved, run
from imc_sim.testing import stand_in_evaluator

SIGMA, ROWS, COLS = "chip.device.programming.sigma", "chip.tile.rows", "chip.tile.cols"
STUDY: dict[str, Any] = {
    "name": "small",
    "model": "batmann_5w1s_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
    "axes": [{"path": SIGMA, "values": [0, 0.2]}],
    "set": {"chip.device.correlated.gradient": 0.1},  # so that the size of tiles acts
    "chips": {"min": 2},
}


def points(**change: Any) -> list[Point]:
    return points_of(load_study(STUDY | change))


def chip_at(point: Point, path: str) -> Any:
    node: Any = {"chip": point.chip}
    for part in path.split("."):
        node = node[part]
    return node


def values(form: Any) -> tuple[Any, ...]:
    return Axis.model_validate({"path": SIGMA, "values": form}).values


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"range": (0, 1, 0.1)}, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        ({"range": (0, 1, 0.4)}, (0.0, 0.4, 0.8)),
        ({"range": (0, 1, 0.6)}, (0.0, 0.6)),
        ({"range": (7, 0, -4)}, (7, 3)),
        ({"range": (8, 2, -2)}, (8, 6, 4, 2)),
        ({"range": (1e-6, 3e-6, 1e-6)}, (1e-6, 2e-6, 3e-6)),
        ({"linspace": (0, 1, 5)}, (0.0, 0.25, 0.5, 0.75, 1.0)),
        ({"linspace": (2, 8, 4)}, (2, 4, 6, 8)),
        ({"log": (0.001, 1, 4)}, (0.001, 0.01, 0.1, 1.0)),
        ({"log": (16, 1024, 4)}, (16, 64, 256, 1024)),
        ({"log": (1, 1000, 3)}, (1.0, 31.6227766017, 1000.0)),
    ],
)
def test_short_forms_expand_to_the_values_a_person_would_write(form: Any, expected: tuple[float, ...]) -> None:
    assert repr(values(form)) == repr(expected)  # repr: 16 is not 16.0, and 0.3 is not 0.30000000000000004


@given(st.floats(1e-9, 1e9), st.floats(1.001, 1e6), st.integers(2, 40))
def test_log_ranges_have_a_constant_factor_and_keep_their_ends(start: float, factor: float, count: int) -> None:
    found = values({"log": (start, start * factor, count)})
    assert (found[0], found[-1], len(found)) == (start, start * factor, count)
    steps = [math.log(b / a) for a, b in itertools.pairwise(found)]
    assert steps == pytest.approx([math.log(factor) / (count - 1)] * (count - 1), rel=1e-6, abs=1e-10)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"rang": [0, 1, 1]}, r"axes\.0\.values.*got rang; allowed: a list, or one of range.*Did you mean 'range'"),
        ({"range": [0, 1, 0.1], "log": [1, 2, 3]}, "got range, log"),
        ({"range": [0, 1]}, r"values\.range: got.*\[start, stop, step\]"),
        ({"range": [0, 1, -0.1]}, "a step from start towards stop"),
        ({"range": [0, 1, 0]}, "a step from start towards stop"),
        ({"range": [0, 1, 1e-9]}, "1000000001 values; allowed: a whole number of 1 to 10000"),
        ({"range": ["1 uS", "2 uS", "1 uS"]}, "numbers in SI"),
        ({"range": [0, math.inf, 1]}, "numbers in SI"),
        ({"log": [0, 1, 5]}, "start and stop above 0"),
        ({"log": [1, 10, 2.5]}, "a whole number of 2"),
        ({"linspace": [0, 1, 1]}, "a whole number of 2"),
        ({}, "an empty mapping"),
        ([], "a list of 1 or more"),
        ([0, 0], "values that differ"),
    ],
)
def test_bad_short_forms_are_one_error(form: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_study(STUDY | {"axes": [{"path": SIGMA, "values": form}]})
    assert "\n" not in str(caught.value)


def test_short_forms_have_the_ids_of_their_values() -> None:
    listed = points(axes=[{"path": SIGMA, "values": [0, 0.1, 0.2, 0.3]}])
    short = points(axes=[{"path": SIGMA, "values": {"range": [0, 0.3, 0.1]}}])
    assert [p.id for p in short] == [p.id for p in listed]


def test_zipped_axes_advance_together_and_cross_the_others() -> None:
    axes = [
        {"path": ROWS, "values": [32, 64], "zip": "size"},
        {"path": SIGMA, "values": [0, 0.2]},
        {"path": COLS, "values": [16, 128], "zip": "size"},
    ]
    found = points(axes=axes)
    expected = [(32, 0, 16), (32, 0.2, 16), (64, 0, 128), (64, 0.2, 128)]
    assert [tuple(v for _, v in p.coordinates) for p in found] == expected
    assert [tuple(chip_at(p, path) for path in (ROWS, SIGMA, COLS)) for p in found] == expected
    with pytest.raises(InputError, match=r"equally many values on axes zipped as 'size' \(here 2, 3\)"):
        points(axes=[axes[0], axes[2] | {"values": [1, 2, 3]}])


def test_derived_paths_are_set_at_every_point() -> None:
    derived = {COLS: ROWS, "task.way": {"path": ROWS, "times": 0.125, "plus": 1}}
    found = points(axes=[{"path": ROWS, "values": [32, 64]}], derived=derived)
    assert [(chip_at(p, ROWS), chip_at(p, COLS), p.task["way"]) for p in found] == [(32, 32, 5), (64, 64, 9)]
    assert all(type(p.task["way"]) is int for p in found)


def test_derived_paths_use_defaults_names_and_each_other() -> None:
    lrs, hrs = "chip.device.g_lrs_S", "chip.device.g_hrs_S"
    derived = {hrs: {"path": lrs, "times": 0.1}, "task.queries": "task.shot", "chip.device.faults.dead_S": hrs}
    (point,) = points(axes=[{"path": lrs, "values": [1e-6]}], derived=derived)
    assert (chip_at(point, hrs), point.task["queries"]) == (1e-7, 1)  # below the preset's own g_hrs_S half-way
    assert chip_at(point, "chip.device.faults.dead_S") == 1e-7


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ({SIGMA: ROWS}, "derived paths that no axis and no case sets"),
        ({"chip.device": "chip.tile"}, "derived paths that no axis and no case sets"),
        ({COLS: ROWS, ROWS: "task.way"}, "derived paths listed after those that they depend on"),
        ({COLS: COLS}, "derived paths listed after those that they depend on"),
        ({COLS: "tile.rows"}, "paths that start with"),
        ({COLS: "chip.tile.rwos"}, r"derived 'chip.tile.cols': got 'chip.tile.rwos'.*Did you mean 'chip.tile.rows'"),
        ({"chip.tile.clos": ROWS}, "unknown key 'clos'.*Did you mean 'cols'"),
        ({COLS: {"path": "chip.name", "times": 2}}, "a number to multiply"),
        ({COLS: {"path": ROWS, "times": 0.3}}, r"tile\.cols: got 38\.4"),
        ({COLS: {"pth": ROWS}}, "unknown key 'pth'.*Did you mean 'path'"),
        ({COLS: "__import__('os').getpid()"}, "paths that start with"),
    ],
)
def test_bad_derived_paths_are_named(derived: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        points(derived=derived)


def test_several_chips_models_tasks_and_seeds_can_be_swept() -> None:
    axes = [
        {"path": ROWS, "values": [32, 64]},
        {"path": "chip", "values": ["rram_hfo2_1t1r", "ideal"]},
        {"path": "model", "values": ["batmann_5w1s_xnor", "batmann_small_xnor"]},
        {"path": "seed", "values": [0, 7]},
        {
            "path": "task",
            "values": [STUDY["task"], STUDY["task"] | {"way": 3}],
            "labels": ["5 ways", "3 ways"],
        },
    ]
    found = points(axes=axes, cases=[{"name": "graded", "set": STUDY["set"]}])  # an axis of chips replaces the chip
    assert len(found) == len({p.id for p in found}) == 2**5
    last = found[-1]
    assert last.chip is not None
    # The whole chip is set before its tile, although the axis over tiles is first.
    assert (last.chip["name"], chip_at(last, ROWS), last.model, last.seed) == ("ideal", 64, "batmann_small_xnor", 7)
    assert (last.task["way"], last.coordinates[-1]) == (3, ("task", "3 ways"))
    assert {chip_at(p, ROWS) for p in found if p.chip and p.chip["name"] == "ideal"} == {32, 64}


def test_labels_are_in_the_table_and_whole_values_in_the_trials(tmp_path: Path) -> None:
    chips = [{"device": {"g_lrs_S": "9 uS", "g_hrs_S": g}} for g in ("1 uS", "2 uS")]
    axis = {"path": "chip", "values": chips, "labels": ["wide", "narrow"]}
    study = load_study(STUDY | {"axes": [axis, STUDY["axes"][0]]})
    results = run(study, tmp_path / "out", evaluator=stand_in_evaluator)
    assert results.table["chip"].tolist() == ["wide", "wide", "narrow", "narrow"]
    again = load_study(tmp_path / "out" / "study.resolved.yaml")
    assert [p.id for p in points_of(again)] == [p.id for p in points_of(study)]
    assert [chip_at(p, "chip.device.g_hrs_S") for p in points_of(again)] == [1e-6, 1e-6, 2e-6, 2e-6]
    for wrong in ({"labels": ["wide"]}, {"labels": ["x", "x"]}, {"labels": []}):
        with pytest.raises(InputError, match="labels"):
            load_study(STUDY | {"axes": [axis | wrong]})


def test_null_is_a_value_with_a_label(tmp_path: Path) -> None:
    axis = {"path": "task.classes", "values": [None, 8], "labels": ["all", "eight"]}
    study = load_study(STUDY | {"axes": [axis]})
    assert [p.task["classes"] for p in points_of(study)] == [None, 8]
    results = run(study, tmp_path / "out", evaluator=stand_in_evaluator)
    assert results.table["task.classes"].tolist() == ["all", "eight"]
    assert [p.id for p in points_of(load_study(tmp_path / "out" / "study.resolved.yaml"))] == [
        p.id for p in points_of(study)
    ]
    with pytest.raises(InputError, match="labels, one per value, where values are mappings or null"):
        load_study(STUDY | {"axes": [axis | {"labels": []}]})


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"path": "seed", "values": [-1]}, r"seed: got -1; allowed: a whole number of 0"),
        ({"path": "seed", "values": ["x"]}, "seed: got 'x'"),
        ({"path": "seed.x", "values": [1]}, "seed"),
        ({"path": "model", "values": [5]}, "model: got 5; allowed: the name"),
        ({"path": "chip", "values": [5]}, "chip: got 5; allowed: a name"),
        ({"path": "chip", "values": ["idael"]}, "Did you mean 'ideal'"),
        ({"path": "task", "values": ["x"]}, "task: got 'x'; allowed: a mapping"),
        ({"path": "attack.epsilon", "values": [0]}, "paths that start with"),
    ],
)
def test_bad_whole_values_are_named(axis: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        points(axes=[axis])


GRID = [{"path": SIGMA, "values": [0, 0.2, 0.4]}, {"path": ROWS, "values": [32, 64]}]


@pytest.mark.parametrize(
    ("skip", "kept"),
    [
        ([{SIGMA: 0}], [(0.2, 32), (0.2, 64), (0.4, 32), (0.4, 64)]),
        ([{SIGMA: ">= 0.2", ROWS: 64}], [(0, 32), (0, 64), (0.2, 32), (0.4, 32)]),
        ([{SIGMA: "> 0.2"}, {SIGMA: "< 0.2"}], [(0.2, 32), (0.2, 64)]),
        ([{SIGMA: "<= 0.2"}], [(0.4, 32), (0.4, 64)]),
        ([{SIGMA: "!= 0.4"}], [(0.4, 32), (0.4, 64)]),
        ([{SIGMA: "== 0.4"}], [(0, 32), (0, 64), (0.2, 32), (0.2, 64)]),
        ([{SIGMA: [0, "> 0.3"], "chip.wires.kind": "ideal"}], [(0.2, 32), (0.2, 64)]),
        ([{"chip.wires.kind": "!= ideal"}], [(s, r) for s in (0, 0.2, 0.4) for r in (32, 64)]),
        ([{"chip.device.time.drift.g_max_S": "!= null"}], [(s, r) for s in (0, 0.2, 0.4) for r in (32, 64)]),
        ([{"chip.device.time.drift.g_max_S": None, ROWS: 32}], [(0, 64), (0.2, 64), (0.4, 64)]),
        ([{"task.rotations": True, ROWS: 32}], [(0, 64), (0.2, 64), (0.4, 64)]),
        (
            [{"chip": "rram_hfo2_1t1r", "chip.wires": "ideal", "engine": "!= memtorch", ROWS: 32}],
            [(0, 64), (0.2, 64), (0.4, 64)],
        ),
        ([{"chip": "ideal"}], [(s, r) for s in (0, 0.2, 0.4) for r in (32, 64)]),
        ([{"case": "b"}, {"case": "a", ROWS: 32}], [(0, 64), (0.2, 64), (0.4, 64)]),
    ],
)
def test_conditions_skip_points(skip: list[Any], kept: list[Any]) -> None:
    cases = [{"name": "a"}, *([{"name": "b"}] if "case" in skip[0] else [])]
    found = points(axes=GRID, skip=skip, cases=cases)
    assert [tuple(v for _, v in p.coordinates) for p in found] == kept


def test_only_skipped_points_may_be_impossible() -> None:
    """LRS at or below HRS is refused, unless a condition leaves such points out."""
    axes = [
        {"path": "chip.device.g_lrs_S", "values": [1e-6, 1e-4]},
        {"path": "chip.device.g_hrs_S", "values": [1e-7, 1e-5]},
    ]
    skip = [{"chip.device.g_lrs_S": "<= 1e-6", "chip.device.g_hrs_S": "> 1e-6"}]
    assert len(points(axes=axes, skip=skip)) == 3
    with pytest.raises(InputError, match="g_lrs_S above g_hrs_S"):
        points(axes=axes)


def test_a_condition_on_a_path_of_one_kind_is_false_for_other_kinds() -> None:
    found = points(axes=[{"path": "chip", "values": ["rram_hfo2_1t1r", "pcm_joshi"]}], skip=[{SIGMA: "> 0"}])
    assert [p.coordinates[0][1] for p in found] == ["pcm_joshi"]


@pytest.mark.parametrize(
    ("skip", "message"),
    [
        ([{"chip.device.programing.sigma": 0}], "skip: got.*Did you mean 'chip.device.programming.sigma'"),
        ([{"tile.rows": 0}], "paths in skip that start with"),
        ([{}], "1 or more conditions"),
        ([{SIGMA: [0, 0.2]}], "conditions that hold at all 2 points"),
        ([{SIGMA: "10 %"}], r"sigma: got '10 %' for a value that is a number; allowed: a number. Write it in SI units"),
        ([{"chip.device.g_lrs_S": "> 10 uS"}], "Write it in SI units"),
        ([{"chip.wires.kind": 5}], "a value that is a word"),
        ([{"chip.wires.kind": "> ideal"}], "a number after <"),
        ([{"task.rotations": 1}], "a value that is true or false"),
        ([{"chip.tile": 64}], "a value that is a mapping"),
    ],
)
def test_bad_conditions_are_named(skip: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        points(skip=skip)


def test_the_resolved_file_keeps_everything(tmp_path: Path) -> None:
    rich = {
        "axes": [
            {"path": ROWS, "values": {"log": [16, 64, 3]}, "zip": "z"},
            {"path": SIGMA, "values": {"range": [0, 0.4, 0.2]}, "zip": "z"},
            {"path": "seed", "values": [0, 1]},
        ],
        "derived": {COLS: {"path": ROWS, "times": 2}},
        "skip": [{ROWS: 16, "seed": 1}],
        "set": {"task.episodes": 4},
    }
    study = load_study(STUDY | rich)
    run(study, tmp_path / "out", evaluator=stand_in_evaluator)
    again = load_study(tmp_path / "out" / "study.resolved.yaml")
    assert [p.id for p in points_of(again)] == [p.id for p in points_of(study)]
    assert resolved(again, points_of(again))["digest"] == resolved(study, points_of(study))["digest"]
    table = Results.load(tmp_path / "out").table
    assert table[[ROWS, SIGMA, "seed"]].to_numpy().tolist() == [
        [16, 0, 0], [32, 0.2, 0], [32, 0.2, 1], [64, 0.4, 0], [64, 0.4, 1],
    ]  # fmt: skip


def write(folder: Path, name: str, **data: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(write_yaml({"name": name, **data}), encoding="utf-8")
    return path


def derived_from(folder: Path, **own: Any) -> Study:
    write(folder, "parent", **{key: value for key, value in STUDY.items() if key != "name"},
          cases=[{"name": "a", "set": {COLS: 64, ROWS: 64}}, {"name": "b"}])  # fmt: skip
    return load_study(write(folder, "child", **{"base": "parent.yaml"} | own))


def test_a_study_inherits_from_its_base(tmp_path: Path) -> None:
    study = derived_from(tmp_path)
    parent = load_study(tmp_path / "parent.yaml")
    assert (study.name, study.model_copy(update={"name": "parent"})) == ("child", parent)


def test_a_study_overrides_its_base(tmp_path: Path) -> None:
    study = derived_from(
        tmp_path, task={"episodes": 9}, chips={"max": 50}, set={"chip.tile.rows": 16, "chip.wires.kind": "nodal"},
        axes={SIGMA: {"values": [0.5]}, "seed": {"values": [1, 2]}}, cases={"a": {"set": {COLS: 8}}, "b": None},
    )  # fmt: skip
    assert study.task == STUDY["task"] | {"episodes": 9}
    assert (study.chips.min, study.chips.max) == (2, 50)
    assert [(axis.path, axis.values) for axis in study.axes] == [(SIGMA, (0.5,)), ("seed", (1, 2))]
    assert [(case.name, case.set) for case in study.cases] == [("a", {COLS: 8, ROWS: 64})]
    assert isinstance(study.chip, dict)
    assert (study.chip["tile"]["rows"], study.chip["wires"]["kind"]) == (16, "nodal")


def test_lists_replace_those_of_the_base(tmp_path: Path) -> None:
    study = derived_from(tmp_path, axes=[{"path": COLS, "values": [1]}], cases=[{"name": "c"}])
    assert ([axis.path for axis in study.axes], [case.name for case in study.cases]) == ([COLS], ["c"])


def test_another_kind_inherits_nothing_of_the_old_one(tmp_path: Path) -> None:
    chip = {"device": {"g_lrs_S": "9 uS", "g_hrs_S": "1 uS", "programming": {"kind": "relative", "sigma": 0.1}}}
    write(tmp_path, "parent", **{k: v for k, v in STUDY.items() if k != "name"} | {"chip": chip})
    polynomial = {"kind": "polynomial", "coefficients_S": ["1 uS"], "g_max_S": "9 uS"}
    own = {"chip": {"device": {"programming": polynomial}}, "axes": [{"path": ROWS, "values": [64]}]}
    (point,) = points_of(load_study(write(tmp_path, "child", base="parent.yaml", **own)))
    assert chip_at(point, "chip.device.programming.kind") == "polynomial"
    assert chip_at(point, "chip.device.g_lrs_S") == 9e-6


def test_bases_may_have_bases_and_shipped_ones_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path, "first", base="quickstart", seed=3)
    write(tmp_path / "inner", "second", base="../first.yaml", set={"task.episodes": 7})
    study = load_study(write(tmp_path, "third", base="inner/second.yaml"))
    assert (study.seed, study.task["episodes"]) == (3, 7)
    assert study.axes == load_study("quickstart").axes


def test_cycles_of_bases_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "one", base="two.yaml")
    write(tmp_path, "two", base="one.yaml")
    with pytest.raises(InputError, match=r"one -> two -> one; allowed: bases without a cycle"):
        load_study(tmp_path / "one.yaml")
    with pytest.raises(InputError, match=r"got one -> two -> one; allowed"):
        load_study(write(tmp_path, "before", base="one.yaml"))
    with pytest.raises(InputError, match=r"own -> own"):
        load_study(write(tmp_path, "own", base="own.yaml"))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"base": "quickstrat"}, "Did you mean 'quickstart'"),
        ({"base": ["quickstart"]}, "base: got list"),
        ({"cases": {"c": None}}, r"no 'c' to remove; allowed: a, b"),
        ({"cases": {"a": 5}}, r"cases\.a: got int; allowed: a mapping or null"),
        ({"axes": {SIGMA: {"valeus": [1]}}}, "unknown key 'valeus'.*Did you mean 'values'"),
        ({"set": {"chips.mn": 5}}, "unknown key 'mn'"),
        ({"set": {"chp.x": 5}}, "set chp.x: got 'chp'.*Did you mean 'chip'"),
        ({"set": ["chip.x"]}, "a mapping of paths to values"),
    ],
)
def test_bad_overrides_are_named(own: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        derived_from(tmp_path, **own)


def test_a_derived_study_needs_its_own_name_and_patches_need_a_base() -> None:
    with pytest.raises(InputError, match=r"name: got nothing; allowed: a name that differs from the base"):
        load_study({"base": "quickstart"})
    with pytest.raises(InputError, match=r"axes: got a mapping; allowed: a list in a study without a base"):
        load_study(STUDY | {"axes": {SIGMA: {"values": [1]}}})


@pytest.mark.parametrize("key", ["label", "labels", "unit", "name"])
def test_text_in_figures_is_bounded(key: str) -> None:
    """Thousands of characters take matplotlib seconds to lay out."""
    for length in (500, 501):
        text = "a" * length
        axis = {"path": "chip.device.programming.sigma", "values": [0.1]}
        axis |= {} if key == "name" else {key: [text] if key == "labels" else text}
        study = {
            "name": "x", "model": "batmann_small_xnor", "chip": "ideal", "task": {"dataset": "glyphs", "split": "test"},
            "axes": [axis], "cases": [{"name": text if key == "name" else "a"}],
        }  # fmt: skip
        if length == 500:
            load_study(study)
        else:
            with pytest.raises(InputError, match=rf"{key}.*got a text of 501 characters; allowed: text of 500"):
                load_study(study)
