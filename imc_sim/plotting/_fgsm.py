"""Accuracy under attack against the strength of the attack, a panel per procedure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas import DataFrame

from imc_sim._errors import InputError, ResultsError
from imc_sim._stats import band_label
from imc_sim.plotting._comparison import published_at
from imc_sim.plotting._figure import legend_label, lower_limit, mark_level, named_median, new_panels, write_figure
from imc_sim.plotting._labels import further, heading, place
from imc_sim.plotting._tables import chip_count, distinct, numbers, where

if TYPE_CHECKING:
    from imc_sim.study import Results

#: the axis of a study that this figure has as its x
STRENGTH = "task.attack.epsilon"
_COLUMNS = ("series", "epsilon", "accuracy", "low", "high", "chips")
_COLOURS, _MARKERS = 7, "os^DvPX<>h"
#: series beyond which bands would hide one another
_BANDS = 4
_PROCEDURES = {"pixels": "in pixels, clamped to [0, 1]", "normalised": "as published: normalised, then clamped"}


def attacks(results: Results) -> bool:
    """Tell whether the study sweeps the strength of an attack, in numbers."""
    first = next(iter(results.study["axes"]), None)
    return first is not None and first["path"] == STRENGTH and not first.get("labels")


def attack_data(results: Results) -> DataFrame:
    """Return the table of `fgsm_data` of a study, with the procedure of the attack as column `panel`.

    Every series has rows of its chips and of its digital network. A case that runs under both procedures is two cases;
    the text before the last semicolon of their names is the series, which has one colour.

    Args:
        results: of a study that sweeps the strength of an attack on its first axis.

    Raises:
        ResultsError: the study does not sweep it, or has no finished trial.
    """
    if results.table.empty or not attacks(results):
        step = f"Sweep {STRENGTH} on the first axis, and run the study."
        raise ResultsError(str(results.folder), "no accuracy against the strength of an attack", "some", step)
    axis, cases = results.study["axes"][0], {case["name"]: case for case in results.study["cases"]}
    rows: list[dict[str, Any]] = []
    for row in results.table.to_dict("records"):
        space = _space(results.study, cases[row["case"]], row)
        said = [str(row["case"]).rpartition(";")[0] or str(row["case"])]
        others = [a for a in further(results.study, axis) if a["path"] != "task.attack.space"]
        series = ", ".join([*said, *(place(row[a["path"]], a) for a in others)])
        here = {"panel": _PROCEDURES[space], "series": series, "epsilon": float(row[STRENGTH])}
        band = {"accuracy": 100 * row["median"], "low": 100 * row["p05"], "high": 100 * row["p95"]}
        published = published_at(cases[row["case"]], axis, row[STRENGTH])
        digital = {"accuracy": 100 * row["digital"], "chips": 0}
        digital |= {} if published is None else {"published": 100 * published}
        rows += [here | band | {"chips": int(row["chips"])}, here | digital]
    data = fgsm_data(DataFrame(rows, columns=["panel", *_COLUMNS, "published"]).dropna(subset=["accuracy"]))
    task = results.study["task"]
    data.attrs = {"x_label": heading(axis) if axis["label"] else _strength(data)}
    data.attrs |= {"chance": 100 / task["way"]} if "way" in task else {}
    return data


def _space(study: Mapping[str, Any], case: Mapping[str, Any], row: Mapping[Any, Any]) -> str:
    """Return the space of the attack: from an axis, the case or the task, else pixels."""
    given = case["set"].get("task.attack") or study["task"].get("attack") or {}
    own = case["set"].get("task.attack.space", given.get("space", "pixels"))
    return str(row.get("task.attack.space", own))


def _strength(data: DataFrame) -> str:
    published = _PROCEDURES["normalised"] in distinct(data, "panel")
    return "strength of the attack \u03b5" + ("" if published else " (of the range of a pixel)")


def fgsm_data(table: DataFrame) -> DataFrame:
    """Check and order a table of accuracies under attack.

    Args:
        table: series, epsilon, accuracy (median), low and high (band over chips), chips; accuracies in %. A digital
            network has 0 chips and no band. A column `panel` divides the figure; `published` (in %) adds published
            accuracies.

    Returns:
        The rows by series, chips before the digital network, by epsilon.

    Raises:
        InputError: a column or all rows are missing, or a strength is negative.
    """
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        got = "a table without " + ", ".join(missing)
        raise InputError("FGSM figure", got, ", ".join(_COLUMNS), "Add the columns.")
    if table.empty or not (numbers(table, "epsilon") >= 0).all():
        raise InputError("FGSM figure, epsilon", "no row or a negative strength", "0 or more", "Fix the table.")
    names = [name for name in ("panel", *_COLUMNS, "published") if name in table]
    data = table[names].assign(order=table["series"].map(distinct(table, "series").index), digital=table["chips"] == 0)
    data = data.sort_values(["order", "digital", "epsilon"], kind="stable")
    data = data.drop(columns=["order", "digital"]).reset_index(drop=True)
    data.attrs = dict(table.attrs)
    return data


def plot_fgsm(ax: Axes, data: DataFrame, series: list[Any] | None = None) -> None:
    """Draw a colour per series over epsilon: chips as lines, digital networks dashed, published accuracies as crosses.

    Bands are drawn for few series. epsilon has a square-root scale, since attacks of a hundredth and of a third are
    both of interest.

    Args:
        ax: axes to draw into.
        data: table of `fgsm_data`, of one panel.
        series: all series in the order of their colours, if other panels have more.
    """
    names = series or distinct(data, "series")
    for name, part in data.groupby("series", sort=False):
        for digital in (False, True):
            rows = part[(part["chips"] == 0) == digital]
            if len(rows):
                _line(ax, cast("DataFrame", rows), names.index(name), str(name), digital, len(names) <= _BANDS)
        if _has_published(part):
            _cross(ax, part, names.index(name))
    strengths = sorted(set(numbers(data, "epsilon")))
    ax.set_xscale("function", functions=(lambda e: np.sqrt(np.maximum(e, 0)), np.square))
    ax.set_xticks(strengths, [f"{e:g}" for e in strengths])
    ax.minorticks_off()
    ax.set_xlim(0, max([*strengths, 1e-3]) * 1.03)
    _accuracy_axis(ax, data)
    ax.set_xlabel(str(data.attrs.get("x_label", "FGSM strength \u03b5 (of the range of a pixel)")))
    ax.set_ylabel("accuracy (%)")


def _line(ax: Axes, rows: DataFrame, number: int, name: str, digital: bool, band: bool) -> None:
    colour, marker = f"C{number % _COLOURS}", _MARKERS[number % len(_MARKERS)]
    hollow = "white" if number >= _COLOURS or digital else colour
    ax.plot(rows["epsilon"], rows["accuracy"], linestyle="--" if digital else "-", color=colour, marker=marker,
            markerfacecolor=hollow, linewidth=0.8 if digital else 1.2, label=legend_label(name),
            clip_on=False, zorder=2.5 if digital else 2.2)  # fmt: skip
    if band and not digital:
        ax.fill_between(rows["epsilon"], rows["low"], rows["high"], color=colour, alpha=0.18, linewidth=0)


def _has_published(data: DataFrame) -> bool:
    return "published" in data and not np.isnan(numbers(data, "published")).all()


def _cross(ax: Axes, rows: DataFrame, number: int) -> None:
    ax.plot(rows["epsilon"], rows["published"], linestyle="", marker="x", markersize=4.5, markeredgewidth=1.1,
            color=f"C{number % _COLOURS}", label="_published", clip_on=False, zorder=2.8)  # fmt: skip


def _accuracy_axis(ax: Axes, data: DataFrame) -> None:
    """Set the limits of the accuracy axis and mark chance."""
    low = data.attrs.get("lowest", _lowest(data))
    ax.set_ylim(low, 101)
    chance = float(data.attrs.get("chance", math.nan))
    if chance >= low:
        mark_level(ax, chance, "chance")


def _lowest(data: DataFrame) -> float:
    """Return the start of an accuracy axis that holds all rows."""
    return lower_limit(data[[name for name in ("accuracy", "low", "published") if name in data]])


def fgsm_figure(data: DataFrame) -> Figure:
    """Return all panels side by side with one legend below. Call it inside `style()`.

    Args:
        data: table of `fgsm_data`.
    """
    panels = distinct(data, "panel") if "panel" in data else [None]
    names = distinct(data, "series")
    columns = 1 if len(panels) == 1 else 2
    lines = math.ceil(sum(len(textwrap.wrap(str(s), 62)) for s in names) / columns)
    figure, axes = new_panels(1, len(panels), 3.4 if len(panels) == 1 else 7.0, 2.3 + 0.13 * (lines + 1))
    for ax, panel in zip(axes, panels, strict=True):
        part = data if panel is None else where(data, "panel", panel)
        part.attrs = data.attrs | {"lowest": _lowest(data)}
        plot_fgsm(ax, part, names)
        if len(panels) > 1:
            ax.set_title(str(panel))
    for ax in axes[1:]:
        ax.set_ylabel("")
    figure.legend(handles=_handles(axes, data), loc="outside lower center", handlelength=2.6, ncols=columns)
    return figure


def _handles(axes: list[Axes], data: DataFrame) -> list[Artist]:
    """Return the legend: a line per series, solid where it has one, then the meaning of bands, dashes and crosses."""
    lines: dict[str, Artist] = {}
    for ax in axes:
        for line in ax.lines:
            name = str(line.get_label())
            if not name.startswith("_") and (name not in lines or line.get_linestyle() == "-"):
                lines.setdefault(name, line)
    handles = list(lines.values())
    named_median(handles)
    analog = cast("DataFrame", data[numbers(data, "chips") > 0])
    if len(analog) and len(lines) <= _BANDS:
        handles.append(Patch(facecolor="0.4", alpha=0.3, linewidth=0, label=band_label(analog["chips"])))
    elif len(analog):
        handles.append(Line2D([], [], color="0.4", marker="", label=f"median of {chip_count(analog)} chips"))
    if len(analog) < len(data):
        handles.append(Line2D([], [], color="0.4", linestyle="--", linewidth=0.8, marker="", label="digital"))
    if _has_published(data):
        handles.append(Line2D([], [], color="0.4", linestyle="", marker="x", markersize=4.5, label="published"))
    return handles


def draw_fgsm(table: DataFrame, stem: Path) -> list[Path]:
    """Write accuracy under attack as stem.png, stem.svg and stem.csv.

    Args:
        table: see `fgsm_data`; attrs may have `chance`, in %.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    return write_figure(fgsm_data(table), stem, fgsm_figure)
