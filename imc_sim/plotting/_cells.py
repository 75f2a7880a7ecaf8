"""Two figures of a chip's cells: current against the read voltage, and the distribution of conductances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame, concat
from scipy.special import ndtri

from imc_sim.plotting._figure import draw_stacked, log_if_wide, probability_axis

if TYPE_CHECKING:
    from imc_sim.device import Device

#: Cells sampled of each level, on chip 0 with seed 0.
CELLS = 2000
#: Levels shown, the lowest and the highest among them.
_SHOWN = 4


def cells_data(device: Device) -> DataFrame:
    """Return a row per cell of up to four levels: level, target_S, conductance_S and share.

    conductance_S is of one read at v_read, ascending within a level; share is (rank - 1/2) / n.
    """
    from imc_sim.device import sample_cells

    steps = device.levels - 1
    shown = sorted({round(k) for k in np.linspace(0, steps, min(_SHOWN, steps + 1))})
    parts = []
    for level, target_S in zip(shown, device.targets_S(shown), strict=True):
        G = np.sort(sample_cells(device, level, CELLS))
        columns = {"level": level, "target_S": target_S, "conductance_S": G}
        parts.append(DataFrame(columns | {"share": (np.arange(CELLS) + 0.5) / CELLS}))
    return concat(parts, ignore_index=True)


def iv_of_levels(device: Device, data: DataFrame, points: int = 81) -> DataFrame:
    """Return level, v_V, and the 5, 50 and 95 % points over cells of the current in A, up to the read voltage."""
    from imc_sim.device import read_currents

    v = np.linspace(-1.0, 1.0, points) * device.read.v_read_V
    rows = []
    for level, part in data.groupby("level", sort=True):
        quantiles = np.quantile(part["conductance_S"].to_numpy(float), [0.05, 0.5, 0.95])
        low, median, high = read_currents(device, quantiles, v)
        rows.append(DataFrame({"level": level, "v_V": v, "p05_A": low, "median_A": median, "p95_A": high}))
    return concat(rows, ignore_index=True)


def plot_levels_iv(ax: Axes, table: DataFrame) -> None:
    """Draw median current and 5-95 % band of each level against the word-line voltage, on a logarithmic axis."""
    ends = table.loc[table["v_V"] == table["v_V"].max(), ["p05_A", "p95_A"]]
    wide = log_if_wide(ax, "y", ends if ends.to_numpy().min() > 0.0 else [], "A")
    if wide:
        table = table.assign(**{name: table[name].abs() for name in ("p05_A", "median_A", "p95_A")})
    for number, (level, part) in enumerate(table.groupby("level", sort=True)):
        ax.plot(part["v_V"], part["median_A"], marker="", color=f"C{number}", label=f"level {level}")
        low, high = part[["p05_A", "p95_A"]].min(axis=1), part[["p05_A", "p95_A"]].max(axis=1)
        ax.fill_between(part["v_V"], low, high, where=part["v_V"] != 0, color=f"C{number}", alpha=0.2, linewidth=0)
    ax.set_xlabel("voltage (V)")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_ylabel("size of the current" if wide else "current")
    ax.legend(loc="lower left" if wide else "upper left")


def plot_variation(ax: Axes, data: DataFrame) -> None:
    """Draw the cells of each level on an axis of normal probabilities, its target as a dotted line."""
    for number, (_, part) in enumerate(data.groupby("level", sort=True)):
        ax.plot(
            part["conductance_S"], ndtri(part["share"]), linestyle="", marker="o", markersize=1.2, color=f"C{number}"
        )
        ax.axvline(float(part["target_S"].iloc[0]), color=f"C{number}", linestyle=":", linewidth=0.8, marker="")
    dots = Line2D([], [], linestyle="", marker="o", markersize=2, color="0.4", label=f"{CELLS:,} programmed cells")
    line = Line2D([], [], linestyle=":", marker="", linewidth=0.8, color="0.4", label="target")
    ax.legend(handles=[dots, line], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # nowhere free inside
    probability_axis(ax)
    ax.set_xlabel("conductance")
    G = data["conductance_S"].to_numpy(float)
    if not log_if_wide(ax, "x", G if G.min() > 0.0 else [], "S"):  # a logarithmic axis would hide cells of 0 S
        ax.xaxis.set_major_locator(MaxNLocator(5))


def draw_cells(device: Device, stem: Path) -> list[Path]:
    """Write currents against the read voltage and the distribution of conductances, one above the other.

    Args:
        device: cells of a chip.
        stem: path without its extension.

    Returns:
        The paths of stem.png, stem.svg, stem_iv.csv and stem_spread.csv.
    """
    data = cells_data(device)
    iv = iv_of_levels(device, data)
    return draw_stacked(stem, {"iv": (iv, plot_levels_iv), "spread": (data, plot_variation)})
