"""Figures of measurements next to cells of the chip that was fitted to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter
from pandas import DataFrame

from imc_sim.plotting._figure import LogLabels, legend_below, log_if_wide


def plot_retention(ax: Axes, data: DataFrame) -> None:
    """Draw measured quantiles over time as bars (10 % to 90 %) with their median, and those of the chip as a fan."""
    handles: list[Line2D | Patch] = []
    for k, (_, part) in enumerate(data.groupby(["state", "temperature_K"], sort=False, dropna=False)):
        state, T = part["state"].iloc[0], float(part["temperature_K"].to_numpy(float)[0])
        t, color = part["time_s"].to_numpy(float), f"C{k}"
        t = np.where(t > 0.0, t, np.min(t[t > 0.0]) / 10.0)  # readings just after programming
        _fan(ax, t, part, color)
        name = " ".join([str(state), *([] if np.isnan(T) else [f"{T:.4g} K"])]).strip() or "cells"
        handles.append(Line2D([], [], color=color, marker="o", linestyle="", label=name))
    _log(ax, "x", EngFormatter("s"))
    _log_siemens(ax, data[["measured_10_S", "measured_90_S"]].to_numpy(float))
    ax.set_xlabel("time after programming")
    ax.set_ylabel("conductance")
    shown = [
        Line2D([], [], color="0.3", marker="", label="chip, median"),
        Patch(color="0.3", alpha=0.22, label="chip, 10-90 %"),
    ]
    legend_below(ax, [*handles, *shown], ncols=2)


def plot_endurance(ax: Axes, data: DataFrame) -> None:
    """Draw measured quantiles over cycles as bars, those of the chip as a fan, and the share of failed cells."""
    handles: list[Line2D | Patch] = []
    for k, (state, part) in enumerate(data.groupby("state", sort=False)):
        _fan(ax, part["cycle"].to_numpy(float).clip(1.0), part, f"C{k}")
        handles.append(Line2D([], [], color=f"C{k}", marker="o", linestyle="", label=str(state)))
    _log(ax, "x", EngFormatter())
    _log_siemens(ax, data[["measured_10_S", "measured_90_S"]].to_numpy(float))
    ax.set_xlabel("cycles")
    ax.set_ylabel("conductance of working cells")
    shown = [
        Line2D([], [], color="0.3", marker="", label="chip, median"),
        Patch(color="0.3", alpha=0.22, label="chip, 10-90 %"),
    ]
    if data["measured_failed"].to_numpy(float).max() > 0.0:
        right = ax.twinx()
        part = data.drop_duplicates("cycle").sort_values("cycle")
        cycles = part["cycle"].to_numpy(float).clip(1.0)
        right.plot(cycles, 100 * part["measured_failed"].to_numpy(float), color="0.15", marker="x", linestyle="")
        right.plot(cycles, 100 * part["chip_failed"].to_numpy(float), color="0.15", marker="", linestyle="--")
        right.set_ylabel("failed cells (%)")
        right.set_ylim(0.0, None)
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        shown.append(Line2D([], [], color="0.15", marker="x", linestyle="--", label="failed: measured, chip"))
    legend_below(ax, [*handles, *shown], ncols=2)


def plot_pulse_trains(ax: Axes, data: DataFrame) -> None:
    """Draw measured trains of set pulses, then of reset pulses, pale, and those of the chip's median device."""
    first = float(data.loc[data["train"] == "set", "pulse"].to_numpy(float).max())
    for _, part in data.groupby(["train", "curve"], sort=False):
        train, chip = str(part["train"].iloc[0]), part["curve"].iloc[0] == "chip"
        x = part["pulse"].to_numpy(float) + (first if train == "reset" else 0.0)
        color = ("C1" if train == "set" else "C0") if chip else "0.45"
        label = f"chip, {train}" if chip else None
        ax.plot(x, part["G_S"].to_numpy(float), color=color, marker="", linewidth=1.6 if chip else 0.6,
                alpha=1.0 if chip else 0.5, label=label)  # fmt: skip
    ax.yaxis.set_major_formatter(EngFormatter("S"))
    ax.set_xlabel("pulses")
    ax.set_ylabel("conductance")
    measured = Line2D([], [], color="0.45", marker="", linewidth=0.9, label="measured")
    legend_below(ax, [measured, *ax.get_legend_handles_labels()[0]], ncols=3)


def _fan(ax: Axes, x: np.ndarray, part: DataFrame, color: str) -> None:
    """Draw measured quantiles as bars with their median, and those of the chip as a fan."""
    low, chip, high, least, middle, most = (
        part[f"{name}_{q}_S"].to_numpy(float) for name in ("chip", "measured") for q in (10, 50, 90)
    )
    ax.fill_between(x, low, high, color=color, alpha=0.22, linewidth=0)
    ax.plot(x, chip, color=color, marker="", linewidth=1.0)
    reach = np.abs([least - middle, most - middle])
    ax.errorbar(x, middle, reach, color=color, marker="o", markersize=2.6, linestyle="", linewidth=0.7)


def _log_siemens(ax: Axes, values: np.ndarray) -> None:
    """Label the y axis in siemens, on a logarithmic scale where values span a factor of 5."""
    if values.min() > 0.0 and values.max() / values.min() > 5.0:
        _log(ax, "y", EngFormatter("S"))
    else:
        ax.yaxis.set_major_formatter(EngFormatter("S"))


def _log(ax: Axes, which: Literal["x", "y"], shown: Callable[[float], str]) -> None:
    """Make an axis logarithmic; minor ticks have labels where there are few others."""
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axis.set_minor_formatter(LogLabels(shown))


def plot_iv_fit(ax: Axes, data: DataFrame) -> None:
    """Draw the size of measured currents against voltage, the chip's curve of each state, and the compliance."""
    number = 0
    for name, part in data.groupby("curve", sort=False):
        v, i = part["v_V"].to_numpy(float), part["current_A"].to_numpy(float)
        if str(name).startswith("measured"):
            ax.plot(v, i, color="0.45", alpha=0.45, marker="", linewidth=0.6)
        else:
            for k, side in enumerate((v < 0.0, v > 0.0)):
                label = str(name) if k else None
                ax.plot(v[side], i[side], color=f"C{number}", marker="", linewidth=1.6, label=label)
            number += 1
    _log(ax, "y", EngFormatter("A"))
    limit = data.attrs.get("compliance_A")
    if limit:
        ax.axhline(limit, color="0.3", linestyle=":", linewidth=0.9, marker="")
    ax.set_xlabel("voltage (V)")
    ax.set_ylabel("size of the current")
    handles = [
        Line2D([], [], color="0.45", marker="", linewidth=0.9, label="measured"),
        *ax.get_legend_handles_labels()[0],
    ]
    if limit:
        handles.append(Line2D([], [], color="0.3", linestyle=":", marker="", label="compliance"))
    legend_below(ax, handles, ncols=2)


def plot_noise(ax: Axes, data: DataFrame) -> None:
    """Draw the measured spectrum of relative conductance as points, and that of the chip as a line."""
    f = data["frequency_Hz"].to_numpy(float)
    measured, chip = (data[f"{name}_per_Hz"].to_numpy(float) for name in ("measured", "chip"))
    octave = np.unique(np.floor(12.0 * np.log2(f / f[0])).astype(int), return_inverse=True)[1]
    count = np.bincount(octave)
    ax.plot(np.bincount(octave, f) / count, np.bincount(octave, measured) / count, linestyle="", marker="o",
            markersize=2.6, color="C0", label="measured, traps removed")  # fmt: skip
    ax.plot(f, chip, color="0.15", marker="", linewidth=1.0, label="chip: white + 1/f")
    log_if_wide(ax, "x", f, "Hz")
    _log(ax, "y", "{:.0e}".format)
    ax.set_xlabel("frequency")
    ax.set_ylabel("relative power (1/Hz)")
    legend_below(ax, ax.get_legend_handles_labels()[0])
