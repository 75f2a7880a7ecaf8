"""A switching model in two pictures: its pinched hysteresis loop, and conductance against pulses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator
from pandas import DataFrame

from imc_sim.plotting._figure import draw_stacked

if TYPE_CHECKING:
    from imc_sim.device._switching import Switching


def iv_data(
    model: Switching, amplitude_V: float | None = None, period_s: float | None = None, cycles: int = 2
) -> DataFrame:
    """A fresh cell under triangular sweeps: cycle, time_s, v_V, current_A, conductance_S, a row a time step.

    amplitude_V, period_s: of the sweep (None: what suits the model's default parameters). attrs: model.
    """
    from imc_sim.device._pulses import sweep

    drive = model.typical
    samples = 2000
    done = sweep(model, amplitude_V or drive.sweep_V, period_s or drive.period_s, cycles, samples)
    columns = {
        "time_s": done.time_s.numpy(),
        "v_V": done.v_V.numpy(),
        "current_A": done.trace.current_A.numpy(),
        "conductance_S": done.trace.conductance_S.numpy(),
    }
    data = DataFrame(columns)
    data.insert(0, "cycle", 1 + (data.index.to_numpy() - 1).clip(0) // samples)
    data.attrs = {"model": type(model).__name__}
    return data


def pulse_data(model: Switching, count: int = 50) -> DataFrame:
    """`count` set pulses on a cell in its lowest state, then as many reset pulses: train, pulse, conductance_S.

    Pulse 0 of each train is the state before it. The pulses are the model's typical ones. attrs: model, and
    set and reset, which say in words what each pulse is.
    """
    drive = model.typical
    lowest = model.from_conductance(model.conductance(model.initial((1,))) * 0 + model.range_S[0])
    up = model.pulses(lowest, drive.set_V, drive.width_s, count)
    down = model.pulses(model.from_conductance(up[-1]), drive.reset_V, drive.width_s, count)
    first = float(model.conductance(lowest)[0])
    trains = {"set": [first, *up[:, 0].tolist()], "reset": up[-1].tolist() + down[:, 0].tolist()}
    rows = [(train, n, g) for train, values in trains.items() for n, g in enumerate(values)]
    data = DataFrame(rows, columns=["train", "pulse", "conductance_S"])
    width = EngFormatter("s").format_data(drive.width_s)
    words = {"set": f"{drive.set_V:+g} V, {width}", "reset": f"{drive.reset_V:+g} V, {width}"}
    data.attrs = {"model": type(model).__name__, **words}
    return data


def plot_iv(ax: Axes, table: DataFrame) -> None:
    """Current against voltage, the first cycle pale: a loop pinched at the origin."""
    last = int(table["cycle"].to_numpy().max())
    for cycle, part in table.groupby("cycle", sort=True):
        label = "first cycle" if cycle == 1 else f"cycle {cycle}"
        alpha = 1.0 if cycle == last else 0.35
        ax.plot(part["v_V"], part["current_A"], color=f"C{int(cycle != last)}", alpha=alpha, marker="", label=label)
    ax.set_xlabel("voltage (V)")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_ylabel("current")
    ax.yaxis.set_major_formatter(EngFormatter("A"))
    if last > 1:
        ax.legend(loc="upper left")


def plot_pulses(ax: Axes, table: DataFrame) -> None:
    """Conductance against the number of pulses: the set train, then the reset train."""
    for train, part in table.groupby("train", sort=False):
        label = f"{train} ({table.attrs[str(train)]})"
        ax.plot(part["pulse"], part["conductance_S"], label=label, markersize=2)
    ax.set_xlabel("pulses")
    ax.set_ylabel("conductance")
    ax.yaxis.set_major_formatter(EngFormatter("S"))
    ax.legend(loc="best")


def draw_device(
    model: Switching, stem: Path, amplitude_V: float | None = None, period_s: float | None = None
) -> list[Path]:
    """Write stem.png and .svg (one picture above the other), stem_iv.csv and stem_pulses.csv; returns the paths."""
    iv, pulses = iv_data(model, amplitude_V, period_s), pulse_data(model)
    return draw_stacked(stem, {"iv": (iv, plot_iv), "pulses": (pulses, plot_pulses)})
