"""Figures of t-SNE embeddings: rows clean and attacked, columns networks or chips."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame, concat, read_csv

from imc_sim._errors import ResultsError, reason_of
from imc_sim._files import regular, without_mark
from imc_sim.plotting._figure import UNNAMED, new_panels, write_figure
from imc_sim.plotting._tables import distinct, where

if TYPE_CHECKING:
    from imc_sim.evaluate import Embedding
    from imc_sim.study import Results

#: where `imc-sim plot --kind tsne` leaves the points of a study
TABLE = "tsne.csv"
_SHARES = ("nearest_percent", "nearest_clean_percent")
_POINT = ("x", "y")
#: columns of the table; names such as "" and "NA" are text
_TYPES: dict[Any, Any] = dict.fromkeys(("row", "column", "class"), str) | dict.fromkeys((*_POINT, *_SHARES), float)
_SHAPES = "os^DvPX"
#: inches: width of a column and of two columns of a page, largest height of a figure, smallest side of a panel
_COLUMN, _PAGE, _TALL, _SIDE = 3.4, 7.0, 8.5, 0.4
#: largest number of panels of a stored table that are drawn
_MOST = 300
#: panels in a row where they are a single row or column
_ACROSS = 3


def tsne_data(panels: Sequence[Embedding]) -> DataFrame:
    """Return a row per point: row, column, class, x, y, nearest_percent, nearest_clean_percent.

    The last two are the shares of images of a panel whose nearest other image, in the panel or among the clean images,
    is of the same class.

    Args:
        panels: embeddings.
    """
    return concat(
        [
            DataFrame({"row": p.row, "column": p.column, "class": p.classes, "x": p.points[:, 0], "y": p.points[:, 1],
                       "nearest_percent": 100 * p.nearest, "nearest_clean_percent": 100 * p.nearest_clean})
            for p in panels
        ],
        ignore_index=True,
    )  # fmt: skip


def tsne_shares(data: DataFrame) -> DataFrame:
    """Return a row per panel: row, column, nearest_percent, nearest_clean_percent.

    Args:
        data: table of `tsne_data`.
    """
    first = data.drop_duplicates(["row", "column"]).reset_index(drop=True)
    return DataFrame({name: first[name] for name in ("row", "column", *_SHARES)})


def plot_tsne(ax: Axes, data: DataFrame, size: float = 7.0) -> None:
    """Draw one panel; colour and shape together distinguish the classes.

    Args:
        ax: axes to draw into.
        data: rows of one panel.
        size: of points, in pt^2.
    """
    for number, part in data.groupby("class", sort=True):
        index = int(str(number))
        colour, shape = f"C{index % 7}", _SHAPES[(index + index // 7) % 7]
        ax.scatter(part["x"], part["y"], s=size, color=colour, marker=shape, alpha=0.8, linewidths=0)
    ax.set_xticks([])
    ax.set_yticks([])
    span = 1.08 * float(np.abs(data[["x", "y"]].to_numpy(float)).max())
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal")
    ax.grid(visible=False)
    ax.spines[["top", "right"]].set_visible(True)


def tsne_figure(data: DataFrame) -> Figure:
    """Return all panels with the shares of nearest images below each. Call it inside `style()`.

    A single row or column of panels is continued in the next row after three.

    Args:
        data: table of `tsne_data`.
    """
    rows, columns = distinct(data, "row"), distinct(data, "column")
    places, grid = [(row, column) for row in rows for column in columns], len(rows) > 1 and len(columns) > 1
    across = len(columns) if grid else -(-len(places) // -(-len(places) // _ACROSS))  # 4 panels: two by two
    down = -(-len(places) // across)
    side = max(_SIDE, min((_COLUMN if across <= 2 else _PAGE) / across, (_TALL - 0.45) / down - 0.22))
    width, dense = side * across, across > 4
    figure, axes = new_panels(down, across, width, down * (side + 0.22) + 0.45)
    for ax in axes[len(places) :]:
        ax.set_axis_off()
    for k, (ax, (row, column)) in enumerate(zip(axes, places, strict=False)):
        part = where(where(data, "row", row), "column", column)
        if part.empty:
            ax.set_axis_off()
            continue
        plot_tsne(ax, part, 2.5 if dense else 7.0)
        if not grid or k < across:
            named = [str(column)] * (column != UNNAMED) + [str(row)] * (len(rows) > 1 and not grid)
            ax.set_title(_wrapped(", ".join(named), dense), fontsize=5.5 if dense else 6.5)
        if grid and k % across == 0:
            ax.set_ylabel(str(row), fontsize=6.5)
        ax.set_xlabel(_share(part, 0 if dense else 1), fontsize=6, labelpad=2)
    images = len(data) // len(tsne_shares(data))
    below = f"t-SNE of {images} images of {data['class'].nunique()} classes (colour and shape). Below: share of images"
    below += " whose nearest other image is of the same class"
    below += "; in brackets: nearest among the clean images" if _has_two_shares(data) else ""
    figure.supxlabel(textwrap.fill(below, int(17 * width)), fontsize=6)
    return figure


def _has_two_shares(data: DataFrame) -> bool:
    """Tell whether the share among the clean images is another one in some panel."""
    own, clean = (data[name] for name in _SHARES)
    return not bool((own == clean).all())


def _share(panel: DataFrame, decimals: int) -> str:
    own, clean = (float(panel[name].iloc[0]) for name in _SHARES)
    return f"{own:.{decimals}f} %" if own == clean else f"{own:.{decimals}f} % ({clean:.{decimals}f} %)"


def _wrapped(name: str, dense: bool) -> str:
    """Return the head of a column; in a dense grid the text before the first colon, and the rest below it."""
    return "\n".join(part.strip() for part in name.replace(": ", ", ").split(",")) if dense else name


def stored_tsne(results: Results) -> DataFrame:
    """Read the points that `imc-sim plot --kind tsne` stored in the results folder."""
    if not has_tsne(results):
        step = f"Compute it: imc-sim plot {shlex.quote(str(results.folder))} --kind tsne"
        raise ResultsError(str(results.folder), f"no {TABLE}", "the points of a t-SNE", step)
    path = results.folder / TABLE
    allowed = f"the points of a t-SNE with 1 to {_MOST} panels"
    step = "Remove the file, and draw the figure again with --kind tsne."
    try:
        table = read_csv(regular(path), keep_default_na=False, dtype=_TYPES)
        data = DataFrame(table[list(_TYPES)]).astype({"class": int})
    except (ValueError, KeyError, OverflowError) as error:
        raise ResultsError(str(path), reason_of(error), allowed, step) from error
    panels = len(data.drop_duplicates(["row", "column"]))
    if not 0 < panels <= _MOST:
        raise ResultsError(str(path), f"{panels} panels", allowed, step)
    if not np.isfinite(data[[*_POINT, *_SHARES]]).all(axis=None):
        raise ResultsError(str(path), "NaN or infinite values", allowed, step)
    return data.assign(**{name: data[name].map(without_mark) for name in ("row", "column")})


def has_tsne(results: Results) -> bool:
    """Tell whether these points were stored."""
    return (results.folder / TABLE).is_file()


def draw_tsne(panels: Sequence[Embedding], stem: Path) -> list[Path]:
    """Write t-SNE embeddings as stem.png, stem.svg and stem.csv.

    Args:
        panels: embeddings.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    return write_figure(tsne_data(panels), stem, tsne_figure)
