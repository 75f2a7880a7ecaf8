"""Coverage of every kind of interval that is printed. Fixed keys; each test fails by chance less than once in 10^4."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from imc_sim._stats import FULL_BAND, Sample, band, band_label, chip_interval, mean_interval, wilson
from imc_sim.report._certainty import ChipSample, resampled_medians

FALSE_ALARM = 1e-4
RUNS = 1000


def at_least(covered: int, level: float) -> bool:
    """Tell if as many of RUNS intervals cover the true value as intervals of that level do."""
    return float(stats.binom.cdf(covered, RUNS, level)) > FALSE_ALARM


@pytest.mark.parametrize(("right", "count"), [(20, 20), (0, 7), (97, 100), (9131, 10_000)])
def test_interval_of_images_is_wilsons(right: int, count: int) -> None:
    sample = Sample.over("images", np.arange(count) < right)
    assert sample is not None
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert sample.interval(right / count) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert sample.class_interval(right / count) is None


@pytest.mark.parametrize(("count", "truth"), [(20, 0.97), (100, 0.99), (1000, 0.9), (10_000, 0.999)])
def test_interval_of_images_covers(count: int, truth: float) -> None:
    """By the exact binomial law: Student's t covers 45 % at the first and 63 % at the second of these."""
    right = np.arange(count + 1)
    ends = np.array([wilson(k / count, np.sqrt(k / count * (1 - k / count) / count), count, None) for k in right])
    covered = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    assert float(stats.binom.pmf(right, count, truth)[covered].sum()) > 0.92
    assert ends.min() >= 0.0
    assert ends.max() <= 1.0


def episodes(
    rng: np.random.Generator, difficulty: NDArray[np.float64], count: int, way: int = 5, queries: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return accuracies [count] of episodes whose classes differ, and their classes [count, way]."""
    classes = np.argsort(rng.random((count, len(difficulty))), axis=1)[:, :way]
    return rng.binomial(queries // way, difficulty[classes]).sum(1) / (queries // way * way), classes


def test_interval_over_episodes_covers_results_on_the_same_classes() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.beta(19.4, 0.6, 60)
    covered = 0
    for _ in range(RUNS):
        values, _ = episodes(rng, difficulty, 40)
        sample = Sample.over("episodes", values)
        low, high = (0.0, 1.0) if sample is None else sample.interval(float(values.mean()))
        assert 0.0 <= low <= values.mean() <= high <= 1.0
        covered += low <= difficulty.mean() <= high
    assert at_least(covered, 0.93)
    assert covered < RUNS


@pytest.mark.parametrize(("pool", "count"), [(60, 200), (200, 300), (50, 400)])
def test_interval_for_new_classes_covers_and_that_over_episodes_does_not(pool: int, count: int) -> None:
    rng, truth = np.random.default_rng(2), 18 / 20
    covered = episode_covered = 0
    for _ in range(RUNS):
        values, classes = episodes(rng, rng.beta(18, 2, pool), count)
        sample = Sample.over("episodes", values, classes)
        assert sample is not None
        low, high = sample.class_interval(float(values.mean())) or (0.0, 1.0)
        covered += low <= truth <= high
        low, high = sample.interval(float(values.mean()))
        episode_covered += low <= truth <= high
    assert at_least(covered, 0.93)
    assert not at_least(episode_covered, 0.93)


def test_error_over_classes_equals_that_of_resampling_classes() -> None:
    """The mean of the estimated variances is the variance over new pools, within 10 %."""
    rng, means, errors = np.random.default_rng(3), [], []
    for _ in range(2000):
        values, classes = episodes(rng, rng.beta(18, 2, 60), 200)
        sample = Sample.over("episodes", values, classes)
        means.append(values.mean())
        errors.append(0.0 if sample is None else sample.class_error or 0.0)
    assert np.mean(np.square(errors)) == pytest.approx(np.var(means), rel=0.15)


def test_without_a_difference_between_classes_both_intervals_agree() -> None:
    rng = np.random.default_rng(4)
    values, classes = episodes(rng, np.full(600, 0.9), 400)
    sample = Sample.over("episodes", values, classes)
    assert sample is not None
    assert sample.class_error == pytest.approx(sample.sd / np.sqrt(400), rel=0.12)
    few = Sample.over("episodes", *episodes(rng, np.full(29, 0.9), 50))
    assert few is not None
    assert few.class_interval(0.9) is None, "29 classes need more than six episodes"


def test_all_correct_still_has_an_interval() -> None:
    sample = Sample.over("episodes", np.ones(50))
    assert sample is not None
    low, high = sample.interval(1.0)
    assert high == 1.0
    assert 0.90 < low < 0.95


def test_interval_of_the_mean_over_chips_covers() -> None:
    rng = np.random.default_rng(5)
    ends = np.array([mean_interval(rng.normal(0.9, 0.02, 5))[1:] for _ in range(RUNS)])
    covered = int(((ends[:, 0] <= 0.9) & (ends[:, 1] >= 0.9)).sum())
    assert at_least(covered, 0.95)
    assert stats.binom.sf(covered, RUNS, 0.95) > FALSE_ALARM


@pytest.mark.parametrize(("chips", "content"), [(30, 0.9), (19, 0.9), (100, 0.9), (5, 4 / 6)])
def test_band_holds_the_stated_share_of_chips(chips: int, content: float) -> None:
    """For uniform numbers the content of a band is its width. The usual percentile holds 84 % of 30, 60 % of 5."""
    draws = np.random.default_rng(6).random((20_000, chips))
    widths = np.array([high - low for low, high in map(band, draws[:4000])])
    error = widths.std() / np.sqrt(len(widths))
    assert widths.mean() == pytest.approx(content, abs=4 * error)
    ordered = np.sort(draws[0])
    assert (band(draws[0]) == (ordered[0], ordered[-1])) is (chips <= FULL_BAND)


def test_label_describes_the_band() -> None:
    assert band_label([30, 30]) == "5-95 % of 30 chips"
    assert band_label([5]) == "lowest to highest of 5 chips"
    assert band_label([5, 200]) == "5-95 % of 5-200 chips (under 19: lowest to highest)"
    assert band_label([1], named=False) == "lowest to highest of chips"


def test_resampled_chips_have_the_law_of_resampling() -> None:
    """Two of three chips are right: the median of three samples is right with probability 20 / 27."""
    medians = resampled_medians(((0.9, 0.9, 0.1), (0.9, 0.9, 0.1), (0.3,), (0.2, 0.6)), 4000)
    right = int((medians[:, 0] > 50).sum())
    assert stats.binomtest(right, 4000, 20 / 27).pvalue > FALSE_ALARM
    np.testing.assert_array_equal(medians[:, 0], medians[:, 1])  # equally many chips: the same chips
    np.testing.assert_allclose(medians[:, 2], 30)
    assert sorted(set(np.round(medians[:, 3], 9))) == [20, 40, 60]
    again = resampled_medians(((0.9, 0.9, 0.1),), 4000)
    np.testing.assert_array_equal(again[:, 0], medians[:, 0])


def test_rows_equal_to_the_bit_are_found() -> None:
    chips = ChipSample(((0.5, 0.6), (0.5, 0.6), (0.6, 0.5), (0.5,)), np.zeros((1, 4)))
    assert chips.equal([0, 1, 2, 3]) == [[0, 1]]
    assert chips.equal([2, 1]) == []
    assert chips.alone([0, 3])


@pytest.mark.parametrize("chips", [2, 3, 5])
def test_interval_of_few_equal_chips_holds_the_mean(chips: int) -> None:
    """Chips score 1 or, one in ten, 0.5: exact coverage over all outcomes. Student's t alone: at most 41 %."""
    low_scores = np.arange(chips + 1)
    weights = stats.binom.pmf(low_scores, chips, 0.1)
    ends = [chip_interval([0.5] * k + [1.0] * (chips - k))[1:] for k in low_scores]
    assert sum(w for w, (low, high) in zip(weights, ends, strict=True) if low <= 0.95 <= high) > 0.95
    assert all(0.0 <= low <= high <= 1.0 for low, high in ends)


def test_interval_of_chips_without_variation_is_exact() -> None:
    assert chip_interval([0.9] * 4, vary=False) == (0.9, 0.9, 0.9)
    assert chip_interval([0.9]) == (0.9, 0.0, 1.0)
    assert chip_interval([0.8, 0.9], vary=False) == chip_interval([0.8, 0.9])
    assert chip_interval([0.8, 0.9, 1.0]) == pytest.approx((*mean_interval([0.8, 0.9, 1.0])[:2], 1.0))
