"""`imc-sim plot-device`: how a cell switches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot_device(
    device: Annotated[
        str, typer.Argument(help="A switching model: vteam, stanford_pku, linear_ion_drift, data_driven.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("results/devices"),
    amplitude: Annotated[float | None, typer.Option(help="Amplitude of the sweep in V.", min=0.0)] = None,
    period: Annotated[float | None, typer.Option(help="Period of the sweep in s.", min=0.0)] = None,
) -> None:
    """Draw how a cell switches: its I-V loop, and its conductance against pulses.

    Prints the files written: PNG, SVG and the figure's data as CSV.
    """
    from imc_sim.device._pulses import switching_model
    from imc_sim.plotting._device import draw_device

    for path in draw_device(switching_model(device), out / device, amplitude, period):
        print(path)
