"""Limits of cells: ends of ranges, exact ties, and settings that act only together or only beyond a point."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imc_sim import InputError
from imc_sim._quantiles import PARTS
from imc_sim._rng import Stream
from imc_sim.array import Chip, Crossbar
from imc_sim.array._programming import age, program_cells
from imc_sim.config import build
from imc_sim.device import (
    VTEAM,
    Correlated,
    Device,
    Drift,
    Faults,
    Flicker,
    LogRelaxation,
    MeasuredRelaxation,
    PolynomialVariation,
    PulsedProgramming,
    PulseScheme,
    Read,
    ReadDisturb,
    RelativeVariation,
    Retention,
    StatePiece,
    Telegraph,
    Time,
    WriteVerify,
    fit_device,
    read_currents,
    read_measurements,
    sample_cells,
    switching_model,
)
from imc_sim.device._levels import CONTINUOUS
from imc_sim.device._state_law import is_zero
from imc_sim.device._switching import Switching
from imc_sim.device.fit._laws import _distance, _p_value

G_HRS, G_LRS = 2e-5, 1e-4


def device(**changes: Any) -> Device:
    return Device(g_lrs_S=G_LRS, g_hrs_S=G_HRS, **changes)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# -- what is refused ---------------------------------------------------------------------------------------------

WINDOW = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}
VTEAM_CELL = {"kind": "pulses", "cell": {"kind": "vteam"}}  # 1 mS to 20 mS


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"g_lrs_S": 1e-4, "g_hrs_S": 1e-4}, "is not above"),
        ({"table_S": [1e-6, 2e-6, 2e-6]}, "rises"),
        (WINDOW | {"levels": "continuous", "spacing": "resistance"}, "where levels are continuous"),
        ({"levels": "continuous", "table_S": [1e-6, 2e-6], **WINDOW}, "where levels are continuous"),
        (WINDOW | {"faults": {"stuck_lrs": 0.6, "stuck_hrs": 0.6}}, "of at most 1"),
        (WINDOW | {"faults": {"stuck_lrs": 0.3, "stuck_hrs": 0.3, "cell_yield": 0.5}}, "of at most cell_yield"),
        ({"g_lrs_S": 2.1e-2, "g_hrs_S": 2e-3, "programming": VTEAM_CELL}, "which the switching model can be"),
        ({"g_lrs_S": 1e-2, "g_hrs_S": 9e-4, "programming": VTEAM_CELL}, "which the switching model can be"),
        (WINDOW | {"time": {"drift": {"nu": [{"coefficients": [0.1]}, {"coefficients": [0.2]}], "g_max_S": 1e-4}}},
         "only the last may leave out"),
        (WINDOW | {"time": {"drift": {"nu_std": [{"coefficients": [0.1]}]}}}, "g_max_S together with a nu_std"),
        (WINDOW | {"programming": {"kind": "polynomial", "coefficients_S": [0.0, 1.6e-3, -1.6e-3], "g_max_S": 1e-4}},
         "up to 3 g_max_S"),
    ],
)  # fmt: skip
def test_cells_that_cannot_be_are_refused(data: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build(Device, data, "device")


def test_faults_may_take_every_cell() -> None:
    assert Faults(stuck_lrs=0.25, stuck_hrs=0.25, cell_yield=0.5).extra
    assert Faults(stuck_lrs=0.7, stuck_hrs=0.3).stuck_hrs == 0.3
    whole = {"g_lrs_S": 2e-2, "g_hrs_S": 1e-3, "programming": VTEAM_CELL}
    assert build(Device, whole, "device").g_lrs_S == 2e-2


# -- levels ------------------------------------------------------------------------------------------------------


def test_a_target_halfway_between_two_levels_is_the_lower_one() -> None:
    uneven = Device(g_lrs_S=9e-6, g_hrs_S=1e-6, levels=3, table_S=(1e-6, 2e-6, 9e-6))
    assert uneven.codes(doubles(0.0625, 0.0625 + 1e-9, 0.5625, 0.5625 + 1e-9)).tolist() == [0, 1, 1, 2]


def test_levels_have_a_row_each_up_to_4096_steps() -> None:
    assert [device().highest_row(steps) for steps in (1, 4095, 4096, 4097, CONTINUOUS - 1)] == [1, 4095, 4096, 64, 64]


def test_undefined_cells_are_anywhere_between_continuous_levels() -> None:
    d = Device(g_lrs_S=1e-4, g_hrs_S=0.0, levels=CONTINUOUS, faults=Faults(failure=0.5, failure_state="undefined"))
    steps, levels = CONTINUOUS - 1, torch.full((400,), 2**21, dtype=torch.int32)
    found = d.sample(d.table(steps), levels, steps, 0, "l", 0)
    kept = (found - 2**21 / steps).abs() < 1e-6
    assert 150 < int(kept.sum()) < 250
    assert found[~kept].unique().numel() == int((~kept).sum())
    assert 0.4 < float(found[~kept].mean()) < 0.6


@pytest.mark.parametrize("name", ["vteam", "stanford_pku", "linear_ion_drift", "data_driven"])
def test_states_at_the_ends_of_a_model_may_be_rounded(name: str) -> None:
    low, high = switching_model(name).range_S
    cell = {"kind": "pulses", "cell": {"kind": name}}
    ends = {"g_lrs_S": high * (1 + 5e-10), "g_hrs_S": low * (1 - 5e-10)}
    assert build(Device, ends | {"programming": cell}, "device").g_hrs_S < low
    for wrong in ({"g_lrs_S": high * (1 + 2e-9)}, {"g_hrs_S": low * (1 - 2e-9)}):
        with pytest.raises(InputError, match="which the switching model can be"):
            build(Device, ends | wrong | {"programming": cell}, "device")


def test_pulses_of_hrs_follow_its_own_tolerance() -> None:
    """10 % of 20 uS, of a deviation of 30 %: some cells take one pulse, and some all."""
    law, verify = RelativeVariation(sigma=0.01, sigma_hrs=0.3), WriteVerify(tolerance=0.1, max_pulses=6)
    d = device(programming=law, verify=verify)
    levels = torch.zeros(3000, dtype=torch.int32)
    pulses = d.pulses(levels, 1, 3, "l", 0)
    G = (d.sample(d.table(1), levels, 1, 3, "l", 0) + d.floor) * d.window_S
    outside = (G / G_HRS - 1).abs() > 0.1
    assert torch.equal(pulses[outside], torch.full_like(pulses[outside], 6))
    assert set(pulses[~outside].tolist()) == {1, 2, 3, 4, 5, 6}
    assert float(pulses.double().mean()) == pytest.approx(float(d.verification(1).pulses[0]), rel=0.03)


def test_pulses_after_refreshes_are_those_of_the_last_one() -> None:
    """Two refreshes until 25 s: the random numbers are those of that programming epoch."""
    law, verify = RelativeVariation(sigma=0.3), WriteVerify(tolerance=0.1, max_pulses=9)
    levels = torch.ones(500, dtype=torch.int32)
    refreshed = device(programming=law, verify=verify, time=Time(t_s=25.0, refresh_s=10.0))
    found = refreshed.pulses(levels, 1, 3, "l", 0, 5)
    assert torch.equal(found, device(programming=law, verify=verify).pulses(levels, 1, 3, "l", 0, 5 + (2 << 32)))
    assert not torch.equal(found, device(programming=law, verify=verify).pulses(levels, 1, 3, "l", 0, 5))


# -- laws of programming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "sigma_hrs"), [(0.2, 0.0), (0.0, 0.3)])
def test_the_law_of_a_pair_is_in_order_where_one_of_its_cells_is_exact(sigma: float, sigma_hrs: float) -> None:
    d = device(programming=RelativeVariation(sigma=sigma, sigma_hrs=sigma_hrs))
    table = d.pair_table(1)[1, :PARTS]
    assert bool((table.diff() >= 0).all())
    wanted = sigma * G_LRS if sigma else sigma_hrs * G_HRS
    assert float(table.std()) * d.window_S == pytest.approx(wanted, rel=1e-3)
    assert float(table.mean()) == pytest.approx(1.0, rel=1e-3)
    assert not RelativeVariation(sigma=sigma, sigma_hrs=sigma_hrs).is_ideal


def test_a_cell_that_is_given_up_takes_the_pulses_of_its_scheme() -> None:
    scheme = PulseScheme(set_V=-0.25, reset_V=1.0, width_s=2e-9, max_pulses=3)
    assert PulsedProgramming(cell=VTEAM(), scheme=scheme).most == 3
    assert PulsedProgramming(cell=VTEAM()).most == 200


def test_write_verify_at_the_ends_of_its_acceptance() -> None:
    """Of cells aimed at 0 S half are clipped to it, which a relative tolerance accepts."""
    law, verify = PolynomialVariation(coefficients_S=(1e-6,), g_max_S=1e-4), WriteVerify(tolerance=0.1, max_pulses=7)
    found = Device(g_lrs_S=1e-4, g_hrs_S=0.0, programming=law, verify=verify).verification(1)
    assert (float(found.pulses[0]), float(found.converged[0])) == pytest.approx((2 - 2**-6, 1 - 2**-7))
    assert verify._mean_pulses(doubles(0.0, 1.0)).tolist() == [7.0, 1.0]
    assert not WriteVerify(tolerance_S=1e-6, max_pulses=2).is_ideal
    certain = WriteVerify(tolerance=0.1, max_pulses=7).counts(
        doubles(0.0, 1.0, 0.5),
        torch.tensor([0, 1, 2, 2]),
        doubles(0.5, 0.5, 0.6, 0.6),
        torch.tensor([True] * 3 + [False]),
    )
    assert certain.tolist() == [1, 1, 2, 7]  # 0.5 + 0.25 is above 0.6 (1 - 2^-7)


def test_common_factors_are_never_below_0() -> None:
    factors = [Correlated(chip=2.0).factor(0, "l", chip, None, None, 0) for chip in range(40)]
    assert min(factors) == 0.0
    assert max(factors) > 2.0
    rows = torch.linspace(-0.5, 0.5, 9, dtype=torch.float64)
    planes = [Correlated(chip=2.0, gradient=2.0).factor(0, "l", chip, rows, rows, 0) for chip in range(40)]
    assert min(float(torch.as_tensor(plane).min()) for plane in planes) == 0.0


# -- time --------------------------------------------------------------------------------------------------------


def test_a_rate_of_loss_is_bounded() -> None:
    hot = Retention(rate_Hz=1e-3, activation_eV=5.0, reference_K=10.0)
    assert hot.rate(1000.0) == pytest.approx(1e-3 * math.exp(600.0))
    assert hot.apply(doubles(1e-4), 1e3, 1000.0, 1e-5).tolist() == [1e-5]


def test_measured_relaxation_is_interpolated_in_the_logarithm_of_time() -> None:
    law = MeasuredRelaxation(times_s=(1.0, 100.0, 1e4), coefficients_S=((0.0,), (2e-6,), (6e-6,)), g_max_S=1e-4)
    x = doubles(0.5)
    for t, wanted in ((0.1, 0.0), (1.0, 0.0), (10.0, 1e-6), (100.0, 2e-6), (1e3, 4e-6), (1e4, 6e-6), (1e9, 6e-6)):
        assert float(law.std(x, t)) == pytest.approx(wanted, rel=1e-12, abs=1e-18)


def test_cells_relax_by_their_age() -> None:
    """Cells that are written every 10 s never reach the second measurement, at 1,000 s."""
    law = MeasuredRelaxation(times_s=(100.0, 1e3), coefficients_S=((0.0,), (2e-6,)), g_max_S=1e-4)
    assert Time(t_s=1e6, relaxation=law).relaxes
    refreshed = Time(t_s=1e6, refresh_s=10.0, relaxation=law)
    assert not refreshed.relaxes
    assert refreshed.is_ideal
    assert "relaxation" in refreshed.idle()


def test_compensation_compares_cells_above_0_S() -> None:
    """Half of the cells aimed at 0 S are sampled below it, which relaxation clips and compensation must not count."""
    law = PolynomialVariation(coefficients_S=(2e-5,), g_max_S=1e-4)
    time = Time(t_s=10.0, relaxation=LogRelaxation(sigma_S=1e-6), compensation=True)
    chip = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0, programming=law, time=time))
    bar = Crossbar.program(torch.ones(4, 50, dtype=torch.float64), chip)
    plan, address = bar.plan, bar.addresses[0]
    cells = program_cells(plan, address)
    assert float(cells.min()) < 0.0
    wanted = float(cells.clamp_min(0.0).sum() / age(plan, cells, address).sum())
    assert bar.readout.weights[0].factor == pytest.approx(wanted, rel=1e-12)


def test_relaxation_before_its_time_has_the_deviation_of_that_time() -> None:
    law = LogRelaxation(sigma_S=1e-6, growth_S=1e-7, shift_S=-1e-7, t0_s=10.0)
    G, z = doubles(5e-5), doubles(2.0)
    for t, wanted in ((1.0, 5.2e-5), (10.0, 5.2e-5), (10.0 * math.e, 5.21e-5)):
        assert float(law.apply(G, t, z, G)) == pytest.approx(wanted, rel=1e-12)


def test_cells_between_levels_are_clipped_at_0_S() -> None:
    relaxing = device(levels=4, time=Time(t_s=10.0, relaxation=LogRelaxation(sigma_S=1e-6)))
    floor = G_HRS / (G_LRS - G_HRS)
    assert relaxing.clipped(doubles(-1.0, -0.5, 2.0), 3).tolist() == pytest.approx([-3 * floor, -0.5, 2.0])


@pytest.mark.parametrize(
    ("settings", "acting"),
    [
        ({"time": Time(t_s=25.0, refresh_s=10.0)}, {"time.t_s"}),
        ({"time": Time(t_s=5.0, refresh_s=10.0)}, set()),
        ({"time": Time(t_s=5.0, drift=Drift(nu=0.1))}, {"time.t_s", "time.compensation"}),
        ({"disturb": ReadDisturb(reads=5)}, {"time.compensation", "temperature_K"}),
        ({"read": Read(bandwidth_Hz=1e6)}, {"temperature_K"}),
        ({"read": Read(flicker=Flicker(q=0.1)), "time": Time(t_s=1e-7)}, set()),
        ({"read": Read(flicker=Flicker(q=0.1)), "time": Time(t_s=1e-6)}, {"read.flicker", "time.t_s"}),
        (
            {"time": Time(t_s=5.0, retention=Retention(rate_Hz=1.0, activation_eV=1.0))},
            {"time.t_s", "time.compensation", "temperature_K"},
        ),
    ],
)
def test_settings_act_through_effects_that_are_on(settings: dict[str, Any], acting: set[str]) -> None:
    every = {"time.t_s", "time.compensation", "temperature_K", "read.flicker"}
    assert every - device(**settings).idle() == acting


def test_the_sign_of_a_read_voltage_does_not_change_its_wear() -> None:
    spec = ReadDisturb(reads=10**8, t_read_s=1e-6)
    assert spec.wear(-0.35, 300.0) == spec.wear(0.35, 300.0)
    with pytest.raises(InputError, match="600 or less"):
        spec.wear(0.5, 1.0)


# -- reads -------------------------------------------------------------------------------------------------------


def test_reads_are_noisy_from_the_first_time_that_noise_acts() -> None:
    flicker = Flicker(q=0.1, t_read_s=250e-9)
    assert [flicker.acts(t) for t in (0.0, 2e-7, 250e-9, 3e-7)] == [False, False, False, True]
    assert flicker.relative_variance(doubles(1e-4), 1e-9) == 0.0
    assert Read(bandwidth_Hz=1.0).noisy_at(0.0)
    assert Read(sigma=0.1).noisy_at(0.0)
    assert not Read(flicker=flicker).noisy_at(2e-7)
    assert Read(flicker=flicker).noisy


def test_the_full_drive_is_exact_on_a_bent_curve() -> None:
    read = Read(v_read_V=0.3, nonlinearity_per_V=3.7)
    x = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    found = read.drive(x)
    assert found[[0, 2, 4]].tolist() == [-1.0, 0.0, 1.0]
    assert found[3] == pytest.approx(math.sinh(0.5 * 3.7 * 0.3) / math.sinh(3.7 * 0.3), rel=1e-6)


def test_sampled_cells_have_the_two_states_of_their_traps() -> None:
    traps = Telegraph(probability=1.0, amplitude=0.2, occupancy=0.9)
    found = sample_cells(device(read=Read(telegraph=traps)), 1, 400) / G_LRS
    low = np.isclose(found, 1.0 - 0.1 * 0.2)
    assert np.isclose(found[~low], 1.0 + 0.9 * 0.2).all()
    assert 0.84 < low.mean() < 0.96  # 0.9 with four standard errors


def test_noise_of_sampled_cells_follows_the_programmed_conductance() -> None:
    """1/f noise with Q = x of the programmed cell, after drift to a tenth."""
    q = (StatePiece(coefficients=(0.0, 0.01)),)
    read = Read(flicker=Flicker(q=q, g_max_S=G_LRS, t_read_s=0.5))
    d = device(read=read, time=Time(t_s=9.5, drift=Drift(nu=1.0, t0_s=0.95)))
    z = Stream(3, "level 1", "read").normal(5, 2)
    wanted = 0.1 * G_LRS * (1.0 + 0.01 * math.sqrt(math.log(10.0)) * z)
    np.testing.assert_allclose(sample_cells(d, 1, 5, seed=3, chip=2), wanted, rtol=1e-6)


def test_sampled_cells_lie_across_a_tile() -> None:
    """From the corner of the lowest row and column to the highest: a gradient is a line through its middle."""
    found = sample_cells(device(correlated=Correlated(gradient=0.2)), 1, 5) / G_LRS - 1.0
    assert found == pytest.approx(found[-1] * np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), abs=1e-12)
    assert abs(found[-1]) > 1e-3


def test_currents_at_the_read_voltage_are_linear_in_the_conductance() -> None:
    d = device(read=Read(v_read_V=0.25, nonlinearity_per_V=2.0))
    found = read_currents(d, np.array([1e-4, 2e-5]), np.array([0.25, -0.25, 0.125]))
    half = 0.25 * math.sinh(0.25) / math.sinh(0.5)
    assert found == pytest.approx(np.outer([1e-4, 2e-5], [0.25, -0.25, half]), rel=1e-12)


def test_a_law_of_pieces_is_zero_only_without_limits() -> None:
    assert is_zero(0.0)
    assert is_zero((StatePiece(coefficients=(0.0, 0.0)),))
    assert not is_zero((StatePiece(coefficients=(0.0,), low=0.1),))
    assert not is_zero((StatePiece(coefficients=(0.0,)), StatePiece(coefficients=(0.0,), high=-0.1)))


# -- switching models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vteam", "stanford_pku", "linear_ion_drift", "data_driven"])
def test_conductances_at_the_ends_are_states_at_the_ends(name: str) -> None:
    model = switching_model(name)
    low, high = model.range_S
    states = model.from_conductance(doubles(low * (1 - 5e-7), low, high, high * (1 + 5e-7)))
    assert bool(((states >= model.bounds[0]) & (states <= model.bounds[1])).all())
    assert model.conductance(states).tolist() == pytest.approx([low, low, high, high], rel=1e-12)
    with pytest.raises(InputError, match="conductances from"):
        model.from_conductance(doubles(high * (1 + 3e-6)))
    with pytest.raises(InputError, match="conductances from"):
        model.from_conductance(doubles(low * (1 - 3e-6)))


@pytest.mark.parametrize("name", ["vteam", "stanford_pku"])
@pytest.mark.parametrize("count", [5, 300])
def test_cells_of_one_call_may_have_any_voltages(name: str, count: int) -> None:
    """More voltages than tables that are kept, and than are made in one go."""
    model: Switching = switching_model(name)
    if name == "vteam":
        model = model.replace("window", "biolek")
    drive = model.typical
    volts = torch.linspace(0.95, 1.0, count, dtype=torch.float64).flip(0) * drive.set_V
    state = model.erased().expand(count)
    together = model.step(state, volts, drive.width_s)
    places = [0, 1, count // 2, count - 1]
    alone = torch.stack([model.step(state[k], volts[k], drive.width_s) for k in places])
    assert torch.allclose(together[places], alone, rtol=1e-9, atol=0)
    assert together.unique().numel() == count


# -- fits --------------------------------------------------------------------------------------------------------


def test_distances_are_the_largest_on_either_side() -> None:
    phi = np.array([[0.9, 0.95], [0.05, 0.1], [0.25, 0.75]])
    assert _distance(phi).tolist() == pytest.approx([0.9, 0.9, 0.25])
    assert _p_value(0.03, 4000) == _p_value(0.06, 1000)
    assert _p_value(0.06, 1000) < _p_value(0.03, 1000)


def test_both_states_of_a_fit_are_judged_by_their_own_law(tmp_path: Path) -> None:
    z = (np.arange(60) + 0.5) / 60 * 4 - 2
    lrs, hrs = 60 * np.exp(0.3 * z), 4 * (1 + 0.1 * z)
    text = "\n".join(["LRS (uS),HRS (uS)", *(f"{a},{b}" for a, b in zip(lrs, hrs, strict=True))])
    (tmp_path / "t.csv").write_text("\ufeff" + text, encoding="utf-8")
    fit = fit_device(read_measurements(tmp_path / "t.csv"))
    assert [(s.name, s.law) for s in fit.states] == [("HRS", "gaussian"), ("LRS", "log_normal")]
    assert [s.sigma for s in fit.states] == pytest.approx([0.1 * z.std(ddof=1), 0.3 * z.std(ddof=1)], rel=1e-3)
    assert [s.center_S for s in fit.states] == pytest.approx([4e-6, 6e-5], rel=1e-3)
    assert all(s.evidence > 0 for s in fit.states)


def test_levels_may_be_named_in_words_and_the_typical_cell_tells_their_order(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "\n\n".join(f"Level {k},{k + 1}\nlevel 0{k},{k + 1.5}" for k in (0, 1) for _ in range(4))
    path.write_text(f"state,G (uS)\n{rows}\n", encoding="utf-8")
    assert {name: len(values) for name, values in read_measurements(path).items()} == {"0": 8, "1": 8}
    swapped = "\n".join(["HRS (uS),LRS (uS)", *(["5,4"] * 6), "1,90"])
    path.write_text(swapped, encoding="utf-8")
    with pytest.raises(InputError, match="which column is which"):
        read_measurements(path)
