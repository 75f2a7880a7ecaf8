"""Figures of a switching model at a compliance current: hysteresis loop, and conductance against pulses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator
from pandas import DataFrame

from imc_sim.plotting._figure import draw_stacked, log_if_wide

if TYPE_CHECKING:
    from imc_sim.device import Switching


def iv_data(
    model: Switching, amplitude_V: float | None = None, period_s: float | None = None, cycles: int = 2,
    compliance_A: float | None = None,
) -> DataFrame:  # fmt: skip
    """Sweep a cell, at first in its lowest state, by triangles of voltage; return a row per time step.

    Columns: cycle, time_s, v_V (of the source), current_A, conductance_S. attrs: model, compliance_A.

    Args:
        model: switching model.
        amplitude_V: of the sweep; None: what suits the default parameters of the model.
        period_s: of the sweep; None: as for the amplitude.
        cycles: number of periods.
        compliance_A: limit of the current in the direction of SET, ten times as much for RESET; None: as for the
            amplitude.

    Returns:
        The table.
    """
    from imc_sim.device import sweep

    drive, samples = model.typical, 1000
    limit = compliance_A or drive.compliance_A
    amplitude_V, period_s = amplitude_V or drive.sweep_V, period_s or drive.period_s
    done = sweep(model, amplitude_V, period_s, cycles, samples, model.erased(), limit)
    columns = {
        "time_s": done.time_s.numpy(),
        "v_V": done.v_V.numpy(),
        "current_A": done.trace.current_A.numpy(),
        "conductance_S": done.trace.conductance_S.numpy(),
    }
    data = DataFrame(columns)
    data.insert(0, "cycle", 1 + (data.index.to_numpy() - 1).clip(0) // samples)
    data.attrs = {"model": type(model).__name__, "compliance_A": limit}
    return data


def pulse_data(model: Switching, count: int = 100, compliance_A: float | None = None) -> DataFrame:
    """Apply `count` SET pulses to a cell in its lowest state, then as many RESET pulses; return train, pulse,
    conductance_S.

    Pulse 0 of a train is the state before it. The pulses are the typical ones of the model. attrs: model, compliance_A
    (as in `iv_data`), and a description of the pulses of `set` and `reset`.
    """
    drive, lowest = model.typical, model.erased()
    limit = compliance_A or drive.compliance_A
    up = model.pulses(lowest, drive.set_V, drive.width_s, count, limit)
    down = model.pulses(model.from_conductance(up[-1]), drive.reset_V, drive.width_s, count, limit)
    trains = {"set": [float(model.conductance(lowest)), *up.tolist()], "reset": [float(up[-1]), *down.tolist()]}
    rows = [(train, n, g) for train, values in trains.items() for n, g in enumerate(values)]
    data = DataFrame(rows, columns=["train", "pulse", "conductance_S"])
    width = EngFormatter("s").format_data(drive.width_s)
    words = {"set": f"{drive.set_V:+g} V, {width}", "reset": f"{drive.reset_V:+g} V, {width}"}
    data.attrs = {"model": type(model).__name__, "compliance_A": limit, **words}
    return data


def plot_iv(ax: Axes, table: DataFrame) -> None:
    """Draw the magnitude of the current against voltage, earlier cycles pale, and the compliance current."""
    last = int(table["cycle"].to_numpy().max())
    for cycle, part in table.groupby("cycle", sort=True):
        label = "first cycle" if cycle == 1 else f"cycle {cycle}"
        alpha = 1.0 if cycle == last else 0.35
        ax.plot(
            part["v_V"], part["current_A"].abs(), color=f"C{int(cycle != last)}", alpha=alpha, marker="", label=label
        )
    ax.set_xlabel("voltage (V)")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    limit = table.attrs["compliance_A"]
    words = f"compliance of sets, {EngFormatter('A').format_data(limit)}"
    ax.axhline(limit, color="0.4", linestyle=":", linewidth=0.8, marker="", label=words)
    log_if_wide(ax, "y", table["current_A"], "A")
    ax.set_ylabel("size of the current")
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, columnspacing=1.0)  # nowhere free inside


def plot_pulses(ax: Axes, table: DataFrame) -> None:
    """Draw conductance against the number of pulses, for SET and for RESET."""
    for train, part in table.groupby("train", sort=False):
        label = f"{train} ({table.attrs[str(train)]})"
        ax.plot(part["pulse"], part["conductance_S"], label=label, markersize=2)
    ax.set_xlabel("pulses")
    log_if_wide(ax, "y", table["conductance_S"], "S")
    ax.set_ylabel("conductance")
    ax.legend(loc="best")


def draw_device(
    model: Switching, stem: Path, amplitude_V: float | None = None, period_s: float | None = None,
    compliance_A: float | None = None,
) -> list[Path]:  # fmt: skip
    """Write the hysteresis loop and the response to pulses of a switching model, one above the other.

    Args:
        model: switching model.
        stem: path without its extension.
        amplitude_V: of the sweep; None: what suits the default parameters of the model.
        period_s: of the sweep; None: as for the amplitude.
        compliance_A: limit of the SET current; None: as for the amplitude.

    Returns:
        The paths of stem.png, stem.svg, stem_iv.csv and stem_pulses.csv.
    """
    iv = iv_data(model, amplitude_V, period_s, compliance_A=compliance_A)
    pulses = pulse_data(model, compliance_A=compliance_A)
    return draw_stacked(stem, {"iv": (iv, plot_iv), "pulses": (pulses, plot_pulses)})
