"""Create and save figures in one style: no global state, equal bytes for equal data, the table next to the picture."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast, final

import matplotlib as mpl
import numpy as np
from matplotlib import style as mpl_style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike
from pandas import DataFrame
from scipy.special import ndtri

from imc_sim._errors import printable
from imc_sim._files import csv_parts, make_folder, write_file
from imc_sim.config import package_file

#: panels in a row
_ACROSS = 3
#: the case of a study that names none
UNNAMED = "all"
#: probabilities that an axis of normal quantiles names, in %
_PROBABILITIES = (0.1, 1, 10, 50, 90, 99, 99.9)


@contextmanager
def style() -> Iterator[None]:
    """Apply the defaults of matplotlib and the style of the package; a matplotlibrc of the user has no effect.

    Yields:
        Nothing; the style holds within the block.
    """
    with mpl.rc_context(), mpl_style.context(package_file("plotting/style.mplstyle"), after_reset=True):
        yield


def named_median(handles: list[Artist]) -> None:
    """Name the only series of a study without cases in its legend by what the line is.

    Args:
        handles: of the series.
    """
    if len(handles) == 1 and handles[0].get_label() == UNNAMED:
        handles[0].set_label("median of the chips")


def legend_label(text: object, width: int = 62) -> str:
    """Wrap the name of a series for a legend.

    Matplotlib leaves names that begin with `_` out of legends, so those get a space without width in front.
    """
    label = textwrap.fill(str(text), width)
    return f"\u200b{label}" if label.startswith("_") else label


@final
class LogLabels(LogFormatter):
    """Labels of a logarithmic axis, formatted by `shown`, of minor ticks too where there are few others."""

    def __init__(self, shown: Callable[[float], str] = "{:g}".format, base: float = 10.0) -> None:
        super().__init__(base)
        self._shown = shown

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self._shown(x) if super().__call__(x, pos) else ""


def new_figure(width: float = 3.4, height: float = 2.5) -> tuple[Figure, Axes]:
    """Create a figure with one axes. Create, draw and save inside `style()`.

    Args:
        width: in inches.
        height: in inches.

    Returns:
        The figure and its axes.
    """
    figure, axes = new_panels(1, 1, width, height)
    return figure, axes[0]


def new_panels(rows: int, cols: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Create a figure of rows x cols axes, row by row; width and height of the whole in inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, cols, squeeze=False).flat)


def plain_bar(bar: Colorbar) -> None:
    """Draw a colour bar without a frame, as paths in vector files."""
    cast("Patch", bar.outline).set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(False)
        bar.solids.set_edgecolor("face")


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.png (300 dpi) and stem.svg. Equal figures give equal bytes.

    Args:
        figure: what is saved.
        stem: path without its extension.

    Returns:
        Both paths.
    """
    write_drawn(figure, stem)
    return [stem.with_name(f"{stem.name}.{end}") for end in ("png", "svg")]


def write_drawn(figure: Figure, stem: Path) -> str:
    """Write the files of `save_figure`.

    Args:
        figure: what is saved.
        stem: path without its extension.

    Returns:
        The text of stem.svg.
    """
    png, svg = (stem.with_name(f"{stem.name}.{end}") for end in ("png", "svg"))
    write_file(png, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
    figure.set_layout_engine("none")  # the SVG keeps the layout of the PNG
    text = svg_text(figure)
    write_file(svg, text)
    return text


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG, in whose comments the control characters of labels are escapes: XML must not hold them.

    Args:
        figure: what is drawn.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": "imc_sim"})
    return printable(text.getvalue())


def save_table(data: DataFrame, stem: Path) -> Path:
    """Write the table of a figure as stem.csv; its folder is created.

    Args:
        data: table.
        stem: path without its extension.

    Returns:
        The path.
    """
    make_folder(stem.parent)
    path = stem.with_name(f"{stem.name}.csv")
    write_file(path, lambda file: file.writelines(text.encode() for text in csv_parts(data)))
    return path


def write_figure(data: DataFrame, stem: Path, make: Callable[[DataFrame], Figure]) -> list[Path]:
    """Write a table as stem.csv and the figure that `make` draws of it as stem.png and stem.svg; return the paths."""
    table = save_table(data, stem)
    with style():
        return [*save_figure(make(data), stem), table]


def with_axes(
    plot: Callable[[Axes, DataFrame], None], width: float = 3.4, height: float = 2.5
) -> Callable[[DataFrame], Figure]:
    """Return a function that draws a table by `plot` into the single axes of a new figure."""

    def make(data: DataFrame) -> Figure:
        figure, ax = new_figure(width, height)
        plot(ax, data)
        return figure

    return make


def legend_below(ax: Axes, handles: Sequence[Artist], **options: Any) -> None:
    """Draw the legend of a figure below its axes, one of which is `ax`."""
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.legend(handles=handles, loc="outside lower center", **options)


def lower_limit(values: ArrayLike) -> float:
    """Return the start of an accuracy axis: a multiple of 10 below the lowest value."""
    return max(0.0, 10.0 * math.floor((float(np.nanmin(np.asarray(values, dtype=float))) - 2) / 10))


def mark_level(ax: Axes, level: float, text: str, color: str = "0.4", linewidth: float = 0.8) -> None:
    """Draw a dotted line across the axes with its name at the right end."""
    ax.axhline(level, color=color, linestyle=":", linewidth=linewidth, marker="")
    coordinates = ("axes fraction", "data")
    ax.annotate(text, (1, level), (-2, 2), coordinates, "offset points", ha="right", fontsize=6, color=color)


def probability_axis(ax: Axes, limit: float = math.inf) -> None:
    """Label a y axis of normal quantiles, up to +-limit, by probabilities in %."""
    ticks = [p for p in _PROBABILITIES if abs(ndtri(p / 100)) < limit]
    ax.set_yticks([float(ndtri(p / 100)) for p in ticks], [f"{p:g}" for p in ticks])
    ax.set_ylabel("cells up to it (%)")


def accuracy_panels(count: int, width: float, height: float, least: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Create a figure of `count` panels, three in a row, the first of each row labelled as accuracy."""
    across = min(_ACROSS, count)
    down = -(-count // across)
    figure, axes = new_panels(down, across, max(width * across + 0.3, least), height * down + 0.5)
    for ax in axes[:count:across]:
        ax.set_ylabel("accuracy (%)")
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes[:count]


def log_if_wide(ax: Axes, which: Literal["x", "y"], values: ArrayLike, unit: str) -> bool:
    """Make an axis of values in `unit` logarithmic if their magnitudes span a decade; return whether it is."""
    size = np.abs(np.asarray(values, dtype=float))
    size = size[size > 0.0]
    axis = ax.xaxis if which == "x" else ax.yaxis
    wide = size.size > 0 and float(size.max()) >= 10.0 * float(size.min())
    if wide:
        (ax.set_xscale if which == "x" else ax.set_yscale)("log", nonpositive="mask")
        marks = (1.0,) if size.max() > 100.0 * size.min() else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=marks))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(EngFormatter(unit))
    return wide


def draw_stacked(stem: Path, panels: Mapping[str, tuple[DataFrame, Callable[[Axes, DataFrame], None]]]) -> list[Path]:
    """Write panels above one another (name -> table, drawing) as stem.png, stem.svg and stem_NAME.csv; return the
    paths.
    """
    tables = [save_table(table, stem.with_name(f"{stem.name}_{name}")) for name, (table, _) in panels.items()]
    with style():
        figure, axes = new_panels(len(panels), 1, 3.4, 2.3 * len(panels))
        for ax, (table, plot) in zip(axes, panels.values(), strict=True):
            plot(ax, table)
        return [*save_figure(figure, stem), *tables]
