"""Samplers of ensembles compared with their laws. Fixed keys; each test fails by chance less than once in 10^4."""

import numpy as np
import pytest
from scipy import stats

from imc_sim.train import bagged_rows, boost, draw_rows, effective_size, shuffled, start_weights

N = 2_000
FALSE_ALARM = 1e-4


def chance(observed: np.ndarray, expected: np.ndarray) -> float:
    """Return the p-value of counts [k] under the law of probabilities [k]."""
    return float(stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue)


@pytest.mark.parametrize("rule", ["A", "B", "C", "D"])
def test_rows_are_sampled_in_proportion_to_their_weights(rule: str) -> None:
    missed = np.arange(N) < 0.3 * N
    w = start_weights(N)
    for _ in range(3):
        w = boost(rule, w, missed, classes=10).weights  # type: ignore[arg-type]
    rows = np.concatenate([draw_rows(w, N, 17, epoch, 4) for epoch in range(50)])
    assert chance(np.bincount(rows, minlength=N), w) > FALSE_ALARM
    # The test is sharp enough to tell these weights from none.
    assert chance(np.bincount(rows, minlength=N), np.ones(N)) < 1e-9 or effective_size(w) > 0.97 * N


def test_members_and_epochs_sample_independently() -> None:
    w = np.linspace(1, 3, 8)
    for other in (draw_rows(w, 40_000, 5, 1, 0), draw_rows(w, 40_000, 5, 0, 1)):
        table = np.zeros((8, 8))
        np.add.at(table, (draw_rows(w, 40_000, 5, 0, 0), other), 1)
        assert float(stats.chi2_contingency(table)[1]) > FALSE_ALARM  # type: ignore[arg-type]


def test_a_bootstrap_sample_holds_poisson_many_copies_of_a_row() -> None:
    """A share of 1 - 1/e of the rows is sampled at all; over many members every row as often as any other."""
    copies = np.stack([np.bincount(bagged_rows(N, 23, member), minlength=N) for member in range(50)])
    law = np.asarray(stats.binom.pmf(np.arange(5), N, 1 / N))
    observed = np.bincount(copies.ravel().clip(0, 5), minlength=6)
    assert chance(observed, np.append(law, 1 - law.sum())) > FALSE_ALARM
    assert chance(copies.sum(0), np.ones(N)) > FALSE_ALARM


def test_all_orders_of_an_epoch_are_equally_likely() -> None:
    orders = [tuple(shuffled(np.arange(4), 3, epoch, 2).tolist()) for epoch in range(6_000)]
    seen = np.array([orders.count(order) for order in set(orders)])
    assert len(seen) == 24
    assert chance(seen, np.ones(24)) > FALSE_ALARM
