"""The check of intervals has the rates of false alarms and of misses that it states."""

from __future__ import annotations

import numpy as np
import pytest

from tests.statistical.coverage import LEAST_HITS, MOST, check_coverage, clear


def refused(coverage: float) -> float:
    """Return the probability that a line of some coverage has too few hits, by that of each number of misses."""
    misses = np.arange(MOST + 2)
    open_, passed = np.where(misses == 0, 1.0, 0.0), 0.0
    for repeat in range(1, MOST + 1):
        open_ = coverage * open_ + (1.0 - coverage) * np.roll(open_, 1)
        done = clear(misses, repeat)
        passed += open_[done].sum()
        open_[done] = 0.0
    return 1.0 - passed - open_[MOST - misses >= LEAST_HITS].sum()


def test_lines_are_refused_as_often_as_stated() -> None:
    assert 1 / 16_000 < refused(0.95) < 1 / 15_000
    assert refused(0.85) > 0.9


@pytest.mark.parametrize(("coverage", "wrong"), [((0.95,) * 6, False), ((0.95, 0.95, 0.95, 0.8), True),
                                                 ((0.95, 0.95, 0.95, 1.0), True), ((0.9,) * 6, True),
                                                 ((0.985,) * 8, True)])  # fmt: skip
def test_wrong_intervals_are_refused(coverage: tuple[float, ...], wrong: bool) -> None:
    draws = np.random.Generator(np.random.Philox(1)).random((MOST, len(coverage)))
    tried: list[int] = []

    def hits(repeat: int) -> list[bool]:
        tried.append(repeat)
        return (draws[repeat] < coverage).tolist()

    if wrong:
        with pytest.raises(AssertionError, match="repeats"):
            check_coverage(hits)
    else:
        check_coverage(hits)
        assert len(tried) < MOST / 2
