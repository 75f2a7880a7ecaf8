"""A swept setting acts or the study is refused; what counts as switched off changes no bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip, load_chip
from imc_sim.study import load_study
from imc_sim.study._acting import of_its_model
from imc_sim.study._points import points_of

STUDY: dict[str, Any] = {
    "name": "swept", "model": "batmann_small_xnor", "chip": "ideal", "chips": {"min": 2},
    "task": {"dataset": "glyphs", "split": "test"},
}  # fmt: skip
DRIFT = {"chip.device.time.drift.nu": 0.05}
DIGITAL = {"chip.policy.binary": "digital", "chip.policy.memory": "digital"}
#: path, values, settings that switch it on
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("chip.converter.bits", [4, 8], {"chip.converter.kind": "auto"}),
    ("chip.converter.range", ["max", "calibrated"], {"chip.converter.kind": "auto"}),
    ("chip.converter.rows", ["physical", "used"], {"chip.converter.kind": "auto"}),
    ("chip.converter.limits", ["minmax", "sigma"], {"chip.converter.kind": "auto",
                                                   "chip.converter.range": "calibrated"}),
    ("chip.converter.sigmas", [2.0, 3.0], {"chip.converter.kind": "auto", "chip.converter.range": "calibrated"}),
    ("chip.inputs.bits", [4, 8], {"chip.inputs.kind": "levels"}),
    ("chip.inputs.passes", [1, 2], {"chip.inputs.kind": "levels"}),
    ("chip.wires.density", [0.2, 0.5], {"chip.wires.kind": "nodal", "chip.wires.r_col_ohm": 1.0}),
    ("chip.device.time.t_s", [0.0, 1.0, 1e6], DRIFT),
    ("chip.device.time.t_s", [10.0, 1e6], {"chip.device.read.flicker.q": 1e-3}),
    ("chip.device.verify.max_pulses", [1, 5], {"chip.device.verify.tolerance": 0.1}),
    ("chip.device.verify.tolerance", [0.0, 0.1], {"chip.device.verify.max_pulses": 5}),
    ("chip.device.time.drift.nu", [0.01, 0.05], {"chip.device.time.t_s": 1e3}),
    ("chip.device.time.drift.t0_s", [1.0, 10.0], DRIFT | {"chip.device.time.t_s": 1e3}),
    ("chip.device.time.refresh_s", [10.0, 100.0], DRIFT | {"chip.device.time.t_s": 1e3}),
    ("chip.device.time.compensation", [False, True], DRIFT | {"chip.device.time.t_s": 1e3}),
    ("chip.device.time.retention.beta", [0.5, 1.0], {"chip.device.time.retention.rate_Hz": 1e-3,
                                                    "chip.device.time.t_s": 1e3}),
    ("chip.device.programming.law", ["gaussian", "log_normal"], {"chip.device.programming.sigma": 0.1}),
    ("chip.device.verify.max_pulses", [5, 10], {"chip.device.verify.tolerance": 0.1}),
    ("chip.device.faults.dead_S", [0.0, 1e-6], {"chip.device.faults.cell_yield": 0.9}),
    ("chip.device.faults.failure_state", ["hrs", "undefined"], {"chip.device.faults.failure": 0.1}),
    ("chip.device.disturb.t_read_s", [1e-7, 1e-6], {"chip.device.disturb.reads": 1000}),
    ("chip.device.read.telegraph.occupancy", [0.1, 0.5], {"chip.device.read.telegraph.probability": 0.1,
                                                         "chip.device.read.telegraph.amplitude": 0.1}),
    ("chip.device.read.flicker.t_read_s", [1e-7, 1e-6], {"chip.device.read.flicker.q": 1e-3}),
    ("chip.device.temperature_K", [300.0, 400.0], {"chip.device.read.bandwidth_Hz": 1e6}),
]  # fmt: skip


def swept(path: str, values: list[Any], *cases: Mapping[str, Any]) -> list[Any]:
    named = [{"name": f"case {k}", "set": dict(each)} for k, each in enumerate(cases)]
    return points_of(load_study(STUDY | {"axes": [{"path": path, "values": values}], "cases": named}))


@pytest.mark.parametrize(("path", "values", "on"), CASES)
def test_a_sweep_of_what_is_switched_off_is_refused(path: str, values: list[Any], on: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"axes\.0\.path: got {path}, which changes no result"):
        swept(path, values, {})
    assert len(swept(path, values, on)) == len(values)
    assert len(swept(path, values, {}, on)) == 2 * len(values), "a case without the effect may stand next to it"


@pytest.mark.parametrize(
    ("path", "values", "also"),
    [
        ("chip.encoding_multibit.kind", ["sliced", "differential"], {}),  # its 8-bit layers are digital
        ("chip.neurons", ["bernoulli", "comparator"], {}),  # none of its neurons fires at random
        ("chip.device.programming.sigma", [0.1, 0.2], DIGITAL),
        ("chip.encoding.kind", ["differential", "bnn_vi"], DIGITAL),
    ],
)  # fmt: skip
def test_a_sweep_of_what_the_model_lacks_is_refused_before_it_runs(
    tmp_path: Path, path: str, values: list[Any], also: dict[str, Any]
) -> None:
    study = STUDY | {"axes": [{"path": path, "values": values}], "cases": [{"name": "only", "set": also}]}
    with pytest.raises(InputError, match=rf"axes\.0\.path: got {path}, which changes no result"):
        imc.study.run(study, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_of_a_model_that_act_are_kept() -> None:
    for point in swept("chip.encoding.kind", ["differential", "bnn_vi"], {"chip.policy.binary": "digital"}):
        assert point.chip is not None
        assert of_its_model(point)["encoding"] == point.chip["encoding"], "the memory takes it"
    assert "encoding_multibit" in of_its_model(swept("chip.policy.int8", ["crossbar"], {})[0])
    stochastic = load_study(STUDY | {
        "model": "binact_mnist_stoch_both_st", "task": {"kind": "classification", "dataset": "mnist", "split": "test"},
        "set": {"chip.policy.float": "digital"},
    })  # fmt: skip
    assert "neurons" in of_its_model(points_of(stochastic)[0])


def test_cases_that_differ_in_nothing_that_acts_are_refused() -> None:
    axis = {"path": "chip.device.programming.sigma", "values": [0.1, 0.2]}
    cases = [{"name": "8 bits"}, {"name": "4 bits", "set": {"chip.converter.bits": 4}}]
    on = {"chip.converter.kind": "auto"}
    assert len(points_of(load_study(STUDY | {"axes": [axis], "cases": cases, "set": on}))) == 4
    with pytest.raises(InputError, match=r"case '4 bits': got chip\.converter\.bits in addition to case '8 bits'"):
        points_of(load_study(STUDY | {"axes": [axis], "cases": cases}))


def test_zipped_axes_count_as_one() -> None:
    bits = {"path": "chip.converter.bits", "values": [4, 8], "zip": "a"}
    sigma = {"path": "chip.device.programming.sigma", "values": [0.1, 0.2], "zip": "a"}
    assert len(points_of(load_study(STUDY | {"axes": [sigma, bits]}))) == 2
    with pytest.raises(InputError, match=r"axes\.1\.path"):
        points_of(load_study(STUDY | {"axes": [sigma | {"zip": None}, bits | {"zip": None}]}))


def leaves(full: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of all settings."""
    for key, value in full.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def variants(chip: Chip, path: str, value: Any) -> Iterator[Chip]:
    """Chips with another value of one setting, as far as they are allowed, that count as the same."""
    numbers = (
        []
        if isinstance(value, bool | str | list)
        else [0.25, 3, 5.0, 1e-6]
        if value is None
        else [3 * value, value / 3]
    )
    names = (
        ["calibrated", "used", "double", "passive", "mean", "log_normal", "undefined", 2, not value]
        if not isinstance(value, list)
        else []
    )
    for other in numbers or names:
        try:
            changed = chip.replace(path, int(other) if type(value) is int and not isinstance(other, str) else other)
        except InputError:
            continue
        if changed != chip and changed.acting() == chip.acting():
            yield changed


def product(chip: Chip) -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    weights, x = (np.where(rng.random(shape) < 0.5, -1.0, 1.0) for shape in ((6, 40), (5, 40)))
    import torch

    crossbar = imc.Crossbar.program(torch.tensor(weights), chip, chips=2, seed=1)
    return crossbar.conductance, crossbar.mvm(torch.tensor(x))


@pytest.mark.parametrize("name", ["ideal", "rram_hfo2_1t1r", "pcm_nandakumar"])
def test_what_counts_as_switched_off_changes_no_bit(name: str) -> None:
    chip = load_chip(name).replace("converter.kind", "ideal")
    cells, result = product(chip)
    tried = set()
    for path, value in leaves(chip.to_dict()):
        for other in variants(chip, path, value):
            cells_of, found = product(other)
            assert (cells_of == cells).all(), path
            assert (found == result).all(), path
            tried.add(path)
    assert len(tried) > 12, tried
