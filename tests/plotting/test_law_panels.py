"""Figures of fits of time, cycles, pulses, curves and traces: what their axes and lines hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from imc_sim.plotting._fits import FIT_FIGURES, draw_fit


def quantiles(**more: list[Any]) -> pd.DataFrame:
    data = pd.DataFrame({"state": ["HRS", "HRS", "LRS", "LRS"]} | more)
    for k, q in enumerate((10, 50, 90)):
        data[f"measured_{q}_S"] = [(4 + k) * 1e-6, (5 + k) * 1e-6, (50 + k) * 1e-6, (40 + k) * 1e-6]
        data[f"chip_{q}_S"] = 1.1 * data[f"measured_{q}_S"]
    return data


TABLES: dict[str, pd.DataFrame] = {
    "retention": quantiles(time_s=[0.0, 10.0, 0.0, 10.0], temperature_K=[np.nan] * 4),
    "endurance": quantiles(
        cycle=[1.0, 1e6, 1.0, 1e6], measured_failed=[0.0, 0.2, 0.0, 0.2], chip_failed=[0.0, 0.25, 0.0, 0.25]
    ),
    "pulses": pd.DataFrame({
        "train": ["set"] * 4 + ["reset"] * 4, "curve": ["measured 0", "measured 0", "chip", "chip"] * 2,
        "pulse": [0.0, 8.0] * 4, "G_S": [1e-6, 9e-6, 1e-6, 8e-6, 9e-6, 1e-6, 8e-6, 1e-6],
    }),
    "iv": pd.DataFrame({
        "curve": ["measured 0"] * 2 + ["chip LRS"] * 2, "v_V": [-0.2, 0.2] * 2, "current_A": [1e-6, 2e-6, 1e-6, 1e-6],
    }),
    "noise": pd.DataFrame({"frequency_Hz": [1.0, 2.0, 4.0], "measured_per_Hz": [4e-6, 2e-6, 1e-6],
                           "chip_per_Hz": [5e-6, 2e-6, 1e-6]}),
}  # fmt: skip
LABELS = {
    "retention": ("time after programming", "conductance"), "endurance": ("cycles", "conductance of working cells"),
    "pulses": ("pulses", "conductance"), "iv": ("voltage (V)", "size of the current"),
    "noise": ("frequency", "relative power (1/Hz)"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_figures_of_fits_are_labelled_and_written(name: str, tmp_path: Path) -> None:
    paths = draw_fit({name: TABLES[name]}, tmp_path / "chip")
    assert {p.name for p in paths} == {f"chip_{name}.{end}" for end in ("png", "svg", "csv")}
    ax: Axes = matplotlib.figure.Figure().subplots()
    FIT_FIGURES[name][0](ax, TABLES[name])
    assert (ax.get_xlabel(), ax.get_ylabel()) == LABELS[name]
    labels = [tick.get_text() for axis in (ax.xaxis, ax.yaxis) for tick in axis.get_ticklabels(which="both")]
    assert not any("$" in label for label in labels), labels  # text is never read as mathematics
    drawn = [line.get_ydata() for line in ax.get_lines()]
    column = {"pulses": "G_S", "iv": "current_A", "noise": "chip_per_Hz"}.get(name, "chip_50_S")
    for value in TABLES[name][column]:
        assert any(np.isclose(np.asarray(y, float), value, rtol=1e-9).any() for y in drawn)


def test_reset_pulses_follow_set_pulses_and_failures_have_their_own_axis() -> None:
    ax: Axes = matplotlib.figure.Figure().subplots()
    FIT_FIGURES["pulses"][0](ax, TABLES["pulses"])
    assert max(float(np.max(line.get_xdata())) for line in ax.get_lines()) == 16.0
    ax = matplotlib.figure.Figure().subplots()
    FIT_FIGURES["endurance"][0](ax, TABLES["endurance"])
    figure = ax.get_figure()
    assert figure is not None
    right = figure.axes[1]
    assert [np.asarray(line.get_ydata()).tolist() for line in right.get_lines()] == [[0.0, 20.0], [0.0, 25.0]]
