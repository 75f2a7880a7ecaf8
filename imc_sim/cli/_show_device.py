"""`imc-sim show device`: draw the cells of a chip, and how a cell switches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import complete_chip


def device(
    chip: Annotated[
        str,
        typer.Argument(
            help="A chip by name or file, or a switching model: vteam, stanford_pku, linear_ion_drift, data_driven.",
            autocompletion=complete_chip,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("results/devices"),
    amplitude: Annotated[
        float | None, typer.Option(help="Amplitude of the switching sweep in V.", min=0.0, max=10.0)
    ] = None,
    period: Annotated[float | None, typer.Option(help="Period of the switching sweep in s.", min=0.0)] = None,
    compliance: Annotated[
        float | None, typer.Option(help="Compliance current of set in A; reset has ten times as much.", min=1e-9)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw a chip's cells: I-V, variation, switching.

    Draws the current against the read voltage, and the conductances of 2,000 cells in each level. For cells programmed
    by pulses, and for switching models, also draws the I-V loop under a triangular sweep and the conductance against
    pulses. The compliance current is that of programming.scheme, or 100 uA (1 mA where 100 uA does not switch the
    model). Prints the files written: PNG, SVG and the data of each figure as CSV.

    Examples:
      imc-sim show device rram_hfo2_1t1r
      imc-sim show device vteam --amplitude 1.5 --compliance 1e-4
    """
    from imc_sim.cli._console import print_paths, working

    with working(f"drawing the cells of {chip}"):
        written = _drawn(chip, out, amplitude, period, compliance)
    print_paths(written)


def _drawn(
    device: str, out: Path, amplitude: float | None, period: float | None, compliance: float | None
) -> list[Path]:
    """Draw the figures of a chip or of a switching model, and return their files."""
    from imc_sim._errors import InputError
    from imc_sim.array import load_chip
    from imc_sim.device import PulsedProgramming, switching_model, switching_names
    from imc_sim.plotting import draw_cells, draw_device

    written: list[Path] = []
    if device in switching_names():
        name, model = device, switching_model(device)
    else:
        chip = load_chip(device)
        name, programming = Path(device).stem, chip.device.programming
        pulsed = isinstance(programming, PulsedProgramming)
        model = programming.cell if pulsed else None
        if pulsed and programming.scheme is not None:
            compliance = compliance or programming.scheme.compliance_A
        if model is None and (amplitude, period, compliance) != (None, None, None):
            allowed = "a chip with programming.kind: pulses, or a switching model"
            got = f"chip {name!r} without a switching model"
            raise InputError("--amplitude, --period or --compliance", got, allowed, "Leave the option out.")
        written += draw_cells(chip.device, out / f"{name}_cells")
    if model is not None:
        written += draw_device(model, out / f"{name}_switching", amplitude, period, compliance)
    return written
