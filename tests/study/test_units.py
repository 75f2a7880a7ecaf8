"""Parts of a study alone: trials, stopping, conditions, axes, bases, settings, points, estimates, exports."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imc_sim import InputError, ResultsError
from imc_sim.config import build
from imc_sim.evaluate import ChipResult
from imc_sim.runs import table_of
from imc_sim.runs._rows_file import _meta_fault
from imc_sim.study import (
    Axis,
    Chips,
    Study,
    _dry_run,
    _embeddings,
    _memory_use,
    _points,
    _probe,
    _table_parts,
    _work,
    combine,
    load_study,
)
from imc_sim.study._axes import _groups, grid, unequal_zip
from imc_sim.study._base import derive, follow
from imc_sim.study._conditions import Derived, matches
from imc_sim.study._content import _free, keep_copies, named
from imc_sim.study._paths import paths_of
from imc_sim.study._point import Point, trial_id
from imc_sim.study._rows import Writer
from imc_sim.study._settings import with_value
from imc_sim.study._store import check_data, other_files, results_digest
from imc_sim.study._stored_chip import as_stored
from imc_sim.study._trials_file import _counts, _types, rules_of
from imc_sim.study._user_files import with_places


def row(i: str, state: str = "done", **more: Any) -> dict[str, Any]:
    return {"id": i, "state": state} | more


# -- trials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"correct": 11}, "11 correct of 10"),
        ({"correct": -1}, "-1 correct"),
        ({"correct": True}, "True correct"),
        ({"correct": 0, "total": 0}, "0 correct of 0"),
        ({"total": None}, "None"),
        ({"correct": 0.5}, "0.5"),
    ],
)
def test_counts_of_a_trial_are_possible(changed: dict[str, Any], fault: str | None) -> None:
    found = _counts({"state": "done", "correct": 3, "total": 10} | changed)
    assert (found is None) is (fault is None)
    assert (fault or "") in (found or "")


def test_scores_types_and_metadata_of_a_trial_are_possible() -> None:
    score = {"state": "done", "score": 1.0, "scores": {"a": 1.0, "b": 2}}
    assert _counts(score) is None
    for wrong in ({"scores": {"a": 2.0}}, {"scores": {"a": 1.0, "b": math.nan}}, {"correct": 1}, {"scores": None}):
        assert _counts(score | wrong) is not None
    assert _counts({"state": "failed"}) == "a failed trial without its error"
    good = {"state": "done", "id": "0" * 64, "point": "p", "chip": -1}
    assert _types(good) is None
    for wrong in ({"chip": -2}, {"chip": True}, {"id": "0" * 65}, {"id": "g" * 64}, {"point": 3}, {"state": "odd"}):
        assert _types(good | wrong) is not None
    for meta, fits in (
        ({}, True),
        ({"seconds": 1}, True),
        ({"seconds": 1, "run": "r"}, False),
        ({"seconds": 1, "run": "r", "elapsed": 2}, True),
        ({"seconds": math.inf}, False),
        ([], False),
        ({"seconds": 1, "time": 5}, False),
        ({"seconds": 1, "versions": 3}, False),
    ):
        assert (_meta_fault(meta) is None) is fits


def test_rows_belong_to_the_points_of_their_study() -> None:
    point = {"id": "p", "case": "a", "values": [1], "baseline": "b", "reference": "r"}
    rules = rules_of({"points": [point], "schema": 2})
    assert rules.sealed
    good = {
        "id": trial_id("p", 3),
        "state": "done",
        "point": "p",
        "chip": 3,
        "case": "a",
        "values": [1],
        "correct": 1,
        "total": 2,
    }
    assert rules.fault(good) is None
    for digital in ("b", "r"):
        assert rules.fault(good | {"id": trial_id(digital, -1), "point": digital, "chip": -1, "values": []}) is None
        assert "the digital network" in (
            rules.fault(good | {"id": trial_id(digital, 0), "point": digital, "chip": 0, "values": []}) or ""
        )
    for wrong, text in (
        ({"point": "q"}, "not in the study"),
        ({"chip": -1}, "a point with chips"),
        ({"chip": 4}, "does not fit chip 4"),
        ({"case": "b"}, "do not fit its point"),
        ({"values": [2]}, "do not fit its point"),
    ):
        assert text in (rules.fault(good | wrong) or "")
    old = rules_of({"points": [point], "schema": 1})
    assert (old.sealed, "cannot be completed" in old.step) == (False, True)
    assert old.fault(good | {"id": "0" * 64}) is None, "ids of earlier versions follow from other things"
    assert "moves such lines" in rules_of({"points": [], "schema": 2}).step


def test_rows_hold_everything_that_was_measured() -> None:
    point: Any = SimpleNamespace(case="a", coordinates=(("x", 1), ("y", "b")), id="p")
    trial: Any = SimpleNamespace(point=point, chip=2, id="t")
    result = ChipResult(2, 3, 10, 0.5, ranges={"l": (0.0, 1.0)}, rows_on={"l": [[0.5]]})
    (made,) = Writer().done([trial], [result])
    assert made.pop("meta")["seconds"] == 0.5
    assert made == {
        "id": "t",
        "case": "a",
        "values": [1, "b"],
        "point": "p",
        "chip": 2,
        "state": "done",
        "correct": 3,
        "total": 10,
        "ranges": {"l": (0.0, 1.0)},
        "rows_on": {"l": [[0.5]]},
    }
    failed = Writer().failed(trial, ValueError("odd"))
    assert (failed["state"], failed["error"], failed["meta"]["seconds"]) == ("failed", "odd", 0.0)
    rows = {"a": row("a", correct=1, total=2), "b": row("b", correct=1, total=2), "c": row("c", "failed", error="x")}
    assert results_digest(rows) == results_digest(dict(reversed(rows.items())))
    others = [
        rows | {"b": row("b", correct=2, total=2)},
        {"a": rows["a"]},
        rows | {"b": row("b", score=1.0, scores={"s": 1.0})},
    ]
    others.append(rows | {"b": row("b", score=1.0, scores={"s": 1.0, "t": 2.0})})
    assert len({results_digest(each) for each in [rows, *others]}) == 5


@pytest.mark.parametrize(
    ("least", "most", "width", "counts"),
    [
        (4, None, None, [4]),
        (4, 9, None, [9]),
        (4, 20, 0.1, [4, 6, 9, 14, 20]),
        (1, 3, 0.1, [1, 2, 3]),
        (5, 5, 0.1, [5]),
    ],
)
def test_chips_are_counted_where_they_grew_by_half(
    least: int, most: int | None, width: float | None, counts: list[int]
) -> None:
    assert Chips(min=least, max=most, half_width=width).checkpoints() == counts
    for wrong in ({"min": 5, "max": 4}, {"min": 0}, {"half_width": 0.0}):
        with pytest.raises(InputError, match="^Chips: "):
            Chips(**wrong)  # type: ignore[arg-type]


# -- specifications -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        (">2", 2, False),
        (">2", 3, True),
        (">=2", 2, True),
        ("<2", 2, False),
        ("<=2", 2, True),
        ("==2", 2.0, True),
        ("!=2", 2, False),
        ("!=2", 3, True),
        ((1, 2), 2, True),
        ((1, 3), 2, False),
        (None, None, True),
        (None, 0, False),
        ("==null", None, True),
        ("==true", True, True),
        ("!=false", True, True),
        (True, 1, False),
        (1, True, False),
        ("ideal", {"name": "ideal", "kind": "x"}, True),
        ("nodal", {"kind": "nodal"}, True),
        (">2", None, False),
        ("==a", "a", True),
        (">b", "c", False),
    ],
)
def test_conditions(condition: Any, value: Any, holds: bool) -> None:
    assert matches({"a.b": condition}, {"a": {"b": value}}, None) is holds
    assert not matches({"a.c": condition}, {"a": {"b": value}}, None), (
        "no condition holds for a path that does not exist"
    )


@pytest.mark.parametrize(
    ("rule", "value", "wanted"),
    [
        ({}, "x", "x"),
        ({"times": 0.5}, 4, 2),
        ({"times": 0.5}, 4.0, 2.0),
        ({"times": 0.5}, 3, 1.5),
        ({"plus": 1}, 2, 3),
        ({}, 3.0, 3.0),
    ],
)
def test_derived_values_are_whole_where_their_source_is(rule: dict[str, float], value: Any, wanted: Any) -> None:
    found = Derived(path="a", **rule).of(value, "x")
    assert (found, type(found)) == (wanted, type(wanted))
    for wrong in (True, "x", None):
        with pytest.raises(InputError, match="a number to multiply"):
            Derived(path="a", plus=1.0).of(wrong, "x")


def test_axes_are_checked_and_crossed() -> None:
    with pytest.raises(InputError, match="above 0 where spaced"):
        build(Axis, {"path": "seed", "values": [1, 2], "scale": -1, "spaced": "log"}, "axis")
    for wrong in (["a", "a"], ["a"]):
        with pytest.raises(InputError, match="distinct labels"):
            build(Axis, {"path": "seed", "values": [1, 2], "labels": wrong}, "axis")
    assert build(Axis, {"path": "seed", "values": {"range": [3, 3, 1]}}, "axis").values == (3,)
    assert len(build(Axis, {"path": "seed", "values": {"range": [1, 10000, 1]}}, "axis").values) == 10_000
    for form in (
        {"range": [0, 10000, 1]},
        {"linspace": [0, 1, 1]},
        {"linspace": [0, 1, 2.0]},
        {"log": [0, 1, 3]},
        {"range": [0, 1, True]},
        {"range": [0, math.inf, 1]},
        {"range": [0, 1, -1]},
    ):
        with pytest.raises(InputError):
            build(Axis, {"path": "seed", "values": form}, "axis")
    assert build(Axis, {"path": "x", "values": {"log": [1, 1000, 4]}}, "axis").values == (1, 10, 100, 1000)
    axes = tuple(Axis(path=p, values=(0, 1), zip=z) for p, z in (("a", "z"), ("b", None), ("c", "z"), ("d", "y")))
    assert list(_groups(axes).values()) == [[0, 2], [1], [3]]
    assert list(grid(axes[:3])) == [(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1)]
    assert unequal_zip((axes[0], axes[2].model_copy(update={"values": (1,)}))) is not None
    assert Axis(path="a", values=(None, 3), labels=("n", "t")).shown(0) == "n"


STUDY: dict[str, Any] = {
    "name": "s",
    "model": "batmann_small_xnor",
    "chip": "ideal",
    "task": {"dataset": "glyphs", "split": "test"},
    "axes": [{"path": "seed", "values": [1, 2]}],
    "cases": [{"name": "a"}, {"name": "b", "set": {"task.way": 4}}],
}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"skip": [{}]}, "1 or more conditions"),
        ({"skip": [{"odd.x": 1}]}, "paths in skip"),
        ({"memory_limit": "2 gb"}, "2 GB"),
        ({"axes": [], "cases": [{"name": "a", "sweep": ["seed"]}]}, "an axis whose values"),
        ({"cases": [{"name": "a", "published": [0.5]}]}, "a list of 2"),
        ({"cases": [{"name": "a"}, {"name": "a"}]}, "case names"),
        ({"derived": {"seed": "task.way"}}, "no axis and no case sets"),
        ({"derived": {"task.shot": "task.queries", "task.queries": "seed"}}, "listed after"),
        ({"derived": {"task.shot": "task"}}, "listed after"),
        ({"derived": {"chip.tile": "chip.tile.rows"}}, "listed after"),
    ],
)
def test_studies_that_contradict_themselves_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        load_study(STUDY | changes)


def test_sizes_of_memory_are_decimal() -> None:
    sizes = [load_study(STUDY | {"memory_limit": text}).memory_limit for text in ("2 GB", "1.5 MB", "3 KB", 7)]
    assert sizes == [2_000_000_000, 1_500_000, 3000, 7]
    two = load_study(
        STUDY
        | {
            "axes": [{"path": "seed", "values": [1, 2]}, {"path": "task.way", "values": [2, 3]}],
            "cases": [{"name": "a", "sweep": ["seed"]}],
            "skip": [{"case": "b"}],
        }
    )
    assert two._swept() == ["seed", "task.way"], "a case may sweep the path of the axis itself"
    load_study(
        STUDY
        | {"derived": {"chip.tile.rows": "chip.tile.cols", "chip.tile_x": "seed"}}
        | {"derived": {"chip.tile.rows": "seed"}}
    )


def test_a_study_changes_its_base(tmp_path: Path) -> None:
    base = {
        "name": "b",
        "a": {"kind": "x", "p": 1, "q": {"r": 2}},
        "axes": [{"path": "s", "values": [1], "unit": "u"}],
        "cases": [],
    }
    own = {"name": "o", "a": {"p": 3, "q": {"t": 4}}, "axes": {"s": {"values": [2]}, "n": {"values": [3]}}}
    found = derive(base, own, "w")
    assert found["a"] == {"kind": "x", "p": 3, "q": {"r": 2, "t": 4}}
    assert found["axes"] == [{"path": "s", "values": [2], "unit": "u"}, {"path": "n", "values": [3]}]
    assert derive(base, {"name": "o", "a": {"kind": "y"}}, "w")["a"] == {"kind": "y"}
    assert derive(base, {"name": "o", "axes": {"s": None}}, "w")["axes"] == []
    for wrong, match in (
        ({"axes": {"z": None}}, "no 'z' to remove"),
        ({"axes": {"s": 3}}, "a mapping or null"),
        ({}, "a name"),
    ):
        with pytest.raises(InputError, match=match):
            derive(base, ({"name": "o"} if wrong else {}) | wrong, "w")
    chain = follow(tmp_path / "b", follow(tmp_path / "a", ()))
    for again in ("a", "b"):
        with pytest.raises(InputError, match="without a cycle"):
            follow(tmp_path / again, chain)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("chips.min", 3, "chips"),
        ("axes.0.values", [5, 6], "axes"),
        ("cases.1.set.task.way", 9, "cases"),
        ("chip.tile.rows", 7, "chip"),
        ("engine.kind", "memtorch", "engine"),
        ("task.attack.epsilon", 0.5, "task"),
        ("seed", 4, "seed"),
    ],
)
def test_settings_change_one_value(path: str, value: Any, where: str) -> None:
    before, after = load_study(STUDY), with_value(load_study(STUDY), path, value, "--set")
    changed = {key for key in before.to_dict() if before.to_dict()[key] != after.to_dict()[key]}
    assert changed == {where}
    assert json.dumps(value) in json.dumps(after.to_dict()[where])


@pytest.mark.parametrize("path", ["axes.2.values", "axes.x", "chips.most", "odd", "seed.x"])
def test_paths_that_do_not_exist_are_not_set(path: str) -> None:
    with pytest.raises(InputError):
        with_value(load_study(STUDY), path, [1], "--set")


def test_paths_of_a_schema_follow_references_and_alternatives() -> None:
    schema = {
        "$defs": {
            "A": {"properties": {"x": {}}},
            "B": {"properties": {"x": {}, "y": {}}, "anyOf": [{"$ref": "#/$defs/A"}]},
        },
        "properties": {
            "a": {"anyOf": [{"$ref": "#/$defs/A"}, {"oneOf": [{"$ref": "#/$defs/B"}]}]},
            "m": {"additionalProperties": {"type": "number"}},
            "n": {"additionalProperties": False},
        },
    }
    found = paths_of(schema, {name: f"#/properties/{name}" for name in ("a", "m", "n")})
    assert set(found) == {"a", "a.x", "a.y", "m", "m.*", "n"}
    assert found["a.y"] == {"$ref": "#/$defs/B/properties/y"}
    assert len(found["a.x"]["anyOf"]) == 2


# -- points and their content -------------------------------------------------------------------------------


def test_files_of_tasks_are_relative_to_the_study(tmp_path: Path) -> None:
    function = {"kind": "function", "call": "f.py:g", "inputs": "~/i.py:h", "files": ["a.csv", "/b.csv"]}
    study = build(
        Study,
        STUDY
        | {
            "task": function,
            "chip_task": {"dataset": "i.npy, l.npy"},
            "cases": [{"name": "a", "set": {"chip_task.files": ["c"]}}],
            "axes": [{"path": "task.call", "values": ["x.py:y"]}, {"path": "seed", "values": [3]}],
        },
        "study",
    )
    placed = with_places(study, tmp_path)
    assert placed.task == function | {"call": f"{tmp_path}/f.py:g", "files": [f"{tmp_path}/a.csv", "/b.csv"]}
    assert placed.chip_task == {"dataset": f"{tmp_path}/i.npy,{tmp_path}/l.npy"}
    assert placed.cases[0].set == {"chip_task.files": [f"{tmp_path}/c"]}
    assert (placed.axes[0].values, placed.axes[1].values) == ((f"{tmp_path}/x.py:y",), (3,))


def test_models_and_chips_that_a_study_names() -> None:
    study = load_study(
        STUDY
        | {
            "task": {"features": "t"},
            "chip_task": {"features": "u"},
            "axes": [{"path": "seed", "values": ["n", "o"]}],
            "cases": [
                {"name": "a", "set": {"chip": "c", "chip_task.features": "v", "task": {"features": "w"}}},
                {"name": "b", "sweep": ["model"], "set": {"chip": {"name": "x"}}},
            ],
        }
    )
    found = list(named(study))
    assert [name for kind, name in found if kind == "chip"] == ["ideal", "c"]
    assert {name for kind, name in found if kind == "model"} == {"batmann_small_xnor", "t", "u", "v", "w", "n", "o"}
    taken: dict[str, Path] = {}
    places = [_free("./models/m", "", Path(p), taken) for p in ("/a", "/b", "/a", "/c")]
    assert places == ["./models/m", "./models/m-2", "./models/m", "./models/m-3"]


def test_copies_stay_within_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "models" / "m").mkdir(parents=True)
    (tmp_path / "a" / "models" / "m" / "model.yaml").write_text("x")
    content = {"content": {"model": {"m": "./models/m", "n": "shipped:n"}, "chip": {}}}
    keep_copies(tmp_path / "a", tmp_path / "b", content)
    assert (tmp_path / "b" / "models" / "m" / "model.yaml").read_text() == "x"
    with pytest.raises(ResultsError, match="within the folder"):
        keep_copies(tmp_path / "a", tmp_path / "b", {"content": {"chip": {"c": "../outside"}}})


def test_settings_that_were_added_later_are_stored_where_they_act() -> None:
    from imc_sim.array import load_chip

    plain = load_chip("rram_hfo2_1t1r").to_dict()
    stored = as_stored(plain)
    assert not {"neurons", "compute", "draws"} & set(stored)
    assert not {"weight_bits", "copies"} & (set(stored["encoding"]) | set(stored["encoding_multibit"] or ()))
    assert stored["wires"]["density"] == 0.5
    for path, value in (("compute", "int8"), ("draws", "pairs")):
        assert as_stored(plain | {path: value})[path] == value
    converter = plain["converter"] | {"range": "calibrated", "kind": "auto"}
    for limits, acts in (("auto", "sigmas"), ("sigma", "sigmas"), ("percentile", "percentile"), ("minmax", "limits")):
        kept = set(as_stored(plain | {"converter": converter | {"limits": limits}})["converter"])
        assert {"limits", acts} <= kept
        assert not {"sigmas", "percentile"} - {acts} & kept
    off = as_stored(plain | {"converter": converter | {"kind": "ideal"}})["converter"]
    assert not {"limits", "sigmas", "percentile"} & set(off)
    two = plain | {"policy": plain["policy"] | {"layers": {"b": "digital", "a": "crossbar"}}}
    assert as_stored(two)["policy"]["layers"] == [["b", "digital"], ["a", "crossbar"]]


def test_a_digital_point_has_no_chip_no_values_and_seed_0() -> None:
    point = Point(
        "a", (("x", 1),), "m", "w", {"name": "c"}, {"way": 4}, 7, digital_task={"way": 9}, arch={"k": 1}, evaluator="e"
    )
    whole, reduced = point.reference(), point.baseline()
    assert (reduced.chip, reduced.coordinates, reduced.seed, reduced.task, reduced.arch, reduced.evaluator) == (
        None,
        (),
        0,
        {"way": 4},
        {"k": 1},
        "e",
    )
    assert whole.task == {"way": 9}
    assert dataclasses.replace(point, digital_task=None).reference().task == {"way": 4}


def test_data_of_stored_trials_are_compared(tmp_path: Path) -> None:
    check_data(tmp_path, {"data": {"a": "1"}}, {"data": {"a": "1", "new": "2"}})
    check_data(tmp_path, {}, {"data": {}})
    with pytest.raises(ResultsError, match=r"other files of 'a' \(content 2, stored 1\)"):
        check_data(tmp_path, {"data": {"a": "1"}}, {"data": {"a": "2"}})
    with pytest.raises(ResultsError, match="without a record of the files of 'own test'"):
        check_data(tmp_path, {}, {"data": {"own test": "2"}})
    assert other_files("p", "found", "stored") == "other files of 'p' (content found, stored stored)"


def test_functions_that_evaluate_are_identified_by_name_and_file() -> None:
    import imc_sim.testing._stand_in as module

    assert _work.evaluator_digest(_work.evaluate_chips) is None
    found = {_work.evaluator_digest(getattr(module, name)) for name in ("stand_in_evaluator", "_doomed")}
    assert len(found) == 2
    unnamed: list[Any] = [lambda: None, type("X", (), {"__call__": lambda self: None})()]
    for wrong in unnamed:
        with pytest.raises(InputError, match="top level of a Python file"):
            _work.evaluator_digest(wrong)
    assert _work.BATCH == 4


def test_stated_accuracies_are_the_lowest_of_comparable_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = [
        {"task": {"dataset": "glyphs", "way": 5}, "accuracy": 0.9},
        {"task": {"dataset": "glyphs"}, "accuracy": 0.8},
        {"task": {"dataset": "omniglot"}, "accuracy": 0.1},
    ]
    monkeypatch.setattr(
        _points, "find_card", lambda _: SimpleNamespace(data={"measured": measured, "episodes": 7, "epochs": "x"})
    )
    task = {"kind": "few_shot", "dataset": "glyphs", "way": 5, "attack": None}
    assert _points._stated("m", task) == 0.8
    assert _points._stated("m", task | {"attack": {"kind": "fgsm"}}) is None
    assert _points._stated("m", {"kind": "function"}) is None
    assert _points._stated("m", task | {"dataset": "digits"}) is None
    for key in ("stage", "head", "features", "permutation"):
        measured[0]["task"], measured[1]["task"] = {key: 1}, {key: 2}
        assert _points._stated("m", task | {key: 1, "dataset": "digits"}) == 0.9
    assert _points.trained("m") == {"episodes": 7}


# -- estimates ----------------------------------------------------------------------------------------------


def test_estimates_are_of_the_most_similar_points() -> None:
    one = {".model": "a", ".task.way": 1, ".chip.x": 1, ".chip.y": 1}
    assert _dry_run._difference(one, one) == (0, 0, 0)
    assert _dry_run._difference(one, one | {".model": "b", ".engine.kind": 2, ".task.way": 2}) == (2, 1, 3)
    assert [_dry_run.shown_seconds(s) for s in (99, 100, 5999, 6000, 359_999, 360_000)] == [
        "99 s",
        "1.7 min",
        "1.7 h",
        "1.7 h",
        "4.17 days",
        "4.17 days",
    ]
    assert [_dry_run.shown_bytes(b) for b in (999_499_999, 10**9, 2_300_000_000, 123 * 10**9)] == [
        "999 MB", "1 GB", "2.3 GB", "123 GB",
    ]  # fmt: skip
    cost = _probe.Cost
    assert _memory_use._blurred({"a": {"b": 0.5, "c": 0.0, "d": 3}}, "") == [
        (".a.b", "some"),
        (".a.c", 0.0),
        (".a.d", 3),
    ]
    case = _dry_run.CaseEstimate("a", 2, (4, 8), (10.0, 20.0), 10**9)
    run = _dry_run.DryRun("s", (case, dataclasses.replace(case, memory_bytes=3 * 10**9)), 1, 2, 5.0, 3, 2, 4)
    assert (run.points, run.chips, run.seconds, run.memory_bytes) == (4, (8, 16), (6.25, 11.25), 12 * 10**9)
    assert run.note == (
        "measured on 2 of 3 kinds of points; the others estimated from the most similar ones; 1 point skipped; "
        "4 workers, nothing stored yet"
    )
    assert [r["case"] for r in run.rows()] == ["a", "a", "digital baselines", "all"]
    assert cost(1.0, 2).seconds == 1.0


@pytest.mark.parametrize(("seconds", "calls", "memory"), [(0.5, [[0], [0, 1, 2, 3]], 99), (9.0, [[0]], 99 + 3 * 2**10)])
def test_a_batch_is_measured_where_it_is_quick(
    seconds: float, calls: list[Any], memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    prober = _probe.Prober(list, "cpu", 4, 10)
    monkeypatch.setattr(
        _probe, "batch_size", lambda point, evaluator, most, limit: min(most, 4) if limit == 10 else most >> 10
    )
    monkeypatch.setattr(_probe.Prober, "_run", lambda _, point, chips: (ran.append(chips), _probe.Cost(seconds, 99))[1])
    assert prober.chips(None, 9) == _probe.Cost(seconds, memory)  # type: ignore[arg-type]
    assert ran == calls
    ran.clear()
    prober.chips(None, 1)  # type: ignore[arg-type]
    assert ran == [[0]]


# -- exports ------------------------------------------------------------------------------------------------


def test_columns_of_one_type_are_unchanged_and_others_are_text() -> None:
    from pandas import Series

    for values, wanted in (
        ([1, 2.5, None], [1, 2.5, None]),
        ([1, "a"], ["1", "a"]),
        ([True, 2], ["True", "2"]),
        ([{"a": 1}], ["{'a': 1}"]),
    ):
        found = _table_parts._of_one_type(Series(values, dtype=object)).tolist()
        assert found == wanted
    with pytest.raises(InputError, match="--out with several folders"):
        combine(["a", "b"])
    with pytest.raises(InputError, match="no folder"):
        combine([])
    with pytest.raises(InputError, match="csv, parquet"):
        combine(["a"], formats=["xls"])
    row = {"id": "a", "values": [], "case": "c", "chip": -1, "state": "done", "correct": 1, "total": 4}
    values, numbers = _table_parts._places(table_of([row], rules_of()), ["chip"])["chip"]
    assert (values.tolist(), numbers.tolist()) == ([None], [0]), "no chip number in a column of an axis"


def test_rows_of_a_grid_are_named_by_their_values() -> None:
    assert (_embeddings._named("FGSM", "x"), _embeddings._named(0.5, "eps"), _embeddings._named(2, "")) == (
        "FGSM",
        "eps 0.5",
        "2",
    )
    assert isinstance(load_study(STUDY), Study)
    assert np.isfinite(_embeddings._ROWS)
