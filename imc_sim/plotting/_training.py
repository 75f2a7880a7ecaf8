"""Training curves: loss and validation accuracy against episodes, epochs or members."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from pandas import DataFrame

from imc_sim._files import read_file
from imc_sim.plotting._figure import with_axes, write_figure
from imc_sim.plotting._forgetting import curve_of_log, draw_forgetting

#: what a training counts in
_STEPS = ("episode", "epoch", "member")


def training_data(rows: Sequence[dict[str, Any]]) -> DataFrame:
    """Return the log of a training as a table: episode, epoch or member, loss (mean since the last row), accuracy
    (fraction).

    Ensembles have a column `ensemble` more, the accuracy of all members so far.

    Args:
        rows: of the log.
    """
    step = next((name for name in _STEPS if rows and name in rows[0]), _STEPS[0])
    more = ["ensemble"] if rows and "ensemble" in rows[0] else []
    return DataFrame(list(rows), columns=[step, "loss", "accuracy", *more])


def plot_training(ax: Axes, data: DataFrame) -> None:
    """Draw validation accuracy on the left axis and training loss on the right one.

    Args:
        ax: axes to draw into.
        data: table of `training_data`.
    """
    step = str(data.columns[0])
    (accuracy,) = ax.plot(data[step], 100 * data["accuracy"], label="validation accuracy")
    if "ensemble" in data:
        ax.plot(data[step], 100 * data["ensemble"], color=accuracy.get_color(), linestyle="--", label="of all so far")
        ax.legend(loc="center right")
    ax.set_xlabel(f"{step}s")
    ax.set_ylabel("validation accuracy (%)", color=accuracy.get_color())
    right = ax.twinx()
    right.spines["right"].set_visible(True)
    right.grid(visible=False)
    right.plot(data[step], data["loss"], color="C1", marker="s", label="training loss")
    right.set_ylabel("training loss", color="C1")
    right.set_ylim(bottom=0)


def draw_training(folder: Path) -> list[Path]:
    """Write training.png, .svg and .csv next to the training.jsonl of a folder.

    For continual training, they show the accuracy of every task after each training, else loss and accuracy.

    Args:
        folder: of the training.

    Returns:
        The paths of the files.
    """
    rows = [json.loads(line) for line in read_file(folder / "training.jsonl").decode().splitlines()]
    if rows and "task1" in rows[0]:
        return draw_forgetting({folder.name: curve_of_log(rows)}, folder / "training")
    return write_figure(training_data(rows), folder / "training", with_axes(plot_training))
