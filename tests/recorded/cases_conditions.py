"""Conditions, stopping, settings that act and schemas of studies."""

from __future__ import annotations

from typing import Any

from imc_sim.runs import table_of
from imc_sim.study import Chips, Derived, load_study, points_of
from imc_sim.study._acting import of_any_model, of_its_model
from imc_sim.study._conditions import look_up, matches, paths_in
from imc_sim.study._paths import paths_of
from imc_sim.study._runner import check_study
from imc_sim.study._schema import _PARSERS, json_schema
from imc_sim.study._stopping import stopping_count, wanted_chips
from imc_sim.study._trials_file import measure, rules_of
from tests.recorded.cases_study import SIGMA, STUDY, short
from tests.recorded.made import tried


def record_conditions() -> dict[str, Any]:
    """Which conditions hold for which values."""
    facts: dict[str, Any] = {
        "n": 3,
        "x": 0.5,
        "w": "auto",
        "b": True,
        "none": None,
        "m": {"kind": "sym", "bits": 4},
        "named": {"name": "a"},
        "l": [1],
    }
    wanted: list[Any] = [3, 3.0, 0.5, "auto", True, 1, None, "sym", "a", "> 2", ">3", ">= 3", "<3", "<= 3", "< 4",
        "== 3", "!= 3", "!= auto", "== true", "!= null", "> x", "== sym", [1, 3], [None, "auto"]]  # fmt: skip
    found: dict[str, Any] = {}
    for condition in wanted:
        found[str(condition)] = " ".join(key for key in facts if matches({key: condition}, facts, None))
    found["both"] = [matches({"n": 3, "x": each}, facts, None) for each in (0.5, 0.6)]
    found["errors"] = [
        tried(matches, {key: condition}, facts, "here")
        for key, condition in [("n", "a"), ("w", 3), ("n", "> b"), ("w", "> 3"), ("l", 3), ("b", 1), ("m", "> 2")]
    ]
    found["look up"] = [list(look_up(facts, path)) for path in ("m.bits", "m", "m.x", "n.x", "none", "q")]
    found["paths"] = list(paths_in({"a": 1, "b": {"c": {"d": 2}, "e": {}}}))
    derived = [
        ({}, 3),
        ({"times": 2.0}, 3),
        ({"times": 0.5}, 3),
        ({"plus": -1.0}, 3),
        ({"times": 0.1, "plus": 0.2}, 1),
        ({"times": 2.0}, 0.5),
        ({}, "a"),
        ({"times": 2.0}, True),
        ({"plus": 1.0}, None),
    ]
    found["derived"] = [repr(tried(Derived(path="a", **options).of, value, "here")) for options, value in derived]
    return found


def record_stopping() -> dict[str, Any]:
    """Numbers of chips at which points stop, and trials that a study requests."""
    rules = {
        "two": {"min": 2},
        "to seven": {"min": 2, "max": 7, "half_width": 0.05},
        "no width": {"min": 3, "max": 9},
        "wide": {"min": 4, "max": 50, "half_width": 0.2},
        "one": {"min": 1, "max": 3, "half_width": 0.5},
    }
    rows = [{"state": "done", "correct": c, "total": 100} for c in (50, 60, 53, 56, 55, 54, 55)]
    kinds = {
        "done": rows,
        "failed": [{**row, "state": "failed" if n == 1 else "done"} for n, row in enumerate(rows)],
        "alike": [rows[0]] * 7,
        "few": rows[:3],
        "none": [],
        "scores": [{"state": "done", "score": s} for s in (1.0, 1.5, 0.8)],
    }
    found: dict[str, Any] = {}
    for name, rule in rules.items():
        chips = Chips(**rule)
        found[name] = [
            chips.checkpoints(),
            {
                kind: stopping_count(chips, [measure(r) if r["state"] == "done" else float("nan") for r in each])
                for kind, each in kinds.items()
            },
        ]
    points = [{"id": "p", "baseline": "b"}, {"id": "q", "baseline": "b", "reference": "r"}]
    stored = [
        {**row, "id": f"{p}{n}", "point": p, "chip": n}
        for p, count in (("p", 7), ("q", 2))
        for n, row in enumerate(rows[:count])
    ]
    for name, rule in rules.items():
        wanted, is_open = wanted_chips({"chips": rule, "points": points}, table_of(stored, rules_of()))
        found[f"wanted, {name}"] = [sorted(f"{p} {n}" for p, chips in wanted.items() for n in chips), is_open]
    return found


def record_acting() -> dict[str, Any]:
    """Settings that act at points, with their models, and digests of them."""
    found: dict[str, Any] = {}
    for name, changes in {
        "plain": {},
        "adc": {"set": {"chip.converter.kind": "sym"}},
        "memory": {"set": {"chip.policy.memory": "digital"}},
        "keys": {"set": {"task.keys": "float"}},
    }.items():
        study = load_study(STUDY | changes)
        (point,) = points_of(study)
        acting = of_its_model(point)
        found[name] = [short(of_any_model(point)), acting["chip"]["policy"], sorted(acting["task"])]
    two = {"axes": [{"path": "task.batch", "values": [3, 5]}], "chip_task": {}}
    for name, changes in {
        "batch": two,
        "neurons": {"axes": [{"path": "chip.neurons", "values": ["bernoulli", "comparator"]}]},
        "sound": {"axes": [{"path": SIGMA, "values": [0.1, 0.2]}]},
    }.items():
        study = load_study(STUDY | changes)
        found[f"check {name}"] = tried(lambda s=study: check_study(s, points_of(s), "cpu"))
    return found


def record_schemas() -> dict[str, Any]:
    """Keys and paths of the JSON schemas, without what pydantic adds."""
    schema: dict[str, Any] = json_schema("study")
    definitions = schema["$defs"]
    found: dict[str, Any] = {
        "keys": list(schema["properties"]),
        "open": sorted(definitions["Settings"]["patternProperties"]),
    }
    found["whole"] = [
        schema["required"],
        schema["anyOf"],
        schema["title"],
        schema["$schema"],
        sorted(schema["properties"]["set"]["patternProperties"]),
    ]
    found["changes"] = {name: sorted(definitions[name]["properties"]) for name in ("AxisChange", "CaseChange")}
    found["references"] = [schema["properties"][name] for name in ("task", "chip_task")]
    found["model"] = sorted(json_schema("model")["properties"])
    found["encodings"] = [each["$ref"].rpartition("/")[2] for each in definitions["Encoding"]["oneOf"]]
    found["units"] = sorted(_PARSERS.values())
    made = {"properties": {"a": {"$ref": "#/$defs/A"},
        "b": {"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}}},
            "$defs": {"A": {"properties": {"n": {"type": "number"},
            "inner": {"oneOf": [{"type": "null"}, {"properties": {"x": {}}}]}}}}}  # fmt: skip
    found["walked"] = paths_of(made, {"a": "#/properties/a", "b": "#/properties/b"})
    return found
