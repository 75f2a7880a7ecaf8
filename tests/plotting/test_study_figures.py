"""Heat maps and convergence: figures show what the table holds, and the table is that of the study."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection, QuadMesh
from pandas import DataFrame

from imc_sim import InputError, ResultsError
from imc_sim._stats import mean_interval
from imc_sim.cli import main
from imc_sim.plotting import (
    convergence_data,
    convergence_figure,
    draw,
    figures_of,
    heatmap_data,
    heatmap_figure,
    new_figure,
    plot_robustness,
    robustness_data,
    style,
)
from imc_sim.plotting._convergence import slowest
from imc_sim.plotting._tables import distinct, numbers, where
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

VARIATION = {"path": "chip.device.programming.sigma", "values": [0, 0.25, 0.5], "label": "variation", "unit": "%",
          "scale": 100}  # fmt: skip
BITS = {"path": "chip.tile.rows", "values": [4, 8], "label": "ADC", "unit": "bits"}
STUDY = {
    "name": "two",
    "model": "batmann_5w1s_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test"},
    "cases": [{"name": "a"}, {"name": "b", "set": {"task.way": 4}}],
    "set": {"chip.device.correlated.gradient": 0.1},  # so that the size of tiles acts
    "chips": {"min": 6},
}  # fmt: skip


def ran(folder: Path, axes: list[dict[str, Any]], **changes: Any) -> Results:
    return run(STUDY | {"axes": axes} | changes, folder / "study", evaluator=stand_in_evaluator)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return ran(tmp_path_factory.mktemp("two"), [VARIATION, BITS])


def test_a_study_has_the_figures_that_fit_it(results: Results, tmp_path: Path) -> None:
    assert list(figures_of(results)) == ["robustness", "heatmap", "convergence"]
    one = ran(tmp_path, [VARIATION, BITS | {"values": [4]}], chips={"min": 1})
    assert list(figures_of(one)) == ["robustness"]
    with pytest.raises(ResultsError, match="two for a map"):
        draw(one, ["heatmap"])
    with pytest.raises(ResultsError, match="no point of two chips"):
        draw(one, ["convergence"])
    with pytest.raises(InputError, match="Did you mean 'heatmap'"):
        draw(one, ["heatmaps"])


def drawn_levels(results: Results, style_: str, colour: str | None = None) -> list[list[float]]:
    """Return y of all lines in that style, on an axis from 0 %."""
    with style():
        _, ax = new_figure()
        plot_robustness(ax, robustness_data(results).assign(p05=0.0))
    lines = [line for line in ax.lines if line.get_linestyle() == style_ and colour in (None, line.get_color())]
    return [np.asarray(line.get_ydata(), dtype=float).tolist() for line in lines]


def test_chance_is_that_of_every_point(tmp_path: Path) -> None:
    ways = {"path": "task.way", "values": [2, 4, 10], "label": "ways"}
    grey = ":", "0.4"
    one = ran(tmp_path / "1", [VARIATION], cases=[{"name": "a"}])
    assert drawn_levels(one, *grey) == [[20.0, 20.0]]
    cases = ran(tmp_path / "2", [VARIATION])  # 5 ways, 4 ways
    assert drawn_levels(cases, *grey) == [[20.0, 20.0], [25.0, 25.0]]
    along = ran(tmp_path / "3", [ways], cases=[{"name": "a"}, {"name": "b", "set": {"task.keys": "binary"}}])
    assert drawn_levels(along, *grey) == [[50.0, 25.0, 10.0]], "one line for both cases"
    curves = ran(tmp_path / "4", [VARIATION, ways | {"values": [5, 4]}], cases=[{"name": "a"}])
    assert drawn_levels(curves, *grey) == [[20.0, 20.0], [25.0, 25.0]]


def test_the_digital_network_is_drawn_along_the_axis_that_changes_it(tmp_path: Path) -> None:
    found = ran(tmp_path, [{"path": "task.way", "values": [2, 4, 10]}], cases=[{"name": "a"}])
    digital = [100 * each for each in found.table["digital"]]
    assert len(set(digital)) == 3
    assert drawn_levels(found, "--") == [digital]
    cases = [{"name": "a"}, {"name": "b", "set": {"task.shot": 2}}]
    named = ran(tmp_path / "names", [{"path": "task.way", "values": [2, 4], "labels": ["two", "four"]}], cases=cases)
    with style():
        _, ax = new_figure()
        plot_robustness(ax, robustness_data(named))
    dashes = [c.get_segments() for c in ax.collections if isinstance(c, LineCollection)]
    levels = [[float(segment[0, 1]) for segment in each] for each in dashes if abs(each[0][0, 1] - each[0][1, 1]) == 0]
    assert [100 * each for each in named.table["digital"][:2]] in levels


def test_the_map_holds_every_median_in_its_cell(results: Results) -> None:
    data = heatmap_data(results)
    assert list(data["panel"].unique()) == ["a", "b"]
    assert list(data["x"]) == ["0", "0", "25", "25", "50", "50"] * 2
    np.testing.assert_allclose(data["median"], 100 * results.table["median"])
    with style():
        figure = heatmap_figure(data)
    panels = [ax for ax in figure.axes if ax.get_xlabel() == "variation (%)"]
    for ax, (_, part) in zip(panels, data.groupby("panel", sort=False), strict=True):
        (mesh,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
        grid = np.asarray(mesh.get_array()).reshape(2, 3)  # bits by variation
        np.testing.assert_array_equal(grid.T.ravel(), part["median"])
        assert [t.get_text() for t in ax.get_yticklabels()] == ["4", "8"]
        close = numbers(part, "median") >= numbers(part, "digital") - 1
        assert len(ax.lines) == close.sum(), "one frame per cell within 1 point of digital"
        written = {(t.get_position()[0], t.get_position()[1]): t.get_text() for t in ax.texts}
        for k, median in enumerate(part["median"]):
            assert written[k // 2, k % 2] == f"{median:.0f}"


def test_zipped_axes_are_one_axis(tmp_path: Path) -> None:
    axes = [VARIATION | {"zip": "z"}, BITS | {"values": [3, 4, 5], "zip": "z"}]
    together = ran(tmp_path, axes)
    assert "heatmap" not in figures_of(together)
    data = robustness_data(together)
    assert list(data["series"].unique()) == ["a", "b"]
    assert data["x"].tolist() == [0, 25, 50] * 2


def test_text_values_of_an_axis_are_drawn_as_text(tmp_path: Path) -> None:
    axis = {
        "path": "chip.encoding",
        "values": [{"kind": "differential"}, {"kind": "offset"}],
        "labels": ["pair", "one"],
    }
    data = robustness_data(ran(tmp_path, [axis]))
    assert data["x"].tolist() == ["pair", "one"] * 2
    with style():
        figure, ax = new_figure()
        plot_robustness(ax, data)
        figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["pair", "one"]


@pytest.mark.parametrize("values", [[20, 3600, 86400, 2592000, 31536000, 315360000], [1, 10, 100], [0.5, 3, 4]])
def test_labels_of_a_logarithmic_axis_do_not_overlap(values: list[float]) -> None:
    data = DataFrame(
        {"series": "a", "x": values, "chips": 9, "median": 90.0, "p05": 80.0, "p95": 95.0, "digital": 99.0}
    )
    data.attrs = {"x_label": "time (s)", "chance": 20.0, "spaced": "log"}
    with style():
        figure, ax = new_figure()
        plot_robustness(ax, data)
        figure.canvas.draw()
        boxes = [t.get_window_extent() for t in ax.get_xticklabels(which="both") if t.get_text()]
    assert len(boxes) >= 3
    boxes.sort(key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_many_series_are_distinguishable_without_bands(results: Results, tmp_path: Path) -> None:
    data = robustness_data(ran(tmp_path, [VARIATION, BITS | {"values": [2, 3, 4, 5, 6]}]))
    assert len(distinct(data, "series")) == 10
    with style():
        _, ax = new_figure()
        plot_robustness(ax, data)
    series = [line for line in ax.lines if len(np.asarray(line.get_xdata())) == 3]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in series}
    assert len(looks) == 10
    assert len(ax.collections) == 0


def test_one_baseline_is_neutral_and_several_have_the_colours_of_their_series(results: Results) -> None:
    data = robustness_data(results)
    with style():
        _, ax = new_figure()
        plot_robustness(ax, data)
        dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert [line.get_color() for line in dashed] == ["C0", "C2"]
        _, ax = new_figure()
        same = data.assign(digital=90.0)
        same.attrs = data.attrs
        plot_robustness(ax, same)
        (line,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert line.get_color() == "0.3"


def test_convergence_is_the_mean_over_the_first_chips(results: Results) -> None:
    data = convergence_data(results)
    assert len(data) == 2 * 6 * 6
    one = where(data, "point", "a, variation 25 %, ADC 4 bits")
    assert one["chips"].tolist() == [1, 2, 3, 4, 5, 6]
    for k in range(2, 7):
        mean, low, _ = mean_interval(numbers(one, "accuracy")[:k])
        assert numbers(one, "mean")[k - 1] == pytest.approx(mean)
        assert numbers(one, "half_width")[k - 1] == pytest.approx(mean - low)
    last = data.groupby("point", sort=False).tail(1)
    np.testing.assert_allclose(last["mean"], 100 * results.table["mean"])
    np.testing.assert_allclose(last["half_width"], 100 * results.table["half_width"])


def test_convergence_draws_the_slowest_point_and_the_target(tmp_path: Path) -> None:
    study = ran(tmp_path, [VARIATION], chips={"min": 3, "max": 9, "half_width": 0.01})
    data = convergence_data(study)
    points = slowest(data)
    ends = data.groupby("point").tail(1).set_index("point")["half_width"]
    assert [ends[p] for p in points] == sorted(ends, reverse=True)[:4]
    with style():
        figure = convergence_figure(data)
        figure.canvas.draw()
    above, below = figure.axes
    assert [str(line.get_label()) for line in above.lines] == points
    np.testing.assert_array_equal(above.lines[0].get_ydata(), numbers(where(data, "point", points[0]), "mean"))
    dotted = [line for line in below.lines if line.get_linestyle() == ":"]
    assert [list(np.asarray(line.get_ydata())) for line in dotted] == [[1.0, 1.0]]


def test_convergence_is_drawn_where_the_widest_points_have_the_fewest_chips() -> None:
    rows = [(f"p{n}", k, 50.0, 50.0, float("nan") if k == 1 else 4.0) for n in range(4) for k in (1, 2, 3)]
    rows += [("q", k, 50.0, 50.0, float("nan") if k == 1 else 1.0) for k in (1, 2, 3, 4)]
    data = DataFrame(rows, columns=["point", "chips", "accuracy", "mean", "half_width"])
    data.attrs = {"target": None}
    with style():
        assert convergence_figure(data).axes[0].get_ylim() == (45.0, 55.0)


def test_command_draws_all_figures_or_the_requested_kinds(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(results.folder)]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    kinds = ("robustness", "heatmap", "convergence")
    assert names == [f"{kind}.{end}" for kind in kinds for end in ("png", "svg", "csv")]
    svg = (results.folder / "heatmap.svg").read_text()
    assert "<image" not in svg, "only vector graphics"
    assert main(["plot", str(results.folder), "--kind", "heatmap"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["plot", str(results.folder), "--kind", "pie"]) == 2
    refused = capsys.readouterr().err
    assert all(kind in refused for kind in kinds)
