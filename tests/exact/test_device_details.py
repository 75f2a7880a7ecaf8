"""Details of cells: limits of time and of state, weights of a fit, where a pulse train starts again."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from imc_sim._rng import Stream
from imc_sim.array import Chip, Crossbar
from imc_sim.device import (
    Correlated,
    Device,
    Drift,
    PulseScheme,
    RelativeVariation,
    StatePiece,
    Telegraph,
    Time,
    program_and_verify,
)
from imc_sim.device._relaxation import LogRelaxation, MeasuredRelaxation
from imc_sim.device._time import Retention
from imc_sim.device.fit import fit_device
from imc_sim.device.fit._laws import _p_value

# -- time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t_s", "refresh_s", "refreshes", "age_s"),
    [
        (0.3, 0.1, 2, 0.1),  # 0.3 / 0.1 is above 3 in binary; the read is just before the third rewriting
        (0.1 * 3, 0.1, 2, 0.1),
        (0.31, 0.1, 3, 0.01),
        (0.1, 0.1, 0, 0.1),
        (0.05, 0.1, 0, 0.05),
        (86400.0 * 7, 86400.0, 6, 86400.0),
    ],
)
def test_reads_at_a_multiple_of_the_interval_are_just_before_it(
    t_s: float, refresh_s: float, refreshes: int, age_s: float
) -> None:
    time = Time(t_s=t_s, refresh_s=refresh_s)
    assert time.refreshes == refreshes
    assert time.age_s == pytest.approx(age_s, rel=1e-9)


@pytest.mark.parametrize(("end_S", "wanted"), [(None, 1e-5), (0.0, 0.0), (3e-5, 3e-5)])
def test_the_end_state_of_retention_can_be_set(end_S: float | None, wanted: float) -> None:
    lost = Retention(rate_Hz=1.0, end_S=end_S).apply(torch.tensor([1e-4, 1e-5]).double(), 1e6, 300.0, 1e-5)
    assert torch.allclose(lost, torch.full_like(lost, wanted), rtol=1e-12, atol=0)


def test_no_cell_drifts_upwards() -> None:
    """Exponents are mean + deviation x normal, and 0 where that is negative; conductances fall by 10^-nu a decade."""
    drift, G = Drift(nu=0.1, nu_std=0.1), torch.full((4,), 1e-4, dtype=torch.float64)
    kept = drift.apply(G, 10.0, torch.tensor([-3.0, -1.0, 0.0, 2.0], dtype=torch.float64)) / G
    assert kept.tolist() == pytest.approx([1.0, 1.0, 10**-0.1, 10**-0.3], rel=1e-12)


def test_relaxed_cells_are_never_below_0_when_ageing_continues() -> None:
    """A cell that relaxed to 0 S is at end (1 - kept) after retention, whatever it would have been below 0 S."""
    time = Time(t_s=1.0, relaxation=LogRelaxation(sigma_S=1e-4), retention=Retention(rate_Hz=1.0, end_S=2e-5))
    G = torch.full((400,), 1e-5).double()
    aged = list(time.stages(G, G, 300.0, 0.0, 0, "layer", 0, 0))[-1][1]
    floor = 2e-5 * (1 - math.exp(-1.0))
    assert float(aged.min()) == pytest.approx(floor, rel=1e-12)
    assert 0.3 < float((aged < floor * (1 + 1e-9)).double().mean()) < 0.6


def test_relaxation_in_a_crossbar_uses_the_target_and_compensation_the_conductances() -> None:
    """Cells that device variation takes below 0 S count as 0 S before relaxation, and relax as those of their level."""
    law = MeasuredRelaxation(times_s=(1.0, 10.0), coefficients_S=((0.0,), (0.0, 2e-5)), g_max_S=1e-4)
    device = Device(
        g_lrs_S=1e-4, g_hrs_S=1e-5, programming=RelativeVariation(sigma=0.2, sigma_hrs=2.0),
        time=Time(t_s=10.0, relaxation=law, compensation=True),
    )  # fmt: skip
    chip = Chip(device=device)
    late, young = (Crossbar.program(torch.ones(20, 30), c, seed=3, layer="fc") for c in (
        chip, chip.replace("device.time.t_s", 0.0),
    ))  # fmt: skip
    before, after = (c.cells(0) + device.floor for c in (young, late))
    z = torch.from_numpy(Stream(3, "fc", "relaxation").normal(before.numel(), 0)).double().reshape(before.shape)
    lrs = (after - before)[:, :, 0] * device.window_S / z[:, :, 0]
    assert torch.allclose(lrs, torch.full_like(lrs, 2e-5), rtol=1e-6, atol=0)
    assert float((before == 0).double().mean()) > 0.1
    factor = float(before.sum() / after.sum())
    assert late.readout.weights[0].factor == pytest.approx(factor, rel=1e-9)


def test_an_error_that_shrinks_moves_no_cell() -> None:
    law = MeasuredRelaxation(times_s=(1.0, 100.0), coefficients_S=((3e-6,), (1e-6,)), g_max_S=1e-4)
    G = torch.linspace(0, 1e-4, 7, dtype=torch.float64)
    assert torch.equal(law.apply(G, 50.0, torch.ones_like(G), G), G)
    grows = MeasuredRelaxation(times_s=(1.0, 100.0), coefficients_S=((3e-6,), (5e-6,)), g_max_S=1e-4)
    assert torch.allclose(grows.apply(G, 100.0, torch.ones_like(G), G), G + 4e-6, rtol=1e-12, atol=0)


def test_the_factor_of_a_die_and_its_gradient_add_up() -> None:
    rows, cols = torch.linspace(-0.5, 0.5, 5).double()[:, None], torch.linspace(-0.5, 0.5, 4).double()
    where = (3, "layer", 5, rows, cols, 0)
    both, die, gradient = (Correlated(**c).factor(*where) for c in (
        {"chip": 0.2, "gradient": 0.3}, {"chip": 0.2}, {"gradient": 0.3},
    ))  # fmt: skip
    assert abs(float(die) - 1.0) > 0.02
    assert torch.allclose(torch.as_tensor(both), torch.as_tensor(gradient) + float(die) - 1.0, rtol=1e-12, atol=0)


# -- state -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [({}, [0.1, 0.5, 0.9]), ({"low": 0.4}, [0.4, 0.5, 0.9]), ({"high": 0.6}, [0.1, 0.5, 0.6]),
     ({"low": 0.4, "high": 0.6}, [0.4, 0.5, 0.6])],
)  # fmt: skip
def test_a_piece_is_bounded_by_either_limit(limits: dict[str, Any], wanted: list[float]) -> None:
    x = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    assert StatePiece(coefficients=(0.0, 1.0), **limits)(x).tolist() == pytest.approx(wanted, rel=1e-12)


def test_a_trap_takes_at_most_all_of_a_cell() -> None:
    traps = Telegraph(probability=1.0, amplitude=0.9, spread=1.0).traps((4000,), 0, "layer", 0)
    assert float(traps.max()) == 1.0
    # half of the log-normal law is above 0.9, and 45.8 % above 1
    assert float((traps == 1.0).double().mean()) == pytest.approx(0.458, abs=0.03)


# -- fits --------------------------------------------------------------------------------------------------


def test_a_fitted_standard_deviation_is_the_unbiased_one() -> None:
    """Five cells a state: the standard deviation with n - 1 is 12 % above that with n."""
    lrs, hrs = np.array([90.0, 95, 100, 105, 110]) * 1e-6, np.array([8.0, 9, 10, 11, 12]) * 1e-6
    law = cast("Any", fit_device({"HRS": hrs, "LRS": lrs}).device.programming)
    assert law.law == "gaussian"
    assert law.sigma == pytest.approx(math.sqrt(62.5) / 100, rel=1e-4)


@pytest.mark.parametrize(("count", "critical"), [(20, 0.192), (100, 0.0882)])
def test_p_values_are_those_of_lilliefors(count: int, critical: float) -> None:
    """Critical distances at 5 % (Lilliefors 1967, as revised by Dallal and Wilkinson, Am. Stat. 40, 1986)."""
    assert _p_value(critical, count) == pytest.approx(0.05, abs=0.02)
    assert _p_value(critical * 0.6, count) > 0.3
    assert _p_value(critical * 1.5, count) < 0.01


# -- pulses ------------------------------------------------------------------------------------------------


def test_amplitudes_start_again_where_the_direction_turns() -> None:
    """A cell that moves by 0.3 per volt and pulse: 1, 2, 3 V up to above its target, then 1 V down."""
    applied: list[float] = []

    def step(state: Tensor, v_V: Tensor, dt_s: Tensor, _compliance_A: None) -> Tensor:
        applied.append(float(v_V[0]))
        return state + 0.3 * v_V * dt_s

    model = SimpleNamespace(range_S=(0.0, 10.0), conductance=lambda state: state, step=step)
    scheme = PulseScheme(set_V=1.0, reset_V=-1.0, width_s=1.0, step_V=1.0, shrink=1.0, max_pulses=6)
    target, start = torch.tensor([1.5], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    done = program_and_verify(cast("Any", model), target, 0.01, scheme, start)
    # the state is at 0.3, at 0.9, at 1.8 (above the target) and at 1.5 after these
    assert applied == [1.0, 2.0, 3.0, -1.0]
    assert int(done.pulses[0]) == 4
    assert bool(done.converged[0])


def test_new_cells_have_neither_aged_nor_been_read() -> None:
    aged = Device.model_validate({
        "g_lrs_S": 1e-4, "g_hrs_S": 1e-5, "disturb": {"reads": 10**9}, "time": {"t_s": 1e6, "drift": {"nu": 0.1}},
    })  # fmt: skip
    assert aged.ages
    assert not aged.at_start.ages
