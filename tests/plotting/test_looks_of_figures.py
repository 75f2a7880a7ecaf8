"""Figures draw every row of their tables at its place, on axes that hold it, with the words that say what it is."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from pandas import DataFrame, concat

from imc_sim._errors import ResultsError
from imc_sim._files import csv_text
from imc_sim.evaluate import Confusion
from imc_sim.plotting import (
    Metric,
    comparison_figure,
    confusion_data,
    convergence_figure,
    fgsm_figure,
    heatmap_figure,
    new_figure,
    plot_confusion,
    plot_robustness,
    plot_sensitivity,
    plot_training,
    plot_tsne,
    robustness_figure,
    save_table,
    style,
    trainings_figure,
    tsne_figure,
)
from imc_sim.plotting._cdf import plot_cdf
from imc_sim.plotting._cells import plot_levels_iv
from imc_sim.plotting._comparison import COLUMNS
from imc_sim.plotting._converter import _draw_levels, _percent, converter_figure
from imc_sim.plotting._figure import (
    accuracy_panels,
    legend_label,
    lower_limit,
    plain_bar,
    probability_axis,
)
from imc_sim.plotting._forgetting import forgetting_figure
from imc_sim.plotting._probes import draw_flips, draw_quadratic, plot_flips, quadratic_data
from imc_sim.plotting._tables import distinct
from imc_sim.plotting._tsne import _share, stored_tsne
from imc_sim.train import FlippedBin
from tests.plotting.test_axes_of_figures import drawn, table

NAN = math.nan


def made(make: Callable[..., Figure], *arguments: Any) -> Figure:
    with style():
        figure = make(*arguments)
        figure.canvas.draw()
    return figure


def legend_of(figure: Figure | SubFigure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def x_of(line: Any) -> list[float]:
    return np.asarray(line.get_xdata(), dtype=float).tolist()


def y_of(line: Any) -> list[float]:
    return np.asarray(line.get_ydata(), dtype=float).tolist()


# -- one model ----------------------------------------------------------------------------------------------


def test_sensitivity_names_digital_and_sets_all_layers_apart() -> None:
    rows = {"layer": ["a", "all together"], "chips": 3, "median": [89.0, 70.0], "p05": 60.0, "p95": 95.0, "digital": 90}
    ax = drawn(plot_sensitivity, table(rows))
    assert ax.get_xlabel() == "accuracy against digital, 90.0 % (points)"
    places = dict(zip((t.get_text() for t in ax.get_yticklabels()), ax.get_yticks(), strict=True))
    assert places == {"a": 1, "all together": 0}, "the first layer is on top"
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert colours[1] == to_hex("0.25") != colours[0]


def test_training_of_an_ensemble_shows_the_vote() -> None:
    rows = {"member": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.5, 0.6], "ensemble": [0.5, 0.7]}
    ax = drawn(plot_training, table(rows))
    assert [y_of(line) for line in ax.lines] == [[50, 60], [50, 70]]
    assert (ax.get_xlabel(), ax.figure.axes[1].get_ylim()[0]) == ("members", 0)


@pytest.mark.parametrize(("top", "scale"), [(9.9e-6, "linear"), (10.1e-6, "log")])
def test_cells_are_on_an_axis_that_holds_them(top: float, scale: str) -> None:
    columns = {"state": "LRS", "conductance_S": [1e-6, 2e-6, top], "measured": [1 / 6, 0.5, 5 / 6], "fitted": 0.5}
    ax = drawn(plot_cdf, table(columns))
    low, high = ax.get_ylim()
    assert low < min(y_of(ax.lines[0])) < max(y_of(ax.lines[0])) < high
    assert ax.get_xscale() == scale
    assert legend_of(ax.figure)[-1] == "chip"


@pytest.mark.parametrize("size", [10, 11])
def test_confusions_are_written_where_they_can_be_read(size: int) -> None:
    counts, offered = np.eye(size, dtype=np.int64), np.full((size, size), 50)
    counts[1, 2], offered[3, 4] = 1, 0
    ax = drawn(plot_confusion, confusion_data(Confusion(counts, offered, "class", 3)))
    assert ax.get_ylim() == (size - 0.5, -0.5), "the first class is on top"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("answered class", "true class")
    mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
    assert mesh.get_clim() == (0, 5), "rare errors do not look like common ones"
    (never,) = ax.patches
    assert isinstance(never, Rectangle)
    assert (never.get_x(), never.get_y()) == (3.5, 2.5)
    assert ax.get_title(loc="left").endswith("over 3 chips; hatched: never offered")
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written.get((2, 1)) == ("2.0" if size == 10 else None)
    assert list(ax.get_xticks()) == (list(range(10)) if size == 10 else [0, 5, 10])


def test_flips_of_each_layer_have_their_own_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"layer": "a", "magnitude": [0.1, 0.5], "candidates": 9, "increase": [1.0, 2.0], "deviation": [0.25, 0.5]}
    ax = drawn(plot_flips, table(rows))
    (bars,) = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    ends = [segment[:, 1].tolist() for segment in bars.lines[2][0].get_segments()]
    assert ends == [[0.75, 1.25], [1.5, 2.5]]
    kept: list[Figure] = []
    monkeypatch.setattr("imc_sim.plotting._probes.save_figure", lambda figure, _: kept.append(figure) or [])
    draw_flips({n: [FlippedBin(m, 5, np.array([m]))] for n, m in (("a", 0.25), ("b", 0.75))}, tmp_path / "f")
    assert [axes.get_title() for axes in kept[0].axes] == ["a", "b"]
    assert [x_of(axes.lines[0]) for axes in kept[0].axes] == [[0.25], [0.75]]
    small, large = (
        quadratic_data([[0.0, 1.0], [2.0, 3.0]], (1.5, 0.5)),
        table({"w": [-2.0, 1.0], "increase": [3.0, 4.0]}),
    )
    draw_quadratic(small, large, tmp_path / "q")
    left, right = kept[1].axes
    assert [y_of(line) for line in left.lines] == [[0, 2], [1, 3]]
    assert [line.get_label() for line in left.lines] == ["optimum 1.5", "optimum 0.5"]
    assert x_of(right.lines[0]) == [2, 1]


def test_bands_of_currents_lie_around_the_median_at_both_signs() -> None:
    rows = {"level": 1, "v_V": [-0.2, -0.1, 0.1, 0.2], "p05_A": [-2, -1, 1, 2], "p95_A": [-4, -2, 2, 4],
            "median_A": [-3, -1.5, 1.5, 3]}  # fmt: skip
    ax = drawn(plot_levels_iv, table(rows))
    (band,) = [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]
    at = np.asarray(band.get_paths()[0].vertices)
    assert {tuple(xy) for xy in at.round(9)} >= {(-0.2, -4), (-0.2, -2), (0.2, 2), (0.2, 4)}
    assert ax.get_legend() is not None


def test_points_of_a_training_sweep_are_at_their_values() -> None:
    rows = {"setting": "m", "value": ["0", "1", "2", "2"], "case": ["a", "a", "a", "b"], "mean": [41.0, 50, 97, 60],
            "half_width": [2.0, 1, 1, NAN], "seeds": 1}  # fmt: skip
    figure = made(trainings_figure, table(rows))
    (ax,) = figure.axes
    (first, second) = [c.lines[0] for c in ax.containers if isinstance(c, ErrorbarContainer)]
    assert np.round(x_of(first)).tolist() == [0, 1, 2]
    assert np.round(x_of(second)).tolist() == [2]
    assert ax.get_ylim() == (30, 100)
    assert figure.legends[0].get_title().get_text() == "one seed"
    seeds = made(trainings_figure, table(rows | {"seeds": 2})).legends[0].get_title().get_text()
    assert seeds == "mean and 95 % interval over 2 seeds"


def inputs_of(layers: int, count: int) -> tuple[DataFrame, DataFrame]:
    names = [f"l{n}" for n in range(layers)]
    bins = [{"layer": n, "low_A": -1e-6, "high_A": 1e-6, "share_percent": 100.0} for n in names]
    levels = [{"layer": n, "levels": count + k, "first_A": -1e-6, "step_A": 2e-6 / (count - 1), "last_A": 1e-6,
               "used": count, "clipped_percent": 0.0} for k, n in enumerate(names)]  # fmt: skip
    return DataFrame(bins), DataFrame(levels)


@pytest.mark.parametrize(("layers", "columns", "hidden"), [(6, 1, 0), (7, 2, 1)])
def test_adcs_of_many_layers_are_in_two_columns(layers: int, columns: int, hidden: int) -> None:
    figure = made(converter_figure, *inputs_of(layers, 4))
    assert figure.get_figwidth() == pytest.approx(3.4 * columns)
    shown = [ax for ax in figure.axes if ax.axison]
    assert len(figure.axes) - len(shown) == hidden
    titles = [ax.get_title(loc="left") for ax in shown]
    assert titles == [f"l{n}: 4 of {4 + n} levels used, 0 % clipped" for n in range(layers)]


@pytest.mark.parametrize(("count", "lines"), [(40, 42), (41, 2)])
def test_levels_are_lines_as_long_as_they_can_be_told_apart(count: int, lines: int) -> None:
    with style():
        _, ax = new_figure()
        ax.set_xlim(-1, count)
        _draw_levels(ax, count, 0.0, 1.0)
    assert len(ax.lines) == lines
    assert len(ax.patches) == (count > 40)


def test_percentages_of_clipped_inputs() -> None:
    assert [_percent(v) for v in (0.0, 0.009, 0.01, 1.234)] == ["0 %", "< 0.01 %", "0.01 %", "1.2 %"]


def embedded(rows: list[str], columns: list[str], classes: int = 2) -> DataFrame:
    each = [
        table({"row": r, "column": c, "class": range(classes), "x": -3.0, "y": 1.0, "nearest_percent": 50.0 + k,
               "nearest_clean_percent": 50.0})
        for k, r in enumerate(rows) for c in columns
    ]  # fmt: skip
    return concat(each, ignore_index=True)


def test_panels_of_a_tsne_are_in_their_row_and_column() -> None:
    data = embedded(["r", "s"], ["a", "b", "c"])
    data = data[(data["row"] != "s") | (data["column"] != "b")]
    figure = made(tsne_figure, data)
    assert figure.get_figwidth() == 7.0
    assert [ax.get_xlabel() for ax in figure.axes] == ["50.0 %"] * 3 + ["51.0 % (50.0 %)", "", "51.0 % (50.0 %)"]
    assert [ax.axison for ax in figure.axes] == [True] * 4 + [False, True]
    assert [ax.get_ylabel() for ax in figure.axes] == ["r", "", "", "s", "", ""]
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", "", "", ""]
    below = str(figure.get_supxlabel()).replace("\n", " ")
    assert below.startswith("t-SNE of 2 images of 2 classes")
    assert below.endswith("in brackets: nearest among the clean images")
    assert "brackets" not in str(made(tsne_figure, embedded(["r"], ["a", "b"])).get_supxlabel())
    assert made(tsne_figure, embedded(["r"], ["a", "b"])).get_figwidth() == pytest.approx(3.4)
    assert _share(embedded(["r", "s"], ["a"]).iloc[2:], 0) == "51 % (50 %)"


def test_names_of_a_stored_tsne_are_read_unchanged(tmp_path: Path) -> None:
    results: Any = SimpleNamespace(folder=tmp_path)
    for row in ("", "NA", "=1+1"):
        (tmp_path / "tsne.csv").write_text(csv_text(embedded([row], ["a", "'"])))
        data = stored_tsne(results)
        assert (distinct(data, "row"), distinct(data, "column")) == ([row], ["a", "'"])
        assert made(tsne_figure, data).get_figwidth() == pytest.approx(3.4)
    good = csv_text(embedded(["r"], ["a"]))
    many = csv_text(embedded(["r"], [str(number) for number in range(301)], 1))
    for text in ("", "x,y\n1,2\n", good.replace("class", "klass"), good.replace(",0,", ",1e99,"), many,
                 good.partition("\n")[0] + "\n", good + "r,a,0,inf,0,0,0\n", good + "r,a,z,0,0,0,0\n"):  # fmt: skip
        (tmp_path / "tsne.csv").write_text(text)
        with pytest.raises(ResultsError, match=r"tsne\.csv: got .*--kind tsne"):
            stored_tsne(results)


@pytest.mark.parametrize(
    ("rows", "columns", "shape", "width"),
    [(1, 1, (1, 1), 3.4), (2, 1, (1, 2), 3.4), (3, 1, (1, 3), 7.0), (4, 1, (2, 2), 3.4), (5, 1, (2, 3), 7.0),
     (1, 7, (3, 3), 7.0),
     (2, 2, (2, 2), 3.4), (2, 7, (2, 7), 7.0), (5, 2, (5, 2), 2.78), (3, 3, (3, 3), 7.0)],
)  # fmt: skip
def test_panels_of_a_tsne_fit_a_page(rows: int, columns: int, shape: tuple[int, int], width: float) -> None:
    names = [["all"] if n == 1 else [f"{word} {k}" for k in range(n)] for word, n in (("row", rows), ("net", columns))]
    figure = made(tsne_figure, embedded(names[0], names[1]))
    grid = figure.axes[0].get_gridspec()
    assert grid is not None
    assert (grid.nrows, grid.ncols) == shape
    assert (figure.get_figwidth(), figure.get_figheight() <= 8.51) == (pytest.approx(width, abs=0.01), True)
    assert [ax.axison for ax in figure.axes] == [k < rows * columns for k in range(math.prod(shape))]
    shown = [ax.get_title().split("\n")[0] for ax in figure.axes]
    assert shown[: shape[1]] == [*(names[1] if columns > 1 else [""] if rows == 1 else names[0])][: shape[1]]
    figure.draw_without_rendering()
    caption, page = figure._supxlabel.get_window_extent(), figure.bbox  # type: ignore[attr-defined]
    assert caption.x0 >= page.x0
    assert caption.x1 <= page.x1


def test_shares_of_images_name_both_where_they_differ() -> None:
    lower = embedded(["r"], ["a"]).assign(nearest_clean_percent=70.0)
    assert _share(lower, 0) == "50 % (70 %)"


def test_colour_and_shape_distinguish_49_classes() -> None:
    ax = drawn(plot_tsne, embedded(["r"], ["a"], 49))
    marks = [c for c in ax.collections if isinstance(c, PathCollection)]
    looks = {(tuple(np.asarray(m.get_facecolor())[0]), np.asarray(m.get_paths()[0].vertices).tobytes()) for m in marks}
    assert len(looks) == len(marks) == 49
    assert ax.get_xlim() == ax.get_ylim() == pytest.approx((-3.24, 3.24))


def test_only_networks_with_several_tasks_have_a_panel() -> None:
    course = [(n, k, f"task{k}", 50.0) for n in "abcd" for k in (1, 2)] + [("all", 1, "task1", 90.0)]
    data = DataFrame(course, columns=["network", "training", "task", "accuracy"])
    figure = made(forgetting_figure, data)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == list("abcd")
    assert [ax.get_xlabel() for ax in shown] == ["", "tasks learned", "tasks learned", "tasks learned"]
    alone = made(forgetting_figure, data[data["network"] == "all"])
    assert alone.axes[0].get_title() == "all"
    parts = made(forgetting_figure, data.assign(training=data["training"] * 2))
    assert parts.axes[3].get_xlabel() == "parts learned"


# -- studies ------------------------------------------------------------------------------------------------


def curves(series: dict[str, list[float]], x: list[Any], chips: int = 30, **attrs: Any) -> DataFrame:
    rows = [
        {"series": n, "x": at, "chips": chips, "median": m, "p05": m - 3, "p95": m + 2, "digital": 95.0}
        for n, ms in series.items() for at, m in zip(x, ms, strict=True)
    ]  # fmt: skip
    return table(rows, **{"x_label": "x", "chance": 20.0, "spaced": "linear"} | attrs)


def test_seven_series_have_bands_and_eight_have_dashes() -> None:
    for count in (7, 8):
        data = curves({f"s{n}": [90.0, 80.0 - n] for n in range(count)}, [0, 1])
        figure = made(robustness_figure, data)
        (ax,) = figure.axes
        series = [line for line in ax.lines if len(y_of(line)) == 2 and str(line.get_label()).startswith("s")]
        styles = [line.get_linestyle() for line in series]
        assert styles == ["-"] * 7 + ["--"] * (count - 7)
        assert len(ax.collections) == (7 if count == 7 else 0)
        words = legend_of(figure)[count:]
        assert words == (["5-95 % of 30 chips", "digital"] if count == 7 else ["medians of 30 chips"])


@pytest.mark.parametrize(
    ("medians", "limits"),
    [([90.0, 61.0], (50, 100)), ([90.0, 63.0], (50, 100)), ([90.0, 66.0], (60, 100)), ([98.0, 61.0], (50, 101))],
)
def test_an_axis_of_accuracies_holds_the_band(medians: list[float], limits: tuple[float, float]) -> None:
    ax = drawn(plot_robustness, curves({"a": medians}, [0, 1]))
    assert ax.get_ylim() == limits
    chance = [text for text in ax.texts if text.get_text() == "chance"]
    assert not chance, "below the axis"
    ax = drawn(plot_robustness, curves({"a": [90.0, 24.0]}, [0, 1]))
    assert [text.get_text() for text in ax.texts] == ["chance"]


def test_single_chips_equal_to_digital_have_no_baseline() -> None:
    same = curves({"a": [95.0, 95.0]}, [0, 1], chips=1)
    assert legend_of(made(robustness_figure, same)) == ["a"]
    assert legend_of(made(robustness_figure, same.assign(chips=2).pipe(with_attrs, same)))[-1] == "digital"
    other = curves({"a": [95.0, 90.0]}, [0, 1], chips=1)
    figure = made(robustness_figure, other)
    assert legend_of(figure) == ["a", "digital"]
    assert len(figure.axes[0].collections) == 0, "no band of one chip"


def with_attrs(data: DataFrame, source: DataFrame) -> DataFrame:
    data.attrs = source.attrs
    return data


@pytest.mark.parametrize(
    ("x", "spaced", "labels"),
    [
        ([1, 2, 4, 8, 16, 32, 64, 128], "log", ["1", "2", "4", "8", "16", "32", "64", "128"]),
        ([1, 1e5], "log", ["10\u2070", "10\u2075"]),
        ([1e-3, 1e2], "log", ["10\u207b\u00b3", "10\u00b2"]),
        ([4, 5, 6], "linear", ["4", "5", "6"]),
    ],
)
def test_values_have_ticks_that_can_be_read(x: list[float], spaced: str, labels: list[str]) -> None:
    ax = drawn(plot_robustness, curves({"a": [90.0] * len(x)}, x, spaced=spaced))
    low, high = ax.get_xlim()
    found = [t.get_text() for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high and t.get_text()]
    assert set(labels) <= set(found)
    assert not any("." in text for text in found)


def test_a_baseline_that_is_not_measured_yet_has_no_line() -> None:
    data = curves({"a": [90.0, 80.0], "b": [91.0, 81.0]}, [0, 1])
    data["digital"] = [NAN, 95.0, NAN, NAN]
    figure = made(robustness_figure, data)
    (dashed,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert y_of(dashed) == [95.0, 95.0]


def test_a_map_frames_what_is_close_and_says_so() -> None:
    rows = {
        "panel": "a",
        "x": ["0", "1"],
        "y": "4",
        "chips": 3,
        "median": [94.0, 93.9],
        "p05": 0,
        "p95": 0,
        "digital": 95,
    }
    attrs = {"x_label": "x", "y_label": "y", "metric": Metric()}
    figure = made(heatmap_figure, table(rows, **attrs))
    assert len(figure.axes[0].lines) == 1, "the tolerance itself counts as close"
    assert str(figure.get_supxlabel()) == "framed: within 1 point of digital"
    mesh = next(c for c in figure.axes[0].collections if isinstance(c, QuadMesh))
    assert mesh.get_clim() == (93.9, 94.0)
    assert figure.axes[-1].get_ylabel() == "median accuracy of\n3 chips (%)", "as tall as the map of few rows"
    assert mesh.colorbar is None or mesh.colorbar.solids is None
    none = table(rows | {"median": 60.0}, **attrs)
    figure = made(heatmap_figure, none)
    assert str(figure.get_supxlabel()) == "no value within 1 point of digital"
    assert next(c for c in figure.axes[0].collections if isinstance(c, QuadMesh)).get_clim() == (59, 61)


def test_convergence_is_on_a_logarithmic_axis_unless_all_chips_are_equal() -> None:
    columns = {"point": "a", "chips": [1, 2, 3], "accuracy": 50.0, "mean": 50.0}
    for widths, scale in (([NAN, 9.0, 5.0], "log"), ([NAN, 0.0, 0.0], "linear")):
        data = table(columns | {"half_width": widths}, target=2.0, metric=Metric())
        above, below = made(convergence_figure, data).axes
        assert below.get_yscale() == scale
        assert above.get_xlim() == below.get_xlim() == (1, 3)
        assert [text.get_text() for text in below.texts] == ["stops here"]
        assert [y_of(line) for line in below.lines if line.get_linestyle() == ":"] == [[2.0, 2.0]]


ROW = dict.fromkeys(COLUMNS, NAN) | {
    "setting": "a", "published": 93.0, "digital": 90.0, "digital_low": 88.0, "digital_high": 91.0, "on_chip": 80.0,
    "digital_over": "9 episodes", "on_chip_low": 79.0, "on_chip_high": 85.0, "chips": 3, "chip": "rram",
}  # fmt: skip


def bars_of(ax: Axes) -> dict[str, tuple[list[float], list[list[float]]]]:
    """Return label -> rows and ends of the intervals."""
    found = {}
    for bar in ax.containers:
        if isinstance(bar, ErrorbarContainer):
            ends = [segment[:, 0].tolist() for segment in bar.lines[2][0].get_segments()]
            found[str(bar.get_label())] = (y_of(bar.lines[0]), ends)
    return found


def test_a_comparison_has_intervals_on_their_own_side() -> None:
    figure = made(comparison_figure, table([ROW], chance=20.0))
    bars = bars_of(figure.axes[0])
    assert bars["ours, digital (95 % over 9 episodes)"] == ([0], [[88, 91]])
    assert bars["ours on rram (95 % of 3 chips)"] == ([0], [[79, 85]])
    assert figure.axes[0].get_xlim()[0] == 70, "a multiple of 10, 2 points below all values at least"
    assert "chance" not in legend_of(figure), "below the axis"
    near = made(comparison_figure, table([ROW | {"on_chip": 22.0}], chance=20.0))
    assert "chance" in legend_of(near)
    apart = [ROW | {"same_task": 89.0}, ROW | {"digital_over": "5 episodes", "chip": "pcm", "digital_low": NAN}]
    bars = bars_of(made(comparison_figure, table(apart, chance=NAN)).axes[0])
    assert bars["ours, digital (95 %)"][0] == pytest.approx([-0.17, 0.83])
    assert bars["ours on chips (95 % of 3 chips)"][0] == pytest.approx([0.17, 1.17])
    none = made(comparison_figure, table([ROW | {"digital_over": "", "digital_low": NAN}], chance=NAN))
    assert "ours, digital" in bars_of(none.axes[0])


def attacked(count: int, **more: Any) -> DataFrame:
    rows = [
        {"panel": p, "series": f"s{n}", "epsilon": e, "accuracy": 90 - 100 * e - n, "low": 40.0 - 30 * (p == "b"),
         "high": 95.0, "chips": chips} | more
        for p in "ab" for n in range(count) for chips in (3, 0) for e in (0.0, 0.3)
    ]  # fmt: skip
    return table(rows, chance=25.0)


@pytest.mark.parametrize(
    ("count", "words"), [(4, ["lowest to highest of 3 chips", "digital"]), (5, ["median of 3 chips", "digital"])]
)
def test_attacks_have_bands_for_few_series(count: int, words: list[str]) -> None:
    figure = made(fgsm_figure, attacked(count))
    left, right = figure.axes
    assert legend_of(figure) == [f"s{n}" for n in range(count)] + words
    assert len(left.collections) == (4 if count == 4 else 0)
    assert left.get_ylim() == right.get_ylim() == (0, 101), "that of the panel with the lowest values"
    assert (left.get_title(), right.get_title(), left.get_ylabel(), right.get_ylabel()) == (
        "a",
        "b",
        "accuracy (%)",
        "",
    )
    assert [text.get_text() for text in left.texts] == ["chance"]
    colours = [line.get_color() for line in left.lines if line.get_linestyle() == "-"]
    assert colours == [f"C{n}" for n in range(count)]
    handles = figure.legends[0].get_lines()[:count]
    assert all(line.get_linestyle() == "-" for line in handles), "the chips of a series, not its digital network"


def test_published_attacks_are_crosses_and_named() -> None:
    figure = made(fgsm_figure, attacked(1, published=50.0))
    assert legend_of(figure)[-1] == "published"
    both = attacked(1)
    only = with_attrs(both.loc[both["chips"] > 0], both)
    assert "digital" not in legend_of(made(fgsm_figure, only))


def test_more_series_than_colours_have_hollow_marks() -> None:
    figure = made(fgsm_figure, attacked(8))
    solid = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    assert [line.get_markerfacecolor() == "white" for line in solid] == [False] * 7 + [True]


# -- all ----------------------------------------------------------------------------------------------------


def test_labels_and_limits_of_axes() -> None:
    assert [lower_limit([v, NAN]) for v in (62.0, 61.9, 1.0)] == [60, 50, 0]
    assert (legend_label("a"), legend_label("_a")) == ("a", "\u200b_a")
    with style():
        _, ax = new_figure()
        probability_axis(ax, 2.0)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["10", "50", "90"]


def test_panels_beyond_the_last_are_hidden() -> None:
    with style():
        figure, axes = accuracy_panels(4, 2.0, 1.5)
    assert [ax.get_ylabel() for ax in axes] == ["accuracy (%)", "", "", "accuracy (%)"]
    assert [ax.get_visible() for ax in figure.axes] == [True] * 4 + [False] * 2
    assert figure.get_size_inches().tolist() == pytest.approx([6.3, 3.5])


def test_a_colour_bar_is_drawn_as_paths() -> None:
    with style():
        figure, ax = new_figure()
        bar: Any = figure.colorbar(ax.pcolormesh([[0.0, 1.0]]), ax=ax)
        bar.solids.set_rasterized(True)
        plain_bar(bar)
    assert (bar.solids.get_rasterized(), bar.outline.get_visible()) == (False, False)


def test_a_table_is_next_to_its_figure(tmp_path: Path) -> None:
    path = save_table(table({"a": ["x\ny", "z"]}), tmp_path / "new" / "v1.5")
    assert path == tmp_path / "new" / "v1.5.csv"
    assert path.read_bytes() == b'a\n"x\ny"\nz\n'


def test_the_style_ignores_settings_of_the_user() -> None:
    with mpl.rc_context({"axes.facecolor": "red"}):
        with style():
            assert mpl.rcParams["axes.facecolor"] != "red"
        assert mpl.rcParams["axes.facecolor"] == "red"


@pytest.mark.parametrize("backend", ["nonsense", "svg"])
def test_the_backend_of_the_environment_is_kept_for_others(backend: str, repository: Path) -> None:
    code = (
        "import os, imc_sim.plotting, matplotlib as m; print(os.environ['MPLBACKEND'], m.rcParams['backend'].lower())"
    )
    env = os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    kept, used = done.stdout.split()
    assert kept == backend
    assert (used == "svg") is (backend == "svg")
