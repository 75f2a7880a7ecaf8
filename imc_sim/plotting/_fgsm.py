"""Accuracy under attack: the curve over the strength of FGSM, from a table."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from imc_sim._errors import InputError
from imc_sim.plotting._figure import new_figure, save_figure, save_table, style
from imc_sim.plotting._tables import chip_count, distinct, numbers

_COLUMNS = ("series", "epsilon", "accuracy", "low", "high", "chips")


def fgsm_data(table: DataFrame) -> DataFrame:
    """Check and order a table: series, epsilon, accuracy (median), low and high (5 and 95 %), chips; accuracies in %.

    low and high are empty and chips is 0 for a series without a spread, the digital network.
    """
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        got = "a table without " + ", ".join(missing)
        raise InputError("FGSM figure", got, ", ".join(_COLUMNS), "Add the columns.")
    if table.empty or not (numbers(table, "epsilon") >= 0).all():
        raise InputError("FGSM figure, epsilon", "no row or a negative strength", "0 or more", "Mend the table.")
    data = table[list(_COLUMNS)].assign(order=table["series"].map(distinct(table, "series").index))
    data = data.sort_values(["order", "epsilon"], kind="stable").drop(columns="order").reset_index(drop=True)
    data.attrs = dict(table.attrs)
    return data


def plot_fgsm(ax: Axes, data: DataFrame) -> None:
    """A line a series over epsilon; bands over chips; series without chips, the digital ones, dashed."""
    for series, part in data.groupby("series", sort=False):
        digital = numbers(part, "chips").max() == 0
        (line,) = ax.plot(part["epsilon"], part["accuracy"], linestyle="--" if digital else "-",
                          label=textwrap.fill(str(series), 62))  # fmt: skip
        if not digital:
            ax.fill_between(part["epsilon"], part["low"], part["high"], color=line.get_color(), alpha=0.18, linewidth=0)
    lowest = float(np.nanmin(data[["accuracy", "low"]].to_numpy(float)))
    low = max(0.0, 10.0 * math.floor((lowest - 2) / 10))
    ax.set_ylim(low, 101)
    ax.margins(x=0.02)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    chance = float(data.attrs.get("chance", math.nan))
    if chance >= low:
        ax.axhline(chance, color="0.4", linestyle=":", linewidth=0.8, marker="")
        coordinates = ("axes fraction", "data")
        ax.annotate("chance", (1, chance), (-2, 2), coordinates, "offset points", ha="right", fontsize=6, color="0.4")
    ax.set_xlabel(str(data.attrs.get("x_label", "FGSM strength \u03b5 (of the range of a pixel)")))
    ax.set_ylabel("accuracy (%)")


def fgsm_figure(data: DataFrame) -> Figure:
    """The whole figure, its legend below. Call it inside `style()`."""
    lines = sum(len(textwrap.wrap(str(s), 62)) for s in set(data["series"]))
    figure, ax = new_figure(height=2.2 + 0.13 * (lines + 1))
    plot_fgsm(ax, data)
    handles: list[Artist] = [*ax.get_legend_handles_labels()[0]]
    analog = cast("DataFrame", data[numbers(data, "chips") > 0])
    if len(analog):
        handles.append(Patch(facecolor="0.4", alpha=0.3, linewidth=0, label=f"5-95 % of {chip_count(analog)} chips"))
    if len(analog) < len(data):
        handles.append(Line2D([], [], color="0.4", linestyle="--", linewidth=0.8, marker="", label="digital"))
    figure.legend(handles=handles, loc="outside lower center", handlelength=2.6)
    return figure


def draw_fgsm(table: DataFrame, stem: Path) -> list[Path]:
    """Write stem.png, .svg and .csv; returns the paths. table: see `fgsm_data`; attrs may hold chance (in %)."""
    data = fgsm_data(table)
    saved = save_table(data, stem)
    with style():
        return [*save_figure(fgsm_figure(data), stem), saved]
