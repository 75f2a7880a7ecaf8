"""Every effect acts together with every other: no pair hides one of its two."""

import copy
import itertools
from typing import Any

import pytest
import torch

from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.config import set_path

#: effect -> settings of a chip; each is visible alone (checked below) and must stay so in any combination
EFFECTS: dict[str, dict[str, Any]] = {
    "spread": {"device.programming": {"kind": "relative", "sigma": 0.1, "sigma_hrs": 0.3, "law_hrs": "log_normal"}},
    "write-verify": {
        "device.programming": {"kind": "relative", "sigma": 0.2},
        "device.verify": {"tolerance": 0.1, "max_pulses": 4},
    },
    "stuck cells": {"device.faults.stuck_lrs": 0.05, "device.faults.stuck_hrs": 0.05},
    "cycle to cycle": {
        "device.programming": {"kind": "relative", "sigma": 0.1, "law_hrs": "log_normal"},
        "device.cycle_to_cycle": {"share": 0.5, "correlation": 0.3},
    },
    "worn-out cells": {"device.endurance.cycles": 1e6, "device.endurance.life_cycles": 1e7},
    "closed window": {
        "device.endurance.cycles": 1e6,
        "device.endurance.lrs_exponent": -0.02,
        "device.endurance.hrs_exponent": 0.05,
    },
    "chip to chip": {"device.correlated.chip": 0.1},
    "gradient": {"device.correlated.gradient": 0.2},
    "relaxation": {"device.time.t_s": 10.0, "device.time.relaxation": {"kind": "logarithmic", "sigma_S": "2 uS"}},
    "relaxation by state": {
        "device.time.t_s": 10.0,
        "device.time.relaxation": {
            "kind": "by_state",
            "states_S": ["5 uS", "50 uS"],
            "sigma_S": ["1 uS", "3 uS"],
            "shift_S": ["0.1 uS", "-0.4 uS"],
            "growth_S": "0.1 uS",
            "tail": [0.0, 0.5],
        },
    },
    "drift": {"device.time.t_s": 10.0, "device.time.drift": {"nu": 0.05, "nu_std": 0.01, "t0_s": 1.0}},
    "retention": {"device.time.t_s": 10.0, "device.time.retention": {"rate_Hz": 0.02}},
    "ends of states": {
        "device.time.t_s": 10.0,
        "device.time.retention": {"rate_Hz": 0.02, "states_S": ["5 uS", "50 uS"], "end_S": ["8 uS", "20 uS"]},
    },
    "read disturb": {"device.disturb.reads": 10**11},
    "read noise": {"device.read.sigma": 0.05},
    "thermal noise": {"device.read.bandwidth_Hz": 1e9},
    "1/f noise": {"device.time.t_s": 10.0, "device.read.flicker": {"q": 0.02}},
    "telegraph noise": {"device.read.telegraph": {"probability": 0.3, "amplitude": 0.2}},
    "I-V curve": {"device.read.nonlinearity_per_V": 5.0},
    "wires": {"wires": {"kind": "nodal", "r_row_ohm": 2.0, "r_col_ohm": 2.0}},
    "column wires": {"wires": {"kind": "columns", "r_col_ohm": 5.0}},
    "converters": {"converter": {"kind": "auto", "bits": 6}},
    "DAC": {"inputs": {"kind": "levels", "bits": 4}},
    "bit-serial inputs": {"inputs": {"kind": "bit_serial", "bits": 4}},
    "two passes": {"inputs.passes": 2, "converter": {"kind": "auto", "bits": 6}},
}
#: the second of these replaces the first
EXCLUSIVE = [
    {"spread", "cycle to cycle"}, {"write-verify", "cycle to cycle"},
    {"relaxation", "relaxation by state"}, {"retention", "ends of states"}, {"wires", "column wires"},
    {"DAC", "bit-serial inputs"}, {"spread", "write-verify"}, {"converters", "two passes"},
]  # fmt: skip
#: bit-serial word lines are at 0 or full drive, where every I-V curve is the same
BLIND = [{"I-V curve", "bit-serial inputs"}]

GENERATOR = torch.Generator().manual_seed(5)
W = torch.randn(12, 50, generator=GENERATOR, dtype=torch.float64)
X = torch.rand(8, 50, generator=GENERATOR, dtype=torch.float64) * 2 - 1


def results(*effects: str, **changes: Any) -> torch.Tensor:
    data = load_chip("ideal").to_dict()
    data["device"] |= {"g_lrs_S": 5e-5, "g_hrs_S": 5e-6, "levels": 8}
    data["tile"] = {"rows": 32, "cols": 16}
    for effect in effects:
        for path, value in EFFECTS[effect].items():
            set_path(data, path, copy.deepcopy(value), "test")
    data |= changes
    bar = Crossbar.program(W, load_chip(data), chips=2, seed=11)
    bar.set_input_limit(1.0)
    return bar.mvm(X)


ALONE = {effect: results(effect) for effect in EFFECTS}


@pytest.mark.parametrize("effect", EFFECTS)
def test_each_effect_is_visible_alone_and_repeatable(effect: str) -> None:
    assert not torch.equal(ALONE[effect], results())
    assert torch.equal(ALONE[effect], results(effect))


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(EFFECTS, 2)))
def test_each_pair_shows_both_effects(first: str, second: str) -> None:
    pair = {first, second}
    if pair in EXCLUSIVE:
        pytest.skip("one setting with two values")
    both = results(first, second)
    assert torch.isfinite(both).all()
    if pair not in BLIND:
        assert not torch.equal(both, ALONE[first]), f"{second} has no effect with {first}"
        assert not torch.equal(both, ALONE[second]), f"{first} has no effect with {second}"


def test_all_effects_act_together() -> None:
    """With fine ADCs, so that no effect is rounded away."""
    fine = {"converter": {"kind": "auto", "bits": 16}}
    everything = [
        e
        for e in EFFECTS
        if e not in {"column wires", "DAC", "spread", "cycle to cycle", "converters", "relaxation", "retention"}
    ]
    whole = results(*everything, **fine)
    assert torch.isfinite(whole).all()
    for effect in everything:
        if effect != "I-V curve":
            assert not torch.equal(whole, results(*[e for e in everything if e != effect], **fine)), effect


def test_this_file_has_every_effect() -> None:
    """An effect added to a specification must be added here: all of device, wires and inputs whose default is off."""
    assert {path.split(".")[0] for settings in EFFECTS.values() for path in settings} <= set(Chip.model_fields)
