"""Fits of levels: each by its own cells, stuck and dead cells apart, against cells sampled from the finished chip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from imc_sim.device import DeviceFit, RelativeVariation, fit, sample_cells
from imc_sim.device.fit import _quality as quality
from imc_sim.plotting import draw_fit
from tests.statistical.coverage import check_coverage

Cells = NDArray[np.float64]


def rng(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key))


def fitted(levels: list[Cells]) -> DeviceFit:
    """Fit levels given in uS: two are HRS and LRS."""
    names = ["HRS", "LRS"] if len(levels) == 2 else [str(k) for k in range(len(levels))]
    size = max(map(len, levels))
    padded = {
        f"{name} (uS)": np.append(G, np.full(size - len(G), np.nan)) for name, G in zip(names, levels, strict=True)
    }
    return fit(padded)


def check_goals(found: DeviceFit, levels: list[Cells], tail: float = 0.10) -> None:
    """Check that sampled cells have the standard deviation, the quantiles and the zeros of the data."""
    distances = []
    for k, G in enumerate(levels):
        cells = sample_cells(found.device, k, 200_000) * 1e6
        assert cells.std() == pytest.approx(G.std(ddof=1), rel=0.05 if len(G) >= 200 else 0.10), k
        assert np.quantile(cells, [0.01, 0.99]) == pytest.approx(np.quantile(G, [0.01, 0.99]), rel=tail), k
        assert (cells == 0.0).mean() <= (G == 0.0).mean() + 3 * np.sqrt((G == 0.0).mean() / 2e5), k
        distances.append(stats.ks_2samp(cells, G)[0])
    assert np.median(distances) <= 0.03


def test_every_level_has_its_own_standard_deviation() -> None:
    means, stds = (5.0, 10.0, 30.0, 50.0, 70.0), (1.5, 0.2, 0.1, 0.1, 0.6)
    levels = [m + s * rng(k).normal(size=1000) for k, (m, s) in enumerate(zip(means, stds, strict=True))]
    check_goals(fitted(levels), levels)


def test_wide_levels_are_truncated_not_clipped() -> None:
    levels = [m * np.exp(0.8 * rng(k).normal(size=4000)) for k, m in enumerate((2.0, 6.0, 20.0, 80.0))]
    check_goals(fitted(levels), levels)


@pytest.mark.parametrize("count", [5, 20, 60])
def test_few_cells_keep_their_range_and_standard_deviation(count: int) -> None:
    levels = [m * np.exp(0.2 * rng(k).normal(size=count)) for k, m in enumerate((2.0, 6.0, 20.0, 80.0))]
    found = fitted(levels)
    for k, G in enumerate(levels):
        cells = sample_cells(found.device, k, 100_000) * 1e6
        assert cells.std() == pytest.approx(G.std(ddof=1), rel=0.10)
        assert G.min() * 0.9999 <= cells.min()
        assert cells.max() <= G.max() * 1.0001


@pytest.mark.parametrize("shape", ["bimodal", "heavy", "stepped", "skewed"])
def test_cells_that_follow_no_law_are_sampled_as_measured(shape: str) -> None:
    z, t, u = rng(1).normal(size=5000), rng(2).standard_t(4, size=5000), rng(3).random(5000)
    hrs = {"bimodal": np.where(u < 0.5, 1.0, 5.0) * np.exp(0.2 * z), "heavy": 6.0 * np.exp(0.15 * t),
           "stepped": np.round(5 + 0.8 * z, 1), "skewed": 2.0 - np.log(u)}[shape]  # fmt: skip
    levels = [hrs, 60.0 + 3 * rng(4).normal(size=5000)]
    found = fitted(levels)
    assert found.device.programming.kind == "measured"
    check_goals(found, levels)
    assert all(state.distance < 0.02 for state in found.states)


def test_one_cell_at_zero_does_not_change_the_law_of_the_others() -> None:
    hrs = 4.0 * np.exp(0.3 * rng(5).normal(size=1000))
    hrs[7] = 0.0
    levels = [hrs, 60.0 + 3 * rng(6).normal(size=1000)]
    found = fitted(levels)
    check_goals(found, levels)
    assert (sample_cells(found.device, 0, 100_000) < 1e-6).mean() < 0.003
    assert (sample_cells(found.device, 1, 100_000) > 40e-6).all()


def test_dead_cells_of_all_levels_are_faults() -> None:
    levels = [m * np.exp(s * rng(k).normal(size=2000)) for k, (m, s) in enumerate(((4.0, 0.3), (60.0, 0.05)))]
    for G in levels:
        G[:40] = 0.001
    found = fitted(levels)
    assert found.device.faults.cell_yield == pytest.approx(0.98)
    assert found.device.faults.dead_S == pytest.approx(1e-9)
    assert found.states[0].law == "log_normal"
    assert found.states[0].sigma == pytest.approx(0.3, rel=0.05)


def test_few_failed_cells_keep_their_conductance() -> None:
    """1.3 % of LRS cells failed a thousandfold lower: the mean of the others moves no quantile of theirs."""
    lrs = 1200.0 * np.exp(0.5 * rng(31).normal(size=1000))
    lrs[:13] = 1.05 * np.exp(0.13 * rng(32).normal(size=13))
    hrs = 15.0 * np.exp(0.8 * rng(33).normal(size=1000))
    hrs[:14] = 1.13 * np.exp(0.06 * rng(34).normal(size=14))
    levels = [hrs, lrs]
    check_goals(fitted(levels), levels, tail=0.06)


def test_a_level_of_zeros_is_a_level() -> None:
    levels = [np.zeros(300), 10 + rng(1).normal(size=300), 30 + rng(2).normal(size=300)]
    found = fitted(levels)
    check_goals(found, levels)
    assert found.device.table_S is not None
    assert found.device.table_S[0] == 0.0


@pytest.mark.parametrize("share", [0.0, 0.002, 0.02])
def test_stuck_cells_are_faults_and_not_device_variation(share: float) -> None:
    n, stuck = 5000, int(5000 * share)
    hrs, lrs = 4.0 * np.exp(0.3 * rng(8).normal(size=n)), 60.0 + 3 * rng(9).normal(size=n)
    mixed = [np.append(hrs[stuck:], lrs[:stuck]), np.append(lrs[stuck:], hrs[:stuck])]
    found = fitted(mixed)
    law = found.device.programming
    assert isinstance(law, RelativeVariation)
    assert law.sigma == pytest.approx(0.05, rel=0.04)
    assert law.sigma_hrs == pytest.approx(0.3, rel=0.04)
    assert found.device.faults.stuck_lrs == pytest.approx(share)
    assert found.device.faults.stuck_hrs == pytest.approx(share)
    check_goals(found, mixed, tail=0.25)  # 1 % and 99 % are within the stuck cells


def test_tails_that_reach_the_other_state_are_not_stuck_cells() -> None:
    found = fitted([4.0 * np.exp(1.2 * rng(8).normal(size=5000)), 60.0 + 3 * rng(9).normal(size=5000)])
    assert found.device.faults.is_ideal
    assert found.states[0].law == "log_normal"


def test_clean_states_have_the_true_parameters_within_their_intervals() -> None:
    """95 % intervals of centre and variation."""
    truths = (4.0, 0.3, 60.0, 3.0)

    def hits(k: int) -> list[bool]:
        z = rng(1000 + k).normal(size=(2, 60))
        values = (4.0 * np.exp(0.3 * z[0]), 60.0 + 3.0 * z[1])
        logs = np.log(values[0])
        ends = [np.exp(quality.mean_interval(logs)), quality.std_interval(logs),
                quality.mean_interval(values[1]), quality.std_interval(values[1])]  # fmt: skip
        return [low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)]

    check_coverage(hits)


def test_intervals_of_cells_without_a_law_cover_their_moments() -> None:
    """Skewed levels (log-normal with 0.4) of 300 cells, whose standard deviation is after Bonett."""
    std = np.exp(0.08) * np.sqrt(np.expm1(0.16))

    def hits(k: int) -> list[bool]:
        G = np.exp(0.4 * rng(3000 + k).normal(size=300))
        ends = (quality.mean_interval(G), np.exp(0.08)), (quality.std_interval(G, normal=False), std)
        return [low <= truth <= high for (low, high), truth in ends]

    check_coverage(hits)


def test_the_largest_deviation_comes_first() -> None:
    hrs = np.append(np.full(60, 40.0), 4.0 * np.exp(0.3 * rng(8).normal(size=1000)))
    words = quality.in_words(quality.deviations("HRS", np.sort(hrs) * 1e-6, np.sort(hrs[60:]) * 1e-6))
    assert words[0].startswith("HRS, standard deviation: 8.378 uS measured")
    assert "(-8" in words[0]


def test_a_million_cells_a_state_give_small_figures(tmp_path: Path) -> None:
    z = rng(11).normal(size=(2, 10**6))
    found = fitted([4.0 * np.exp(0.3 * z[0]), 60.0 + 3 * z[1]])
    assert max(len(part) for _, part in found.part.figures["cdf"].groupby("state")) <= 500
    paths = draw_fit(found.part.figures, tmp_path / "big")
    assert max(path.stat().st_size for path in paths) < 10**6
    assert found.states[0].law == "log_normal"


def test_a_few_cells_far_out_keep_their_share_of_the_variance() -> None:
    """8 of 1,001 cells are at up to 15 times the level: most of the variance, as in arrays of RRAM that were read out.

    Outer cells of one level alone are no stuck cells. The standard deviation of 800,000 cells has an error of 1 %.
    """
    levels = []
    for k, center in enumerate((20.0, 40.0, 80.0)):
        G = center + 5.0 * rng(50 + k).standard_normal(1001)
        G[:8] = np.linspace(120.0, 310.0, 8) if k != 2 else G[:8]
        levels.append(G)
    found = fitted(levels)
    assert found.device.faults.is_ideal
    for k, G in enumerate(levels):
        cells = np.concatenate([sample_cells(found.device, k, 100_000, chip=chip) for chip in range(8)]) * 1e6
        assert cells.std() == pytest.approx(G.std(ddof=1), rel=0.05), k


@pytest.mark.parametrize(("readings", "found"), [(1, False), (50, True)])
def test_readings_of_the_same_cells_are_not_taken_for_cells(readings: int, found: bool) -> None:
    cells = np.repeat(np.arange(20), readings)
    G = 1.0 + 0.05 * rng(40).normal(size=20)[cells]
    fitted = fit({"cell": cells, "LRS (uS)": 60 * G, "HRS (uS)": 4 * G + 0.01 * rng(41).normal(size=len(G))})
    assert ("50 values of each cell and state" in fitted.part.deviations[0]) is found


def test_targets_in_ohm_are_levels_of_falling_resistance() -> None:
    targets = np.repeat([5e3, 2e4, 1e5], 300)
    ohm = targets * (1.0 + 0.02 * rng(60).standard_normal(900))
    found = fit({"target (ohm)": targets, "R (ohm)": ohm})
    assert [state.center_S for state in found.states] == pytest.approx([1e-5, 5e-5, 2e-4], rel=0.01)
