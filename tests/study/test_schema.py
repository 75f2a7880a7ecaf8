"""JSON schemas: shipped files pass, misspellings fail, and the schemas agree with the specifications."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

import imc_sim.config
from imc_sim import InputError, load_chip
from imc_sim.array import encodings
from imc_sim.config import content_names, find_card, find_content, parse_yaml, read_yaml
from imc_sim.study import json_schema, load_study, points_of
from imc_sim.study._schema import Kind
from tests.warm import run_python

KINDS: tuple[Kind, ...] = ("study", "chip", "model")
SHIPPED = [(kind, name) for kind in KINDS for name in content_names(kind)]
#: mappings whose keys are the user's own, or another specification's
OPEN = {"args", "recipe", "layers", "measured", "curve"}
CHECKS = {kind: Draft202012Validator(json_schema(kind)) for kind in KINDS}


def data_of(kind: Kind, name: str) -> dict[str, Any]:
    return find_card(name).data if kind == "model" else read_yaml(find_content(kind, name))


def accepts(kind: Kind, data: Any) -> bool:
    return CHECKS[kind].is_valid(json.loads(json.dumps(data)))


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_schemas_of_closed_mappings(kind: Kind) -> None:
    schema = json_schema(kind)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == f"imc_sim {kind}"
    closed = [node for node in mappings(schema) if "properties" in node and node.get("type") == "object"]
    assert closed
    assert all(node["additionalProperties"] is False for node in closed)


def mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from mappings(each)


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_shipped_files_pass(kind: Kind, name: str) -> None:
    assert [error.message for error in CHECKS[kind].iter_errors(data_of(kind, name))] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelt_key_anywhere_fails(kind: Kind) -> None:
    """Of mappings with the same keys at the same place of several files, that of one file is misspelt."""
    seen = set()
    for name in content_names(kind):
        shipped = data_of(kind, name)
        places = list(closed_places(shipped, ()))
        assert len(places) >= 2
        for place in places:
            data = copy.deepcopy(shipped)
            node, form = data, []
            for part in place:
                node = node[part]
                form.append(
                    ("*" if isinstance(part, int) else part, node.get("kind") if isinstance(node, dict) else "")
                )
            if (known := (*form, *node)) in seen:
                continue
            seen.add(known)
            key = next(iter(node))
            node[f"{key}x"] = node.pop(key)
            assert not accepts(kind, data), (name, *place, f"{key}x")
    assert len(seen) > 10


def closed_places(node: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Return where the mappings of a file are whose keys are fixed, or fixed paths."""
    if OPEN.intersection(map(str, place)) or any("layers" in str(part) for part in place):
        return
    if isinstance(node, list) and place[-1:] == ("values",):
        return  # the path decides which values of an axis are allowed
    if isinstance(node, dict) and node:
        yield place
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from closed_places(value, (*place, key))


@pytest.mark.parametrize("name", content_names("chip"))
def test_a_chip_with_every_key_spelt_out_passes(name: str) -> None:
    data = load_chip(name).to_dict()
    assert [error.message for error in CHECKS["chip"].iter_errors(data)] == []


@pytest.mark.parametrize("name", content_names("study"))
def test_a_study_with_every_key_spelt_out_passes(name: str) -> None:
    data = load_study(name).to_dict() | {"chip": load_chip(load_study(name).chip).to_dict()}
    assert [error.message for error in CHECKS["study"].iter_errors(data)] == []


CHIP = {"device": {"g_lrs_S": "225 uS", "g_hrs_S": 5e-5}}
CHIP_CHANGES: list[dict[str, Any]] = [
    {},
    {"device": {"g_lrs_S": "225 uS"}},
    {"device": {"table_S": ["1 uS", "2 uS", "4e-6 S"]}},
    {"device": {"g_lrs_S": "225 uA", "g_hrs_S": 5e-5}},
    {"device": {"g_lrs_S": "225 xS", "g_hrs_S": 5e-5}},
    {"device": {"g_lrs_S": True, "g_hrs_S": 5e-5}},
    {"device": {**CHIP["device"], "temperature_K": "400 K", "time": {"t_s": "5 ms"}}},
    {"device": {**CHIP["device"], "programming": {"sigma": 0.1}}},
    {"device": {**CHIP["device"], "programming": {"kind": "relative", "sigma": 0.1, "sigma_hrs": None}}},
    {"device": {**CHIP["device"], "programming": {"kind": "relative", "sigma": -0.1}}},
    {"device": {**CHIP["device"], "programming": {"kind": "relativ", "sigma": 0.1}}},
    {"device": {**CHIP["device"], "programming": {"kind": "polynomial", "sigma": 0.1}}},
    {"device": {**CHIP["device"], "faults": {"stuck_lrs": 1.5}}},
    {"encoding": {"kind": "bnn_iii"}},
    {"encoding": {"kind": "bnn_vii"}},
    {"encoding": {"bits_per_slice": 2}},
    {"encoding": {"kind": "sliced", "bits_per_slice": 2}},
    {"encoding": {"kind": "offset", "bits_per_slice": 2}},
    {"engine": "memtorch"},
    {"engine": {"kind": "memtorch", "adc_overflow_rate": 0.1}},
    {"engine": "memtroch"},
    {"tile": {"rows": 0}},
    {"tile": {"rows": 2.5}},
    {"policy": {"layers": {"conv*": "digital"}, "float": "error"}},
    {"policy": {"layers": {"conv*": "analog"}}},
]


@pytest.mark.parametrize("change", CHIP_CHANGES, ids=str)
def test_the_schema_of_chips_agrees_with_their_specification(change: dict[str, Any]) -> None:
    data = CHIP | change
    try:
        load_chip(data)
        wanted = True
    except InputError:
        wanted = False
    assert accepts("chip", data) is wanted


def test_every_encoding_and_every_unit_is_known_to_the_schema() -> None:
    from imc_sim.study._schema import _UNITS

    for kind in encodings():
        assert accepts("chip", CHIP | {"encoding": {"kind": kind}})
    units = [getattr(imc_sim.config, name) for name in imc_sim.config.__all__]
    assert set(_UNITS) == {unit for unit in units if get_args(unit)[:1] == (float,)}


SIGMA = "chip.device.programming.sigma"
RICH = """
name: rich
model: batmann_5w1s_xnor
chip: rram_hfo2_1t1r
task: {dataset: glyphs, split: test, episodes: 5}
memory_limit: 1.5 GB
axes:
  - {path: chip.device.programming.sigma, values: {range: [0, 0.4, 0.2]}, zip: together}
  - {path: chip.tile.rows, values: {log: [16, 64, 3]}, zip: together}
  - {path: chip, values: [ideal, {device: {g_lrs_S: 9 uS, g_hrs_S: 1 uS}}], labels: [ideal, mine]}
  - {path: seed, values: [0, 1]}
  - {path: task.classes, values: [null, 60], labels: [all, sixty]}
cases:
  - name: a
    set: {chip.policy.layers: {"*": digital}, chip.converter.kind: auto, engine: native}
  - name: b
    sweep: [chip.device.programming.sigma_hrs]
    set: {chip.device.g_lrs_S: 12 uS, model: batmann_small_xnor}
derived:
  chip.tile.cols: chip.tile.rows
  task.way: {path: chip.tile.rows, times: 0.125, plus: 3}
skip:
  - {case: b, chip.tile.rows: ["> 60", null], seed: 1}
set: {task.way: 3, chips.min: 10, axes.3.values: [0, 1, 2]}
"""


def test_a_study_with_every_feature_passes_both() -> None:
    data = parse_yaml(RICH)
    assert [error.message for error in CHECKS["study"].iter_errors(data)] == []
    assert len(points_of(load_study(data))) == 2 * (2 * 3 * 2 * 3 - 2)


#: changes of the study above, none of which may pass
WRONG: list[dict[str, Any]] = [
    {"chip": {"device": {"g_lrs_S": "9 uS"}}},
    {"chip": {"device": {"g_lrs_S": "9 uA", "g_hrs_S": "1 uS"}}},
    {"task": {"dataset": "glyphs", "epsodes": 5}},
    {"task": {"dataset": "glyphs", "episodes": "many"}},
    {"memory_limit": "1.5 GiB"},
    {"engine": "memtroch"},
    {"seed": -1},
    {"chips": {"mn": 3}},
    {"chips": {"half_width": 0}},
    {"name": "no spaces"},
    {"chip_task": {"epsodes": 5}},
    {"cases": [{"name": "a", "published": 1.5}]},
    {"cases": [{"name": "a", "published": ["high"]}]},
    {"axes": [{"path": "chip.device.programing.sigma", "values": [0]}]},
    {"axes": [{"path": SIGMA}]},
    {"axes": [{"path": SIGMA, "values": []}]},
    *({"axes": [{"path": SIGMA, "values": value}]} for value in (5, "0.1", None, True)),
    {"axes": [{"path": SIGMA, "values": {"rnge": [0, 1, 1]}}]},
    {"axes": [{"path": SIGMA, "values": {"range": [0, 1]}}]},
    {"axes": [{"path": SIGMA, "values": {"range": [0, 1, 1], "log": [1, 2, 3]}}]},
    {"axes": [{"path": SIGMA, "values": [0], "spaced": "logarithmic"}]},
    {"axes": [{"path": SIGMA, "also": ["chip.device.programming.sigma_lrs"], "values": [0]}]},
    {"axes": {SIGMA: {"values": [0]}}},
    {"cases": [{"name": "a", "set": {"chip.tile.rwos": 3}}]},
    {"cases": [{"name": "a", "set": {"chip.tile.rows": "many"}}]},
    {"cases": [{"name": "a", "set": {"chip.converter.kind": "atuo"}}]},
    {"cases": [{"name": "a", "set": {"chip.policy.layers": {"*": "analog"}}}]},
    {"cases": [{"name": "a", "sweep": []}]},
    {"cases": [{"set": {}}]},
    *({"cases": [{"name": "a", "set": value}]} for value in (5, "x", [], None)),
    {"derived": {"chip.tile.clos": "chip.tile.rows"}},
    {"derived": {"chip.tile.cols": "chip.tile.rwos"}},
    {"derived": {"chip.tile.cols": {"path": "chip.tile.rows", "time": 2}}},
    {"skip": [{"chip.tile.rwos": 3}]},
    {"skip": {"chip.tile.rows": 3}},
    {"base": 5},
    *({"set": value} for value in (5, "x", [])),
    {"set": {"chip.tile.rwos": 3}},
    {"set": {"chip.tile.rows": "many"}},
    {"set": {"chps.min": 3}},
    *({"set": {f"{root}.odd": 3}} for root in ("model", "chip", "task", "chip_task", "engine")),
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_the_schema_of_studies_refuses_what_loading_refuses(change: dict[str, Any]) -> None:
    data = parse_yaml(RICH)
    plain = {"axes": data["axes"][:1], "cases": data["cases"][:1], "skip": [], "derived": {}, "set": {}}
    data = data | plain  # nothing on top of what is changed
    assert accepts("study", data)
    assert not accepts("study", data | change)
    with pytest.raises(InputError):
        points_of(load_study(data | change))


def test_with_a_base_only_changes_are_required() -> None:
    change = {"name": "x", "base": "quickstart", "axes": {SIGMA: {"values": [0]}}, "cases": {"a": None}}
    assert accepts("study", change)
    assert not accepts("study", {key: value for key, value in change.items() if key != "base"})
    assert not accepts("study", {key: value for key, value in change.items() if key != "name"})
    assert not accepts("study", change | {"axes": {SIGMA: {"valeus": [0]}}})
    for key, value in itertools.product(("axes", "cases"), (5, "x", True)):
        assert not accepts("study", change | {key: value}), (key, value)
        with pytest.raises(InputError):
            load_study(change | {key: value})


def test_an_editor_is_offered_names_paths_and_descriptions() -> None:
    schema = json_schema("study")
    text = json.dumps(schema["properties"]["model"])
    assert all(f'"{name}"' in text for name in content_names("model"))
    paths = schema["$defs"]["Path"]["anyOf"][0]["enum"]
    assert {"chip", "chip.tile.rows", "task.way", "seed", "engine.kind", SIGMA} <= set(paths)
    own = [schema["properties"], *(schema["$defs"][name]["properties"] for name in ("Axis", "Case", "Chips"))]
    undescribed = [key for fields in own for key, value in fields.items() if len(value.get("description", "")) < 5]
    assert undescribed == []


def test_the_command_prints_the_schema_and_nothing_else() -> None:
    program = "import sys; from imc_sim.cli import main; sys.exit(main(sys.argv[1:]))"
    for kind in KINDS:
        done = run_python("-c", program, "show", "schema", kind, "--quiet")
        assert (json.loads(done.stdout), done.stderr) == (json_schema(kind), "")
    wrong = run_python("-c", program, "show", "schema", "chp")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "study" in wrong.stderr
