"""Backends: how a study names one, what the MemTorch adapter refuses, and that the native one is unchanged.

All but one of these do without MemTorch.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import imc_sim as imc
from imc_sim import InputError
from imc_sim.analog import check_backend
from imc_sim.array import Chip
from imc_sim.backends.memtorch import MemTorchSettings, check_spread, on_levels, prepare, translate, why_not
from imc_sim.backends.memtorch._adapter import entropy
from imc_sim.config import NATIVE, Engine, as_engine, build
from imc_sim.evaluate import ChipResult
from imc_sim.study import load_study, points_of, run, with_settings

MEMTORCH = Engine(kind="memtorch")
STUDY: dict[str, Any] = {
    "name": "engines",
    "model": "batmann_small_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 2, "classes": 6, "rotations": False},
    "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.2]}],
    "cases": [{"name": "ours"}, {"name": "theirs", "set": {"engine": "memtorch"}}],
    "chips": {"min": 2},
}


def chip(**changes: Any) -> Chip:
    found = build(Chip, {"device": {"g_lrs_S": 1e-4, "g_hrs_S": 1e-6}, "tile": {"rows": 48, "cols": 20}}, "chip")
    for path, value in changes.items():
        found = found.replace(path.replace("__", "."), value)
    return found


def test_a_backend_is_named_by_its_kind_or_in_full() -> None:
    assert as_engine("memtorch") == as_engine({"kind": "memtorch"}) == MEMTORCH
    assert as_engine({"kind": "memtorch", "adc_overflow_rate": 0.1}).adc_overflow_rate == 0.1
    assert NATIVE.native
    with pytest.raises(InputError, match="'memtroch'.*'native' or 'memtorch'"):
        as_engine("memtroch")
    with pytest.raises(InputError, match="adc_overflow_rate of 0 with the native backend"):
        as_engine({"adc_overflow_rate": 0.1})


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("wires", {"kind": "columns", "r_col_ohm": 1.0}, "wires.kind"),
        ("wires", {"kind": "nodal", "r_row_ohm": 1.0}, "wires.kind"),
        ("inputs", {"kind": "levels", "bits": 4}, "inputs.kind"),
        ("inputs", {"kind": "bit_serial"}, "inputs.kind"),
        ("device.read.sigma", 0.1, "device.read.sigma"),
        ("device.read.telegraph", {"probability": 0.1, "amplitude": 0.1}, "device.read.telegraph.probability"),
        ("device.time.drift", {"nu": 0.05, "nu_std": 0.01}, "device.time.drift.nu_std"),
        ("device.time.drift", {"nu": [{"coefficients": [0.1]}], "g_max_S": "100 uS"}, "device.time.drift.nu "),
        ("device.time.retention.rate_Hz", 1e-6, "device.time.retention.rate_Hz"),
        ("device.time.compensation", True, "device.time.compensation"),
        ("device.faults.cell_yield", 0.9, "device.faults.cell_yield"),
        ("device.faults.failure", 0.1, "device.faults.failure"),
        ("device.disturb.reads", 1000, "device.disturb.reads"),
        ("device.verify", {"tolerance": 0.1}, "device.verify"),
        ("device.programming", {"kind": "polynomial", "coefficients_S": [1e-6], "g_max_S": 1e-4}, "programming.kind"),
        ("device.spacing", "resistance", "device.spacing"),
        ("converter", {"kind": "auto", "range": "max"}, "converter.range"),
        ("converter", {"kind": "auto", "range": "calibrated", "accumulator": "integer"}, "converter.accumulator"),
        ("encoding", {"kind": "bnn_i"}, "encoding.kind"),
        ("encoding", {"kind": "sliced"}, "encoding.kind"),
    ],
)
def test_effects_that_memtorch_cannot_simulate_are_refused_by_name(path: str, value: Any, named: str) -> None:
    changed = chip(**{path.replace(".", "__"): value})
    with pytest.raises(InputError) as caught:
        translate(changed, changed.encoding, MEMTORCH, "layer 'a'")
    assert f"layer 'a': {named}" in caught.value.where + " " or f"layer 'a': device.{named}" in caught.value.where
    assert "with backend memtorch" in caught.value.where


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"device__faults__stuck_lrs": 0.1, "encoding": {"kind": "offset"}}, "encoding offset with linear cells"),
        ({"device__programming__sigma": 0.1, "encoding": {"kind": "offset"}}, "encoding offset with linear cells"),
        (
            {"device__read__nonlinearity_per_V": 1.0, "converter": {"kind": "auto", "range": "calibrated"}},
            "nonlinearity_per_V without faults, drift and ADCs",
        ),
        ({"device__read__nonlinearity_per_V": 1.0, "device__faults__stuck_hrs": 0.1}, "nonlinearity_per_V without"),
    ],
)
def test_combinations_that_memtorch_cannot_simulate_are_refused(changes: dict[str, Any], allowed: str) -> None:
    changed = chip(**changes)
    with pytest.raises(InputError, match="effects that exclude each other") as caught:
        translate(changed, changed.encoding, MEMTORCH)
    assert allowed in caught.value.allowed


def test_a_chip_is_translated_to_settings_of_memtorch() -> None:
    programming = {"kind": "relative", "sigma": 0.1, "sigma_hrs": 0.3, "law": "gaussian", "law_hrs": "log_normal"}
    full = chip(
        device__programming=programming, device__faults={"stuck_lrs": 0.01, "stuck_hrs": 0.02},
        device__time={"t_s": 100.0, "drift": {"nu": 0.05, "t0_s": 2.0}},
        converter={"kind": "sym", "bits": 6, "range": "calibrated"},
    )  # fmt: skip
    found = translate(full, full.encoding, Engine(kind="memtorch", adc_overflow_rate=0.1))
    assert (found.g_lrs_S, found.g_hrs_S) == (1e-4, 1e-6)
    assert (found.lrs.law, found.lrs.sigma, found.hrs.law, found.hrs.sigma) == ("gaussian", 0.1, "log_normal", 0.3)
    assert (found.stuck_lrs, found.stuck_hrs) == (0.01, 0.02)
    assert (found.drift_t_s, found.drift_t0_s, found.drift_nu) == (100.0, 2.0, 0.05)
    assert (found.tile_rows, found.tile_cols, found.adc_bits, found.adc_overflow_rate) == (48, 10, 6, 0.1)
    assert not found.single_column
    plain = translate(chip(), chip().encoding, MEMTORCH)
    assert (plain.tile_rows, plain.adc_bits, plain.varies, plain.drifts) == (None, None, False, False)
    offset = chip(encoding={"kind": "offset"}, converter={"kind": "auto", "range": "calibrated"})
    column = translate(offset, offset.encoding, MEMTORCH)
    assert (column.single_column, column.tile_cols) == (True, 19)  # one column of a tile is the reference
    with pytest.raises(InputError, match=r"engine.adc_overflow_rate.*0 with converter.kind ideal"):
        translate(chip(), chip().encoding, Engine(kind="memtorch", adc_overflow_rate=0.1))


@pytest.mark.parametrize(
    ("programming", "lrs", "hrs"),
    [
        ({"sigma": 0.1}, ("gaussian", 0.1), ("gaussian", 0.1)),
        ({"sigma": 0.1, "law": "log_normal"}, ("log_normal", 0.1), ("log_normal", 0.1)),
        ({"sigma": 0.1, "sigma_hrs": 0.0, "law_hrs": "log_normal"}, ("gaussian", 0.1), ("log_normal", 0.0)),
        ({"sigma": 0.0, "sigma_hrs": 0.2}, ("gaussian", 0.0), ("gaussian", 0.2)),
        ({"sigma": 0.0, "law": "log_normal"}, ("gaussian", 0.0), ("gaussian", 0.0)),
    ],
)
def test_hrs_varies_as_lrs_where_nothing_else_is_set(
    programming: dict[str, Any], lrs: tuple[str, float], hrs: tuple[str, float]
) -> None:
    spec = chip(device__programming={"kind": "relative", **programming})
    found = translate(spec, spec.encoding, MEMTORCH)
    assert ((found.lrs.law, found.lrs.sigma), (found.hrs.law, found.hrs.sigma)) == (lrs, hrs)
    assert found.varies == any(sigma for _, sigma in (lrs, hrs))


ADC = {"kind": "auto", "bits": 4, "range": "calibrated"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"device__programming__sigma": 0.1, "device__levels": 3}, "device.levels"),
        ({"device__programming": {"kind": "relative", "sigma": 0.1, "sigma_of": "cv"}}, "programming.sigma_of"),
        ({"device__programming": {"kind": "relative", "sigma": 0.1, "target_is": "mean"}}, "programming.target_is"),
        ({"converter": ADC | {"limits": "percentile"}}, "converter.limits"),
        ({"converter": ADC | {"limits": "sigma"}}, "converter.limits"),
        ({"converter": ADC | {"limits": "mse"}}, "converter.limits"),
        ({"converter": ADC, "tile__cols": 1}, "tile.cols"),
        ({"converter": ADC, "tile__cols": 1, "encoding": {"kind": "offset"}}, "tile.cols"),
        ({"converter": ADC | {"kind": "pos"}}, "converter.kind"),
        ({"draws": "pairs", "device__programming__sigma": 0.1}, "draws"),
        ({"compute": "int8"}, "compute"),
    ],
)
def test_settings_with_another_meaning_there_are_refused(changes: dict[str, Any], named: str) -> None:
    spec = chip(**changes)
    with pytest.raises(InputError) as caught:
        translate(spec, spec.encoding, MEMTORCH, "here")
    assert named in caught.value.where


def test_default_limits_of_an_adc_are_those_of_memtorch() -> None:
    for limits in ("auto", "minmax"):
        spec = chip(converter=ADC | {"limits": limits})
        assert translate(spec, spec.encoding, MEMTORCH).adc_bits == 4


SETTINGS: dict[str, Any] = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-6}
DRIFT = {"drift_nu": 0.1, "drift_t_s": 2.0}


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"g_hrs_S": 1e-4}, "g_lrs_S above g_hrs_S"),
        ({"tile_rows": 4}, "tile_rows and tile_cols"),
        ({"tile_cols": 4}, "tile_rows and tile_cols"),
        ({"adc_overflow_rate": 0.1}, "without an ADC"),
        ({"nonlinearity_per_V": 1.0, **DRIFT}, "without faults, drift and ADCs"),
        ({"nonlinearity_per_V": 1.0, "stuck_lrs": 0.1}, "without faults, drift and ADCs"),
        ({"nonlinearity_per_V": 1.0, "adc_bits": 4}, "without faults, drift and ADCs"),
        ({"single_column": True, "nonlinearity_per_V": 1.0}, "linear cells"),
        ({"single_column": True, **DRIFT}, "linear cells"),
        ({"single_column": True, "stuck_hrs": 0.1}, "linear cells"),
        ({"single_column": True, "hrs": {"sigma": 0.1}}, "linear cells"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(changes: dict[str, Any], allowed: str) -> None:
    assert build(MemTorchSettings, SETTINGS, "settings").g_lrs_S == 1e-4
    with pytest.raises(InputError, match=allowed):
        build(MemTorchSettings, SETTINGS | changes, "settings")


def test_drift_acts_after_the_time_that_conductances_refer_to() -> None:
    for time, acts in ((0.5, False), (1.0, False), (1.1, True)):
        found = build(MemTorchSettings, SETTINGS | {"drift_nu": 0.1, "drift_t_s": time}, "settings")
        assert found.drifts == acts


def test_weights_are_checked_before_a_cell_is_made() -> None:
    varied = chip(device__programming__sigma=0.1)
    for weights, match in ((torch.tensor([[1.0, torch.nan]]), "NaN"), (torch.tensor([[1.0, torch.inf]]), "infinity")):
        with pytest.raises(InputError, match=match):
            prepare(weights, varied, varied.encoding, MEMTORCH, "here")


def test_every_part_of_an_address_seeds_other_cells() -> None:
    first = (3, "conv", 1, 2)
    others = [(4, "conv", 1, 2), (3, "conw", 1, 2), (3, "conv", 2, 2), (3, "conv", 1, 3), (3, "conv", 2, 1)]
    assert entropy(*first) == 4022551395224240682
    assert len({entropy(*each) for each in (first, *others)}) == 6


def test_weights_are_rounded_as_the_encodings_round_them() -> None:
    weights = torch.tensor([[-1.0, -0.3, 0.0, 0.26, 0.9]])
    for kind in ("differential", "offset"):
        for levels in (2, 3, 4, 9):
            spec = chip(encoding={"kind": kind}, device__levels=levels)
            targets = spec.encoding.encode(weights, levels, "here")
            wanted = targets.weights * targets.scale
            torch.testing.assert_close(on_levels(weights, levels, kind == "offset"), wanted.float())
            _, rounded = prepare(weights, spec, spec.encoding, MEMTORCH, "here")
            torch.testing.assert_close(rounded, wanted.float())


def test_weights_between_the_levels_have_no_variation() -> None:
    varied = chip(device__programming__sigma=0.1)
    settings = translate(varied, varied.encoding, MEMTORCH)
    check_spread(torch.tensor([[1.0, 0.0, -1.0]]), settings, "here")
    with pytest.raises(InputError, match="weights between the levels"):
        check_spread(torch.tensor([[1.0, 0.5]]), settings, "here")


def test_a_study_names_its_backend_and_its_points_state_it() -> None:
    points = points_of(load_study(STUDY))
    assert [p.engine.kind for p in points] == ["native"] * 2 + ["memtorch"] * 2
    assert len({p.id for p in points}) == 4
    assert len({p.baseline().id for p in points}) == 1  # no backend computes the digital network
    alone = points_of(load_study({k: v for k, v in STUDY.items() if k != "cases"}))
    assert [p.id for p in alone] == [p.id for p in points[:2]]
    one = {k: v for k, v in STUDY.items() if k != "cases"}
    for named in (one | {"engine": "memtorch"}, with_settings(load_study(one), ["engine=memtorch"])):
        assert {p.engine.kind for p in points_of(load_study(named))} == {"memtorch"}
    sweep = STUDY | {
        "engine": "memtorch", "cases": [{"name": "a"}],
        "axes": [{"path": "engine.adc_overflow_rate", "values": [0, 0.1]}],
    }  # fmt: skip
    assert [p.engine.adc_overflow_rate for p in points_of(load_study(sweep))] == [0.0, 0.1]
    with pytest.raises(InputError, match="'native' or 'memtorch'"):
        points_of(load_study(STUDY | {"cases": [{"name": "a", "set": {"engine": "aihwkit"}}]}))


def stand_in(model: str, chip: Any, task: Any, chips: Any, seed: int, **more: Any) -> list[ChipResult]:
    """Return hits that tell which backend was requested."""
    return [ChipResult(n, 3 if more else 2, 10, 0.0) for n in chips]


def test_the_runner_passes_the_backend_to_the_evaluation(tmp_path: Any) -> None:
    results = run(STUDY, out=tmp_path / "a", evaluator=stand_in)
    assert results.table["mean"].tolist() == [0.2, 0.2, 0.3, 0.3]
    assert results.table["digital"].tolist() == [0.2] * 4
    again = run(tmp_path / "a" / "study.resolved.yaml", out=tmp_path / "a", evaluator=stand_in)
    assert again.table.equals(results.table)


def test_refusals_of_a_backend_precede_the_results_folder(tmp_path: Any) -> None:
    if why_not():
        pytest.skip(f"{why_not()}: `make memtorch` builds it")
    wrong = STUDY | {"axes": [{"path": "chip.device.read.sigma", "values": [0, 0.1]}]}
    with pytest.raises(InputError, match=r"device.read.sigma with backend memtorch"):
        run(wrong, out=tmp_path / "b")


def test_a_chip_is_checked_where_it_is_used() -> None:
    """By the key memory alone, by no product, or by the native backend, which has every setting."""
    if why_not():
        pytest.skip(f"{why_not()}: `make memtorch` builds it")
    noisy = chip(device__read__sigma=0.1)
    check_backend(MEMTORCH, noisy.replace("policy.memory", "digital"), ())
    check_backend(MEMTORCH, chip(policy__memory="crossbar"), ())
    check_backend(NATIVE, noisy.replace("policy.memory", "crossbar"), ())
    with pytest.raises(InputError, match=r"layer 'memory': device.read.sigma with backend memtorch"):
        check_backend(MEMTORCH, noisy.replace("policy.memory", "crossbar"), ())


def test_the_page_names_tests_that_exist_and_the_numbers_of_its_figure(repository: Path) -> None:
    text = (repository / "docs" / "memtorch.md").read_text(encoding="utf-8")
    tests = "".join(
        (repository / "tests" / "oracle" / f"test_memtorch{part}.py").read_text() for part in ("", "_faults")
    )
    named = set(re.findall(r"`(test_\w+)`", text))
    faults = (repository / "tests" / "oracle" / "test_memtorch_faults.py").read_text()
    assert named >= set(re.findall(r"^def (test_\w+)", faults, re.MULTILINE))
    assert all(f"def {name}(" in tests for name in named)
    with (repository / "docs" / "figures" / "memtorch_agreement.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ours, theirs = ([r for r in rows if r["series"] == name] for name in ("imc_sim", "MemTorch 1.1.6"))
    assert len(ours) == len(theirs) == 7
    for a, b in zip(ours, theirs, strict=True):
        assert float(a["p05"]) <= float(b["median"]) <= float(a["p95"])
        assert f"{float(b['median']):.1f} ({float(b['p05']):.1f}-{float(b['p95']):.1f})" in text or a["x"] == "0.0"


def test_a_chip_may_name_its_backend() -> None:
    named = chip(engine="memtorch").to_dict()
    assert named["engine"]["kind"] == "memtorch"
    points = points_of(load_study(STUDY | {"chip": named, "cases": [{"name": "a"}]}))
    assert {p.engine.kind for p in points} == {"memtorch"}
    outside = points_of(load_study(STUDY | {"chip": chip().to_dict(), "cases": [{"name": "a"}], "engine": "memtorch"}))
    assert [p.id for p in outside] == [p.id for p in points]  # wherever it is named
    back = points_of(load_study(STUDY | {"chip": named, "cases": [{"name": "a"}], "engine": "native"}))
    assert {p.engine.kind for p in back} == {"native"}
    assert imc.AssociativeMemory(named, dim=8).engine == MEMTORCH


def test_a_native_model_ignores_other_backends() -> None:
    model, x = imc.load_model("batmann_small_xnor"), torch.zeros(2, 1, 32, 32)
    assert torch.equal(imc.map_model(model, chip())(x), imc.map_model(model, chip(), engine="native")(x))
