"""`adc` and `backend` mean the stored keys `converter` and `engine` wherever a user writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from imc_sim import InputError, load_chip
from imc_sim.study import json_schema, load_study, points_of
from imc_sim.study._spec import with_settings

ADC = {"kind": "auto", "bits": 5}
DEVICE = load_chip("rram_hfo2_1t1r").to_dict()["device"]
STUDY: dict[str, Any] = {"name": "bits", "model": "batmann_small_xnor", "task": {"dataset": "glyphs"}}


def of(key: str, engine: str) -> dict[str, Any]:
    """Return a study that uses these two names in every place that may hold them."""
    return {
        **STUDY,
        "chip": {"name": "own", "device": DEVICE, key: ADC},
        engine: "native",
        "cases": [{"name": "a", "set": {f"chip.{key}.bits": 6}, "sweep": ["chip.tile.rows"]}, {"name": "b"}],
        "axes": [{"path": f"chip.{key}.bits", "values": [3, 4]}],
        "derived": {"chip.tile.cols": f"chip.{key}.bits"},
        "skip": [{f"chip.{key}.bits": 4, "case": "b"}],
        "set": {f"chip.{key}.range": "calibrated"},
    }  # fmt: skip


def test_studies_with_either_name_have_the_same_points() -> None:
    one, other = (load_study(of(*names)) for names in (("converter", "engine"), ("adc", "backend")))
    ids = [point.id for point in points_of(one)]
    assert [point.id for point in points_of(other)] == ids
    assert len(set(ids)) == 3
    changed = with_settings(other, ["chip.adc.kind=ideal", "backend=native"])
    assert changed == with_settings(one, ["chip.converter.kind=ideal", "engine=native"]) != one


def test_chips_take_either_name() -> None:
    chip = load_chip({"device": DEVICE, "adc": ADC, "backend": "native"})
    assert chip == load_chip({"device": DEVICE, "converter": ADC, "engine": "native"})
    assert chip.replace("adc.bits", 7) == chip.replace("converter.bits", 7) != chip
    assert set(chip.to_dict()) >= {"converter", "engine"}


def test_both_names_in_one_mapping_are_refused() -> None:
    with pytest.raises(InputError, match="adc"):
        load_chip({"device": DEVICE, "adc": ADC, "converter": ADC})


def test_schemas_accept_either_name() -> None:
    for kind, data in (("chip", {"device": DEVICE, "adc": ADC, "backend": "native"}), ("study", of("adc", "backend"))):
        data = {k: v for k, v in data.items() if k != "set"}
        checks = Draft202012Validator(json_schema(kind))  # type: ignore[arg-type]
        assert [e.message for e in checks.iter_errors(json.loads(json.dumps(data)))] == []
