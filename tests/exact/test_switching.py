"""Switching models compared with closed forms; every parameter acts; pulses and programming."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from imc_sim._errors import InputError
from imc_sim.device._data_driven import DataDriven
from imc_sim.device._linear_ion_drift import LinearIonDrift
from imc_sim.device._pulse_response import PulseResponse
from imc_sim.device._pulses import PulseScheme, program_and_verify, sweep, switching_model, switching_names
from imc_sim.device._stanford_pku import StanfordPKU
from imc_sim.device._switching import Switching, window
from imc_sim.device._vteam import VTEAM

NAMES = ["data_driven", "linear_ion_drift", "pulse_response", "stanford_pku", "vteam"]

#: a value other than the default for every parameter; where it acts only with another one, that one too
OTHERS: dict[str, dict[str, object]] = {
    "vteam": {
        "r_on_ohm": 60.0, "r_off_ohm": 900.0, "k_on_m_per_s": -9.0, "k_off_m_per_s": 4e-4, "alpha_on": 2.0,
        "alpha_off": 2.0, "v_on_V": -0.21, "v_off_V": 0.03, "w_on_m": -1e-9, "w_off_m": 2e-9, "w_initial_m": 1e-9,
        "iv": "exponential", "window": "joglekar", "window_p": ("window", "biolek", 2.0),
    },
    "stanford_pku": {
        "i_0_A": 2e-3, "g_0_m": 0.3e-9, "v_0_V": 0.3, "gap_min_m": 0.1e-9, "gap_max_m": 1.0e-9,
        "gap_initial_m": 0.5e-9, "nu_0_m_per_s": 20.0, "e_a_eV": 0.65, "a_0_m": 0.2e-9, "t_ox_m": 10e-9,
        "gamma_0": 17.0, "beta": 0.5, "f_min_V_per_m": 1.9e9, "t_0_K": 320.0, "r_th_K_per_W": 1000.0, "v_read_V": 0.2,
    },
    "linear_ion_drift": {
        "r_on_ohm": 200.0, "r_off_ohm": 10000.0, "d_m": 12e-9, "mobility_m2_per_Vs": 2e-14, "w_initial_m": 3e-9,
        "v_set_V": 0.5, "v_reset_V": -0.5, "window": "joglekar", "window_p": ("window", "biolek", 2.0),
    },
    "data_driven": {
        "r_on_ohm": 5000.0, "r_off_ohm": 18000.0, "r_initial_ohm": 9000.0, "A_p_ohm_per_s": 800.0,
        "A_n_ohm_per_s": -60000.0, "t_p_per_V": 6.0, "t_n_per_V": 0.4, "k_p_per_ohm": 4e-4, "k_n_per_ohm": 1e-3,
        "r_p0_ohm": 16000.0, "r_p1_ohm_per_V": 500.0, "r_n0_ohm": 28000.0, "r_n1_ohm_per_V": 23000.0,
        "a_p_V": 0.3, "a_n_V": 0.3, "b_p_per_V": 2.5, "b_n_per_V": 2.5,
    },
}  # fmt: skip
OTHERS["pulse_response"] = {
    "g_min_S": 5e-7, "g_max_S": 4e-5, "g_initial_S": 3e-6, "set_pulses": 30.0, "set_reach_S": 7e-5,
    "reset_pulses": 30.0, "reset_reach_S": 7e-5, "width_s": 2e-6, "v_set_V": 0.8, "v_reset_V": -0.8,
}  # fmt: skip
PARAMETERS = [(name, key) for name, values in OTHERS.items() for key in values]


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@functools.cache
def behaviour(model: Switching) -> torch.Tensor:
    """Return currents of a sweep to both ends, and conductances of the middle states that a sweep may skip."""
    drive = model.typical
    trace = sweep(model, drive.sweep_V, drive.period_s, cycles=1, samples=100).trace
    low, high = model.bounds
    middle = model.step(tensor(low, 0.7 * low + 0.3 * high, high), 0.97 * drive.sweep_V, drive.width_s)
    back = model.step(tensor(low, 0.7 * low + 0.3 * high, high), -0.97 * drive.sweep_V, drive.width_s)
    return torch.cat([trace.current_A, model.conductance(middle), model.conductance(back)])


def test_models_are_found_by_name() -> None:
    assert switching_names() == NAMES
    assert [switching_model(name).to_dict()["kind"] for name in NAMES] == NAMES
    with pytest.raises(InputError, match="Did you mean 'vteam'"):
        switching_model("team")


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_value_to_try(name: str) -> None:
    assert {"kind", *OTHERS[name]} == set(type(switching_model(name)).model_fields)


@pytest.mark.parametrize(("name", "key"), PARAMETERS)
def test_every_parameter_acts(name: str, key: str) -> None:
    value, model = OTHERS[name][key], switching_model(name)
    if isinstance(value, tuple):
        model, value = model.replace(value[0], value[1]), value[2]
    ours, other = behaviour(model), behaviour(model.replace(key, value))
    assert float((ours - other).abs().max() / ours.abs().max()) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_fresh_cells_start_in_the_specified_state(name: str) -> None:
    model = switching_model(name)
    assert torch.equal(model.initial((2, 3)), torch.full((2, 3), model.start, dtype=torch.float64))
    assert model.simulate(tensor(0.0, 0.0), 1e-9).state == model.start
    assert model.initial((1,), dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("vteam", "w_initial_m", 4e-9),
        ("vteam", "r_on_ohm", 2000.0),
        ("stanford_pku", "gap_initial_m", 2e-9),
        ("linear_ion_drift", "w_initial_m", 2e-8),
        ("linear_ion_drift", "r_on_ohm", 20000.0),
        ("data_driven", "r_initial_ohm", 1e3),
    ],
)
def test_impossible_cells_are_refused(name: str, key: str, value: float) -> None:
    with pytest.raises(InputError, match="allowed"):
        switching_model(name).replace(key, value)


@pytest.mark.parametrize("name", NAMES)
def test_a_conductance_out_of_range_is_refused(name: str) -> None:
    model = switching_model(name)
    with pytest.raises(InputError, match="conductances from"):
        model.from_conductance(tensor(1.01 * model.range_S[1]))
    with pytest.raises(InputError, match="targets from"):
        program_and_verify(model, tensor(0.5 * model.range_S[0]), 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_out_of_range_by_the_tolerance_at_most(name: str) -> None:
    model = switching_model(name)
    (low, high), none = model.range_S, PulseScheme.of(model.typical).replace("max_pulses", 0)
    for inside, outside in ((0.96 * low, 0.94 * low), (1.04 * high, 1.06 * high)):
        program_and_verify(model, tensor(inside), 0.05, none)
        with pytest.raises(InputError, match="targets from"):
            program_and_verify(model, tensor(high, outside, low), 0.05, none)


# -- closed forms ----------------------------------------------------------------------------------------------


def test_vteam_changes_linearly_and_only_beyond_its_thresholds() -> None:
    model = VTEAM()
    w = tensor(1e-9)
    for v in (-0.2, -0.1, 0.0, 0.01, 0.02):
        assert torch.equal(model.step(w, v, 1.0), w)
    assert float(model.step(w, -0.3, 1e-10)) == pytest.approx(1e-9 - 10 * 0.5**3 * 1e-10, rel=1e-12)
    assert float(model.step(w, 0.5, 1e-8)) == pytest.approx(1e-9 + 5e-4 * 24 * 1e-8, rel=1e-12)


def test_vteam_resistance_is_linear_or_exponential_in_the_boundary() -> None:
    w = tensor(0.0, 1e-9, 3e-9)
    assert (1 / VTEAM().conductance(w)).tolist() == pytest.approx([50, 50 + 950 / 3, 1000])
    exponential = VTEAM(iv="exponential")
    assert (1 / exponential.conductance(w)).tolist() == pytest.approx([50, 50 * 20 ** (1 / 3), 1000])
    assert exponential.current(w, -2.0).tolist() == pytest.approx([-0.04, -0.04 / 20 ** (1 / 3), -0.002])


@pytest.mark.parametrize("steps", [20, 400])
def test_linear_ion_drift_follows_the_flux(steps: int) -> None:
    """R^2 falls in proportion to the flux, for any number of time steps."""
    model = LinearIonDrift()
    period = 1.0
    t = (torch.arange(steps, dtype=torch.float64) + 0.5) * period / steps
    v = torch.sin(2 * math.pi * t / period)
    trace = model.simulate(v, period / steps)
    flux = torch.cumsum(v, 0) * period / steps
    r0 = 1 / model.conductance(model.initial((1,)))
    exact = (r0**2 - 2 * (16000.0 - 100.0) * 1e-14 * 100.0 / 1e-16 * flux).sqrt()
    assert float((trace.conductance_S * exact - 1).abs().max()) < 1e-12
    assert float(exact.min()) < 12000 < float(exact.max())


def test_linear_ion_drift_opposite_flux_undoes_a_pulse() -> None:
    model = LinearIonDrift()
    g = model.conductance(model.initial((1,)))
    up = model.pulses(model.initial((1,)), 1.0, 0.1, 1)
    down = model.pulses(model.from_conductance(up[-1]), -0.5, 0.2, 1)
    assert float(up) > 1.05 * float(g)
    assert float(down) == pytest.approx(float(g), rel=1e-12)


@pytest.mark.parametrize(("kind", "p"), [("joglekar", 1.0), ("joglekar", 3.0), ("biolek", 1.0), ("biolek", 2.0)])
def test_windows_equal_their_formulas(kind: str, p: float) -> None:
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    up, down = (torch.as_tensor(window(kind, p, x, torch.tensor(r))) for r in (True, False))  # type: ignore[arg-type]
    if kind == "joglekar":
        expected = [1 - (2 * a - 1) ** (2 * int(p)) for a in x.tolist()]
        assert up.tolist() == pytest.approx(expected, abs=1e-15)
        assert torch.equal(up, down)
        return
    assert up.tolist() == pytest.approx([1 - a ** (2 * int(p)) for a in x.tolist()], abs=1e-15)
    assert down.tolist() == pytest.approx([1 - (a - 1) ** (2 * int(p)) for a in x.tolist()], abs=1e-15)


def test_a_joglekar_boundary_stays_at_its_end_and_a_biolek_one_leaves() -> None:
    ends = tensor(0.0, 10e-9)
    away = torch.tensor([1.0, -1.0], dtype=torch.float64)
    stays, leaves = (LinearIonDrift(window=kind).step(ends, away, 1e-3) for kind in ("joglekar", "biolek"))
    assert torch.equal(stays, ends)
    assert bool((leaves != ends).all())
    vteam = VTEAM(window="biolek").step(tensor(0.0, 3e-9), tensor(0.5, -0.25), 1e-9)
    assert bool((vteam != tensor(0.0, 3e-9)).all())
    assert torch.equal(VTEAM(window="joglekar").step(tensor(0.0, 3e-9), tensor(0.5, -0.25), 1e-9), tensor(0.0, 3e-9))


@pytest.mark.parametrize(
    ("r", "v", "t"), [(1500.0, 0.9, 1e-4), (9000.0, 0.5, 1e-2), (16900.0, -1.0, 1e-7), (9e3, -1.2, 1e-3)]
)
def test_data_driven_step_solves_its_equation(r: float, v: float, t: float) -> None:
    model = DataDriven()

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        return model.rate(torch.from_numpy(state), v).numpy()

    exact = solve_ivp(slope, (0, t), [r], method="LSODA", rtol=1e-11, atol=1e-8).y[0, -1]
    assert abs(exact / r - 1) > 0.01
    assert float(model.step(tensor(r), v, t)) == pytest.approx(exact, rel=1e-8)


#: of the conductance, for a pulse of any length
TOLERANCE = 1e-3
SOLVED = {
    "stanford_pku": (StanfordPKU(), (1.1, 1.3, 1.6, 1.8, -1.1, -1.3, -1.5, -1.8), (1e-11, 1e-9, 1e-7, 1e-5)),
    "vteam": (VTEAM(), (-0.25, -0.4, 0.3, 1.0), (1e-10, 2e-9, 1e-7)),
    "vteam joglekar": (VTEAM(window="joglekar", window_p=2.0), (-0.25, -0.4, 0.3, 1.0), (1e-10, 2e-9, 1e-7)),
    "vteam biolek": (VTEAM(window="biolek", iv="exponential"), (-0.25, -0.4, 0.3, 1.0), (1e-10, 2e-9, 1e-7)),
    "linear_ion_drift": (LinearIonDrift(v_set_V=0.2), (1.0, 0.3, -1.0), (1e-3, 0.015, 0.3)),
    "ion drift joglekar": (LinearIonDrift(window="joglekar"), (1.0, 0.3, -1.0), (1e-3, 0.015, 0.3)),
    "ion drift biolek": (LinearIonDrift(window="biolek", window_p=3.0), (1.0, 0.3, -1.0), (1e-3, 0.015, 0.3)),
    "pulse_response": (PulseResponse(), (1.0, -1.0), (1e-7, 1e-6, 3e-5)),
    "data_driven": (DataDriven(), (1.0, 0.6, -1.2, -0.8), (1e-7, 1e-4, 1e-2)),
}


def integrated(model: Switching, g_S: float, v: float, t: float, limit_A: float = math.inf) -> float:
    """Return the conductance after a pulse by scipy, up to the end of the range, where the slope stays the same."""
    low, high = model.bounds

    def slope(_: float, x: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(low + (high - low) * x.clip(0, 1))
        volts = v

        def excess(size: float) -> float:
            return abs(float(model.current(state, math.copysign(size, v)))) - limit_A

        if excess(abs(v)) > 0:
            volts = math.copysign(brentq(excess, 0.0, abs(v), xtol=1e-15), v)  # type: ignore[arg-type]
        return model.rate(state, volts).numpy() / (high - low)

    x = (float(model.from_conductance(tensor(g_S))) - low) / (high - low)
    done = solve_ivp(slope, (0, t), [x], rtol=1e-8, atol=1e-11).y[0, -1]
    return float(model.conductance(tensor(low + (high - low) * min(max(done, 0.0), 1.0))))


@pytest.mark.parametrize("name", SOLVED)
def test_pulses_of_any_amplitude_and_width_are_solved_to_the_tolerance(name: str) -> None:
    """From three states in between; ten explicit steps of a reset pulse of Stanford-PKU were 10.7 % off."""
    model, volts, widths = SOLVED[name]
    low, high = model.range_S
    starts = [low * (high / low) ** share for share in (0.1, 0.5, 0.9)]
    cases = [(g, v, t) for g in starts for v in volts for t in widths]
    state, v, t = (torch.tensor(column, dtype=torch.float64) for column in zip(*cases, strict=True))
    ours = model.conductance(model.step(model.from_conductance(state), v, t)).numpy()
    exact = np.array([integrated(model, *case) for case in cases])
    assert np.abs(ours / exact - 1).max() < TOLERANCE
    moved, ends = np.abs(exact / state.numpy() - 1) > 0.05, np.isclose(exact, low) | np.isclose(exact, high)
    assert (moved & ~ends).sum() >= 4
    assert ((exact > state.numpy()) & moved).any()
    assert ((exact < state.numpy()) & moved).any()


@pytest.mark.parametrize(
    ("model", "limit", "volts", "widths"),
    [
        (StanfordPKU(), 1e-3, (1.6, 1.5), (1e-9, 3e-8, 1e-6)),
        (StanfordPKU(), 5e-4, (1.55, -1.5), (1e-8, 1e-7)),
        (VTEAM(), 1e-3, (-0.3, -0.25), (2e-9, 1e-8)),
        (VTEAM(window="biolek"), 5e-4, (-0.3, 1.0), (2e-9, 1e-7)),
        (LinearIonDrift(), 7e-5, (1.0, -1.0), (0.1, 0.5)),
        (DataDriven(), 5e-5, (-1.2, -1.0), (1e-4, 1e-2)),
    ],
    ids=["stanford_pku", "stanford_pku both", "vteam", "vteam window", "linear_ion_drift", "data_driven"],
)
def test_a_compliance_current_limits_the_cell(
    model: Switching, limit: float, volts: tuple[float, ...], widths: tuple[float, ...]
) -> None:
    """Compared with an integration whose voltage is that of the limit; resets have ten times the current."""
    low, high = model.range_S
    cases = [(low * (high / low) ** s, v, t) for s in (0.01, 0.1, 0.3) for v in volts for t in widths]
    state, v, t = (torch.tensor(column, dtype=torch.float64) for column in zip(*cases, strict=True))
    start = model.from_conductance(state)
    ours, free = (model.conductance(model.step(start, v, t, limit_A)).numpy() for limit_A in (limit, None))
    sets = [case[1] * model.typical.set_V > 0 for case in cases]
    exact = np.array([integrated(model, *c, limit * (1 if s else 10)) for c, s in zip(cases, sets, strict=True)])
    assert np.abs(ours / exact - 1).max() < TOLERANCE
    assert np.abs(ours / free - 1).max() > 0.1
    run = sweep(model, model.typical.sweep_V, model.typical.period_s, 1, 200, start[0], limit).trace.current_A
    other = sweep(model, model.typical.sweep_V, model.typical.period_s, 1, 200, start[0]).trace.current_A
    half = slice(0, 100) if model.typical.set_V > 0 else slice(100, 200)
    assert float(run[half].abs().max()) == pytest.approx(limit, rel=1e-9)
    assert float(run.abs().max()) <= 10 * limit * (1 + 1e-9)
    assert float(other[half].abs().max()) > 1.1 * limit


@pytest.mark.parametrize("name", NAMES)
def test_a_reset_may_draw_ten_times_the_compliance_current(name: str) -> None:
    model = switching_model(name)
    start = model.from_conductance(tensor(model.range_S[1]))
    for direction, factor in ((1.0, 1.0), (-1.0, 10.0)):
        v = direction * tensor(math.copysign(1.0, model.typical.set_V))[None]
        free = float(model.simulate(v, 1e-18, start).current_A.abs())
        limited = model.simulate(v, 1e-18, start, free / 20)
        assert float(limited.current_A.abs()) == pytest.approx(factor * free / 20, rel=1e-6)


def test_a_pulse_of_stanford_pku_stops_at_its_threshold_field() -> None:
    """-1.2 V: gamma falls to F_min t_ox / V = 14 at a gap of (2 / 0.8)^(1/3) nm, where the cell stays."""
    model, stop = StanfordPKU(), 2.5 ** (1 / 3) * 1e-9
    gap = model.step(tensor(0.6e-9, stop + 1e-13), -1.2, 1e9)
    assert float(gap[0]) == pytest.approx(stop, rel=1e-6)
    assert float(gap[1]) == stop + 1e-13


def test_one_long_pulse_equals_many_short_ones() -> None:
    model, start = StanfordPKU(), StanfordPKU().from_conductance(tensor(1e-4, 3e-5))
    one, many = model.pulses(start, -1.5, 1e-9, 1), model.pulses(start, -1.5, 1e-11, 100)
    assert torch.allclose(one[-1], many[-1], rtol=1e-9, atol=0)


def test_data_driven_steps_of_any_length_agree() -> None:
    model, r = DataDriven(), tensor(2000.0, 9000.0, 16000.0)
    one, many = model.pulses(r, -1.1, 1e-3, 1), model.pulses(r, -1.1, 1e-5, 100)
    assert torch.allclose(one[-1], many[-1], rtol=1e-12, atol=0)


def test_data_driven_cells_beyond_the_range_of_a_voltage_are_unchanged() -> None:
    model = DataDriven()
    beyond = tensor(5000.0, 3000.0)  # r_n(-1 V) is 5612 ohm
    assert torch.equal(model.step(beyond, -1.0, 1.0), beyond)
    assert torch.equal(model.step(tensor(16800.0), 1.0, 1.0), tensor(16800.0))


def test_stanford_pku_rate_equals_its_formula() -> None:
    model = StanfordPKU()
    gap, v = 0.6e-9, -1.3
    current = 1e-3 * math.exp(-0.6 / 0.25) * math.sinh(v / 0.25)
    thermal = 1.3806503e-23 / 1.6e-19 * (298 + abs(v * current) * 2100)
    gamma = 16 - 0.8 * 0.6**3
    rate = -10 * math.exp(-0.6 / thermal) * math.sinh(gamma * 0.25 / 12 * v / thermal)
    assert float(model.rate(tensor(gap), v)) == pytest.approx(rate, rel=1e-12)
    assert float(model.current(tensor(gap), v)) == pytest.approx(current, rel=1e-12)
    threshold = 1.4e9 * 12e-9 / gamma
    assert float(model.rate(tensor(gap), 0.999 * threshold)) == 0.0
    assert float(model.rate(tensor(gap), 1.001 * threshold)) < 0.0


# -- pulses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_pulses_are_simulated_samples(name: str) -> None:
    model = switching_model(name)
    drive = model.typical
    g = sum(model.range_S) / 2
    state = model.from_conductance(tensor(g, g))
    pulses = model.pulses(state, drive.set_V, drive.width_s, 3)
    trace = model.simulate(torch.full((3, 1), drive.set_V, dtype=torch.float64), drive.width_s, state)
    assert torch.equal(pulses, trace.conductance_S)
    assert torch.equal(model.conductance(trace.state), trace.conductance_S[-1])


@pytest.mark.parametrize("name", NAMES)
def test_sweep_is_a_triangle_and_its_loop_is_pinched(name: str) -> None:
    model = switching_model(name)
    done = sweep(model, 0.8, 4.0 * model.typical.period_s, cycles=2, samples=400)
    assert done.v_V[[0, 50, 100, 200, 300, 400]].tolist() == pytest.approx([0, 0.4, 0.8, 0, -0.8, 0], abs=1e-12)
    assert float(done.time_s[-1]) == pytest.approx(8.0 * model.typical.period_s)
    at_zero = done.v_V.abs() < 1e-12
    assert int(at_zero.sum()) == 5
    assert float(done.trace.current_A[at_zero].abs().max()) < 1e-12 * float(done.trace.current_A.abs().max())


VTEAM_SCHEME = PulseScheme(set_V=-0.25, reset_V=1.0, width_s=2e-9)


@pytest.mark.parametrize("key", ["set_V", "reset_V", "width_s", "step_V", "shrink", "compliance_A", "max_pulses"])
def test_every_parameter_of_a_scheme_acts(key: str) -> None:
    model, scheme = LinearIonDrift(), PulseScheme(set_V=1.0, reset_V=-1.0, width_s=0.015)
    other = {"set_V": 1.3, "reset_V": 1.3, "width_s": 0.7, "shrink": 0.6}.get(key)
    value = (
        {"step_V": 0.05, "max_pulses": 5, "compliance_A": 5e-5}.get(key)
        if other is None
        else getattr(scheme, key) * other
    )
    low, high = model.range_S
    target = torch.linspace(low, high, 12, dtype=torch.float64)[1:-1]
    start = model.from_conductance(target.flip(0))
    ours, theirs = (program_and_verify(model, target, 0.005, s, start) for s in (scheme, scheme.replace(key, value)))
    assert float((ours.state / theirs.state - 1).abs().max()) > 1e-6


def test_programming_counts_pulses_and_leaves_finished_cells_unchanged() -> None:
    model = VTEAM()
    start = model.from_conductance(tensor(5e-3, 5e-3, 5e-3))
    done = program_and_verify(model, tensor(5e-3, 4e-3, 10e-3), 0.02, VTEAM_SCHEME, start)
    assert done.converged.all()
    assert done.pulses[0] == 0
    assert done.state[0] == start[0]
    assert bool((done.pulses[1:] > 0).all())
    alone = program_and_verify(model, tensor(4e-3), 0.02, VTEAM_SCHEME, start[:1])
    assert (alone.state, alone.pulses) == (done.state[1], done.pulses[1])


def test_programming_reports_cells_that_it_gave_up() -> None:
    model = VTEAM()
    done = program_and_verify(model, tensor(1.1e-3, 20e-3), 0.001, VTEAM_SCHEME.replace("max_pulses", 2))
    assert done.converged.tolist() == [False, True]
    assert done.pulses.tolist() == [2, 0]


def test_growing_pulses_reach_targets_that_equal_ones_cannot() -> None:
    model = VTEAM()
    weak = PulseScheme(set_V=-0.19, reset_V=0.01, width_s=1e-9)
    target, start = tensor(10e-3), model.from_conductance(tensor(2e-3))
    assert not program_and_verify(model, target, 0.05, weak, start).converged.any()
    assert program_and_verify(model, target, 0.05, weak.replace("step_V", 0.01), start).converged.all()
