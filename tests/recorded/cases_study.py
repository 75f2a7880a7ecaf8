"""Studies: axes, files, points and their ids, conditions, stopping, and errors of all of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from imc_sim.array import load_chip
from imc_sim.config import build, canonical_json
from imc_sim.study import Axis, load_study, points_of, resolved, with_settings
from imc_sim.study._axes import grid, grid_size, short_forms
from imc_sim.study._point import cost_id, trial_id
from imc_sim.study._stored_chip import as_stored
from tests.recorded.made import folder, tried, without

SIGMA, ROWS, NU = "chip.device.programming.sigma", "chip.tile.rows", "chip.device.time.drift.nu"
CELL: dict[str, Any] = {"g_lrs_S": "100 uS", "g_hrs_S": "20 uS"}
STUDY: dict[str, Any] = {
    "name": "recorded", "question": "Which?", "model": "batmann_small_xnor", "seed": 3,
    "chip": {"name": "small", "device": {**CELL, "read": {"sigma": 0.02}}, "tile": {"rows": 24, "cols": 20}},
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5, "way": 4}, "chip_task": {"episodes": 3},
    "chips": {"min": 2, "max": 5, "half_width": 0.03}, "memory_limit": "1.5 GB",
}  # fmt: skip
SWEPT = STUDY | {
    "axes": [
        {"path": SIGMA, "values": {"range": [0, 0.2, 0.1]}, "label": "variation", "unit": "%", "scale": 100},
        {"path": ROWS, "values": [16, 40], "zip": "size", "also": ["chip.tile.cols"]},
        {"path": "task.way", "values": [3, 6], "zip": "size", "labels": ["few", "many"]},
    ],
    "cases": [
        {"name": "lrs", "set": {"chip.converter": {"kind": "sym", "bits": 5}, "seed": 4},
            "published": [0.5, None, 0.25]},
        {"name": "hrs", "set": {"task.keys": "float", "chip.converter.kind": "auto"},
            "sweep": [NU, "chip.device.time.drift.nu_std"],
         "note": "drift"},
    ],
    "derived": {"chip.device.time.t_s": {"path": ROWS, "times": 2.5, "plus": 1},
    "chip.device.disturb.reads": "chip.tile.cols"},
    "skip": [{SIGMA: ">= 0.2", "case": "lrs"}, {NU: 0.1, ROWS: [40, 41]}],
}  # fmt: skip


def short(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:12]


def record_axes() -> dict[str, Any]:
    """Values of axes from their short forms, what is shown of them, and their errors."""
    values: list[Any] = [
        [1, 2.5, True, "a", False], {"range": [0, 1, 0.1]}, {"range": [5, 1, -2]}, {"range": [0, 0.3, 0.1]},
            {"range": [3, 3, 1]},
        {"range": [0.0, 4, 2]}, {"range": [1, 2, -1]}, {"range": [0, 1, 0]}, {"range": [0, 10001, 1]},
            {"range": [0, 9999, 1]},
        {"linspace": [0, 10, 5]}, {"linspace": [0, 10, 6]}, {"linspace": [-1, 2, 4]}, {"linspace": [0, 1, 7]},
            {"linspace": [0, 1, 1]},
        {"linspace": [0, 1, 2.5]}, {"log": [1, 1000, 4]}, {"log": [1e-6, 1e-3, 3]}, {"log": [1, 100, 4]},
            {"log": [0, 1, 3]},
        {"log": [1, -1, 3]}, {"lag": [1, 2, 3]}, {}, {"log": [1, 2]}, {"range": [1, 2, True]}, {"range": "1"},
            {"linspace": [0, float("inf"), 3]},
        [1, 1], [1, 1.0], [], [{"a": 1}], [None], [0.1, "0.1"],
    ]  # fmt: skip
    found: dict[str, Any] = {}
    for value in values:
        result = tried(
            lambda v=value: [repr(each) for each in build(Axis, {"path": "seed", "values": v}, "axis").values]
        )
        text = " ".join(result) if isinstance(result, list) else result
        found[str(value)] = text if len(text) < 400 else short(text)
    more: dict[str, dict[str, Any]] = {
        "labels": {"values": [{"a": 1}, None, 3], "labels": ["x", "y", "z"]},
        "few labels": {"values": [1, 2], "labels": ["x"]},
        "equal labels": {"values": [1, 2], "labels": ["x", "x"]}, "log": {"values": [1, 2], "spaced": "log"},
        "log of 0": {"values": [0, 2], "spaced": "log"},
        "log scaled": {"values": [-1, -2], "spaced": "log", "scale": -3.0},
        "log of words": {"values": ["a"], "spaced": "log"},
    }  # fmt: skip
    for name, options in more.items():
        axis = lambda o=options: build(Axis, {"path": "task", **o}, "axis")  # noqa: E731
        found[name] = tried(lambda a=axis, o=options: [a().shown(k) for k in range(len(o["values"]))])
    axes = tuple(
        Axis(path=f"p{k}", values=tuple(range(n)), zip=z)
        for k, (n, z) in enumerate([(2, None), (3, "z"), (2, None), (3, "z")])
    )
    found["grid"] = [grid_size(axes), " ".join("".join(map(str, place)) for place in grid(axes)), list(grid(()))]
    found["paths"] = Axis(path="a", also=("b", "c"), values=(1,)).paths
    found["forms"] = {name: form["description"] for name, form in short_forms()["properties"].items()}
    return found


def record_points() -> dict[str, Any]:
    """Points with their coordinates, ids and settings, and the resolved study."""
    study = load_study(SWEPT)
    points = points_of(study)
    found: dict[str, Any] = {}
    for p in points:
        keys = f"{p.id[:12]} {p.baseline().id[:12]} {p.reference().id[:12]} {p.trial(3).id[:12]} {p.trial(-1).id[:12]}"
        chip = p.chip or {}
        named = f"seed {p.seed}, {chip['device']['programming'].get('sigma', '-')}, {chip['device']['time']['drift']}"
        found[f"{p.case} {p.coordinates}"] = [
            keys,
            f"{named}, {chip['device']['time']['t_s']}, {chip['device']['disturb']['reads']}",
        ]
    whole = resolved(study, points)
    found["digest"] = whole["digest"]
    found["described"] = [
        {k: v for k, v in each.items() if k not in ("id", "baseline", "reference")} for each in whole["points"]
    ]
    names = (
        "schema",
        "content",
        "trained",
        "data",
        "axes",
        "cases",
        "chips",
        "memory_limit",
        "derived",
        "skip",
        "chip_task",
        "seed",
    )
    found |= {name: whole[name] for name in names}
    found["weights"] = {name: value[:12] for name, value in whole["weights"].items()}
    found["ids"] = [trial_id("a" * 64, 3), cost_id("b" * 64, "c")]
    priced = load_study(STUDY | {"chip": "rram_neurram_core"})
    point = points_of(priced, "evaluator")[0]
    found["priced"] = [str(p.cost)[:12] for p in (point, points_of(priced)[0])] + [point.id[:12]]
    function = {
        "kind": "function",
        "call": "./f.py:score",
        "metric": "error",
        "unit": "V",
        "better": "lower",
        "tolerance": 0.5,
        "files": ["x.npz"],
    }
    with folder() as at:
        (at / "f.py").write_text("def score(network, chip):\n    return 0.5\n")
        (at / "x.npz").write_bytes(b"x")
        own = load_study(STUDY | {"task": function, "chip_task": {}, "chips": {"min": 2}})
        points = points_of(own)
        found["function"] = [p.id[:12] for p in points]
        kept = resolved(own, points)
        found["metric"] = [
            kept["metric"],
            kept["task"]["call"],
            kept["task"]["files"],
            sorted(kept["content"]["files"]),
        ]
        np.savez(at / "d.npz", test_images=np.zeros((4, 8, 8), np.uint8), test_labels=np.array([0, 1, 0, 1]))
        arrays = {"dataset": "d.npz", "split": "test", "kind": "classification"}
        (point,) = points_of(load_study(STUDY | {"task": arrays, "chip_task": {}, "model": "binact_mnist_nonbinary"}))
        found["own data"] = [
            sorted(point.content["data"].values()),
            [key.rpartition(" ")[2] for key in point.content["data"]],
        ]
        for name, changes in {
            "published": {"cases": [{"name": "a", "published": 0.5}]},
            "two metrics": {"axes": [{"path": "task.metric", "values": ["a", "b"]}]},
        }.items():
            found[name] = without(
                tried(lambda c=changes: len(points_of(load_study(STUDY | {"task": function, "chip_task": {}} | c)))), at
            )
    return found


def record_ids_of_settings() -> dict[str, Any]:
    """Ids of a point after each of many settings is changed; some settings are not part of ids."""
    changes: dict[str, Any] = {
        "chip.name": "x", "chip.source": "x", "chip.validity": "x", "chip.compute": "int16",
        "chip.neurons": "comparator",
        "chip.policy.allow_rounding": True, "chip.policy.layers": {"a": "digital", "b": "crossbar"},
        "chip.encoding.copies": 3,
        "chip.encoding_multibit.weight_bits": 5, "chip.device.cycle_to_cycle": {"share": 0.5, "correlation": 0.0},
        "chip.policy.int8": "crossbar",
        "chip.device.endurance": {"cycles": 10.0}, "chip.device.time.refresh_s": 5.0,
        "chip.device.time.retention.states_S": [2e-5, 1e-4],
        "chip.wires": {"kind": "nodal", "r_row_ohm": 1.0},
        "chip.converter": {"kind": "sym", "range": "calibrated", "limits": "percentile"},
        "chip.converter.percentile": 99.0, "chip.converter.kind": "sym", "task.seed": 5, "seed": 9, "task.queries": 7,
        "chip.engine": "memtorch",
        "chip.device.programming": {"kind": "relative", "sigma": 0.1, "sigma_of": "cv", "target_is": "mean"},
    }  # fmt: skip
    found: dict[str, Any] = {}
    for path, value in changes.items():
        text = tried(lambda p=path, v=value: points_of(load_study(STUDY | {"set": {p: v}}))[0].id[:12])
        found[path] = text
    calibrated = {"kind": "sym", "range": "calibrated"}
    for limits in ("auto", "sigma", "percentile", "minmax", "mse"):
        chip = load_chip(
            STUDY["chip"] | {"converter": calibrated | {"limits": limits, "sigmas": 2.5, "percentile": 98.0}}
        )
        stored = as_stored(chip.to_dict())
        found[f"limits {limits}"] = stored["converter"]
    plain = as_stored(load_chip("ideal").to_dict())
    found["stored"] = {
        key: value
        for key, value in plain.items()
        if key in ("encoding", "encoding_multibit", "wires", "converter", "policy")
    }
    resistive = load_chip(STUDY["chip"] | {"wires": {"kind": "nodal", "r_col_ohm": 1.0}, "encoding": {"kind": "bnn_i"}})
    found["density"] = [
        as_stored(chip.to_dict())["wires"]["density"]
        for chip in (resistive, resistive.replace("encoding", {"kind": "bnn_v"}))
    ]
    return found


def record_refused_studies() -> dict[str, Any]:
    """Errors of studies."""
    axis = {"path": SIGMA, "values": [0, 0.1]}
    changes: dict[str, dict[str, Any]] = {
        "name": {"name": "a/b"}, "no model": {"model": None}, "unknown key": {"chp": 1},
        "max": {"chips": {"min": 5, "max": 4}}, "memory": {"memory_limit": "2 TB"},
        "memory of words": {"memory_limit": "1.2.3 GB"}, "cases": {"cases": [{"name": "a"}, {"name": "a"}]},
        "axes": {"axes": [axis, axis]},
        "also": {"axes": [{**axis, "also": [SIGMA]}]}, "root": {"axes": [{"path": "chips.min", "values": [1]}]},
        "skip root": {"skip": [{"model_": 1}]},
        "zip": {"axes": [{**axis, "zip": "z"}, {"path": ROWS, "values": [1, 2, 3], "zip": "z"}]},
        "sweep": {"cases": [{"name": "a", "sweep": [SIGMA]}]},
        "published": {"cases": [{"name": "a", "published": [0.5]}], "axes": [axis]},
        "published without axes": {"cases": [{"name": "a", "published": [0.5, 0.1]}]},
        "empty skip": {"skip": [{}]}, "derived and set": {"derived": {SIGMA: ROWS}, "axes": [axis]},
        "derived order": {"derived": {ROWS: "chip.tile.cols", "chip.tile.cols": "task.way"}},
        "derived path": {"derived": {ROWS: "chip.tile.colums"}},
        "derived word": {"derived": {ROWS: {"path": "chip.name", "times": 2}}}, "no path": {"derived": {ROWS: " "}},
        "skip path": {"skip": [{"chip.tile.row": 3}], "axes": [axis]}, "skip all": {"skip": [{ROWS: 24}]},
        "skip kind": {"skip": [{ROWS: "a"}]}, "skip sign": {"skip": [{ROWS: "> a"}]},
        "skip unit": {"skip": [{"chip.device.g_lrs_S": "100 uS"}]},
        "seed": {"axes": [{"path": "seed", "values": [-1]}]}, "engine": {"engine": "memtorx"},
        "model": {"axes": [{"path": "model", "values": [3]}]},
        "chip number": {"axes": [{"path": "chip", "values": [3]}]}, "task": {"task": {"dataset": "glyph"}},
        "task word": {"axes": [{"path": "task", "values": ["a"]}]},
        "chip_task": {"axes": [{"path": "chip_task", "values": ["a"]}]},
        "unknown path": {"axes": [{"path": "chip.tile.rws", "values": [3]}]},
        "cells": {"axes": [{"path": "conductances", "values": [3]}]},
        "width": {"chips": {"min": 2, "max": 3, "half_width": 1.0}}, "patch": {"axes": {SIGMA: {"values": [1]}}},
        "set": {"set": [1]},
        "set path": {"set": {"chip.tile.roows": 3}}, "set place": {"set": {"axes.3.values": [1]}},
        "idle axis": {"axes": [{"path": "chip.converter.bits", "values": [4, 5]}]},
        "idle case": {"cases": [{"name": "a"}, {"name": "b", "set": {"chip.converter.bits": 3}}]},
        "levels of a case": {"cases": [{"name": "a", "set": {"chip.converter.kindd": 3}}]},
        "wrong kind": {"cases": [{"name": "a", "set": {"chip.wires": {"kind": "nodal"}, "chip.wires.r_rows_ohm": 2}}],
        "axes": [{"path": "chip.wires.r_sense", "values": [1, 2]}]},
        "prices": {"chip": "rram_neurram_core", "axes": [{"path": "chip.cost.supply_V", "values": [1.0, 1.2]}]},
        "many": {"axes": [{"path": "seed", "values": {"range": [0, 9999, 1]}},
        {"path": ROWS, "values": {"range": [1, 11, 1]}}]},
    }  # fmt: skip
    return {name: tried(lambda c=change: len(points_of(load_study(STUDY | c)))) for name, change in changes.items()}


def record_files() -> dict[str, Any]:
    """Studies in files: bases, changes of entries, settings, and their errors."""
    files = {
        "base": SWEPT, "middle": {"name": "middle", "base": "base.yaml",
        "chips": {"min": 7, "max": None, "half_width": None},
        "axes": {SIGMA: {"unit": "x"}, ROWS: None, "task.way": None},
                                  "cases": {"hrs": {"note": "again"}, "new": {"set": {"task.keys": "binary"}}},
                                  "skip": [], "derived": {}},
        "top": {"name": "top", "base": "middle.yaml", "set": {"chip.tile.rows": 9, "axes.0.values": [0.3], "seed": 8}},
        "nameless": {"base": "base.yaml"},
        "round": {"name": "round", "base": "about.yaml"}, "about": {"name": "about", "base": "round.yaml"},
        "number": {"name": "n", "base": 3},
        "gone": {"name": "g", "base": "base.yaml", "cases": {"lsr": None}},
        "wrong": {"name": "w", "base": "base.yaml", "cases": {"lrs": 3}},
        "kinds": {"name": "k", "base": "base.yaml",
        "chip": {"encoding": {"kind": "offset"}, "device": {"read": {"sigma": 0.5}}}},
    }  # fmt: skip
    settings = ["chip.tile.rows=64", "axes.0.values=[0, 0.5]", "chips.min=1", "task.attack.epsilon=0.1",
        "cases.1.set.chip.tile.rows=5", "seed=2", "engine.kind=native",
                "derived.chip.device.time.t_s.times=3", "axes.9.values=[1]", "cases.x.name=a", "chips.mn=3", "seed",
                "chip=ideal", "seed.a=1"]  # fmt: skip
    found: dict[str, Any] = {}
    with folder() as at:
        for name, content in files.items():
            (at / f"{name}.yaml").write_text(canonical_json(content))
        before = load_study("base.yaml").to_dict()
        for name in files:
            result = tried(lambda n=name: changed(before, load_study(f"{n}.yaml").to_dict()))
            found[name] = without(result, at) if isinstance(result, str) else result
        for setting in settings:
            found[setting] = tried(
                lambda s=setting: changed(before, with_settings(load_study("base.yaml"), [s]).to_dict())
            )
    return found


def changed(before: Any, after: Any, path: str = "") -> dict[str, Any]:
    """Return path -> value of what differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys([*before, *after])
        return {k: v for key in keys for k, v in changed(before.get(key), after.get(key), f"{path}.{key}").items()}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return {
            k: v
            for n, pair in enumerate(zip(before, after, strict=True))
            for k, v in changed(*pair, f"{path}.{n}").items()
        }
    return {} if before == after else {path[1:]: after if len(str(after)) < 300 else short(after)}
