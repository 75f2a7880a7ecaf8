"""Recorded results of switching models: conductances, speeds, pulses, sweeps, and programming in a closed loop."""

from __future__ import annotations

from typing import Any

import torch

from imc_sim.device import (
    VTEAM,
    DataDriven,
    LinearIonDrift,
    PulsedProgramming,
    PulseResponse,
    PulseScheme,
    StanfordPKU,
    Switching,
    program_and_verify,
    sweep,
    switching_names,
)
from imc_sim.device._switching import Limited, window
from imc_sim.device._travel import travel
from tests.recorded.short import short

MODELS: dict[str, Switching] = {
    "vteam": VTEAM(w_initial_m=1e-9),
    "vteam, joglekar": VTEAM(window="joglekar", window_p=2.0, w_initial_m=2e-9, w_on_m=1e-10),
    "vteam, biolek": VTEAM(window="biolek", window_p=1.5, iv="exponential", alpha_off=2.0, w_off_m=4e-9),
    "linear": LinearIonDrift(w_initial_m=3e-9),
    "linear, thresholds": LinearIonDrift(v_set_V=0.3, v_reset_V=-0.25, r_off_ohm=9000.0, w_initial_m=8e-9),
    "linear, biolek": LinearIonDrift(window="biolek", window_p=3.0, w_initial_m=2e-9),
    "linear, joglekar": LinearIonDrift(window="joglekar", window_p=0.7, w_initial_m=5e-9, v_set_V=0.1),
    "data-driven": DataDriven(r_initial_ohm=6000.0, a_n_V=0.2, b_n_per_V=2.5, r_p1_ohm_per_V=300.0),
    "stanford": StanfordPKU(gap_initial_m=9e-10),
    "stanford, warm": StanfordPKU(gap_initial_m=5e-10, t_0_K=340.0, r_th_K_per_W=9000.0, v_read_V=0.2),
    "pulse response": PulseResponse(set_pulses=12.0, reset_pulses=7.0, reset_reach_S=5.5e-5, g_initial_S=2e-5),
}


def _states(model: Switching, count: int = 7) -> torch.Tensor:
    low, high = model.bounds
    return low + (high - low) * torch.linspace(0.0, 1.0, count, dtype=torch.float64).square()


def _relative(rows: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return rows over their largest magnitudes, and ln of these, so that rows of every size count."""
    each = torch.stack(rows)
    top = each.abs().amax(-1, keepdim=True).clamp_min(1e-300)
    return [each / top, top.log()]


def record_models() -> dict[str, Any]:
    found: dict[str, Any] = {"names": switching_names()}
    for name, model in MODELS.items():
        drive, state = model.typical, _states(model)
        volts = torch.tensor([drive.set_V, drive.reset_V, 0.4 * drive.set_V, 0.3 * drive.reset_V, 0.0]).double()
        low, high = model.range_S
        conductances = low * (high / low) ** torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
        limited = Limited(model, 0.2 * high * abs(drive.set_V))
        found[name] = {
            "range": [low, high, float(model.erased()), *model.initial((2,)).tolist()],
            "conductance": model.conductance(state),
            "states": model.from_conductance(conductances),
            "current": _relative([model.current(state, v) for v in volts]),
            "rate": _relative([model.rate(state, v) for v in volts]),
            "reach": torch.stack([model.reach(state, v, torch.full_like(state, 1e-5)) for v in volts[:2]]),
            "limited": torch.stack([limited.voltage(state, v) for v in volts]),
            "limited current": _relative([limited.current(state, v) for v in volts]),
            "limited rate": _relative([limited.rate(state, v) for v in volts[:2]]),
        }
    heat = MODELS["stanford, warm"]
    assert isinstance(heat, StanfordPKU)
    found["temperature"] = heat.temperature(_states(heat), 0.7)
    x = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)
    found["windows"] = [window(kind, 1.3, x, rise) for kind in ("joglekar", "biolek") for rise in (x > 2, x > 0.4)]
    return short(found)


def record_steps() -> dict[str, Any]:
    """States after steps of many lengths, of which the shortest move little and the longest reach the end."""
    found: dict[str, Any] = {}
    for name, model in MODELS.items():
        drive, state = model.typical, _states(model, 9)
        for volts in (drive.set_V, drive.reset_V):
            steps = [drive.width_s * factor for factor in (0.02, 0.3, 1.0, 9.0, 300.0)]
            ways = {
                "free": _relative([model.step(state, volts, dt) - state for dt in steps]),
                "limited": _relative([model.step(state, volts, dt, 0.2 * model.range_S[1]) - state for dt in steps]),
                "travel": _relative([
                    travel(model, state, torch.full_like(state, volts), torch.full_like(state, dt)) - state
                    for dt in steps
                ]),
            }  # fmt: skip
            found[f"{name}, {volts:g} V"] = ways
    many = MODELS["stanford"]
    state = torch.full((300,), 9e-10, dtype=torch.float64)
    volts = torch.linspace(-1.4, 1.4, 300).double()
    found["300 voltages"] = many.step(state, volts, torch.linspace(0.0, 2e-9, 300).double()) - state
    return short(found)


def record_sweeps() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, model in MODELS.items():
        drive = model.typical
        for limit in (None, 0.3 * model.range_S[1] * abs(drive.set_V)):
            done = sweep(model, -drive.sweep_V, drive.period_s, cycles=2, samples=10, compliance_A=limit)
            trace = done.trace
            pulses = model.pulses(_states(model, 3), drive.reset_V, drive.width_s, 5, limit)
            found[f"{name}, {'free' if limit is None else 'limited'}"] = [
                done.time_s, done.v_V, trace.current_A, trace.conductance_S, trace.state, pulses
            ]  # fmt: skip
    return short(found)


def record_closed_loop() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("vteam, biolek", "linear", "data-driven", "stanford, warm", "pulse response"):
        model = MODELS[name]
        (low, high), drive = model.range_S, model.typical
        target = (low * (high / low) ** torch.linspace(0.05, 0.95, 6, dtype=torch.float64)).reshape(2, 3)
        schemes = {
            "few": PulseScheme(
                set_V=drive.set_V, reset_V=drive.reset_V, width_s=4.0 * drive.width_s, shrink=0.3, max_pulses=9
            ),
            "rising": PulseScheme(
                set_V=0.7 * drive.set_V, reset_V=0.8 * drive.reset_V, width_s=0.7 * drive.width_s, step_V=0.05,
                shrink=0.6, max_pulses=14, compliance_A=0.4 * high * abs(drive.set_V),
            ),
        }  # fmt: skip
        for kind, scheme in schemes.items():
            speed = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
            done = program_and_verify(model, target, 0.03, scheme, _states(model, 3), speed)
            found[f"{name}, {kind}"] = [done.conductance_S, done.pulses, done.converged, done.state]
        law = PulsedProgramming(cell=model, scheme=schemes["rising"], tolerance=0.04, speed_spread=0.5)  # type: ignore[arg-type]
        z = torch.linspace(-2.0, 2.0, 5, dtype=torch.float64)
        window_S = 0.8 * (high - low)
        out = law.outcome(torch.tensor([[0.0], [0.4], [1.0]]).double(), z, low * 1.2 / window_S, window_S)
        found[f"{name}, programming"] = [out.conductance_S, out.pulses, out.converged, law.most]
    return short(found)
