"""Importance of the signs of latent weights: flipped signs in a network, and signs in a quadratic loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame

from imc_sim.plotting._figure import new_panels, save_figure, save_table, style
from imc_sim.plotting._tables import distinct, numbers, where


def flips_data(layers: Mapping[str, Sequence[Any]]) -> DataFrame:
    """Return a row per layer and bin: layer, magnitude, candidates, increase (mean), deviation (between samples).

    Args:
        layers: name of a layer -> its bins, see `imc_sim.train.FlippedBin`.
    """
    rows = [
        (name, round(each.magnitude, 6), each.candidates, float(f"{each.mean:.6g}"), float(f"{each.deviation:.6g}"))
        for name, bins in layers.items()
        for each in bins
    ]
    return DataFrame(rows, columns=["layer", "magnitude", "candidates", "increase", "deviation"])


def plot_flips(ax: Axes, data: DataFrame) -> None:
    """Draw the increase of the loss per flipped weight against the magnitude of its latent weight."""
    ax.errorbar(data["magnitude"], data["increase"], yerr=data["deviation"], fmt="o", ms=3, lw=0.9, capsize=1.8)
    ax.axhline(0.0, color="0.4", linestyle=":", linewidth=0.8, marker="")
    ax.set_title(str(data["layer"].iloc[0]), fontsize=7)
    ax.set_xlabel("|hidden weight| / largest")
    ax.ticklabel_format(axis="y", scilimits=(-2, 2))


def draw_flips(layers: Mapping[str, Sequence[Any]], stem: Path) -> list[Path]:
    """Write the loss per flipped weight as stem.png, stem.svg and stem.csv.

    Args:
        layers: name of a layer -> its bins, see `imc_sim.train.FlippedBin`.
        stem: path without its extension.

    Returns:
        The paths of the files.
    """
    data = flips_data(layers)
    names, table = distinct(data, "layer"), save_table(data, stem)
    with style():
        figure, axes = new_panels(1, len(names), 2.1 * len(names) + 0.3, 2.1)
        for ax, name in zip(axes, names, strict=True):
            plot_flips(ax, where(data, "layer", name))
        axes[0].set_ylabel("loss per flipped weight")
        return [*save_figure(figure, stem), table]


def quadratic_data(path: Any, optimum: Sequence[float]) -> DataFrame:
    """Return the latent weights of a quadratic task by step: step, w1, w2, …; attrs: optimum.

    Args:
        path: weights [steps + 1, d].
        optimum: weights of least loss [d].
    """
    values = np.asarray(path, dtype=float)
    data = DataFrame({"step": np.arange(len(values))} | {f"w{k + 1}": values[:, k] for k in range(values.shape[1])})
    data.attrs = {"optimum": [float(x) for x in optimum]}
    return data


def draw_quadratic(small: DataFrame, large: DataFrame, stem: Path) -> list[Path]:
    """Write the latent weights of a small quadratic task by step, and the loss of flipped signs in a large one.

    Args:
        small: table of `quadratic_data`.
        large: latent weights w and increase of the loss.
        stem: path without its extension.

    Returns:
        The paths of stem.png, stem.svg, stem_path.csv and stem.csv.
    """
    tables = [save_table(small, stem.with_name(f"{stem.name}_path")), save_table(large, stem)]
    with style():
        figure, (left, right) = new_panels(1, 2, 5.4, 2.3)
        for number, optimum in enumerate(small.attrs["optimum"]):
            label = f"optimum {optimum:g}"
            left.plot(small["step"], small[f"w{number + 1}"], color=f"C{number}", marker="", lw=0.8, label=label)
        left.set_xlabel("steps")
        left.set_ylabel("hidden weight")
        left.legend(fontsize=6)
        right.plot(np.abs(numbers(large, "w")), numbers(large, "increase"), "o", ms=2, ls="")
        right.set_xlabel("|hidden weight|")
        right.set_ylabel("loss of a flipped sign")
        return [*save_figure(figure, stem), *tables]
