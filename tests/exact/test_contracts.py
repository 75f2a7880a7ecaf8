"""Shipped device effects and networks fulfil the contracts that new ones are tested with."""

from __future__ import annotations

from typing import Any

import pytest

from imc_sim.testing import DeviceEffectContract, NetworkContract

EFFECTS: dict[str, tuple[dict[str, Any], bool]] = {
    "variation": ({"programming.sigma": 0.3}, True),
    "polynomial": ({"programming": {"kind": "polynomial", "coefficients_S": [2e-6], "g_max_S": 1e-4}}, True),
    "faults": ({"faults.stuck_lrs": 0.2}, True),
    "drift": ({"time.t_s": 1e4, "time.drift.nu": 0.05, "time.drift.nu_std": 0.02}, True),
    "equal drift": ({"time.t_s": 1e4, "time.drift.nu": 0.05}, False),
    "relaxation": ({"time.t_s": 10.0, "time.relaxation": {"kind": "logarithmic", "sigma_S": 2e-6}}, True),
    "relaxation by state": (
        {
            "time.t_s": 10.0,
            "time.relaxation": {
                "kind": "by_state",
                "states_S": [1e-5, 1e-4],
                "sigma_S": [1e-6, 4e-6],
                "growth_S": 2e-7,
                "shift_S": [3e-7, -2e-7],
                "tail": 0.4,
            },
        },
        True,
    ),
    "ends of states": (
        {"time.t_s": 1e4, "time.retention": {"rate_Hz": 1e-5, "states_S": [1e-5, 1e-4], "end_S": [2e-5, 3e-5]}},
        False,
    ),
    "retention": ({"time.t_s": 1e4, "time.retention.rate_Hz": 1e-5}, False),
    "cycle to cycle": (
        {"programming.sigma": 0.3, "cycle_to_cycle.share": 0.5, "cycle_to_cycle.correlation": 0.3},
        True,
    ),
    "worn-out cells": ({"endurance.cycles": 1e6, "endurance.life_cycles": 2e6, "endurance.life_shape": 2.0}, True),
    "closed window": (
        {"endurance.cycles": 1e6, "endurance.lrs_exponent": -0.02, "endurance.hrs_exponent": 0.05},
        False,
    ),
    "chip to chip": ({"correlated.chip": 0.1}, True),
    "read noise": ({"read.sigma": 0.1}, True),
    "disturb": ({"disturb.reads": 10**14}, False),
}


@pytest.mark.parametrize(("on", "random"), EFFECTS.values(), ids=EFFECTS)
class TestEffects(DeviceEffectContract):
    @pytest.fixture(autouse=True)
    def _effect(self, on: dict[str, Any], random: bool) -> None:
        self.on, self.random = on, random


class TestController(NetworkContract):
    arch, args = "batmann", {"kind": "xnor", "width": 8, "dim": 16, "size": 28}
    shape = (3, 1, 28, 28)


class TestMlp(NetworkContract):
    arch, args = "bnn_mlp", {"inputs": 64, "hidden": [32], "classes": 4}
    shape = (4, 1, 8, 8)
