"""Switching models under any drive: states stay within bounds, conductance is invertible, cells are independent."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imc_sim.device._pulses import PulseScheme, program_and_verify, switching_model, switching_names
from imc_sim.device._switching import Switching, window

MODELS = st.sampled_from(switching_names()).map(switching_model)
PARTS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6)
VOLTS = st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12)


def states(model: Switching, parts: list[float]) -> torch.Tensor:
    low, high = model.bounds
    return low + (high - low) * torch.tensor(parts, dtype=torch.float64)


@given(MODELS, PARTS, VOLTS, st.floats(-3, 3))
@settings(max_examples=150, deadline=None)
def test_states_stay_within_bounds_and_finite(model: Switching, parts: list, volts: list, decades: float) -> None:
    v = torch.tensor(volts, dtype=torch.float64)[:, None].expand(-1, len(parts))
    trace = model.simulate(v, model.typical.width_s * 10.0**decades, states(model, parts))
    low, high = model.bounds
    assert bool(((trace.state >= low) & (trace.state <= high)).all())
    assert bool(torch.isfinite(trace.current_A).all())
    g_low, g_high = model.range_S
    assert bool(((trace.conductance_S >= g_low * 0.999999) & (trace.conductance_S <= g_high * 1.000001)).all())


@given(MODELS, PARTS)
@settings(max_examples=100, deadline=None)
def test_conductance_is_invertible(model: Switching, parts: list) -> None:
    low, high = model.range_S
    g = low + (high - low) * torch.tensor(parts, dtype=torch.float64)
    assert torch.allclose(model.conductance(model.from_conductance(g)), g, rtol=1e-12, atol=0)
    state = states(model, parts)
    span = model.bounds[1] - model.bounds[0]
    assert torch.allclose(model.from_conductance(model.conductance(state)), state, rtol=0, atol=1e-10 * span)


@given(MODELS, PARTS, VOLTS)
@settings(max_examples=60, deadline=None)
def test_cells_do_not_affect_each_other(model: Switching, parts: list, volts: list) -> None:
    state, v = states(model, parts), torch.tensor(volts, dtype=torch.float64)
    together = model.simulate(v[:, None].expand(-1, len(parts)), model.typical.width_s, state)
    for k in range(len(parts)):
        alone = model.simulate(v[:, None], model.typical.width_s, state[k : k + 1])
        assert torch.allclose(alone.current_A[:, 0], together.current_A[:, k], rtol=1e-12, atol=0)
        assert torch.allclose(alone.state[0], together.state[k], rtol=1e-12, atol=0)


@given(MODELS, PARTS, st.floats(0.0, 3.0))
@settings(max_examples=80, deadline=None)
def test_polarity_has_one_direction_and_no_voltage_moves_nothing(model: Switching, parts: list, size: float) -> None:
    state = states(model, parts)
    before = model.conductance(state)
    sign = 1.0 if model.typical.set_V > 0 else -1.0
    set_, reset = (model.conductance(model.step(state, s * sign * size, model.typical.width_s)) for s in (1, -1))
    tiny = 1e-12 * before
    assert bool((set_ >= before - tiny).all())
    assert bool((reset <= before + tiny).all())
    assert torch.equal(model.step(state, 0.0, 1.0), state)


@given(st.sampled_from(["joglekar", "biolek"]), PARTS, st.floats(0.1, 10), st.booleans())
@settings(max_examples=80, deadline=None)
def test_windows_lie_between_0_and_1(kind: str, parts: list, p: float, rising: bool) -> None:
    x = torch.tensor(parts, dtype=torch.float64)
    f = torch.as_tensor(window(kind, p, x, torch.tensor(rising)))  # type: ignore[arg-type]
    assert bool(((f >= 0) & (f <= 1)).all())


@given(
    st.sampled_from(["vteam", "stanford_pku", "linear_ion_drift"]).map(switching_model),
    st.lists(st.floats(0.03, 0.97), min_size=1, max_size=8),
    st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
    st.sampled_from([0.1, 0.01, 0.001]),
)
@settings(max_examples=40, deadline=None)
def test_programming_reaches_every_target(model: Switching, parts: list, starts: list, tolerance: float) -> None:
    low, high = model.range_S
    target = low + (high - low) * torch.tensor(parts, dtype=torch.float64)
    scheme = PulseScheme.of(model.typical)
    done = program_and_verify(model, target, tolerance, scheme, states(model, starts[: len(parts)]))
    assert bool(done.converged.all())
    assert bool(((done.conductance_S - target).abs() <= tolerance * target).all())
    assert int(done.pulses.max()) <= scheme.max_pulses


@given(st.lists(st.floats(1500.0, 15000.0), min_size=1, max_size=6), st.sampled_from([0.1, 0.01]))
@settings(max_examples=25, deadline=None)
def test_growing_pulses_program_a_data_driven_cell(resistances: list, tolerance: float) -> None:
    model = switching_model("data_driven")
    scheme = PulseScheme.of(model.typical).replace("step_V", 0.01).replace("max_pulses", 400)
    done = program_and_verify(model, 1 / torch.tensor(resistances, dtype=torch.float64), tolerance, scheme)
    assert bool(done.converged.all())
