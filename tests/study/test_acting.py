"""A swept setting changes results or the study is refused; settings that count as switched off change no bit."""

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
DIGITAL = {"chip.policy.layers": {"*": "digital"}, "chip.policy.memory": "digital"}
#: path, values, settings that switch it on
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("chip.converter.bits", [4, 8], {"chip.converter.kind": "auto"}),
    ("chip.converter.range", ["max", "calibrated"], {"chip.converter.kind": "auto"}),
    ("chip.converter.rows", ["physical", "used"], {"chip.converter.kind": "auto"}),
    ("chip.converter.limits", ["minmax", "sigma"], {"chip.converter.kind": "auto",
                                                   "chip.converter.range": "calibrated"}),
    ("chip.converter.sigmas", [2.0, 3.0], {"chip.converter.kind": "auto", "chip.converter.range": "calibrated"}),
    ("chip.inputs.bits", [4, 8], {"chip.inputs.kind": "levels"}),
    ("chip.inputs.passes", [1, 2], {"chip.converter.kind": "auto"}),
    ("chip.converter.accumulator", ["real", "integer"], {"chip.converter.kind": "auto"}),
    ("chip.tile.rows", [64, 128], {"chip.converter.kind": "auto"}),
    ("chip.tile.rows", [64, 128], {"chip.device.read.sigma": 0.1}),
    ("chip.tile.rows", [64, 128], {"chip.device.correlated.gradient": 0.1}),
    ("chip.tile.cols", [64, 128], {"chip.wires.kind": "nodal", "chip.wires.r_row_ohm": 1.0}),
    ("chip.tile.cols", [64, 128], {"chip.encoding.kind": "offset", "chip.device.programming.sigma": 0.1}),
    ("chip.device.time.drift.nu", [0.0, 0.05], {"chip.device.time.t_s": 1e3}),
    ("chip.device.time.refresh_s", [1e4, 1e5], {"chip.device.time.t_s": 2e4, "chip.device.programming.sigma": 0.1}),
    ("chip.device.time.compensation", [False, True], {"chip.device.disturb.reads": 1000}),
    ("chip.device.read.flicker.q", [0.0, 1e-3], {"chip.device.time.t_s": 10.0}),
    ("chip.device.g_lrs_S", [1e-4, 2e-4], {"chip.device.programming.sigma": 0.1}),
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
    ("chip.device.cycle_to_cycle.share", [0.2, 0.5], {"chip.device.programming.sigma": 0.1}),
    ("chip.device.endurance.cycles", [1e3, 1e6], {"chip.device.endurance.lrs_exponent": -0.02}),
    ("chip.device.endurance.lrs_exponent", [-0.01, -0.02], {"chip.device.endurance.cycles": 1e6}),
    ("chip.device.endurance.life_shape", [1.0, 2.0], {"chip.device.endurance.cycles": 1e6,
                                                    "chip.device.endurance.life_cycles": 1e6}),
    ("chip.device.programming.law", ["gaussian", "log_normal"], {"chip.device.programming.sigma": 0.1}),
    ("chip.device.verify.max_pulses", [5, 10], {"chip.device.verify.tolerance": 0.1}),
    ("chip.device.faults.dead_S", [0.0, 1e-6], {"chip.device.faults.cell_yield": 0.9}),
    ("chip.device.faults.failure_state", ["hrs", "undefined"], {"chip.device.faults.failure": 0.1}),
    ("chip.device.disturb.t_read_s", [1e-7, 1e-6], {"chip.device.disturb.reads": 1000}),
    ("chip.device.read.telegraph.occupancy", [0.1, 0.5], {"chip.device.read.telegraph.probability": 0.1,
                                                         "chip.device.read.telegraph.amplitude": 0.1}),
    ("chip.device.read.flicker.t_read_s", [1e-7, 1e-6], {"chip.device.read.flicker.q": 1e-3,
                                                        "chip.device.time.t_s": 10.0}),
    ("chip.device.temperature_K", [300.0, 400.0], {"chip.device.read.bandwidth_Hz": 1e6}),
]  # fmt: skip


def swept(path: str, values: list[Any], *cases: Mapping[str, Any]) -> list[Any]:
    named = [{"name": f"case {k}", "set": dict(each)} for k, each in enumerate(cases)]
    return points_of(load_study(STUDY | {"axes": [{"path": path, "values": values}], "cases": named}))


@pytest.mark.parametrize(("path", "values", "on"), CASES)
def test_a_sweep_of_a_switched_off_effect_is_refused(path: str, values: list[Any], on: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"axes\.0\.path: got {path}, which changes no result"):
        swept(path, values, {})
    assert len(swept(path, values, on)) == len(values)
    assert len(swept(path, values, {}, on)) == 2 * len(values), "a case without the effect is allowed next to it"


@pytest.mark.parametrize(
    ("path", "values", "off", "on"),
    [
        ("tail", [0.2, 0.5], {"shift_S": 1e-7}, {"sigma_S": 1e-7}),
        ("t0_s", [1.0, 10.0], {"sigma_S": 1e-7}, {"growth_S": 1e-7}),
    ],
)  # fmt: skip
def test_settings_of_relaxation_by_state_act_through_its_other_settings(
    path: str, values: list[Any], off: dict[str, Any], on: dict[str, Any]
) -> None:
    law, key = {"kind": "by_state", "states_S": [1e-5, 1e-4]}, "chip.device.time.relaxation"
    settings = [{"chip.device.time.t_s": 1e3, key: law | each} for each in (off, on)]
    with pytest.raises(InputError, match=rf"{path}, which changes no result"):
        swept(f"{key}.{path}", values, settings[0])
    assert len(swept(f"{key}.{path}", values, settings[1])) == len(values)


@pytest.mark.parametrize(
    ("path", "values", "also"),
    [
        ("chip.encoding_multibit.kind", ["sliced", "differential"], {}),  # its 8-bit layers are digital
        ("chip.neurons", ["bernoulli", "comparator"], {}),  # none of its neurons fires at random
        ("chip.device.programming.sigma", [0.1, 0.2], DIGITAL),
        ("chip.encoding.kind", ["differential", "bnn_vi"], DIGITAL),
        # Only the key memory is programmed again.
        ("chip.device.cycle_to_cycle.correlation", [0.1, 0.5], {"chip.policy.memory": "digital",
                                                                "chip.device.programming.sigma": 0.1}),
        # Weights, inputs and keys on this chip are -1 and +1.
        ("chip.device.levels", [2, 4], {"chip.device.programming.sigma": 0.1}),
        ("chip.device.spacing", ["conductance", "resistance"], {"chip.device.levels": 4, "chip.device.g_hrs_S": 1e-6}),
        ("chip.device.read.nonlinearity_per_V", [0.0, 3.0], {"chip.device.programming.sigma": 0.1}),
        ("chip.device.read.v_read_V", [0.1, 0.2], {"chip.device.read.nonlinearity_per_V": 3.0}),
        ("chip.inputs.kind", ["ideal", "levels"], {}),
        ("task.batch", [50, 100], {}),
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
        assert of_its_model(point)["chip"]["encoding"] == point.chip["encoding"], "the memory takes it"
    assert "encoding_multibit" in of_its_model(swept("chip.policy.int8", ["crossbar"], {})[0])["chip"]
    stochastic = load_study(STUDY | {
        "model": "binact_mnist_stoch_both_st", "task": {"kind": "classification", "dataset": "mnist", "split": "test"},
        "set": {"chip.policy.float": "digital"},
    })  # fmt: skip
    assert "neurons" in of_its_model(points_of(stochastic)[0])["chip"]


FLOAT_KEYS = {"task.keys": "float"}
MULTIBIT = {"chip.policy.int8": "crossbar", "chip.encoding_multibit.kind": "differential"}


@pytest.mark.parametrize(
    ("path", "values", "also"),
    [
        ("chip.device.cycle_to_cycle.correlation", [0.1, 0.5], {"chip.device.programming.sigma": 0.1}),
        ("chip.device.levels", [2, 4], FLOAT_KEYS),
        ("chip.device.levels", [2, 4], MULTIBIT),
        ("chip.device.levels", [4, 8], {"chip.encoding.kind": "offset", "chip.device.spacing": "resistance",
                                        "chip.device.g_hrs_S": 1e-6}),
        ("chip.device.read.nonlinearity_per_V", [0.0, 3.0], FLOAT_KEYS),
        ("chip.device.read.nonlinearity_per_V", [0.0, 3.0], MULTIBIT),
        ("chip.inputs.kind", ["ideal", "levels"], MULTIBIT),
        ("chip.inputs.kind", ["levels", "bit_serial"], {"chip.converter.kind": "auto"}),
    ],
)  # fmt: skip
def test_what_acts_with_the_model_is_accepted(path: str, values: list[Any], also: dict[str, Any]) -> None:
    points = swept(path, values, also)
    assert of_its_model(points[0]) != of_its_model(points[1])


def test_the_batch_acts_on_statistics_of_the_batch_and_the_seed_on_a_sample() -> None:
    task = {"kind": "classification", "dataset": "mnist", "split": "test"}
    study = STUDY | {"model": "bnn_mnist", "chip": "ideal", "set": {"chip.policy.float": "digital"}}
    for path, idle, acting in (
        ("task.batch", {"statistics": "running"}, {"statistics": "batch"}),
        ("task.seed", {}, {"images": 100}),
    ):
        found = []
        for extra in (idle, acting):
            axes = [{"path": path, "values": [50, 100]}]
            points = points_of(load_study(study | {"task": task | extra, "axes": axes}))
            found.append(len({repr(of_its_model(point)) for point in points}))
        assert found == [1, 2], path


def test_cases_that_differ_in_no_acting_setting_are_refused() -> None:
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
    rows = {"path": "chip.converter.rows", "values": ["physical", "used"], "zip": "a"}
    with pytest.raises(InputError, match=r"axes\.0\.path"):  # neither acts with ideal ADCs
        points_of(load_study(STUDY | {"axes": [rows, bits]}))
    assert len(points_of(load_study(STUDY | {"axes": [rows, bits], "set": {"chip.converter.kind": "auto"}}))) == 2


def leaves(full: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return paths and values of all settings."""
    for key, value in full.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def variants(chip: Chip, path: str, value: Any) -> Iterator[Chip]:
    """Return chips with another allowed value of one setting that count as the same."""
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


def products(chip: Chip) -> list[Any]:
    """Return products of the chip's two encodings, with +-1 and with whole weights and real inputs."""
    import torch

    rng = np.random.default_rng(7)
    signs = [torch.tensor(np.where(rng.random(shape) < 0.5, -1.0, 1.0)).float() for shape in ((6, 90), (5, 90))]
    real = [torch.tensor(rng.normal(size=shape)) for shape in ((6, 90), (5, 90))]
    found = []
    for weights, x, encoding in ((*signs, chip.encoding), ((40 * real[0]).round(), real[1], chip.encoding_multibit)):
        crossbar = imc.Crossbar.program(weights, chip, chips=2, seed=1, encoding=encoding)
        crossbar.set_input_limit(float(x.abs().max()))
        if chip.converter.range == "calibrated":
            crossbar.set_limits(-20.0, 20.0)
        found.append(crossbar.mvm(x))
    return found


ADC = {"converter.kind": "auto", "converter.bits": 5}
VARIATION = {"device.programming.sigma": 0.2, "tile.rows": 32}
#: chip, and settings that switch effects on
CHIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "ideal": ("ideal", {}),
    "rram": ("rram_hfo2_1t1r", {}),
    "pcm": ("pcm_nandakumar", {"converter.kind": "ideal"}),
    "converters": ("ideal", ADC | VARIATION),
    "read noise": ("ideal", VARIATION | {"device.read.sigma": 0.1}),
    "reference columns": ("ideal", VARIATION | {"encoding": {"kind": "offset"}}),
    "bit-serial inputs": ("ideal", ADC | VARIATION | {"inputs.kind": "bit_serial",
                                                     "device.read.nonlinearity_per_V": 3.0}),
    "columns": ("ideal", VARIATION | {"wires": {"kind": "columns", "r_col_ohm": 1.0}}),
    "early reads": ("ideal", VARIATION | {"device.time.drift.nu": 0.05, "device.time.t_s": 1e-3}),
    "worn": ("ideal", VARIATION | {"device.disturb.reads": 10**12, "device.read.v_read_V": 0.6,
                                   "device.time.compensation": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHIPS)
def test_switched_off_settings_change_no_bit(name: str) -> None:
    base, settings = CHIPS[name]
    chip = load_chip(base)
    for path, value in settings.items():
        chip = chip.replace(path, value)
    expected, tried = products(chip), set()
    for path, value in leaves(chip.to_dict()):
        for other in variants(chip, path, value):
            for found, result in zip(products(other), expected, strict=True):
                assert (found == result).all(), path
            tried.add(path)
    assert len(tried) > 12, tried
