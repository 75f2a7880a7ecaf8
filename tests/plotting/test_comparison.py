"""Published next to ours: every number of the table is that of a stored trial, every mark one of the table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from imc_sim import ResultsError
from imc_sim._stats import Sample, mean_interval
from imc_sim.evaluate import ChipResult
from imc_sim.plotting import comparison_data, comparison_figure, figures_of, robustness_data, style
from imc_sim.plotting._comparison import published_of
from imc_sim.plotting._tables import numbers
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

STUDY: dict[str, Any] = {
    "name": "table",
    "model": "batmann_5w1s_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 50},
    "chip_task": {"episodes": 5},
    "cases": [
        {"name": "S1", "published": 0.9525, "note": "a | b"},
        {"name": "S2", "published": 0.5, "set": {"model": "batmann_small_xnor", "chip_task.keys": "binary"}},
        {"name": "S3", "set": {"chip": "ideal", "chip.device.programming": {"kind": "relative", "sigma": 0.2}}},
    ],
    "chips": {"min": 6},
}
SIGMA = {"path": "chip.device.programming.sigma", "values": [0, 0.25, 0.5], "label": "variation", "unit": "%",
         "scale": 100}  # fmt: skip


SAMPLE = Sample("episodes", 50, 0.1, classes=60, class_error=0.03)


def with_sample(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
) -> list[ChipResult]:
    """Evaluate with the replacement, whose digital results state their number of episodes."""
    found = stand_in_evaluator(model, chip, task, chips, seed)
    sample = dataclasses.replace(SAMPLE, count=task["episodes"])
    return [dataclasses.replace(r, sample=sample) for r in found] if chip is None else found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(STUDY, tmp_path_factory.mktemp("table") / "study", evaluator=with_sample)


def test_a_row_holds_the_results_of_its_trials(results: Results) -> None:
    data = comparison_data(results)
    rows = [json.loads(line) for line in (results.folder / "trials.jsonl").read_text().splitlines()]
    done = {(row["point"], row["chip"]): 100 * row["correct"] / row["total"] for row in rows}
    assert data["setting"].tolist() == ["S1", "S2", "S3"]
    for row, point in zip(data.to_dict("records"), results.study["points"], strict=True):
        mean, low, high = mean_interval([done[point["id"], chip] for chip in range(6)])
        assert (row["digital"], row["same_task"]) == pytest.approx(
            (done[point["reference"], -1], done[point["baseline"], -1])
        )
        ends = (max(0.0, low), min(100.0, high))
        assert (row["on_chip"], row["on_chip_low"], row["on_chip_high"]) == pytest.approx((mean, *ends), abs=1e-4)
        for name, sample in (("digital", SAMPLE), ("same_task", dataclasses.replace(SAMPLE, count=5))):
            ends = [100 * end for end in sample.interval(row[name] / 100)]
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(ends, abs=1e-4)
        ends = [100 * end for end in SAMPLE.class_interval(row["digital"] / 100) or ()]
        assert (row["classes_low"], row["classes_high"]) == pytest.approx(ends, abs=1e-4)
        assert row["classes"] == 60
    assert data["published"].tolist()[:2] == [95.25, 50]
    assert math.isnan(numbers(data, "published")[2])
    assert data["digital_over"].unique().tolist() == ["50 episodes"]
    assert data["trained"].tolist() == ["4000 episodes", "6000 episodes", "4000 episodes"], (
        "as in the cards of the models"
    )
    assert data["chip"].tolist() == ["rram_hfo2_1t1r"] * 2 + ["ideal"]
    assert data["chip_task"].tolist() == ["episodes 5", "episodes 5, keys binary", "episodes 5"]
    assert data["note"].tolist() == ["a | b", "", ""]


def test_published_values_follow_the_first_axis(tmp_path: Path) -> None:
    cases = [{"name": "all", "published": [0.9, None, 0.1], "set": {"chip.converter.kind": "auto"}}]
    bits = {"path": "chip.tile.rows", "values": [4, 8], "unit": "bits", "label": "ADC"}
    study = STUDY | {"axes": [SIGMA, bits], "cases": cases, "chip_task": {}}
    data = comparison_data(run(study, tmp_path / "out", evaluator=with_sample))
    assert data["setting"].tolist()[:3] == [
        "variation 0 %, ADC 4 bits",
        "variation 0 %, ADC 8 bits",
        "variation 25 %, ADC 4 bits",
    ]
    np.testing.assert_array_equal(data["published"], [90, 90, np.nan, np.nan, 10, 10])
    assert np.isnan(numbers(data, "same_task")).all(), "the same task is not listed twice"


def test_results_of_an_older_version_are_shown_without_what_they_lack(results: Results) -> None:
    study = {key: value for key, value in results.study.items() if key != "trained"}
    study["points"] = [
        {k: v for k, v in p.items() if k in ("case", "values", "id", "baseline")} for p in study["points"]
    ]
    study["cases"] = [{k: v for k, v in case.items() if k in ("name", "set", "sweep")} for case in study["cases"]]
    rows = {i: {k: v for k, v in row.items() if k != "sample"} for i, row in results.rows.items()}
    data = comparison_data(dataclasses.replace(results, study=study, rows=rows))
    assert np.isnan(numbers(data, "digital_low")).all()
    assert data["trained"].tolist() == ["", "", ""]
    assert data["chips"].tolist() == [6, 6, 6]


def test_every_mark_of_the_figure_is_that_of_the_table(results: Results) -> None:
    data = comparison_data(results)
    with style():
        figure = comparison_figure(data)
        figure.canvas.draw()
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["S1", "S2", "S3"]
    lines = {str(line.get_label()): line for line in ax.lines}
    np.testing.assert_array_equal(lines["published"].get_xdata(), numbers(data, "published"))
    np.testing.assert_array_equal(lines["ours, digital, reduced task"].get_xdata(), numbers(data, "same_task"))
    bars = {str(bar.get_label()): bar for bar in ax.containers if isinstance(bar, ErrorbarContainer)}
    for label, name in (
        ("ours, digital (95 % over 50 episodes)", "digital"),
        ("ours on chips (95 % of 6 chips)", "on_chip"),
    ):
        line, _, (spans,) = bars[label].lines
        assert line is not None
        np.testing.assert_array_equal(line.get_xdata(), numbers(data, name))
        ends = np.array([segment[:, 0] for segment in spans.get_segments()])
        np.testing.assert_allclose(ends, np.stack([numbers(data, f"{name}_{end}") for end in ("low", "high")], 1))
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first setting is on top"


def test_a_study_of_cases_shows_cases_instead_of_an_axis(results: Results) -> None:
    assert list(figures_of(results)) == ["comparison", "convergence"]
    data = robustness_data(results)
    assert data["x"].tolist() == ["S1", "S2", "S3"]
    np.testing.assert_allclose(data["median"], 100 * results.table["median"])


def test_a_failed_digital_network_leaves_only_a_gap(results: Results) -> None:
    on_chips = {i: row for i, row in results.rows.items() if row["chip"] >= 0}
    data = comparison_data(dataclasses.replace(results, rows=on_chips))
    assert np.isnan(numbers(data, "digital")).all()
    np.testing.assert_array_equal(numbers(data, "on_chip"), numbers(comparison_data(results), "on_chip"))
    with style():
        comparison_figure(data).canvas.draw()
    with pytest.raises(ResultsError, match="no finished trial"):
        comparison_data(dataclasses.replace(results, rows={}))


@pytest.mark.parametrize(
    ("published", "found"),
    [(None, []), (0.0, [0.0]), (0.5, [0.5]), ([0.0, None, 0.5], [0.0, 0.5]), ((None,), []), ((0.0,), [0.0])],
)
def test_an_accuracy_of_zero_can_be_published(published: object, found: list[float]) -> None:
    assert published_of({"published": published}) == found
    assert published_of({}) == []
