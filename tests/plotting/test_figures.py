"""Figures of studies and training runs show what their tables hold, in the same bytes each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from imc_sim.plotting import (
    Metric,
    draw,
    draw_training,
    new_figure,
    plot_robustness,
    plot_training,
    robustness_data,
    save_figure,
    style,
    training_data,
)
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

STUDY = {
    "name": "small",
    "question": "Does <b>it</b> survive?",
    "model": "batmann_5w1s_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test"},
    "cases": [{"name": "a & b"}, {"name": "c", "set": {"task.way": 4}}],
    "axes": [
        {
            "path": "chip.device.programming.sigma",
            "values": [0, 0.25, 0.5],
            "label": "variation",
            "unit": "%",
            "scale": 100,
        }
    ],
    "chips": {"min": 12},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(STUDY, tmp_path_factory.mktemp("results") / "small", evaluator=stand_in_evaluator)


def test_the_table_of_the_figure_is_that_of_the_study(results: Results) -> None:
    data = robustness_data(results)
    assert data["x"].tolist() == [0, 25, 50] * 2
    np.testing.assert_allclose(data["median"], 100 * results.table["median"])
    assert data.attrs == {
        "x_label": "variation (%)", "x_name": "variation", "x_unit": "%", "chance": [20.0] * 3 + [25.0] * 3,
        "spaced": "linear", "metric": Metric()
    }  # fmt: skip


def test_curve_shows_every_number_of_its_table(results: Results) -> None:
    data = robustness_data(results)
    with style():
        _, ax = new_figure()
        plot_robustness(ax, data)
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in ax.lines}
    bands = [collection.get_paths()[0].vertices for collection in ax.collections]
    for number, (series, part) in enumerate(data.groupby("series", sort=False)):
        assert np.array_equal(lines[str(series)], part["median"])
        corners = {(round(x, 9), round(y, 9)) for x, y in np.asarray(bands[number])}
        for column in ("p05", "p95"):
            assert {(x, round(y, 9)) for x, y in zip(part["x"], part[column], strict=True)} <= corners
        assert any(np.allclose(y, part["digital"].iloc[0]) for y in lines.values() if len(y) == 2)
    low, high = ax.get_ylim()
    assert low <= min(data["p05"]) <= max(data["p95"]) <= high
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("variation (%)", "accuracy (%)")


def test_a_single_point_without_a_baseline_is_drawn(results: Results) -> None:
    data = robustness_data(results).iloc[:1].assign(digital=float("nan"))
    data.attrs = {"x_label": "variation (%)", "chance": 20.0, "spaced": "linear"}
    with style():
        figure, ax = new_figure()
        plot_robustness(ax, data)
        figure.canvas.draw()
    assert [str(t.get_text()) for t in figure.legends[0].get_texts()] == ["a & b", "lowest to highest of 12 chips"]


def test_equal_results_give_equal_bytes(results: Results) -> None:
    first = {path.name: path.read_bytes() for path in draw(results)}
    again = {path.name: path.read_bytes() for path in draw(Results.load(results.folder))}
    assert first == again
    assert set(first) == {f"{kind}.{end}" for kind in ("robustness", "convergence") for end in ("png", "svg", "csv")}
    assert first["robustness.png"].startswith(b"\x89PNG")


def test_the_svg_keeps_the_layout_of_the_png(tmp_path: Path) -> None:
    def made() -> Figure:
        figure, axes = new_figure()
        axes.set(xlabel="read noise (%)", ylabel="accuracy (%)")
        return figure

    with style():
        picture, both = made(), made()
        picture.savefig(io.BytesIO(), format="png")
        save_figure(both, tmp_path / "both")
    assert picture.axes[0].get_position().bounds == both.axes[0].get_position().bounds


def test_training_curve_shows_the_log(tmp_path: Path) -> None:
    rows = [{"episode": 10, "loss": 2.0, "accuracy": 0.4}, {"episode": 20, "loss": 1.0, "accuracy": 0.6}]
    with style():
        figure, ax = new_figure()
        plot_training(ax, training_data(rows))
    right = figure.axes[1]
    assert list(np.asarray(ax.lines[0].get_ydata())) == [40.0, 60.0]
    assert list(np.asarray(right.lines[0].get_ydata())) == [2.0, 1.0]
    (tmp_path / "training.jsonl").write_text('{"episode": 10, "loss": 2.0, "accuracy": 0.4}\n')
    assert [path.name for path in draw_training(tmp_path)] == [f"training.{end}" for end in ("png", "svg", "csv")]
    assert (tmp_path / "training.csv").read_text() == "episode,loss,accuracy\n10,2.0,0.4\n"
