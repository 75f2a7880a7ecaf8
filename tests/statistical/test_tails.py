"""Bit error rates of 1e-5 to 1e-7 compared with the normal tail. Fixed keys; false alarms below 1e-4 per test."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtr, ndtri

from imc_sim import _rng
from imc_sim._quantiles import PARTS, WIDTH, masses, normal_quantiles, probabilities
from imc_sim._rng import Stream
from imc_sim.array import Chip, Crossbar
from imc_sim.device import Device, RelativeVariation

FALSE_ALARM = 1e-4
RATES = (1e-5, 1e-6, 1e-7)


def accept(hits: int, draws: int, rate: float, tests: int) -> bool:
    return bool(stats.binomtest(hits, draws, rate).pvalue > FALSE_ALARM / tests)


@pytest.mark.skipif(not _rng.compiled(), reason="too many draws without compiled code")
def test_normal_numbers_have_the_tails_of_the_normal_law() -> None:
    chunk, chunks, stream = 2**24, 20, Stream(11, "tail", "programming")
    hits, largest = dict.fromkeys([-r for r in RATES] + [*RATES], 0), 0.0
    for chip in range(chunks):
        z = stream.normal(chunk, chip)
        far = z[np.abs(z) > 4]
        largest = max(largest, float(np.abs(far).max()))
        for rate in RATES:
            hits[rate] += int((far > -ndtri(rate)).sum())
            hits[-rate] += int((far < ndtri(rate)).sum())
    assert all(accept(n, chunk * chunks, abs(rate), len(hits)) for rate, n in hits.items())
    assert largest > 5.3  # of 3.4e8 normal numbers the largest is below it once in 10^17


def test_the_tables_reach_six_standard_deviations() -> None:
    q, p = normal_quantiles()[PARTS:], probabilities()[PARTS:]
    assert float(q.max()) == -float(q.min()) > 5.89
    assert np.allclose(q, ndtri(p), rtol=1e-6, atol=0)
    assert np.isclose(masses().sum(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("draws", ["cells", "pairs"])
def test_cells_fall_below_a_threshold_as_often_as_normal_numbers(draws: str) -> None:
    """Differential pairs of cells in LRS and at 0 S: the difference has the law of the LRS cell."""
    device = Device(g_lrs_S=1e-4, g_hrs_S=0.0, programming=RelativeVariation(sigma=0.1))
    bar = Crossbar.program(torch.ones(2048, 4096), Chip(device=device).replace("draws", draws), chips=2, seed=3)
    g = torch.cat([bar.ideal.matrix(0), bar.ideal.matrix(1)])
    for rate in (1e-5, 1e-6):
        low = int((g < 1.0 + 0.1 * ndtri(rate)).sum())
        high = int((g > 1.0 - 0.1 * ndtri(rate)).sum())
        assert accept(low, g.numel(), rate, 4)
        assert accept(high, g.numel(), rate, 4)


def test_log_normal_tails_and_pairs_follow_their_law() -> None:
    """Exact, in the tables: single cells to 0.1 % of the probability, differences of normal cells to 3 %."""
    law = RelativeVariation(sigma=0.1, sigma_hrs=0.6, law_hrs="log_normal")
    device = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, programming=law)
    tail = np.log((device.table(1)[0, PARTS:].numpy() + device.floor) / device.floor) / 0.6
    p = np.minimum(probabilities()[PARTS:], 1 - probabilities()[PARTS:])
    assert np.allclose(ndtr(-np.abs(tail)), p, rtol=1e-3, atol=0)
    normal = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, programming=RelativeVariation(sigma=0.1, sigma_hrs=0.25))
    z = (normal.pair_table(1)[1, PARTS:].numpy() - 1.0) / np.hypot(0.125, 0.0625)
    beyond = p > 1e-7
    assert np.allclose(ndtr(-np.abs(z))[beyond], p[beyond], rtol=0.03, atol=0)


def test_only_outermost_words_need_a_second_number() -> None:
    stream, n = Stream(5, "l", "s"), 2_000_000
    words, columns = stream.words(n, 1), stream.columns(n, 1)
    outer = (words == 0) | (words == PARTS - 1)
    assert np.array_equal(columns[~outer], words[~outer])
    assert columns[outer].min() >= PARTS
    assert columns.max() < WIDTH
    assert np.array_equal(stream.columns(n - 32, 1, block=2), columns[32:])
    assert stats.kstest((columns[outer] - PARTS) % 4096 / 4096, "uniform").pvalue > FALSE_ALARM
