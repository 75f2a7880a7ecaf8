"""Distributions of cells compared with their laws. Fixed keys; each test fails by chance less than once in 10^4."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from imc_sim._rng import Stream
from imc_sim.array import Chip, Crossbar, Tile, encodings
from imc_sim.device import Device, Faults, PolynomialVariation, Read, ReadDisturb, RelativeVariation, sample_cells

N = 200_000
FALSE_ALARM = 1e-4


def programmed(target: float, **device: Any) -> np.ndarray:
    """Return conductances in S of N cells with that target."""
    d = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, **device)
    g = d.program(torch.full((N,), target, dtype=torch.float64), seed=7)
    return g.numpy() * d.window_S + d.g_hrs_S


def test_samples_are_standard_normal_and_independent() -> None:
    z = Stream(3, "layer", "programming").normal(N, chip=5)
    assert stats.kstest(z, "norm").pvalue > FALSE_ALARM
    other = Stream(3, "layer", "programming").normal(N, chip=6)
    for a, b in ((z, other), (z[:-1], z[1:]), (np.abs(z), np.abs(other))):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(N)


@pytest.mark.parametrize("seeds", [(0, 2**32), (7, 7 + 2**32)])
def test_seeds_use_all_their_bits(seeds: tuple[int, int]) -> None:
    a, b = (Stream(s, "x", "y").words(64, 0) for s in seeds)
    assert not np.array_equal(a, b)


def test_streams_are_seekable() -> None:
    stream = Stream(1, "l", "read")
    assert np.array_equal(stream.words(96, 2)[32:], stream.words(64, 2, block=2))


@pytest.mark.parametrize(("target", "mean", "sigma"), [(1.0, 1e-4, 0.1), (0.0, 2e-5, 0.25)])
def test_gaussian_states_have_their_own_standard_deviation(target: float, mean: float, sigma: float) -> None:
    g = programmed(target, programming=RelativeVariation(sigma=0.1, sigma_hrs=0.25))
    assert stats.kstest(g, "norm", args=(mean, sigma * mean)).pvalue > FALSE_ALARM


def test_log_normal_hrs_has_its_target_as_median() -> None:
    g = programmed(0.0, programming=RelativeVariation(sigma=0.1, sigma_hrs=0.6, law_hrs="log_normal"))
    assert stats.kstest(np.log(g), "norm", args=(np.log(2e-5), 0.6)).pvalue > FALSE_ALARM


def test_middle_level_mixes_the_variation_of_both_states() -> None:
    g = programmed(0.5, levels=3, programming=RelativeVariation(sigma=0.1, sigma_hrs=0.3))
    assert stats.kstest(g, "norm", args=(6e-5, 0.2 * 6e-5)).pvalue > FALSE_ALARM


def test_polynomial_variation_follows_its_polynomial() -> None:
    law = PolynomialVariation(coefficients_S=(1e-6, 4e-6, -2e-6), g_max_S=2e-4, scale=0.5)
    g = programmed(1.0, programming=law)
    std = 0.5 * (1e-6 + 4e-6 * 0.5 - 2e-6 * 0.25)
    assert stats.kstest(g, "norm", args=(1e-4, std)).pvalue > FALSE_ALARM


def test_stuck_cells_occur_at_their_rates() -> None:
    d = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, faults=Faults(stuck_lrs=0.013, stuck_hrs=0.04))
    for target, rate in ((0.0, 0.013), (1.0, 0.04)):
        changed = int((d.program(torch.full((N,), target), seed=3) != target).sum())
        assert stats.binomtest(changed, N, rate).pvalue > FALSE_ALARM


@pytest.mark.parametrize("kind", [kind for kind in encodings() if kind != "sliced"])
@pytest.mark.parametrize("bits", [None, 12])
def test_read_noise_adds_up_over_the_driven_cells(kind: str, bits: int | None) -> None:
    """The noise of a column equals that of new samples in every cell, for every encoding and with ADCs."""
    sigma, n = 0.08, 48
    device = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, read=Read(sigma=sigma), programming=RelativeVariation(sigma=0.3))
    chip = Chip(device=device, tile=Tile(rows=128, cols=32)).replace("encoding", {"kind": kind})
    if bits:
        chip = chip.replace("converter", {"kind": "auto", "bits": bits})
    real = (0.0, 1.0) if kind == "unipolar" else (-1.0, 1.0)  # unipolar has no negative weights
    values = torch.tensor(encodings()[kind]().values or real, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    w, x = (values[torch.randint(0, len(values), (1, n), generator=generator)] for _ in range(2))
    bar = Crossbar.program(w, chip)
    y = bar.mvm(x.expand(20_000, -1))[0, :, 0].numpy()
    std = float(expected_variance(bar, x[0], sigma).sqrt())
    assert abs(y.std() / std - 1) < 4 / np.sqrt(2 * len(y))
    if bits is None:
        assert stats.kstest((y - y.mean()) / y.std(), "norm").pvalue > FALSE_ALARM


def expected_variance(bar: Crossbar, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the variance of one result: the noise of every cell at its drive, with a separate read per conversion."""
    plan, encoding = bar.plan, bar.encoding
    g = bar.cells(0) + bar.chip.device.floor  # [outputs, 1, columns, in, rows]; a reference column is last
    total = torch.zeros((), dtype=torch.float64)
    for term in encoding.terms:
        drives = torch.tensor(encoding.drives[term.drive], dtype=torch.float64)
        volts = torch.einsum("rk,ki->ir", drives, torch.stack([x**0, x, x**2]))
        signs = torch.tensor(term.columns, dtype=torch.float64)[:, None, None]
        total += (term.gain * sigma * g * volts * signs).square().sum()
    return total * (plan.targets.scale * plan.targets.steps) ** 2


@pytest.mark.parametrize("unit", [1.0, 0.0, -1.0])
def test_sampled_pairs_have_the_law_of_two_cells(unit: float) -> None:
    law = RelativeVariation(sigma=0.1, sigma_hrs=0.4, law_hrs="log_normal")
    device = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, programming=law)
    w = torch.full((400, 500), unit)
    w[0, 0] = 1.0
    chip = Chip(device=device)
    each = [Crossbar.program(w, chip.replace("draws", d), seed=3).ideal.matrix(0).flatten() for d in ("pairs", "cells")]
    a, b = (x.numpy()[1:] for x in each)
    p: Any = stats.ks_2samp(a, b)[1]
    assert p > FALSE_ALARM
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 4 / np.sqrt(N)
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(N)


def test_sigma_of_and_target_is_have_their_stated_moments() -> None:
    """Moments of a log-normal HRS at sigma 1 (KS-exact law), and of a normal one that is clipped at 0 S."""
    law = RelativeVariation(sigma=1.0, law_hrs="log_normal")
    G = 2e-5
    s = np.sqrt(np.log(2.0))
    for update, median, width in (
        ({}, G, 1.0),
        ({"target_is": "mean"}, G * np.exp(-0.5), 1.0),
        ({"sigma_of": "cv"}, G, s),
        ({"sigma_of": "cv", "target_is": "mean"}, G * np.exp(-s * s / 2), s),
    ):
        g = programmed(0.0, programming=law.model_copy(update=update))
        assert stats.kstest(np.log(g / median) / width, "norm").pvalue > FALSE_ALARM
    equal = programmed(0.0, programming=law.model_copy(update={"sigma_of": "cv", "target_is": "mean"}))
    assert abs(equal.mean() / G - 1) < 0.01
    assert abs(equal.std() / equal.mean() - 1) < 0.06
    clipped = programmed(1.0, programming=law)
    assert abs(clipped.mean() / 1e-4 - 1.0833) < 0.01
    assert abs(clipped.std() / clipped.mean() - 0.80) < 0.01


def test_read_disturb_depends_on_the_programmed_state() -> None:
    """Device variation neither spares cells in LRS nor disturbs those in HRS."""
    disturb = ReadDisturb(reads=10**9)
    law = RelativeVariation(sigma=0.5, sigma_hrs=0.8, law_hrs="log_normal")
    before = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, programming=law, read=Read(v_read_V=0.4))
    after = before.model_copy(update={"disturb": disturb})
    w = torch.cat([torch.ones(40, 300), -torch.ones(40, 300)]).double()
    g = [Crossbar.program(w, Chip(device=d), seed=2).cells(0) + d.floor for d in (before, after)]
    factor = torch.full_like(g[0], 1.0)
    factor[:40, :, 0] = factor[40:, :, 1] = after.wear.factor
    assert after.wear.factor < 0.9
    assert torch.allclose(g[1], g[0] * factor, rtol=1e-9)
    assert np.allclose(sample_cells(after, 0, 500), sample_cells(before, 0, 500), rtol=1e-12)
