"""The arithmetic of boosting compared with vectors of the original code, also where its formulas have no value."""

import numpy as np
import pytest

from imc_sim import InputError
from imc_sim.train import (
    BOOSTING_RULES,
    bagged_rows,
    boost,
    draw_rows,
    effective_size,
    shuffled,
    start_weights,
    weighted_error,
)

N, ERROR = 50_000, 0.3
MISSED = np.arange(N) < round(ERROR * N)


def first(rule: str, independent: bool = False) -> tuple[float, float, float, float]:
    """Return alpha, weight of a missed and of a hit sample, sum of weights after a first member of 30 % error."""
    alpha, w = boost(rule, start_weights(N), MISSED, independent=independent)  # type: ignore[arg-type]
    assert len(set(w[MISSED])) == len(set(w[~MISSED])) == 1
    return alpha, float(w[0]), float(w[-1]), float(w.sum())


def printed(value: float, digits: int) -> str:
    return f"{value:.{digits}e}" if value < 1e-3 else f"{value:.{digits}f}"


def test_rule_a_gives_the_vectors_of_the_original() -> None:
    alpha, missed, hit, total = first("A")
    assert printed(alpha, 6) == "0.423649"
    assert (printed(missed, 5), printed(hit, 5), printed(total, 6)) == ("3.05505e-05", "1.30931e-05", "0.916515")


def test_rule_b_gives_the_vectors_of_the_original() -> None:
    alpha, missed, hit, _ = first("B")
    assert printed(alpha, 6) == "0.423649"
    assert (printed(missed, 5), printed(hit, 5)) == ("3.05502e-05", "1.30932e-05")


def test_rule_c_gives_the_vectors_of_the_original() -> None:
    alpha, missed, hit, total = first("C")
    assert printed(alpha, 6) == "0.423649"
    assert (printed(missed, 6), printed(hit, 6), printed(missed / hit, 3)) == ("0.948276", "0.879310", "1.078")
    assert total == pytest.approx(45_000, abs=1e-6)


def test_rule_d_gives_the_vectors_of_the_original() -> None:
    alpha, missed, hit, total = first("D")
    assert printed(alpha, 6) == "0.304452"
    assert (printed(missed, 5), printed(hit, 5), printed(total, 6)) == ("2.71176e-05", "1.47505e-05", "0.923034")


def test_independent_members_change_alpha_of_rule_b_only() -> None:
    alpha, missed, hit, _ = first("B", independent=True)
    assert alpha == first("D")[0]
    # As D as long as weights are small: the logit moves by alpha, not the logarithm.
    assert missed == pytest.approx(first("D")[1], rel=2e-5)
    assert missed != first("D")[1]
    assert hit < 1 / N < missed
    for rule in ("A", "C", "D"):
        assert first(rule, independent=True) == first(rule)


def test_bagging_counts_every_member_once_and_weighs_no_sample() -> None:
    w = np.linspace(1, 2, 10)
    alpha, after = boost("bagging", w, np.arange(10) < 3)
    assert (alpha, after.tolist()) == (1.0, w.tolist())


@pytest.mark.parametrize("error", [0.05, 0.3, 0.7])
def test_after_rule_a_the_same_member_is_wrong_half_the_time(error: float) -> None:
    w = np.random.Generator(np.random.Philox(1)).random(1000)
    missed = np.arange(1000) < 1000 * error
    assert abs(weighted_error(w, missed) - 0.5) > 0.1
    assert weighted_error(boost("A", w, missed).weights, missed) == pytest.approx(0.5, abs=1e-12)


def test_the_error_needs_no_normalised_weights_and_no_rule_normalises_them() -> None:
    missed = np.array([True, False, False, False])
    assert weighted_error(np.array([3.0, 1.0, 1.0, 1.0]), missed) == 0.5
    w = boost("A", np.array([2.0, 3.0, 3.0, 2.0]), missed).weights
    assert w == pytest.approx([4.0, 1.5, 1.5, 1.0])


def test_alpha_is_negative_for_members_worse_than_half_except_where_classes_count() -> None:
    missed = np.arange(10) < 8
    assert boost("A", start_weights(10), missed).alpha == pytest.approx(0.5 * np.log(0.2 / 0.8))
    assert boost("A", start_weights(10), missed).weights[0] < 0.1
    assert boost("D", start_weights(10), missed).alpha == pytest.approx(0.1 * np.log(9 * 0.2 / 0.8))
    assert boost("D", start_weights(10), missed, classes=3).alpha == pytest.approx(0.1 * np.log(2 * 0.2 / 0.8))


def test_rule_c_normalises_by_the_number_of_classes() -> None:
    """5,000 of 50,000 samples are a tenth, and N / 1000 of the original is meant for 1,000 classes."""
    w = boost("C", start_weights(400), np.arange(400) < 100, classes=40).weights
    assert (1 - w).sum() == pytest.approx(10)


def rounds(rule: str, count: int) -> list[np.ndarray]:
    """Return the weights before every round: 30 % error, half of it on a fifth of the samples that is hard for all."""
    draws, w = np.random.Generator(np.random.Philox(3)), start_weights(N)
    chance = np.where(np.arange(N) < N // 5, 0.75, 0.1875)
    seen = [w]
    for _ in range(count):
        w = boost(rule, w, draws.random(N) < chance).weights  # type: ignore[arg-type]
        seen.append(w)
    return seen


def test_b_is_nearly_a_and_c_changes_weights_little() -> None:
    a, b, c, d = (rounds(rule, 5) for rule in "ABCD")
    assert np.abs(b[1] / a[1] - 1).max() < 3e-5
    assert np.abs(b[5] / a[5] - 1).max() < 1e-3
    assert effective_size(c[1]) == pytest.approx(49_943, abs=10)
    assert effective_size(c[5]) > 0.98 * N > 0.7 * N > effective_size(d[5])
    assert effective_size(np.ones(7)) == pytest.approx(7)
    assert effective_size(np.array([1.0, 0.0, 0.0])) == 1


def test_rule_c_is_clamped_where_the_formula_turns_negative() -> None:
    w, fell = start_weights(N), False
    for _ in range(60):
        missed = np.arange(N) < N // 10
        raw = 1 - (1 - w) * np.exp(np.where(missed, -1, 1) * boost("C", w, missed).alpha)
        fell = fell or bool((raw < 0).any())
        w = boost("C", w, missed).weights
        assert w.min() >= 0
        draw_rows(w, 10, 0, 0, 0)
    assert fell
    one = np.array([0.9, 0.01, 0.9, 0.9])
    lowest = boost("C", one, np.array([True, False, False, False]), classes=3).weights
    assert lowest[1] == 0
    assert np.all(lowest[[0, 2, 3]] > 0)


@pytest.mark.parametrize(("missing", "as_if"), [(0, 0.5), (8, 7.5)])
def test_a_perfect_member_counts_as_if_it_missed_half_a_sample(missing: int, as_if: float) -> None:
    alpha, w = boost("A", start_weights(8), np.arange(8) < missing)
    assert alpha == pytest.approx(0.5 * np.log((8 - as_if) / as_if))
    assert len(set(w)) == 1


def test_rule_b_accepts_weights_at_both_ends() -> None:
    assert boost("B", np.array([0.0, 1.0, 0.5, 0.5]), np.arange(4) < 1).weights[:2].tolist() == [0.0, 1.0]


def test_rows_are_addressed_by_seed_epoch_and_member() -> None:
    w = np.linspace(0, 1, 50)
    rows = draw_rows(w, 200, 5, 2, 1)
    assert rows.dtype == np.int64
    assert rows.tolist() == draw_rows(w, 200, 5, 2, 1).tolist()
    assert rows[:60].tolist() == draw_rows(w, 60, 5, 2, 1).tolist()
    for other in (draw_rows(w, 200, 6, 2, 1), draw_rows(w, 200, 5, 3, 1), draw_rows(w, 200, 5, 2, 2)):
        assert rows.tolist() != other.tolist()


def test_rows_of_no_weight_are_never_sampled() -> None:
    w = np.zeros(9)
    w[[2, 5]] = 1.0, 3.0
    assert set(draw_rows(w, 2000, 0, 0, 0).tolist()) == {2, 5}


def test_a_bootstrap_sample_is_kept_and_its_order_changes() -> None:
    rows = bagged_rows(500, 3, 1)
    assert rows.tolist() == bagged_rows(500, 3, 1).tolist()
    assert rows.tolist() != bagged_rows(500, 3, 2).tolist() != bagged_rows(500, 4, 2).tolist()
    assert len(set(rows.tolist())) < 400
    order = shuffled(rows, 3, 0, 1)
    assert sorted(order.tolist()) == sorted(rows.tolist())
    others = [shuffled(rows, 3, 1, 1), shuffled(rows, 3, 0, 2), shuffled(rows, 4, 0, 1), rows]
    assert all(order.tolist() != other.tolist() for other in others)
    assert order.tolist() == shuffled(rows, 3, 0, 1).tolist()


def test_bad_use_is_refused() -> None:
    assert list(BOOSTING_RULES) == ["bagging", "A", "B", "C", "D"]
    with pytest.raises(InputError, match="'bagging', 'A', 'B', 'C' or 'D'"):
        boost("E", start_weights(3), np.zeros(3, bool))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        weighted_error(start_weights(3), np.zeros(2, bool))
    with pytest.raises(InputError, match="none negative"):
        draw_rows(np.array([1.0, -1e-9]), 3, 0, 0, 0)
    with pytest.raises(InputError, match="not all 0"):
        draw_rows(np.zeros(3), 3, 0, 0, 0)
    with pytest.raises(InputError, match="1 or more"):
        bagged_rows(0, 0, 0)
    with pytest.raises(InputError, match="2 or more"):
        boost("D", start_weights(3), np.zeros(3, bool), classes=1)
