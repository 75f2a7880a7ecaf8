"""Axes of figures are labelled by what is drawn along them, and numbers are written at their own place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from pandas import DataFrame

from imc_sim.evaluate import Confusion
from imc_sim.plotting import (
    confusion_data,
    new_figure,
    plot_confusion,
    plot_fgsm,
    plot_robustness,
    plot_training,
    style,
    training_data,
)
from imc_sim.plotting._cdf import plot_cdf
from imc_sim.plotting._cells import plot_levels_iv, plot_variation
from imc_sim.plotting._convergence import plot_means, plot_widths
from imc_sim.plotting._device import plot_iv, plot_pulses
from imc_sim.plotting._heatmap import plot_heatmap
from imc_sim.plotting._trainings import trainings_figure

CELLS = {"state": "LRS", "level": 1, "target_S": 3e-6, "conductance_S": [1e-6, 2e-6, 4e-6]}
CHIPS = {"point": "a", "chips": [1, 2, 3], "mean": [50.0, 60.0, 61.0], "half_width": [np.nan, 9.0, 5.0]}
SWEEP = {"cycle": 1, "v_V": [0.0, 0.5, 1.0], "current_A": [1e-9, 2e-6, 5e-5]}


def table(columns: Any, **attrs: Any) -> DataFrame:
    data = DataFrame(columns)
    data.attrs.update(attrs)
    return data


def drawn(draw: Callable[..., None], *arguments: Any) -> Axes:
    with style():
        figure, ax = new_figure()
        draw(ax, *arguments)
        figure.canvas.draw()
    return ax


def texts(ax: Axes) -> dict[str, tuple[float, float]]:
    return {text.get_text(): text.get_position() for text in ax.texts}


@pytest.mark.parametrize(
    ("draw", "arguments", "labels", "first"),
    [
        (plot_cdf, [table({**CELLS, "measured": [0.2, 0.5, 0.8], "fitted": [0.1, 0.5, 0.9]})],
         ("conductance", "cells up to it (%)"), CELLS["conductance_S"]),
        (plot_variation, [table({**CELLS, "share": [0.2, 0.5, 0.8]})], ("conductance", "cells up to it (%)"),
         CELLS["conductance_S"]),
        (plot_iv, [table(SWEEP, compliance_A=1e-4)], ("voltage (V)", "size of the current"), SWEEP["v_V"]),
        (plot_pulses, [table({"train": "set", "pulse": [0, 1], "conductance_S": [1e-6, 2e-6]}, set="1 V")],
         ("pulses", "conductance"), [0, 1]),
        (plot_means, [table(CHIPS, target=None), ["a"]], ("", "mean accuracy (%)"), CHIPS["chips"]),
        (plot_widths, [table(CHIPS, target=None), ["a"]], ("chips", "95 % half width (points)"), [2, 3]),
        (plot_training, [training_data([{"epoch": 2, "loss": 1.0, "accuracy": 0.5}])],
         ("epochs", "validation accuracy (%)"), [2]),
    ],
)  # fmt: skip
def test_labels_are_of_what_is_drawn_along_them(
    draw: Callable[..., None], arguments: list[Any], labels: tuple[str, str], first: list[float]
) -> None:
    ax = drawn(draw, *arguments)
    assert (ax.get_xlabel(), ax.get_ylabel()) == labels
    assert np.asarray(ax.lines[0].get_xdata()).tolist() == first


ATTACK = {"series": "a", "epsilon": [0.0, 0.1], "accuracy": [90.0, 40.0], "low": [88.0, 31.0], "high": [95.0, 47.0]}
#: the first point has one chip
POINTS = {"series": "a", "x": [1.0, 2.0], "chips": [1, 9], "median": [90.0, 80.0], "p05": [90.0, 70.0],
          "p95": [90.0, 85.0], "digital": 99.0}  # fmt: skip
CURRENTS = {"level": 1, "v_V": [0.1, 0.2], "p05_A": [1e-6, 2e-6], "median_A": [3e-6, 4e-6], "p95_A": [5e-6, 8e-6]}


@pytest.mark.parametrize(
    ("draw", "arguments", "ends"),
    [
        (plot_fgsm, [table({**ATTACK, "chips": 5})], {(0.0, 88.0), (0.0, 95.0), (0.1, 31.0), (0.1, 47.0)}),
        (plot_means, [table(CHIPS, target=None), ["a"]], {(2.0, 51.0), (2.0, 69.0), (3.0, 56.0), (3.0, 66.0)}),
        (
            plot_robustness,
            [table(POINTS, x_label="bits", chance=20.0, spaced="linear")],
            {(1.0, 90.0), (2.0, 70.0), (2.0, 85.0)},
        ),
        (plot_levels_iv, [table(CURRENTS)], {(0.1, 1e-6), (0.1, 5e-6), (0.2, 2e-6), (0.2, 8e-6)}),
    ],
)
def test_bands_reach_from_their_lower_to_their_upper_end(
    draw: Callable[..., None], arguments: list[Any], ends: set[tuple[float, float]]
) -> None:
    (band,) = drawn(draw, *arguments).collections
    corners = {(float(x), float(y)) for path in band.get_paths() for x, y in np.asarray(path.vertices)}
    assert corners == ends


def test_a_confusion_has_true_classes_along_y_and_answers_along_x() -> None:
    counts = np.array([[6, 3, 1], [0, 8, 2], [4, 0, 5]])
    ax = drawn(plot_confusion, confusion_data(Confusion(counts, np.full((3, 3), 10), "class", 2)))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("answered class", "true class")
    written = texts(ax)
    for text, true, answered in (("60.0", 0, 0), ("30.0", 0, 1), ("10.0", 0, 2), ("20.0", 1, 2), ("40.0", 2, 0)):
        assert written[text] == (answered, true)
    low, high = ax.get_ylim()
    assert low > high, "the first class is on top"


def test_a_heat_map_has_its_first_axis_along_x() -> None:
    values = {"x": ["2", "3", "2", "3"], "y": ["a", "a", "b", "b"], "median": [50.0, 71.0, 62.0, 89.0]}
    data = table({**values, "digital": 90.0, "chips": 3}, x_label="bits", y_label="rows")
    ax = drawn(plot_heatmap, data, (50.0, 90.0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("bits", "rows")
    assert texts(ax) == {"50": (0, 0), "71": (1, 0), "62": (0, 1), "89": (1, 1)}
    assert [text.get_fontweight() for text in ax.texts] == ["normal", "normal", "normal", "bold"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["2", "3"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]


@pytest.mark.parametrize(
    ("means", "halves", "ends"),
    [
        ((81, 88), (0.5, 1), (80, 90)), ((81, 88), (2, 1), (70, 90)), ((81, 88), (0.5, 4), (80, 100)),
        ((2, 97), (5, 9), (0, 100)),
        ((80, 90), (math.nan, math.nan), (80, 90)), ((40, 61), (math.nan, 1), (40, 70)),
    ],
)  # fmt: skip
def test_the_intervals_of_a_training_sweep_are_in_view(
    means: tuple[float, ...], halves: tuple[float, ...], ends: tuple[float, float]
) -> None:
    rows = [
        {"setting": "m", "value": str(n), "case": "a", "mean": mean, "half_width": half, "seeds": 3}
        for n, (mean, half) in enumerate(zip(means, halves, strict=True))
    ]
    with style():
        assert trainings_figure(DataFrame(rows)).axes[0].get_ylim() == ends


@pytest.mark.parametrize(
    ("x", "whole"), [([4, 5, 6], True), ([4, 5, 5.5], False), ([0.5, 1, 1.5], False), ([0, 1, 2], True)]
)
def test_ticks_are_whole_where_all_values_are(x: list[float], whole: bool) -> None:
    rows = {"series": "a", "x": x, "chips": 9, "median": 90.0, "p05": 80.0, "p95": 95.0, "digital": 99.0}
    ax = drawn(plot_robustness, table(rows, x_label="bits", chance=20.0, spaced="linear"))
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert len(ticks) >= 3
    assert all(tick % 1 == 0 for tick in ticks) is whole


@pytest.mark.parametrize(("length", "angle"), [(8, 0), (9, 45)])
def test_long_names_along_an_axis_are_turned(length: int, angle: float) -> None:
    names = [letter * (length - (letter > "a")) for letter in "abcde"]
    rows = {"series": "a", "x": names, "chips": 9, "median": 90.0, "p05": 80.0, "p95": 95.0, "digital": 99.0}
    ax = drawn(plot_robustness, table(rows, x_label="case", chance=20.0, spaced="linear"))
    assert [(label.get_text(), label.get_rotation()) for label in ax.get_xticklabels()] == [(n, angle) for n in names]
    low, high = ax.get_xlim()
    assert low < 0 < 4 < high
