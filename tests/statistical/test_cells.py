"""Distributions of cells compared with their laws. Fixed keys; each test fails by chance less than once in 10^4."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.device import (
    Correlated,
    CycleToCycle,
    Device,
    Drift,
    Endurance,
    Faults,
    LogRelaxation,
    Read,
    RelativeVariation,
    StateRelaxation,
    Telegraph,
    Time,
    WriteVerify,
    sample_cells,
)
from imc_sim.device.fit import fit_device
from imc_sim.device.fit._laws import likelier_law

N = 100_000
FALSE_ALARM = 1e-4
G_HRS, G_LRS = 2e-5, 1e-4


def device(**changes: Any) -> Device:
    return Device(g_lrs_S=G_LRS, g_hrs_S=G_HRS, **changes)


def programmed(d: Device, target: float, seed: int = 7) -> np.ndarray:
    """Return conductances in S of N cells with that target."""
    g = d.program(torch.full((N,), target, dtype=torch.float64), seed=seed)
    return g.numpy() * d.window_S + d.g_hrs_S


def aged(d: Device, target: float, layer: str = "l") -> np.ndarray:
    """Return conductances in S of N ideal cells with that target when they are read."""
    g = d.age(torch.full((N,), target, dtype=torch.float64), 1, 11, layer, 0)
    return g.numpy() * d.window_S + d.g_hrs_S


def same_law(a: np.ndarray, b: np.ndarray) -> float:
    """Return the p-value of two samples having the same law."""
    p: Any = stats.ks_2samp(a, b)[1]
    return float(p)


# -- write-verify ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "sigma", "tolerance"), [(1.0, 0.1, 0.05), (0.0, 0.4, 0.02), (1.0, 0.3, 0.004)])
def test_write_verify_equals_the_loop_of_pulses(target: float, sigma: float, tolerance: float) -> None:
    """Compare with pulses one after the other until a cell is within tolerance: conductances and pulse counts."""
    pulses, G0 = 6, G_HRS + (G_LRS - G_HRS) * target
    verify = WriteVerify(tolerance=tolerance, max_pulses=pulses)
    d = device(programming=RelativeVariation(sigma=sigma), verify=verify)
    generator = np.random.Generator(np.random.Philox(5))
    loop, count = np.full(N, np.nan), np.zeros(N, dtype=int)
    todo = np.ones(N, dtype=bool)
    for _ in range(pulses):
        loop[todo] = (G0 * (1 + sigma * generator.standard_normal(todo.sum()))).clip(0)
        count[todo] += 1
        todo &= np.abs(loop - G0) > tolerance * G0
    assert same_law(programmed(d, target), loop) > FALSE_ALARM
    levels = torch.full((N,), int(target), dtype=torch.int32)
    ours = np.bincount(d.pulses(levels, 1, 7, "cells", 0).numpy(), minlength=pulses + 1)[1:]
    theirs = np.bincount(count, minlength=pulses + 1)[1:]
    assert float(stats.chi2_contingency([ours, theirs])[1]) > FALSE_ALARM  # type: ignore[arg-type]
    mean = float(d.verification(1).pulses[int(target)])
    assert abs(count.mean() - mean) < 4 * count.std() / math.sqrt(N)


def test_write_verify_narrows_a_log_normal_state_too() -> None:
    log_normal = RelativeVariation(sigma=0.5, law="log_normal")
    d = device(programming=log_normal, verify=WriteVerify(tolerance=0.1, max_pulses=1000))
    cells = programmed(d, 0.0)
    assert np.abs(cells / G_HRS - 1).max() <= 0.1 + 1e-9
    low, high = math.log(0.9) / 0.5, math.log(1.1) / 0.5
    assert stats.kstest(np.log(cells / G_HRS) / 0.5, stats.truncnorm(low, high).cdf).pvalue > FALSE_ALARM


# -- faults ------------------------------------------------------------------------------------------------


def test_faults_occur_at_their_rates_side_by_side() -> None:
    """Stuck, dead and failed cells each have their own rate, whatever else is on."""
    faults = Faults(stuck_lrs=0.02, stuck_hrs=0.03, cell_yield=0.9, dead_S=7e-6, failure=0.2)
    d = device(faults=faults)
    for target in (0.0, 1.0):
        cells = programmed(d, target)
        share_dead, share_lrs = 0.1, 0.02 + (1 - 0.02 - 0.03 - 0.1) * (0.8 if target else 0.0)
        for value, rate in ((7e-6, share_dead), (G_LRS, share_lrs), (G_HRS, 1 - share_dead - share_lrs)):
            found = int(np.isclose(cells, value, rtol=1e-9, atol=0).sum())
            assert stats.binomtest(found, N, rate).pvalue > FALSE_ALARM


def test_undefined_cells_are_anywhere_in_the_window() -> None:
    d = device(faults=Faults(failure=0.25, failure_state="undefined"), programming=RelativeVariation())
    cells = programmed(d, 1.0)
    failed = cells[~np.isclose(cells, G_LRS, rtol=1e-9, atol=0)]
    assert stats.binomtest(len(failed), N, 0.25).pvalue > FALSE_ALARM
    assert stats.kstest(failed, "uniform", args=(G_HRS, G_LRS - G_HRS)).pvalue > FALSE_ALARM


# -- programming cycles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cycles", "shape", "state"), [(1e5, 2.0, "hrs"), (1e6, 1.0, "lrs"), (3e6, 0.5, "hrs")])
def test_cells_fail_after_lifetimes_of_weibull_and_stay_failed(cycles: float, shape: float, state: Any) -> None:
    wear = Endurance(cycles=cycles, life_cycles=1e6, life_shape=shape, failed_at=state)
    target, stuck = (0.0, G_LRS) if state == "lrs" else (1.0, G_HRS)
    failed = np.isclose(programmed(device(endurance=wear), target), stuck, rtol=1e-9)
    assert stats.binomtest(int(failed.sum()), N, -math.expm1(-((cycles / 1e6) ** shape))).pvalue > FALSE_ALARM
    later = wear.model_copy(update={"cycles": 2 * cycles})
    assert bool(np.isclose(programmed(device(endurance=later), target), stuck, rtol=1e-9)[failed].all())


def test_the_window_closes_as_a_power_of_the_cycles() -> None:
    wear = Endurance(cycles=1e6, onset_cycles=1e2, lrs_exponent=-0.02, hrs_exponent=0.05)
    variation = RelativeVariation(sigma=0.1)
    for target, exponent in ((0.0, 0.05), (0.5, 0.015), (1.0, -0.02)):
        d, worn = (device(levels=3, programming=variation, endurance=e) for e in (Endurance(), wear))
        g = d.program(torch.full((100,), target, dtype=torch.float64), seed=3) * 2
        state = torch.full_like(g, 2 * target)
        kept = (worn.age(g, 2, 3, "l", 0, state=state) / 2 + d.floor) / (g / 2 + d.floor)
        assert kept.numpy() == pytest.approx(10.0 ** (4 * exponent), rel=1e-9)


@pytest.mark.parametrize(("share", "correlation"), [(0.3, 0.0), (1.0, 0.6), (0.5, 0.8)])
def test_programmings_of_a_cell_share_a_part_of_their_variation(share: float, correlation: float) -> None:
    """Each alone has the law of programming; k programmings apart the correlation is 1 - share + share c^k."""
    law = CycleToCycle(share=share, correlation=correlation)
    d = device(programming=RelativeVariation(sigma=0.1), cycle_to_cycle=law)
    target = torch.ones(N, dtype=torch.float64)
    z = [(d.program(target, 7, epoch=epoch).numpy() * d.window_S + G_HRS) / G_LRS / 0.1 - 10.0 for epoch in range(4)]
    for each in z:
        assert stats.kstest(each, "norm").pvalue > FALSE_ALARM
    for apart in (1, 2, 3):
        true = 1 - share + share * correlation**apart
        assert np.corrcoef(z[0], z[apart])[0, 1] == pytest.approx(true, abs=4 / math.sqrt(N))


# -- correlated variation -----------------------------------------------------------------------------------


def test_chips_differ_by_their_common_factor() -> None:
    d = device(correlated=Correlated(chip=0.1))
    one = torch.ones(1, dtype=torch.float64)
    factors = [(float(d.age(one, 1, 3, "l", chip)[0]) + d.floor) / (1 + d.floor) for chip in range(4000)]
    assert stats.kstest(factors, "norm", args=(1.0, 0.1)).pvalue > FALSE_ALARM


def test_gradients_have_random_directions_and_vary_a_tile_by_their_amplitude() -> None:
    d = device(correlated=Correlated(gradient=0.2))
    tiles = torch.arange(4000)
    ends = []
    for y, x in ((0.0, 0.5), (0.5, 0.0)):
        place = [torch.full((4000,), v, dtype=torch.float64) for v in (y, x)]
        g = d.age(torch.ones(4000, dtype=torch.float64), 1, 3, "l", 0, rows=place[0], cols=place[1], tile=tiles)
        ends.append(((g + d.floor) / (1 + d.floor)).numpy() - 1)
    angle = np.arctan2(ends[1], ends[0]) / (2 * math.pi)
    assert stats.kstest(angle, "uniform", args=(-0.5, 1.0)).pvalue > FALSE_ALARM
    y, x = torch.meshgrid(*[(torch.arange(201).double() - 100) / 201] * 2, indexing="ij")
    g = d.age(torch.ones(201, 201, dtype=torch.float64), 1, 3, "l", 0, rows=y, cols=x)
    deviation = ((g + d.floor) / (1 + d.floor)).std(correction=0)
    assert float(deviation) == pytest.approx(0.2 / math.sqrt(12), rel=1e-4)


# -- time --------------------------------------------------------------------------------------------------


def test_drift_exponents_are_normal_from_cell_to_cell() -> None:
    d = device(time=Time(t_s=1e6, drift=Drift(nu=0.06, nu_std=0.012, t0_s=10.0)))
    nu = -np.log(aged(d, 1.0) / G_LRS) / math.log(1e5)
    assert stats.kstest(nu, "norm", args=(0.06, 0.012)).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("target", "tail"), [(0.0, 0.0), (0.5, 0.3), (1.0, 0.6)])
def test_relaxation_by_state_is_a_normal_law_whose_variance_is_log_normal(target: float, tail: float) -> None:
    """Compared with the mixture of its normal laws, integrated over the variances; sigma is that of all cells."""
    law = StateRelaxation(
        states_S=(G_HRS, G_LRS), sigma_S=(2e-7, 6e-7), growth_S=5e-8, shift_S=(9e-8, -9e-8), tail=(0.0, 0.6)
    )  # fmt: skip
    cells = aged(device(levels=3, time=Time(t_s=math.e**4, relaxation=law)), target)
    shift, sigma = 4 * (9e-8 - 18e-8 * target), 2e-7 + 4e-7 * target + 2e-7
    moved = (cells - G_HRS - (G_LRS - G_HRS) * target - shift) / sigma
    z = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    at = np.linspace(-9, 9, 2001)
    mixed = stats.norm.cdf(at[:, None] / np.exp(tail * z - tail**2)).mean(1)
    assert stats.kstest(moved, lambda x: np.interp(x, at, mixed)).pvalue > FALSE_ALARM
    assert moved.std() == pytest.approx(1.0, rel=5 * math.sqrt(3 * math.exp(4 * tail**2) / N))


def test_relaxation_is_normal_around_its_shift() -> None:
    law = LogRelaxation(sigma_S=4e-7, growth_S=5e-8, shift_S=-9e-8)
    moved = aged(device(time=Time(t_s=math.e**5, relaxation=law)), 1.0) - G_LRS
    assert stats.kstest(moved, "norm", args=(-4.5e-7, 6.5e-7)).pvalue > FALSE_ALARM


def test_the_stages_of_ageing_are_independent() -> None:
    programmed_cells = programmed(device(programming=RelativeVariation(sigma=0.1)), 1.0, seed=11)
    drifted = aged(device(time=Time(t_s=100.0, drift=Drift(nu=0.1, nu_std=0.01))), 1.0, "cells")
    relaxed = aged(device(time=Time(t_s=1.0, relaxation=LogRelaxation(sigma_S=1e-6))), 1.0, "cells")
    for a, b in (
        (programmed_cells, drifted),
        (programmed_cells, relaxed),
        (drifted, relaxed),
        (drifted[1:], drifted[:-1]),
    ):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(N)


# -- reading -----------------------------------------------------------------------------------------------


def test_traps_are_log_normal_where_cells_have_one() -> None:
    telegraph = Telegraph(probability=0.15, amplitude=0.02, spread=0.8)
    amplitude = device(read=Read(telegraph=telegraph)).traps((10, N // 10), 3, "l", 0).numpy()
    assert amplitude.shape == (10, N // 10)
    there = amplitude[amplitude > 0]
    assert stats.binomtest(there.size, N, 0.15).pvalue > FALSE_ALARM
    assert stats.kstest(np.log(there), "norm", args=(math.log(0.02), 0.8)).pvalue > FALSE_ALARM


def test_the_variance_of_a_trap_is_that_of_its_telegraph_signal() -> None:
    """With two levels sampled read by read, the mean stays the conductance and the variance is that of `variance`."""
    G, trap, occupancy = 5e-5, 0.3, 0.2
    low = np.random.Generator(np.random.Philox(3)).random(N) < occupancy
    reads = G + trap * G * (occupancy - low)
    read = Read(telegraph=Telegraph(probability=1.0, amplitude=0.1, occupancy=occupancy))
    cell = torch.tensor([G], dtype=torch.float64)
    variance = float(read.variance(cell, torch.tensor([trap], dtype=torch.float64))[0])
    assert abs(reads.mean() - G) < 4 * math.sqrt(variance / N)
    assert reads.var() == pytest.approx(variance, rel=0.02)


# -- presets -----------------------------------------------------------------------------------------------


def of_preset(name: str, t_s: float | None = None) -> np.ndarray:
    """Return conductances in uS of N cells of a preset in LRS, programmed and aged."""
    d = load_chip(name).device
    d = d if t_s is None else d.replace("time.t_s", t_s)
    g = d.program(torch.ones(N, dtype=torch.float64), seed=2)
    return 1e6 * (d.age(g, 1, 2, "l", 0, state=torch.ones_like(g)).numpy() * d.window_S + d.g_hrs_S)


@pytest.mark.parametrize(
    ("name", "t_s", "mean", "std"),
    [
        ("rram_neurram", None, 40.0, 0.348 + 16.030 - 43.853 + 45.393 - 16.815),
        ("rram_cmo_hfox", 1.0, 88.2, math.hypot(0.0112185 + 0.0112903 * 88.2, 0.411833)),
        ("rram_cmo_hfox", math.e**9, 88.2 - 9 * 0.0890021, math.hypot(1.007022, 0.411833 + 9 * 0.0420114)),
        ("pcm_nandakumar", None, 25.0, 0.26348 + 1.9650 - 1.1731),
        ("pcm_joshi", 2e4, 25 * 1000**-0.06, (0.286386 + 0.0758572 * 25 - 0.00178767 * 625) * 1000**-0.06),
        ("pcm_hermes", None, 10.35, 0.157818 + 2.324439 - 2.163108 + 0.688418),
        ("rram_taox", None, 10.0, 0.037 * 9),
        ("fefet_hzo", None, 1.789, 0.005 * 1.74925),
        ("stt_mram", None, 245.4, 0.0667 * 245.4),
    ],
)
def test_presets_have_the_variation_of_their_source(name: str, t_s: float | None, mean: float, std: float) -> None:
    cells = of_preset(name, t_s)
    assert stats.kstest(cells, "norm", args=(mean, std)).pvalue > FALSE_ALARM


def test_neurram_has_the_measured_error_at_every_time() -> None:
    """Relaxation depends on the target of a cell: programming and relaxation add up to the measured error."""
    for t_s, coefficients in (
        (86400.0, (0.701, 22.086, -50.773, 47.095, -16.458)),
        (172800.0, (0.782, 20.274, -43.507, 37.062, -11.934)),
    ):
        cells = of_preset("rram_neurram", t_s)
        assert stats.kstest(cells, "norm", args=(40.0, sum(coefficients))).pvalue > FALSE_ALARM


def clipped_once(cells: np.ndarray, mean: float, std: float) -> None:
    """Check that cells follow one normal law clipped at 0: the share at 0, and the law of the others."""
    assert cells.min() == 0.0
    assert stats.binomtest(int((cells == 0).sum()), cells.size, float(stats.norm.cdf(-mean / std))).pvalue > FALSE_ALARM
    law = stats.truncnorm(-mean / std, np.inf, mean, std)
    assert stats.kstest(cells[cells > 0], law.cdf).pvalue > FALSE_ALARM


def test_neurram_hrs_is_clipped_once_after_an_hour() -> None:
    """Interpolated in ln t, the error is 0.6023 uS: a mean of 0.2403 uS; clipped by programming as well, 0.301 uS."""
    share = math.log(3600) / math.log(86400)
    cells = 1e6 * sample_cells(load_chip("rram_neurram").replace("device.read.sigma", 0.0).device.replace(
        "time.t_s", 3600.0), 0, N)  # fmt: skip
    clipped_once(cells, 0.0, 0.348 + share * (0.701 - 0.348))
    assert cells.mean() == pytest.approx(0.2403, abs=4 * 0.35 / math.sqrt(N))


def test_programming_and_relaxation_are_clipped_once_together() -> None:
    """Also in a crossbar, after faults and with a tolerance; a cell at 0 S before relaxation may conduct after it."""
    late = Time(t_s=1.0, relaxation=LogRelaxation(sigma_S=2e-5))
    d = Device(g_lrs_S=G_LRS, g_hrs_S=G_HRS, programming=RelativeVariation(sigma=0.1, sigma_hrs=2.0), time=late)
    std = math.hypot(2.0 * G_HRS, 2e-5)
    clipped_once(sample_cells(d, 0, N), G_HRS, std)
    chip = Chip(device=d)
    crossbar = Crossbar.program(torch.ones(100, N // 100), chip, seed=4)
    cells = (crossbar.cells(0)[:, :, 1] + d.floor).clamp_min(0).flatten().numpy() * d.window_S  # of HRS, in a pair
    clipped_once(np.where(cells < 1e-18, 0.0, cells), G_HRS, std)
    assert float(d.at_start.table(1).min()) == -d.floor
    assert float(d.clipped(d.table(1)).min()) == -d.floor > float(d.table(1).min())


def test_nandakumar_drifts_as_published() -> None:
    """A cell in LRS has nu = 0.049 +- 0.008: over ln(t / t0) = 7 the log of the median falls by 0.343."""
    early, late = of_preset("pcm_nandakumar"), of_preset("pcm_nandakumar", 20 * math.e**7)
    nu = np.log(early / late) / 7
    assert np.median(nu) == pytest.approx(0.049, abs=1e-3)
    assert nu.std() == pytest.approx(0.008, rel=0.05)
    d = load_chip("pcm_nandakumar").device
    G = torch.tensor([25e-6], dtype=torch.float64)
    assert float(d.read_variance(G)[0].sqrt() / G[0]) == pytest.approx(0.0368, rel=1e-3)


# -- fits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["gaussian", "log_normal"])
def test_a_fit_finds_the_device_that_generated_the_cells(law: str) -> None:
    n = 2000
    truth = device(programming=RelativeVariation(sigma=0.05, sigma_hrs=0.4, law_hrs=law))  # type: ignore[arg-type]
    cells = {name: np.sort(programmed(truth, k)[:n]) for k, name in ((0.0, "HRS"), (1.0, "LRS"))}
    fit = fit_device(cells)
    hrs, lrs = fit.states
    assert hrs.law == law
    assert abs(lrs.center_S / G_LRS - 1) < 4 * 0.05 / math.sqrt(n)
    assert abs(hrs.center_S / G_HRS - 1) < 4 * 0.4 / math.sqrt(n)
    assert abs(lrs.sigma / 0.05 - 1) < 4 / math.sqrt(2 * n)
    assert abs(hrs.sigma / 0.4 - 1) < 5 / math.sqrt(2 * n)
    assert hrs.evidence > 0
    assert hrs.p_value > 1e-3
    again = fit.device.program(torch.zeros(N, dtype=torch.float64), seed=1).numpy() * fit.device.window_S
    assert same_law(again + fit.device.g_hrs_S, cells["HRS"]) > FALSE_ALARM


def test_the_p_value_is_uniform_for_the_true_law_and_small_for_another() -> None:
    generator = np.random.Generator(np.random.Philox(9))
    p = [likelier_law(np.sort(generator.normal(1e-5, 1e-7, 50))).p_value for _ in range(300)]
    assert stats.kstest(p, "uniform").pvalue > FALSE_ALARM
    bimodal = np.sort(np.concatenate([generator.normal(1e-5, 2e-7, 300), generator.normal(1.4e-5, 2e-7, 300)]))
    lrs = np.sort(generator.normal(1e-4, 1e-6, 50))
    assert fit_device({"HRS": bimodal, "LRS": lrs}).states[0].p_value == 0.001
