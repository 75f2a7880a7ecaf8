"""Figure of a confusion matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from pandas import DataFrame

from imc_sim.plotting._figure import plain_bar, with_axes, write_figure
from imc_sim.plotting._tables import numbers

if TYPE_CHECKING:
    from imc_sim.evaluate import Confusion

#: classes up to which every share is written into its place
_WRITTEN = 10
#: the colour scale of errors ends here at least, so that a single rare error does not look like a common one
_LEAST_SCALE = 5.0


def confusion_data(confusion: Confusion) -> DataFrame:
    """Return a row per pair of classes: true, answered, count, `asked` and share_percent.

    `asked` counts the queries of the true class in episodes that offered the answered one; share_percent is the
    ratio of count to it. attrs: `what` a class is, `accuracy` in % and what it is `over`.

    Args:
        confusion: counts of answers.
    """
    size = len(confusion.counts)
    true, answered = np.indices((size, size)).reshape(2, -1)
    count, offered = confusion.counts.ravel(), confusion.offered.ravel()
    share = np.divide(100.0 * count, offered, out=np.full(len(count), np.nan), where=offered > 0)
    columns = {"true": true, "answered": answered, "count": count, "asked": offered, "share_percent": share}
    data = DataFrame(columns)
    over = "the digital network's answers" if confusion.chips == 0 else f"{confusion.chips} chips"
    data.attrs = {"what": confusion.what, "accuracy": 100 * confusion.accuracy, "over": over}
    return data


def plot_confusion(ax: Axes, data: DataFrame) -> None:
    """Draw shares of wrong answers as colours, with a dark diagonal; pairs that no episode offered are hatched.

    Args:
        ax: axes to draw into.
        data: table of `confusion_data`.
    """
    size = int(numbers(data, "true").max()) + 1
    shares = numbers(data, "share_percent").reshape(size, size)
    wrong = np.where(np.eye(size, dtype=bool), np.nan, shares)
    top = max(_LEAST_SCALE, float(np.nanmax(wrong, initial=0.0)))
    edges = np.arange(size + 1) - 0.5
    image = ax.pcolormesh(edges, edges, wrong, cmap="Blues", vmin=0, vmax=top, edgecolors="face", linewidth=0.1)
    diagonal = np.where(np.eye(size, dtype=bool), 0.75, np.nan)
    ax.pcolormesh(edges, edges, diagonal, cmap="gray", vmin=0, vmax=1)
    ax.set(aspect="equal", ylim=(size - 0.5, -0.5))
    for i, j in np.argwhere(np.isnan(shares)):
        corner = (float(j) - 0.5, float(i) - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor="0.8", hatch="/////", linewidth=0))
    if size <= _WRITTEN:
        for i, j in np.ndindex(size, size):
            if shares[i, j] == shares[i, j]:
                dark = i != j and shares[i, j] > 0.55 * top
                ax.text(j, i, f"{shares[i, j]:.1f}", ha="center", va="center", fontsize=5.5,
                        color="white" if dark else "black")  # fmt: skip
    ticks = range(size) if size <= _WRITTEN else range(0, size, 5)
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.grid(visible=False)
    what = str(data.attrs["what"])
    ax.set_xlabel(f"answered {what}")
    ax.set_ylabel(f"true {what}")
    met = "" if shares.size == np.isfinite(shares).sum() else "; hatched: never offered"
    ax.set_title(f"accuracy {data.attrs['accuracy']:.1f} % over {data.attrs['over']}{met}", loc="left", fontsize=6.5)
    figure = ax.get_figure(root=True)
    if figure is not None:
        bar = figure.colorbar(image, ax=ax, aspect=25, pad=0.02, shrink=0.85)
        bar.set_label("wrong answers (% of queries offering it)")
        plain_bar(bar)


def draw_confusion(confusion: Confusion, stem: Path) -> list[Path]:
    """Write a confusion matrix as stem.png, stem.svg and stem.csv.

    Args:
        confusion: counts of answers.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    return write_figure(confusion_data(confusion), stem, with_axes(plot_confusion, height=3.0))
