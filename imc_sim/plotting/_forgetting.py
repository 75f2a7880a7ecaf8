"""Continual learning: the accuracy of every task after each training, from the curves on cards."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from imc_sim._errors import InputError
from imc_sim.config import find_card
from imc_sim.plotting._figure import accuracy_panels, legend_label, write_figure
from imc_sim.plotting._tables import distinct, numbers, where

#: the strength of the metaplasticity at the end of a card's name
_STRENGTH = re.compile(r"(?:^|_)m(\d+(?:_\d+)?)$")
_MEANS = ("mean", "when learned")
Curve = Mapping[str, Sequence[float]]


def curves_of(models: Sequence[str]) -> dict[str, Curve]:
    """Return the training curves on cards by name, without the words that all names begin with.

    A strength of metaplasticity at the end is written out: `metaplastic_small_float_m1_35` becomes `float, m = 1.35`.

    Args:
        models: names of models that were trained continually.

    Raises:
        InputError: a card has no curve of a continual training.
    """
    found: dict[str, Curve] = {}
    for name in models:
        read = find_card(name)
        card = read.data
        curve = card.get("curve", {})
        if "task1" not in curve:
            step = f"Train it: imc-sim train {shlex.quote(name)}"
            raise InputError(read.where, "a card without the curve of a continual training", "task1, task2, …", step)
        found[str(card["name"])] = curve
    words = [name.split("_") for name in found]
    shared = 0
    while len(found) > 1 and all(len(each) > shared + 1 and each[shared] == words[0][shared] for each in words):
        shared += 1
    if not shared:
        return found
    return {_readable(each[shared:]): curve for each, curve in zip(words, found.values(), strict=True)}


def forgetting_data(curves: Mapping[str, Curve]) -> DataFrame:
    """Return a row per network, training and task learned by then: network, training (1, 2, …), task, accuracy in %.

    A training is of a whole task or of a part of one.

    Args:
        curves: columns of the log of a continual training, by name of the network.
    """
    rows = []
    for network, curve in curves.items():
        tasks, count = _tasks(curve), len(curve["task1"])
        for number in range(count):
            known = tasks if count == 1 else tasks[: int(curve["task"][number])]
            rows += [(network, number + 1, task, round(100 * curve[task][number], 3)) for task in known]
    return DataFrame(rows, columns=["network", "training", "task", "accuracy"])


def forgetting_table(curves: Mapping[str, Curve]) -> DataFrame:
    """Return a row per network, in %: every task after the last training, their mean, and the mean when each was
    learned.

    Args:
        curves: columns of the log of a continual training, by name of the network.
    """
    rows = []
    for network, curve in curves.items():
        tasks = _tasks(curve)
        last = {task.replace("task", "task "): 100 * curve[task][-1] for task in tasks}
        fresh = [100 * curve[task][_learned(curve, number)] for number, task in enumerate(tasks, 1)]
        means = dict(zip(_MEANS, (float(np.mean(list(last.values()))), float(np.mean(fresh))), strict=True))
        rows.append({"network": network} | {key: round(value, 2) for key, value in (last | means).items()})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return DataFrame(rows, columns=[*(n for n in names if n not in _MEANS), *_MEANS])


def plot_forgetting(ax: Axes, data: DataFrame) -> None:
    """Draw one network: a line per task, from the training on which it was learned."""
    for number, task in enumerate(distinct(data, "task")):
        part = where(data, "task", task)
        label = legend_label(str(task).replace("task", "task "))
        ax.plot(part["training"], part["accuracy"], color=f"C{number}", marker="o", ms=3, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_ylim(0, 101)
    ax.set_title(textwrap.fill(str(data["network"].iloc[0]), 30), fontsize=7)


def forgetting_figure(data: DataFrame) -> Figure:
    """Return a panel per network, except for those that learned all tasks together. Call it inside `style()`."""
    several = {n for n, number in zip(data["network"], numbers(data, "training"), strict=True) if number > 1}
    networks = [name for name in distinct(data, "network") if name in several or not several]
    parts = int(numbers(data, "training").max()) > len(distinct(data, "task"))
    figure, axes = accuracy_panels(len(networks), 2.1, 1.7, 3.0)
    for ax, network in zip(axes, networks, strict=True):
        plot_forgetting(ax, where(data, "network", network))
    for ax in axes[-3:]:
        ax.set_xlabel("parts learned" if parts else "tasks learned")
    longest = max(axes, key=lambda ax: len(ax.get_lines()))
    figure.legend(handles=longest.get_legend_handles_labels()[0], loc="outside lower center", ncols=6)
    return figure


def draw_forgetting(curves: Mapping[str, Curve], stem: Path) -> list[Path]:
    """Write the accuracy of every task over a continual training as stem.png, stem.svg and stem.csv.

    Args:
        curves: columns of the log of a continual training, by name of the network.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    return write_figure(forgetting_data(curves), stem, forgetting_figure)


def curve_of_log(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return the rows of a log as columns."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _readable(words: Sequence[str]) -> str:
    strength = _STRENGTH.search("_".join(words))
    if strength is None:
        return " ".join(words)
    before = "_".join(words)[: strength.start()].replace("_", " ")
    return f"{before}, m = {strength[1].replace('_', '.')}".removeprefix(", ")


def _tasks(curve: Curve) -> list[str]:
    """Return the columns of tasks, in their order."""
    return [f"task{number}" for number in range(1, len(curve)) if f"task{number}" in curve]


def _learned(curve: Curve, task: int) -> int:
    """Return the number of the last training on task number `task`."""
    seen = np.flatnonzero(numbers(DataFrame({"task": list(curve["task"])}), "task") == task)
    return int(seen[-1]) if len(seen) else -1
