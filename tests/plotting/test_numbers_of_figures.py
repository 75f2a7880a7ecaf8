"""Tables of figures hold numbers that are worked out by hand from small results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame
from scipy.stats import t as student

from imc_sim import ResultsError
from imc_sim.device import Device
from imc_sim.evaluate import Confusion, ConverterInputs, LayerAccuracy
from imc_sim.evaluate._converter_inputs import Levels
from imc_sim.evaluate._embedding import Embedding
from imc_sim.plotting import (
    Metric,
    chip_count,
    comparison_data,
    confusion_data,
    convergence_data,
    converter_data,
    figures_of,
    flips_data,
    forgetting_data,
    forgetting_table,
    heading,
    heatmap_data,
    levels_data,
    quadratic_data,
    robustness_data,
    sensitivity_data,
    shown,
    training_data,
    trainings_data,
    tsne_data,
    tsne_shares,
)
from imc_sim.plotting._cells import CELLS, cells_data, iv_of_levels
from imc_sim.plotting._convergence import slowest
from imc_sim.plotting._device import iv_data, pulse_data
from imc_sim.plotting._forgetting import _readable
from imc_sim.plotting._heatmap import two_axes
from imc_sim.plotting._labels import further, place
from imc_sim.study import Results
from imc_sim.train import FlippedBin

SIGMA: dict[str, Any] = {
    "path": "chip.device.programming.sigma", "values": [0, 0.25], "label": "variation", "unit": "%", "scale": 100,
    "labels": [], "zip": None, "spaced": "linear",
}  # fmt: skip
ROWS = SIGMA | {"path": "chip.tile.rows", "values": [4, 8], "label": "", "unit": "", "scale": 1}
MAE = {"name": "MAE", "unit": "K", "better": "lower", "tolerance": None}


def study_of(points: list[dict[str, Any]], axes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return a resolved study with one case per name that its points have."""
    names = dict.fromkeys(point["case"] for point in points)
    return {
        "name": "s", "model": "net", "chip": {"name": "rram"}, "task": {"way": 5}, "axes": axes,
        "cases": [{"name": name, "set": {}} for name in names], "chips": {"half_width": 0.02},
        "points": [{"id": f"p{n}", "baseline": "b"} | point for n, point in enumerate(points)],
    } | more  # fmt: skip


def results_of(study: dict[str, Any], trials: dict[str, list[float]], digital: float = 0.9) -> Results:
    """Return results whose point `pN` has these accuracies (of 1000 answers) or scores, and one digital network."""
    share = "metric" not in study
    score = lambda x: {"correct": round(1000 * x), "total": 1000} if share else {"score": x}  # noqa: E731
    rows = {
        f"{point} {chip}": {"point": point, "chip": chip, "state": "done", **score(value)}
        for point, values in {"b": [digital], **trials}.items()
        for chip, value in enumerate(values, -1 if point == "b" else 0)
    }
    rows = dict(reversed(rows.items()))  # the order of chips is not that of the file
    lines = []
    for point in study["points"]:
        values = trials[point["id"]]
        where = dict(zip((a["path"] for a in study["axes"]), point["values"], strict=True))
        numbers = {"chips": len(values), "mean": np.mean(values), "median": np.median(values), "digital": digital}
        lines.append({"case": point["case"], **where, **numbers, "p05": min(values), "p95": max(values)})
    accuracies = tuple(tuple(trials[point["id"]]) for point in study["points"])
    return Results(Path("folder"), study, DataFrame(lines), {}, 0, "", accuracies, rows=rows)


def test_axes_have_one_name_in_every_figure() -> None:
    assert (heading(SIGMA), heading(ROWS)) == ("variation (%)", "chip.tile.rows")
    assert [shown(v, SIGMA) for v in (0.1234567, True, False, None, "x")] == ["12.3457", "on", "off", "none", "x"]
    assert (place(0.25, SIGMA), place(4, ROWS)) == ("variation 25 %", "chip.tile.rows 4")
    free, zipped, other = SIGMA, ROWS | {"zip": "z"}, ROWS | {"path": "p", "zip": "z"}
    study = {"axes": [free, zipped, other, ROWS | {"path": "q"}]}
    assert [axis["path"] for axis in further(study, free)] == ["chip.tile.rows", "p", "q"]
    assert [axis["path"] for axis in further(study, zipped)] == [SIGMA["path"], "q"]
    assert [chip_count(DataFrame({"chips": n})) for n in ([30, 30], [30, 45])] == ["30", "30-45"]


@pytest.mark.parametrize(
    ("metric", "near", "difference", "text", "allowed"),
    [
        (Metric(), "1 point", "points", "12.3 %", [1.0, 1.0]),
        (Metric(tolerance=2.0), "2 points", "points", "12.3 %", [2.0, 2.0]),
        (Metric.of({"metric": MAE}), "5 %", "K", "12.346 K", [0.5, 1.0]),
        (Metric.of({"metric": MAE | {"tolerance": 0.5, "unit": ""}}), "0.5", "", "12.346", [0.5, 0.5]),
    ],
)
def test_a_metric_states_what_is_close(
    metric: Metric, near: str, difference: str, text: str, allowed: list[float]
) -> None:
    assert (metric.near, metric.difference, metric.quantity(12.3456)) == (near, difference, text)
    assert metric.allowed(np.array([-10.0, 20.0])).tolist() == pytest.approx(allowed)


def test_the_gap_of_a_metric_is_by_how_much_a_chip_is_worse() -> None:
    digital, chips = np.array([10.0]), np.array([12.0])
    assert (Metric().gap(digital, chips)[0], Metric.of({"metric": MAE}).gap(digital, chips)[0]) == (-2.0, 2.0)
    limits = [(m.low, m.high) for m in (Metric(), Metric.of({"metric": MAE}))]
    assert limits == [(0.0, 100.0), (-math.inf, math.inf)]


def test_robustness_has_the_values_of_the_axis_in_its_unit() -> None:
    points = [{"case": c, "values": [v, 4], "chance": 0.1} for c in ("a", "b") for v in (0, 0.25)]
    found = robustness_data(results_of(study_of(points, [SIGMA, ROWS]), {f"p{n}": [0.8, 0.9] for n in range(4)}))
    assert found["x"].tolist() == [0, 25] * 2
    assert found["series"].unique().tolist() == ["a, chip.tile.rows 4", "b, chip.tile.rows 4"]
    assert found[["median", "p05", "p95"]].iloc[0].tolist() == pytest.approx([85, 80, 90])
    assert found.attrs["chance"] == pytest.approx(10.0)
    logged = study_of([{"case": "all", "values": [4, 0]}], [ROWS | {"spaced": "log"}, SIGMA])
    found = robustness_data(results_of(logged, {"p0": [0.5]}))
    assert found["series"].tolist() == ["variation 0 %"], "the axes alone tell the series of one unnamed case apart"
    assert (found.attrs["spaced"], found.attrs["chance"], found.attrs["x_name"]) == ("log", 20.0, "chip.tile.rows")


def test_a_study_has_the_figures_that_it_has_data_for() -> None:
    line = study_of([{"case": "a", "values": [v]} for v in (0, 0.25)], [SIGMA])
    assert list(figures_of(results_of(line, {"p0": [0.8, 0.9], "p1": [0.8, 0.9]}))) == ["robustness", "convergence"]
    assert list(figures_of(results_of(line, {"p0": [0.8], "p1": [0.8]}))) == ["robustness"]
    attack = study_of([{"case": "a", "values": [0.1]}], [SIGMA | {"path": "task.attack.epsilon", "values": [0.1]}])
    assert list(figures_of(results_of(attack, {"p0": [0.8]}))) == ["fgsm"]
    cases = results_of(study_of([{"case": "a", "values": []}], []), {"p0": [0.8]})
    assert list(figures_of(cases)) == ["comparison"]
    assert list(figures_of(cases, ["robustness", "comparison"])) == ["robustness", "comparison"], (
        "in the order of their names here"
    )


def test_a_map_has_two_crossed_axes_of_several_values() -> None:
    single = SIGMA | {"values": [0]}
    for axes, paths in (
        ([SIGMA, ROWS], [SIGMA["path"], ROWS["path"]]),
        ([single, SIGMA | {"path": "a"}, ROWS], ["a", ROWS["path"]]),
        ([SIGMA, single, ROWS], [SIGMA["path"], ROWS["path"]]),
        ([SIGMA | {"zip": "z"}, ROWS | {"zip": "z"}], [SIGMA["path"]]),
    ):
        assert [axis["path"] for axis in two_axes({"axes": axes})] == paths
    third = ROWS | {"path": "seed", "values": [0, 1]}
    points = [{"case": "a", "values": [v, r, 1]} for v in (0, 0.25) for r in (4, 8)]
    data = heatmap_data(results_of(study_of(points, [SIGMA, ROWS, third]), {f"p{n}": [n / 10] for n in range(4)}))
    assert data["panel"].unique().tolist() == ["a, seed 1"]
    assert list(zip(data["x"], data["y"], data["median"], strict=True)) == [
        ("0", "4", 0.0), ("0", "8", 10.0), ("25", "4", 20.0), ("25", "8", pytest.approx(30.0)),
    ]  # fmt: skip
    assert (data.attrs["x_label"], data.attrs["y_label"]) == ("variation (%)", "chip.tile.rows")
    with pytest.raises(ResultsError, match="1 axis with more than one value"):
        heatmap_data(results_of(study_of([{"case": "a", "values": [0]}], [SIGMA]), {"p0": [0.1]}))


def test_convergence_is_of_scores_in_their_unit_and_of_chips_in_order() -> None:
    points = [{"case": "a", "values": [v]} for v in (0, 0.25)]
    trials = {"p0": [2.0, 4.0, 9.0], "p1": [1.0, 1.0]}
    study = study_of(points, [SIGMA], metric=MAE)
    data = convergence_data(results_of(study, trials, 1.0))
    assert list(data.columns) == ["point", "chips", "score", "mean", "half_width"]
    assert data["score"].tolist() == [2, 4, 9, 1, 1]
    assert data["mean"].tolist() == pytest.approx([2, 3, 5, 1, 1])
    two, three = student.ppf(0.975, 1) * np.sqrt(2 / 2), student.ppf(0.975, 2) * np.sqrt(13 / 3)
    assert data["half_width"].tolist() == pytest.approx([math.nan, two, three, math.nan, 0], nan_ok=True)
    assert data.attrs["target"] == 0.02
    assert (
        convergence_data(results_of(study_of(points, [SIGMA]), {"p0": [0.2, 0.4], "p1": [1, 1]})).attrs["target"] == 2
    )
    assert slowest(data) == ["a, variation 0 %", "a, variation 25 %"]
    wide = DataFrame({"point": list("aabbccddee"), "half_width": [9, 1, 1, 2, 1, 3, 1, 4, 1, 5]})
    assert slowest(wide) == ["e", "d", "c", "b"], "by the last width, at most four"


@pytest.mark.parametrize(("chips", "rows"), [(200, 200), (201, 200), (10_000, 200)])
def test_convergence_of_many_chips_has_few_rows_of_the_same_means(chips: int, rows: int) -> None:
    values = np.random.default_rng(1).random(chips).round(3)
    data = convergence_data(results_of(study_of([{"case": "a", "values": []}], []), {"p0": values.tolist()}))
    counts = data["chips"].to_numpy()
    assert rows - 10 <= len(data) <= rows
    assert counts[:100].tolist() == list(range(1, 101))
    assert counts[-1] == chips
    assert (np.diff(counts) > 0).all()
    if chips > 1000:
        assert np.diff(np.log(counts[100:])) == pytest.approx(math.log(chips / 100) / 100, rel=0.2)
    for row in data.iloc[[1, 50, 99, 120, -1]].to_dict("records"):
        some = 100 * values[: row["chips"]]
        half = student.ppf(0.975, len(some) - 1) * some.std(ddof=1) / math.sqrt(len(some))
        assert (row["accuracy"], row["mean"]) == pytest.approx((some[-1], some.mean()))
        assert row["half_width"] == pytest.approx(half)


def test_comparison_takes_each_number_from_its_own_trials() -> None:
    cases = [
        {"name": "all", "published": 0.0, "set": {}}, {"name": "b", "published": None, "set": {}},
    ]  # fmt: skip
    points = [
        {"case": "all", "values": [], "vary": True, "chance": 0.1, "reference": "b", "baseline": "c", "chip": "own",
         "model": "other"},
        {"case": "b", "values": [], "vary": False, "chance": 0.2},
    ]  # fmt: skip
    study = study_of(points, [], trained={"other": {"epochs": 3}, "net": {"epochs": 9}}) | {"cases": cases}
    found = results_of(study, {"p0": [0.999] * 3, "p1": [0.999] * 3, "c": [0.7]}, 0.8)
    data = comparison_data(found)
    first, second = data.to_dict("records")
    assert (first["digital"], first["same_task"], second["digital"]) == pytest.approx((80, 70, 80))
    assert math.isnan(second["same_task"])
    assert (first["chip"], first["trained"], second["chip"], second["trained"]) == (
        "own",
        "3 epochs",
        "rram",
        "9 epochs",
    )
    assert (first["setting"], second["setting"]) == ("all", "b")
    assert first["published"] == 0.0
    assert first["on_chip_low"] < 99.9 < first["on_chip_high"] <= 100, "Wilson's where chips can differ"
    assert (second["on_chip_low"], second["on_chip_high"]) == (99.9, 99.9)
    assert math.isnan(data.attrs["chance"]), "points differ"
    assert "comparison" in figures_of(found), "a published accuracy of 0 is one"


def test_sensitivity_is_in_percent() -> None:
    row = LayerAccuracy("fc", (0.5, 0.7, 0.6), 0.9)
    assert sensitivity_data([row]).iloc[0].tolist() == ["fc", 3, 60.0, 50.0, 70.0, 90.0]


@pytest.mark.parametrize("step", ["episode", "epoch", "member"])
def test_a_training_is_counted_in_its_own_steps(step: str) -> None:
    rows = [{step: 1, "loss": 2.0, "accuracy": 0.5, "ensemble": 0.6, "alpha": 9.0}]
    assert list(training_data(rows).columns) == [step, "loss", "accuracy", "ensemble"]
    assert list(training_data([]).columns) == ["episode", "loss", "accuracy"]


def test_confusions_are_shares_of_what_was_offered() -> None:
    counts, offered = np.array([[3, 1], [0, 0]]), np.array([[4, 1], [0, 2]])
    data = confusion_data(Confusion(counts, offered, "class", 1))
    assert data[["true", "answered", "count", "asked"]].to_numpy().tolist() == [
        [0, 0, 3, 4], [0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 2],
    ]  # fmt: skip
    assert data["share_percent"].tolist() == pytest.approx([75, 100, math.nan, 0], nan_ok=True)
    assert data.attrs == {"what": "class", "accuracy": 75.0, "over": "1 chips"}
    assert confusion_data(Confusion(counts, offered, "class", 0)).attrs["over"] == "the digital network's answers"


def test_shown_levels_reach_from_the_lowest_to_the_highest() -> None:
    data = cells_data(Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=16))
    assert sorted(data["level"].unique()) == [0, 5, 10, 15]
    assert CELLS == 2000
    assert len(data) == 4 * CELLS
    assert data["share"].iloc[[0, CELLS - 1]].tolist() == pytest.approx([0.5 / CELLS, 1 - 0.5 / CELLS])
    three = cells_data(Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=3))
    assert three.groupby("level")["target_S"].first().tolist() == pytest.approx([1e-5, 5.5e-5, 1e-4])


def test_currents_are_those_of_the_5_50_and_95_percent_points() -> None:
    device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5)
    cells = DataFrame({"level": 1, "conductance_S": np.arange(101) * 1e-6})
    table = iv_of_levels(device, cells, points=3)
    assert table["v_V"].tolist() == pytest.approx([-device.read.v_read_V, 0, device.read.v_read_V])
    last = table.iloc[-1]
    assert (last[["p05_A", "median_A", "p95_A"]] / device.read.v_read_V).tolist() == pytest.approx([5e-6, 5e-5, 9.5e-5])


def test_flips_and_paths_keep_their_places() -> None:
    found = flips_data({"a": [FlippedBin(0.25, 7, np.array([1.0, 3.0]))], "b": [FlippedBin(0.5, 8, np.array([2.0]))]})
    assert found.to_numpy().tolist() == [["a", 0.25, 7, 2.0, pytest.approx(math.sqrt(2), 1e-5)], ["b", 0.5, 8, 2.0, 0]]
    path = quadratic_data([[0.0, 1.0], [2.0, 3.0]], (1.5, 0.5))
    assert path.to_numpy().tolist() == [[0, 0, 1], [1, 2, 3]]
    assert (list(path.columns), path.attrs) == (["step", "w1", "w2"], {"optimum": [1.5, 0.5]})


SWEEP = {
    "measure": "",
    "panels": [{"path": "recipe.m", "label": "", "values": [0.0, 1.35], "labels": []},
               {"path": "recipe.b", "label": "B", "values": [None], "labels": ["none"]}],
}  # fmt: skip


def test_a_training_sweep_is_averaged_over_its_seeds() -> None:
    log = {"task": 2, "task1": 0.5, "task2": 0.7, "mean": 0.6, "ensemble": 0.1, "accuracy": 0.2}
    rows = [
        {"panel": 0, "value": 1, "case": "a", "row": log}, {"panel": 0, "value": 1, "case": "a", "row": None},
        {"panel": 0, "value": 1, "case": "a", "row": log | {"mean": 0.8, "task1": 0.9}},
        {"panel": 1, "value": 0, "case": "a", "row": {"accuracy": 0.25}},
    ]  # fmt: skip
    first, second = trainings_data(SWEEP, rows).to_dict("records")
    half = student.ppf(0.975, 1) * 10
    assert first == {
        "setting": "recipe.m", "value": "1.35", "case": "a", "mean": 70.0, "half_width": pytest.approx(half, abs=1e-3),
        "task1": 70.0, "task2": 70.0, "seeds": 2,
    }  # fmt: skip
    assert (second["setting"], second["value"], second["mean"], second["seeds"]) == ("B", "none", 25.0, 1)
    assert math.isnan(second["half_width"])
    ensemble = [rows[-1] | {"row": {"accuracy": 0.25, "ensemble": 0.5}}]
    assert trainings_data(SWEEP, ensemble)["mean"].tolist() == [50.0]
    assert trainings_data(SWEEP | {"measure": "accuracy"}, ensemble)["mean"].tolist() == [25.0]


def test_cycles_of_a_sweep_are_numbered_from_their_first_step() -> None:
    from imc_sim.device import switching_model

    data = iv_data(switching_model("vteam"), cycles=2)
    counts = data["cycle"].value_counts().to_dict()
    assert counts == {1: 1001, 2: 1000}, "the start belongs to the first cycle"
    pulses = pulse_data(switching_model("vteam"), count=5)
    assert pulses["pulse"].tolist() == [*range(6), *range(6)]
    assert pulses.attrs["model"] == data.attrs["model"]


def test_histograms_and_levels_of_adcs_are_in_percent() -> None:
    edges = np.array([-1.0, 0.0, 3.0])
    some = ConverterInputs("x", edges, np.array([1, 3]), Levels(-2.0, 1.0, 7), 0.125)
    assert converter_data([some]).to_numpy().tolist() == [["x", -1, 0, 25.0], ["x", 0, 3, 75.0]]
    (row,) = levels_data([some]).to_dict("records")
    assert (row["clipped_percent"], row["first_A"], row["last_A"], row["step_A"]) == (12.5, -2.0, 4.0, 1.0)
    ideal = levels_data([ConverterInputs("y", edges, np.array([1, 3]), None, 0.0)])
    assert ideal.isna().iloc[0].tolist() == [False] + [True] * 6


def test_shares_of_near_images_are_those_of_each_panel() -> None:
    points, classes = np.arange(8.0).reshape(4, 2), np.array([0, 0, 1, 1])
    panels = [Embedding(r, c, points, classes, a, b) for r, c, a, b in (("r", "c", 0.5, 0.25), ("s", "c", 0.75, 1.0))]
    data = tsne_data(panels)
    assert data[["x", "y", "class"]].iloc[2].tolist() == [4, 5, 1]
    assert tsne_shares(data).to_numpy().tolist() == [["r", "c", 50, 25], ["s", "c", 75, 100]]


def test_forgetting_counts_what_was_learned_by_then() -> None:
    parts = {"task": [1, 1, 2, 2], "task1": [0.5, 0.6, 0.4, 0.3], "task2": [0.1, 0.2, 0.7, 0.8]}
    together = {"task": [1], "task1": [0.9], "task2": [0.8]}
    data = forgetting_data({"a": parts, "b": together})
    assert data.to_numpy().tolist() == [
        ["a", 1, "task1", 50], ["a", 2, "task1", 60], ["a", 3, "task1", 40], ["a", 3, "task2", 70],
        ["a", 4, "task1", 30], ["a", 4, "task2", 80], ["b", 1, "task1", 90], ["b", 1, "task2", 80],
    ]  # fmt: skip
    table = forgetting_table({"a": parts, "b": together})
    assert list(table.columns) == ["network", "task 1", "task 2", "mean", "when learned"]
    assert table.to_numpy().tolist() == [["a", 30, 80, 55, 70], ["b", 90, 80, 85, 85]], "a task is learned at its end"


@pytest.mark.parametrize(
    ("words", "name"),
    [("float_m1_35", "float, m = 1.35"), ("m10", "m = 10"), ("a_b", "a b"), ("m1_a", "m1 a"), ("xm2", "xm2")],
)
def test_strengths_at_the_end_of_a_name_are_written_out(words: str, name: str) -> None:
    assert _readable(words.split("_")) == name
