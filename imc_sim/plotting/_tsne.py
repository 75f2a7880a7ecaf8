"""Features in the plane: the digital network beside a chip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame, concat

from imc_sim.plotting._figure import new_panels, save_figure, save_table, style

if TYPE_CHECKING:
    from imc_sim.evaluate import Embedding

_SHAPES = "os^DvPX"


def tsne_data(panels: Sequence[Embedding]) -> DataFrame:
    """A row a point: panel, class, x, y, nearest_percent (images beside one of their own class, the whole panel's)."""
    return concat(
        [
            DataFrame({"panel": p.panel, "class": p.classes, "x": p.points[:, 0], "y": p.points[:, 1],
                       "nearest_percent": 100 * p.nearest})
            for p in panels
        ],
        ignore_index=True,
    )  # fmt: skip


def plot_tsne(ax: Axes, data: DataFrame) -> None:
    """One panel: a colour and a shape a class, which only together tell all of them apart."""
    for number, part in data.groupby("class", sort=True):
        index = int(str(number))
        colour, shape = f"C{index % 7}", _SHAPES[(index + index // 7) % 7]
        ax.scatter(part["x"], part["y"], s=7, color=colour, marker=shape, alpha=0.8, linewidths=0)
    ax.set_title(
        f"{data['panel'].iloc[0]}\nnearest of own class: {data['nearest_percent'].iloc[0]:.1f} %", fontsize=6.5
    )
    ax.set_xticks([])
    ax.set_yticks([])
    span = 1.08 * float(np.abs(data[["x", "y"]].to_numpy(float)).max())
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal")
    ax.grid(visible=False)
    ax.spines[["top", "right"]].set_visible(True)


def tsne_figure(data: DataFrame) -> Figure:
    """The panels side by side. Call it inside `style()`."""
    parts = list(data.groupby("panel", sort=False))
    figure, axes = new_panels(1, len(parts), 3.4, 2.25)
    for ax, (_, part) in zip(axes, parts, strict=True):
        plot_tsne(ax, part)
    count = data["class"].nunique()
    figure.supxlabel(f"t-SNE of {len(data) // len(parts)} images of {count} classes (colour and shape)", fontsize=6.5)
    return figure


def draw_tsne(panels: Sequence[Embedding], stem: Path) -> list[Path]:
    """Write stem.png, .svg and .csv; returns the paths."""
    data = tsne_data(panels)
    table = save_table(data, stem)
    with style():
        return [*save_figure(tsne_figure(data), stem), table]
