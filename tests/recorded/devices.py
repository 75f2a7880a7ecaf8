"""Devices whose cells are recorded: each effect alone, and combinations that meet."""

from __future__ import annotations

from typing import Any

from imc_sim.config import build
from imc_sim.device import Device

_TWO: dict[str, Any] = {"g_lrs_S": 1.5e-4, "g_hrs_S": 1.1e-5}
_FIVE: dict[str, Any] = {"g_lrs_S": 9e-5, "g_hrs_S": 2e-6, "levels": 5}
_VARIES: dict[str, Any] = {"programming": {"kind": "relative", "sigma": 0.3, "sigma_hrs": 0.8, "law_hrs": "log_normal"}}
_RELAXES: dict[str, Any] = {
    "t_s": 4000.0,
    "relaxation": {"kind": "logarithmic", "sigma_S": 2e-6, "growth_S": 3e-7, "shift_S": -4e-7},
}
_TAILS: dict[str, Any] = {
    "kind": "by_state", "states_S": [1e-5, 1e-4], "sigma_S": [2e-7, 4e-6], "growth_S": 3e-7, "shift_S": [1e-8, -1e-6],
    "tail": [0.6, 0.3],
}  # fmt: skip
_NOISE: dict[str, Any] = {
    "v_read_V": 0.3, "sigma": 0.02, "bandwidth_Hz": 2e7, "flicker": {"q": 0.02, "t_read_s": 1e-3},
    "telegraph": {"probability": 0.3, "amplitude": 0.1, "spread": 0.5, "occupancy": 0.35}, "nonlinearity_per_V": 2.5,
}  # fmt: skip
_WORN: dict[str, Any] = {"cycles": 5e5, "onset_cycles": 200.0, "lrs_exponent": -0.05, "hrs_exponent": 0.08}
_FAILED: dict[str, Any] = _WORN | {"life_cycles": 1e6, "life_shape": 1.4, "failed_at": "lrs"}
_FAULTY: dict[str, Any] = {
    "stuck_lrs": 0.05, "stuck_hrs": 0.1, "cell_yield": 0.75, "dead_S": 4e-7, "failure": 0.1,
    "failure_state": "undefined",
}  # fmt: skip
_PULSED: dict[str, Any] = {
    "kind": "pulses", "tolerance": 0.05, "speed_spread": 0.4, "cell": {"kind": "pulse_response", "g_max_S": 1e-4,
    "set_reach_S": 1.2e-4, "reset_reach_S": 1.1e-4, "set_pulses": 15.0},
    "scheme": {"set_V": 1.0, "reset_V": -0.9, "width_s": 2e-6, "max_pulses": 12, "shrink": 0.4},
}  # fmt: skip
_MEASURED: dict[str, Any] = {
    "kind": "measured", "targets_S": [2e-6, 3e-5, 9e-5], "probabilities": [0.01, 0.5, 0.9, 0.999],
    "quantiles_S": [[5e-7, 2e-6, 4e-6, 1e-5], [1e-5, 3e-5, 5e-5, 6e-5], [6e-5, 9e-5, 1.2e-4, 1.3e-4]], "scale": 1.2,
}  # fmt: skip

_SETTINGS: dict[str, dict[str, Any]] = {
    "ideal": _FIVE,
    "varies": _TWO | _VARIES,
    "verified": _FIVE | _VARIES | {"verify": {"tolerance": 0.05, "tolerance_S": 1e-7, "max_pulses": 4}},
    "continuous": _TWO | _VARIES | {"levels": "continuous", "faults": {"stuck_hrs": 0.1, "cell_yield": 0.9}},
    "measured": _FIVE | {"programming": _MEASURED, "spacing": "resistance"},
    "pulsed": {"g_lrs_S": 9e-5, "g_hrs_S": 2e-6, "levels": 3, "programming": _PULSED, "faults": {"stuck_lrs": 0.1}},
    "faulty": _FIVE | _VARIES | {"faults": _FAULTY, "endurance": _FAILED},
    "cycles": _TWO | _VARIES | {"cycle_to_cycle": {"share": 0.4, "correlation": 0.7}, "endurance": _WORN},
    "relaxes": _TWO | _VARIES | {"time": _RELAXES | {"compensation": True}},
    "tails": _TWO | _VARIES | {"time": {"t_s": 900.0, "relaxation": _TAILS, "refresh_s": 350.0}},
    "drifts": _FIVE
    | {"programming": {"kind": "polynomial", "coefficients_S": [1e-6, 2e-6], "g_max_S": 1e-4, "scale": 1.5}}
    | {"time": {"t_s": 1e5, "drift": {"nu": 0.05, "nu_std": 0.02, "t0_s": 25.0}, "compensation": True}},
    "loses": _TWO
    | {"temperature_K": 340.0, "time": {"t_s": 5e4, "retention": {
        "rate_Hz": 1e-6, "activation_eV": 0.7, "beta": 0.7, "end_S": [None, 4e-5], "states_S": [1.1e-5, 1.5e-4]}}},
    "disturbed": _FIVE | _VARIES
    | {"disturb": {"reads": 30_000_000, "c1": 0.02, "refresh": {"kind": "cells", "tolerance": 0.2}}},
    "everything": _TWO | _VARIES | {
        "read": _NOISE, "correlated": {"chip": 0.1, "gradient": 0.3}, "endurance": _FAILED, "temperature_K": 320.0,
        "faults": {"stuck_lrs": 0.02, "cell_yield": 0.9, "dead_S": 1e-7},
        "disturb": {"reads": 9_000_000, "c1": 0.02},
        "time": _RELAXES | {"drift": {"nu": 0.03, "nu_std": 0.01}, "retention": {"rate_Hz": 1e-5, "end_S": 2e-5},
                            "compensation": True, "refresh_s": 1500.0}},
}  # fmt: skip

DEVICES = {name: build(Device, settings, where=name) for name, settings in _SETTINGS.items()}
