"""Recorded properties of figures."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from pandas import DataFrame

from imc_sim.plotting import style


def ramp(values: Any) -> float:
    """Return a mean that changes with each value and its place, to six digits."""
    flat = np.nan_to_num(np.asarray(values, dtype=float)).ravel()
    return float(f"{float((flat * np.linspace(1, 2, flat.size)).mean()) if flat.size else 0.0:.6g}")


def colour_of(colour: Any) -> str:
    try:
        return to_hex(np.asarray(colour)[0] if np.ndim(colour) == 2 else colour, keep_alpha=True)
    except (ValueError, IndexError):
        return str(np.shape(colour))


def texts_of(texts: Any) -> list[str]:
    return [
        f"{t.get_text()} {t.get_fontweight()} {t.get_fontsize():g} {colour_of(t.get_color())}"
        for t in texts
        if t.get_text()
    ]


def line_of(line: Any) -> str:
    look = f"{line.get_label()} {line.get_color()} {line.get_linestyle()} {line.get_marker()} {line.get_linewidth():g}"
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    return f"{look} {line.get_alpha()} {x.size} {ramp(x)} {ramp(y)}"


def fill_of(fill: Any) -> str:
    values = "" if fill.get_array() is None else ramp(fill.get_array())
    paths = [ramp(path.vertices) for path in fill.get_paths()[:50]]
    colours = f"{colour_of(fill.get_facecolor())} {colour_of(fill.get_edgecolor())}"
    return f"{type(fill).__name__} {colours} {len(fill.get_paths())} {ramp(paths)} {values}"


def contents_of(figure: Figure, whole: bool = True) -> dict[str, Any]:
    """Return the size, texts and contents of a figure; the contents by a digest where not all are wanted."""
    found: dict[str, Any] = {"size": " x ".join(f"{each:.4g}" for each in figure.get_size_inches())}
    found["texts"] = [" / ".join(text.get_text() for each in figure.legends for text in each.get_texts())]
    found["texts"] += texts_of(figure.texts)
    for number, ax in enumerate(figure.axes):
        kinds = [
            f"{axis.get_scale()} {type(axis.get_major_locator()).__name__} {type(axis.get_major_formatter()).__name__}"
            for axis in (ax.xaxis, ax.yaxis)
        ]
        labels = [
            " ".join(label.get_text() for label in axis.get_ticklabels())
            for axis in (ax.xaxis, ax.yaxis)
            if type(axis.get_major_locator()).__name__ == "FixedLocator"
        ]
        own = ax.get_legend()
        content = [*map(line_of, ax.get_lines()), *(fill_of(each) for each in ax.collections)]
        content += [f"{colour_of(p.get_facecolor())} {ramp(p.get_path().vertices)}" for p in ax.patches]
        content += [*texts_of(ax.texts), *([text.get_text() for text in own.get_texts()] if own else [])]
        limits = " ".join(f"{limit:.5g}" for limit in (*ax.get_xlim(), *ax.get_ylim()))
        titles = [ax.get_xlabel(), ax.get_ylabel(), ax.get_title(), ax.get_title("left")]
        found[f"axes {number}"] = [
            " | ".join([*titles, *kinds, *labels, limits]),
            *(content if whole and len(content) < 9 else [short("\n".join(content))]),
        ]
    return found


def short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 24 else hashlib.sha256(text.encode()).hexdigest()[:8]


def csv(data: DataFrame) -> list[str]:
    return data.to_csv(index=False, float_format="%.6g").splitlines()


def made_figure(make: Any, *data: Any, whole: bool = True) -> dict[str, Any]:
    with style():
        return contents_of(make(*data), whole)
