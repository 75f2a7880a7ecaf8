"""Making and saving figures: one style, no global state, equal bytes for equal data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib import style as mpl_style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_STYLE = Path(__file__).with_name("style.mplstyle")


@contextmanager
def style() -> Iterator[None]:
    """The project's style, for the time of the block."""
    with mpl.rc_context(), mpl_style.context(_STYLE):
        yield


def new_figure(width: float = 3.4, height: float = 2.5) -> tuple[Figure, Axes]:
    """A figure of one axes, in inches. Call it, draw and save inside `style()`."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.png (300 dpi) and stem.svg; returns both paths. Equal figures give equal bytes."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": "imc_sim"})
    return [png, svg]
