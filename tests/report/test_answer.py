"""The answer is computed from the table, whichever end of the axis is ideal."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pandas import DataFrame

from imc_sim.report import _answer, answer, answers
from imc_sim.report._certainty import ChipSample, resampled_medians


def table(series: Mapping[str, Sequence[float]], x: list[Any], unit: str = "%", digital: float = 90.0) -> DataFrame:
    rows = [
        {"series": name, "x": at, "chips": 30, "median": m, "p05": m - 1, "p95": m + 1, "digital": digital}
        for name, medians in series.items()
        for at, m in zip(x, medians, strict=True)
    ]
    data = DataFrame(rows)
    data.attrs = {"x_name": "variation", "x_unit": unit, "x_label": f"variation ({unit})"}
    return data


HEAD = "The median of 30 chips stays within 1 point of digital (90.0 %)"


@pytest.mark.parametrize(
    ("medians", "rest"),
    [
        ([90.0, 89.2, 70.0, 60.0], "up to variation 25 %; at 50 % it is 70.0 %."),
        ([90.0, 89.0, 88.9, 60.0], "up to variation 25 %; at 50 % it is 88.9 %."),
        ([20.0, 70.0, 89.5, 91.0], "from variation 50 % on; at 25 % it is 70.0 %."),
        ([90.0, 89.5, 89.2, 89.1], "at every variation tried (0 to 75 %); at 75 % it is 89.1 %."),
        ([80.0, 79.0, 70.0, 60.0], "at no variation tried: it is closest at 0 %, 10.0 points below."),
        ([60.0, 79.0, 85.0, 70.0], "at no variation tried: it is closest at 50 %, 5.0 points below."),
        ([70.0, 89.5, 90.0, 70.0], "only at variation 25 % to 50 %."),
        ([90.0, 80.0, 90.0, 60.0], "only at variation 0 % and 50 % and not at every value between."),
    ],
)
def test_one_series_gives_one_sentence(medians: list[float], rest: str) -> None:
    data = table({"all": medians}, [0, 25, 50, 75])
    if "(0 to" in rest:
        rest = rest.replace("(0 to", "(0 % to")
    assert answer(data) == f"{HEAD} {rest}"
    assert answer(data.iloc[::-1].assign().pipe(_with_attrs, data)) == f"{HEAD} {rest}", (
        "the order of rows does not matter"
    )


def _with_attrs(data: DataFrame, source: DataFrame) -> DataFrame:
    data.attrs = source.attrs
    return data


def test_the_limit_itself_counts_as_within() -> None:
    data = table({"all": [100 * 0.98, 100 * 0.97]}, [0, 1], digital=100 * 0.99)
    assert "up to variation 0 %" in answer(data)


def test_several_series_become_one_sentence() -> None:
    data = table({"a": [90, 89, 70], "b": [90, 90, 60], "c": [80, 80, 80]}, [0, 1, 2])
    head = "The median of 30 chips stays within 1 point of digital"
    assert answer(data) == f"{head} up to variation 1 % (a; b) and at no variation tried (c)."
    each = answers(data)
    assert each[0] == f"a: t{head[1:]} (90.0 %) up to variation 1 %; at 2 % it is 70.0 %."
    assert len(each) == 3
    many = table({f"s{k}": [90, 70, 70] for k in range(9)} | {"t": [90, 90, 70]}, [0, 1, 2])
    assert answer(many) == f"{head} up to variation 0 % (9 of 10 cases) and up to variation 1 % (t)."
    same = table({"a": [90, 90], "b": [90, 91]}, [0, 1])
    assert answer(same) == f"{head} at every variation tried (0 % to 1 %) in both cases."


def test_names_have_no_order() -> None:
    data = table({"all": [90.0, 70.0, 90.0]}, ["bnn_i", "bnn_ii", "bnn_iii"], unit="")
    assert answer(data) == f"{HEAD} at variation bnn_i and bnn_iii alone."


def test_without_a_baseline_there_is_no_answer() -> None:
    data = table({"all": [90.0, 70.0]}, [0, 1], digital=math.nan)
    assert answer(data) == "This cannot be answered yet: a digital network has not been measured."
    assert answers(data)[0].startswith("all: this cannot be answered yet")


def sampled(*rows: tuple[float, ...]) -> ChipSample:
    """Return sampled chips behind a table, accuracies in %."""
    fractions = tuple(tuple(value / 100 for value in row) for row in rows)
    return ChipSample(fractions, resampled_medians(fractions))


def test_resampled_chips_give_the_certainty_of_the_answer() -> None:
    """Two of three chips are within 1 point at 50 %: the median of three samples is within it in 20 of 27 cases."""
    data = table({"all": [90, 90, 90, 60]}, [0, 25, 50, 75])
    chips = sampled((90, 90, 90), (90, 90, 89.5), (90, 90, 80), (60, 60, 60))
    sentence = answer(data, chips=chips)
    found = re.search(r"gives this in (\d+) % of cases, up to variation 25 % in (\d+) %\.$", sentence)
    assert found is not None, sentence
    assert int(found[1]) + int(found[2]) == 100
    assert 70 <= int(found[1]) <= 78
    assert answer(data, chips=chips) == sentence, "the same in every run"
    two = table({"a": [90, 90, 90, 60], "b": [90, 90, 90, 60]}, [0, 25, 50, 75])
    steady = ((90, 90, 90), (90, 90, 90), (90, 90, 90), (60, 60, 60))
    sentence = answer(two, chips=sampled(*((90, 90, 90), (90, 90, 89.5), (90, 90, 80), (60, 60, 60)), *steady))
    assert sentence.endswith(f"gives the same in {found[1]} % of cases or more (least: a).")


def test_the_order_of_rows_changes_no_certainty() -> None:
    """Each row has its own chips: 25 % is the uncertain one in every order."""
    rows = [(90, 0, (90, 90, 90)), (90, 25, (90, 90, 80)), (60, 50, (60, 60, 60)), (50, 75, (50, 50, 50))]
    found = []
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)):
        medians, x, chips = zip(*(rows[row] for row in order), strict=True)
        for names in ({"all": medians}, {"a": medians, "b": medians}):
            data = table(names, list(x))
            found.append(answer(data, chips=sampled(*chips * len(names))))
    assert len(set(found)) == 2
    assert len(set(found[::2])) == 1
    assert "up to variation 0 % in" in found[0]


def test_certainty_is_stated_only_where_resampling_changes_the_answer() -> None:
    data = table({"all": [90, 60]}, [0, 1])
    assert answer(data, chips=sampled((90, 90), (60, 61))).endswith(" Resampling the chips gives the same.")
    assert answer(data, chips=sampled((90,), (60,))).endswith(" One chip does not show how certain this is.")


def test_rows_equal_to_the_bit_are_reported() -> None:
    data = table({"all": [90, 90, 89]}, [2, 4, 6], unit="bits")
    same = "Every variation tried gives the same on every chip, to the bit."
    assert answer(data, chips=sampled((90, 91), (90, 91), (90, 91))).endswith(same)
    some = "The same on every chip, to the bit: variation 2 bits and 4 bits."
    assert answer(data, chips=sampled((90, 91), (90, 91), (91, 90))).endswith(some)
    assert "to the bit" not in answer(data, chips=sampled((90, 91), (90, 92), (91, 90)))
    assert len(answers(data, chips=sampled((90, 91), (90, 91), (91, 90)))) == 1


def test_answers_that_are_each_rare_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data, chips = table({"all": [90, 60]}, [0, 1]), sampled((90, 90), (60, 61))
    own = _answer._reach(_answer._Values(data, 1.0), data)[0]
    shares = {own: 0.991, "b": 0.004, "c": 0.003, "d": 0.002}
    monkeypatch.setattr(_answer, "_outcomes", lambda *_: dict(shares))
    assert answer(data, chips=chips).endswith("gives this in 99 % of cases, each of 3 other answers more rarely.")
