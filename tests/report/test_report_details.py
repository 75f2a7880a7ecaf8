"""Sentences, tables and settings of reports, worked out by hand from small tables."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame

from imc_sim import InputError
from imc_sim.plotting import Metric
from imc_sim.plotting._comparison import COLUMNS
from imc_sim.report import _certainty, against_published, answer, answers, caption, fill_made, fill_pages, filled
from imc_sim.report._answer import joined
from imc_sim.report._baseline import _at_chance, _below_card
from imc_sim.report._certainty import ChipSample, resampled_medians
from imc_sim.report._comparison import cells, plain_text
from imc_sim.report._costs import place_cell
from imc_sim.report._html import details, document, pairs, table
from imc_sim.report._pages import plain_table
from imc_sim.report._report import (
    _data,
    _data_sets,
    _needed,
    _number,
    _own_content,
    _row,
    _statistics,
)
from imc_sim.report._settings import study_settings, text, variants
from imc_sim.report._task import task_line

NAN = math.nan
MAE = Metric.of({"metric": {"name": "MAE", "unit": "K", "better": "lower", "tolerance": None}})


def curve(
    medians: dict[str, list[float]], x: list[Any], digital: float | list[float] = 90.0, **attrs: Any
) -> DataFrame:
    rows = [(s, at, 30, m) for s, values in medians.items() for at, m in zip(x, values, strict=True)]
    data = DataFrame(rows, columns=["series", "x", "chips", "median"])
    data["digital"] = digital
    data.attrs.update({"x_name": "variation", "x_unit": "%", "x_label": "variation (%)"} | attrs)
    return data


def sample(*rows: tuple[float, ...], factor: float = 1.0) -> ChipSample:
    return ChipSample(rows, resampled_medians(rows, factor=factor))


# -- the answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("medians", "rest"),
    [
        ([10.0, 10.5, 12.0], "up to variation 1 %; at 2 % it is 12 K."),
        ([12.0, 11.0, 12.0], "at no variation tried: it is closest at 1 %, 1 K above."),
        ([9.0, 10.5, 10.500000001], "at every variation tried (0 % to 2 %); at 2 % it is 10.5 K."),
    ],
)
def test_a_score_that_should_be_low_is_answered_in_its_unit(medians: list[float], rest: str) -> None:
    data = curve({"all": medians}, [0, 1, 2], 10.0, metric=MAE)
    assert answer(data) == f"The median MAE of 30 chips stays within 5 % of digital (10 K) {rest}"


def test_a_tolerance_can_be_given() -> None:
    data = curve({"all": [90.0, 88.0, 80.0]}, [0, 1, 2])
    assert "up to variation 1 %" in answer(data, 2.0)
    assert "within 2 points of digital" in answer(data, 2.0)


def test_several_digital_networks_are_not_one_number() -> None:
    assert "(" not in answers(curve({"all": [90.0, 80.0]}, [0, 1], [90.0, 80.0]))[0].partition(" at ")[0]
    missing = curve({"a": [90.0, 80.0], "b": [90.0, 80.0]}, [0, 1], [90.0, 90.0, 90.0, NAN])
    assert answers(missing)[1].startswith("b: this cannot be answered yet")
    assert answer(missing).startswith("This cannot be answered yet")


def test_one_value_and_one_chip_have_no_range_and_no_plural() -> None:
    single = curve({"all": [90.0]}, [5]).assign(chips=1)
    single.attrs = curve({"all": [90.0]}, [5]).attrs
    assert answer(single).startswith("The median of 1 chip stays")
    assert "at every variation tried (5 %); at 5 % it is 90.0 %." in answer(single)
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"], "or") == "a, b or c"


def test_up_to_three_series_are_named() -> None:
    series = {name: [90.0, 70.0] for name in "abc"} | {"d": [70.0, 70.0]}
    assert "up to variation 0 % (a; b; c)" in answer(curve(series, [0, 1]))


def test_other_outcomes_are_named_by_their_frequency() -> None:
    """Each of two chips is the only one close at some values: the median of two samples is one of three numbers."""
    data = curve({"all": [90, 89.0, 89.0, 60]}, [0, 1, 2, 3])
    chips = sample((90, 90, 90), (90, 90, 88), (90, 88, 88.5), (60, 60, 60))
    sentence = answer(data, chips=chips)
    # all close at 2 % in 7 of 27, at 1 % in 20 of 27; both samples use the same chips, so their outcomes are joint
    found = [int(part.split(" in ")[-1]) for part in sentence.rpartition("Resampling")[2].split(" %") if " in " in part]
    assert len(found) == 3, sentence
    assert found[1] >= found[2] > 0, "the most frequent of the other answers first"


def test_least_certain_series_is_the_one_that_is_named() -> None:
    data = curve({"a": [90, 89], "b": [90, 60]}, [0, 1])
    shaky, steady = ((90, 90, 90), (90, 90, 80)), ((90, 90, 90), (60, 60, 60))
    assert answer(data, chips=sample(*shaky, *steady)).endswith("(least: a).")
    alone = answer(data, chips=sample((90,), (90,), (90,), (60,)))
    assert alone.endswith("One chip does not show how certain this is.")


def test_resampled_medians_are_those_of_every_run() -> None:
    """Golden values of the addressed stream; each block has separate random numbers."""
    rows = ((1.0, 2.0, 4.0), (1.0, 2.0, 4.0), (8.0, 16.0))
    found = resampled_medians(rows, 6)
    assert (found[:, 0] == found[:, 1]).all(), "rows with equally many chips share their random numbers"
    assert set(found[:, 2]) <= {800.0, 1200.0, 1600.0}
    assert found[:, 0].tolist() == GOLDEN
    assert _certainty.RESAMPLINGS == 2000
    assert len(resampled_medians(rows)) == 2000
    assert resampled_medians(rows, 6, factor=1.0)[:, 0].tolist() == [value / 100 for value in GOLDEN]


GOLDEN = [100.0, 400.0, 400.0, 200.0, 200.0, 200.0]


@pytest.mark.parametrize("chips", [129, 130, 131, 200])
@pytest.mark.parametrize("levels", [1, 2, 5, 128])
def test_medians_of_many_chips_with_few_results_are_those_of_numpy(
    chips: int, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an even number of chips, the mean of the two in the middle."""
    rows = (tuple((0.7 * k) % levels / levels for k in range(chips)), tuple(k % levels / 8.0 for k in range(chips)))
    found = resampled_medians(rows, 40, factor=1.0)
    monkeypatch.setattr(_certainty, "_LEVELS", 0)
    assert np.array_equal(found, resampled_medians(rows, 40, factor=1.0))


def test_resampled_medians_are_in_the_unit_of_the_figures() -> None:
    metric = {"name": "MAE", "unit": "K", "better": "lower", "tolerance": None}
    for study, scale in (({}, 100.0), ({"metric": metric}, 1.0)):
        results: Any = SimpleNamespace(study=study, accuracies=((0.5, 0.5), (0.25,)))
        found = ChipSample.of(results)
        assert found.accuracies == results.accuracies
        assert found.medians.tolist() == [[0.5 * scale, 0.25 * scale]] * 2000
        assert [found.alone(rows) for rows in ([0], [1], [0, 1])] == [False, True, True]


def test_blocks_of_resamplings_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _certainty._BLOCK == 2_000_000, "part of the address of the random numbers"
    rows = (tuple(float(k) for k in range(9)),)
    monkeypatch.setattr(_certainty, "_BLOCK", 9)
    each = resampled_medians(rows, 12)[:, 0]
    assert len(set(each)) > 3


# -- digital baselines --------------------------------------------------------------------------------------


def test_the_worst_of_several_guessing_networks_is_named() -> None:
    data = DataFrame({"digital": [25.0, 22.0, 99.0]})
    data.attrs = {"chance": [20.0, 20.0, 10.0]}
    assert _at_chance(data).endswith("in 2 of 3 rows (22.0 %; guessing gives 20.0 %): being close to it shows nothing.")
    data = data.iloc[:2]
    data.attrs = {"chance": 20.0}
    assert "chance (22.0 %;" in _at_chance(data)


@pytest.mark.parametrize(("digital", "named"), [([80.0, 90.0], False), ([79.9, 90.0], True)])
def test_ten_points_below_the_card_are_tolerated(digital: list[float], named: bool) -> None:
    points = [{"case": "a", "values": [v], "stated": 0.9} for v in (0, 1)]
    results: Any = SimpleNamespace(
        study={"axes": [{"path": "p"}], "points": points}, table=DataFrame({"case": "a", "p": [0, 1]})
    )
    found = _below_card(DataFrame({"digital": digital}), results)
    assert ("(79.9 %, against 90.0 % on this data set)" in found) is named


# -- the task and the settings ------------------------------------------------------------------------------

TASK = {"dataset": "glyphs", "split": "test", "way": 5, "shot": 1, "episodes": 50, "images": None, "attack": None}


@pytest.mark.parametrize(
    ("study", "line"),
    [
        ({}, "5-way 1-shot accuracy on glyphs (test), 50 episodes a chip."),
        ({"axes": [{"path": "chip_task.way"}]}, "1-shot accuracy on glyphs (test), 50 episodes a chip."),
        (
            {"cases": [{"set": {}, "sweep": ["task.shot", "seed"]}]},
            "5-way accuracy on glyphs (test), 50 episodes a chip.",
        ),
        ({"cases": [{"set": {"task": {}}, "sweep": None}]}, "Accuracy."),
        ({"task": {"kind": "function", "call": "/a/b.py:f", "metric": "error"}}, "Error by b.py:f."),
        ({"task": {"kind": "function", "call": "/a/b.py:f"}, "axes": [{"path": "task.call"}]}, "Score."),
    ],
)
def test_the_task_is_described_by_what_every_point_has(study: dict[str, Any], line: str) -> None:
    assert task_line({"task": TASK, "axes": [], "cases": [{"set": {}}]} | study) == line


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "none"), (True, "yes"), (False, "no"), (0.000225, "0.000225"), (0.123456, "0.123456"), (3, "3"),
     ({"a": [1, "ü"]}, '{"a": [1, "ü"]}')],
)  # fmt: skip
def test_settings_are_text_on_one_line(value: Any, shown: str) -> None:
    assert text(value) == shown


def test_cases_and_axes_are_listed_with_what_they_set() -> None:
    study = {
        "cases": [{"name": "a", "set": {}}, {"name": "b", "set": {"task.way": 4, "seed": 1}, "sweep": ["x", "y"]}],
        "axes": [{"path": "p", "values": [1, 2], "labels": ["one", "two"]}, {"path": "q", "values": [0.5, None]}],
    }  # fmt: skip
    assert variants(study) == [
        ("case a", "as in the study"), ("case b", "task.way = 4; seed = 1; sweeps x, y"),
        ("axis p", "one, two"), ("axis q", "0.5, none"),
    ]  # fmt: skip


def test_settings_of_the_study_itself_are_listed(results: Any) -> None:
    study = results.study | {"skip": [{"case": "b"}], "seed": 3, "engine": results.study["chip"]["engine"]}
    found = {s.path: s.value for s in study_settings(study)}
    assert (found["skip"], found["seed"]) == ('[{"case": "b"}]', "3")
    assert not [path for path in found if path.startswith("engine")], "the chip states the same"
    other = {s.path: s.value for s in study_settings(study | {"engine": {"kind": "memtorch"}})}
    assert other["engine.kind"] == "memtorch"


# -- pages and tables ---------------------------------------------------------------------------------------


def test_all_text_of_a_page_is_escaped() -> None:
    hostile, safe = '<b>"', "&lt;b&gt;&quot;"
    page = document(hostile, [])
    assert f"<title>{safe}</title>" in page
    made = table([hostile], [[hostile, (hostile, hostile), ("x", NAN), ("y", 2.5)]], hostile)
    assert made.count(safe) == 5
    assert '<td data-v="">x</td><td data-v="2.5">y</td>' in made
    assert pairs([("a", hostile), ("gone", "")]) == f"<dl><dt>a</dt><dd>{safe}</dd></dl>"
    assert details(hostile, "<i>") == f"<details><summary>{safe}</summary><i></details>"


def test_tables_in_markdown() -> None:
    made = plain_table(DataFrame({"a": ["x", NAN], "n": [1.005, NAN], "k": [3, 4]}))
    assert made.splitlines() == ["| a | n | k |", "| --- | ---: | ---: |", "| x | 1.00 | 3 |", "|  |  | 4 |"]
    assert plain_text("a\nb | $x$ <i>") == r"a b \| \$x\$ \<i>"


def test_only_the_named_block_of_a_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    blocks = [f"<!-- made {name} -->\nold\n<!-- end -->\n" for name in "ab"]
    page.write_text("".join(blocks))
    fill_made(page, "b", DataFrame({"n": [1]}))
    assert page.read_text() == blocks[0] + "<!-- made b -->\n\n| n |\n| ---: |\n| 1 |\n\n<!-- end -->\n"
    kept = "<!-- table t -->\nold\n<!-- end of table -->\n"
    assert filled(kept, tmp_path) == kept, "no such table"
    page.write_text(kept)
    other: Any = SimpleNamespace(study={"name": "other"}, folder="out")
    with pytest.raises(InputError, match="no place for table 'other'"):
        fill_pages([page], [other])


ROW = dict.fromkeys(COLUMNS, NAN) | {
    "setting": "a", "digital": 90.0, "digital_low": 88.0, "digital_high": 91.0, "digital_over": "9 episodes",
    "on_chip": 80.0, "on_chip_low": 79.0, "on_chip_high": 85.0, "chips": 3, "chip": "rram", "classes": 0,
    "chip_task": "", "trained": "", "note": "",
}  # fmt: skip


def test_a_comparison_has_the_columns_that_say_something() -> None:
    heads, (row,) = cells(DataFrame([ROW]))
    assert heads == ["setting", "ours, digital", "95 % interval", "ours on rram", "95 % interval over chips", "chips",
                     "trained"]  # fmt: skip
    assert row[2] == ("88.00 to 91.00", 88.0)
    assert row[4] == ("79.00 to 85.00", 79.0)
    assert row[5:] == [("3", 3), "-"]
    apart = DataFrame([ROW | {"same_task": 70.0, "chip_task": "way 5, keys binary"}, ROW | {"chip_task": "way 5"}])
    heads, rows = cells(apart)
    assert heads[3] == "ours, digital, reduced task"
    assert [each[3] for each in rows] == [("70.00", 70.0), ("-", pytest.approx(NAN, nan_ok=True))]
    assert [each[-1] for each in rows] == ["keys binary", "-"]
    assert caption(apart).endswith(" Reduced task: way 5.")
    some = DataFrame([ROW | {"classes": 60, "classes_low": 80.0, "classes_high": 95.0}, ROW])
    heads, rows = cells(some)
    assert heads[3] == "95 % interval, new classes"
    assert [each[3] for each in rows] == [("80.00 to 95.00", 80.0), ("-", pytest.approx(NAN, nan_ok=True))]
    equal = DataFrame([ROW | {"chip_task": "way 5"}] * 2)
    assert "reduced task" not in cells(equal)[0]
    counted = caption(DataFrame([ROW | {"classes": 60}, ROW | {"classes": 0}]))
    assert "that for new classes counts the 60 classes as a sample as well" in counted
    assert "new classes" not in caption(DataFrame([ROW]))


def test_settings_short_of_their_publication_are_named() -> None:
    rows = [("a", 90.0, 89.5), ("b", 90.0, 87.9), ("c", NAN, 1.0), ("d", 90.0, 95.0)]
    data = DataFrame(rows, columns=["setting", "published", "digital"]).assign(on_chip=0.0)
    head = "Digitally, 2 of 3 settings reach the published accuracy or come within 1 point"
    assert against_published(data) == f"{head}; short of it: b (-2.1)."
    assert against_published(data, 2.5).endswith(
        "3 of 3 settings reach the published accuracy or come within 2.5 points of it."
    )


# -- the page -----------------------------------------------------------------------------------------------

AXIS = {"path": "p", "label": "x", "unit": "%", "scale": 100}
RECORD = {"case": "a", "p": 0.25, "chips": 3, "mean": 0.9, "median": 0.92, "p05": 0.8, "p95": 0.99, "digital": NAN}


def test_a_row_of_the_table_shows_and_sorts_each_number() -> None:
    assert _row(RECORD, [AXIS], Metric(), (0.85, 0.94)) == [
        "a", ("25", 25.0), ("3", 3), ("90.00 (85.00 to 94.00)", 90.0), ("92.00", 92.0), ("80.00 to 99.00", 80.0),
        ("not yet", pytest.approx(NAN, nan_ok=True)),
    ]  # fmt: skip
    assert place_cell("word", AXIS) == "word"
    assert (_number(0.1234567), _number(True)) == (("0.123457", 0.1234567), "True")


def test_the_band_of_few_chips_is_qualified() -> None:
    results: Any = SimpleNamespace(table=DataFrame({"chips": [1, 3, 9, 19, 30]}), study={})
    assert "fewer than 19 hold less (50 % for 3, 80 % for 9)" in _statistics(results)
    results.table = DataFrame({"chips": [1, 19]})
    assert "hold less" not in _statistics(results)
    results.study = {"metric": {"name": "MAE", "unit": "K", "better": "lower", "tolerance": None}}
    assert _statistics(results).startswith("Results: MAE of the user's function.")
    assert "Wilson" not in _statistics(results)


def test_long_tables_are_only_next_to_the_page() -> None:
    assert "<details>" in _data(DataFrame({"n": np.arange(400)}), "x")
    assert "401 rows, in the file next to this page." in _data(DataFrame({"n": np.arange(401)}), "x")


def test_data_and_content_that_a_run_needs_are_named() -> None:
    study = {
        "task": {"dataset": "a"}, "chip_task": {"dataset": "b"},
        "cases": [{"set": {"task.dataset": "c"}}, {"set": {"task": {"dataset": "d"}}}],
        "axes": [{"path": "seed", "also": ["task.dataset"], "values": ["e", "a"]},
                 {"path": "task", "values": [{"dataset": "f"}, {}]}, {"path": "model", "values": ["net"]}],
        "content": {"model": {"m": "./models/m", "n": "shipped:n"}, "chip": {"c": "./device_configs/c.yaml"}},
    }  # fmt: skip
    assert _data_sets(study) == list("abcdef")
    assert _own_content(study) == "device_configs/c.yaml, models/m"
    assert _needed(study, "a, b")[0].startswith("Provide the data: a, b (")
    metric = study | {"metric": {"name": "MAE"}, "task": {"call": "f.py:g", "files": ["x.csv"]}}
    assert _needed(metric, "")[0] == "Provide the function that computes MAE and its files: f.py:g, x.csv."
