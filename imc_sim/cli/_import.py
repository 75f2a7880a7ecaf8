"""`imc-sim import`: import a checkpoint as a model, or measured cells as a chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim._errors import InputError
from imc_sim.cli._console import Quiet

#: file name endings of checkpoints
_CHECKPOINTS = {".bin", ".ckpt", ".pkl", ".pt", ".pth", ".safetensors", ".tar"}


def import_(
    source: Annotated[
        Path, typer.Argument(help="A checkpoint (.safetensors or torch file), or a CSV of measured cells.")
    ],
    arch: Annotated[
        str | None,
        typer.Option(help="Architecture of a checkpoint: a name of `imc-sim list archs`, or ./my_net.py:Net."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Model folder to write, such as models/mine; or YAML file of a chip, default device_configs/NAME.yaml."
        ),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="key=value, an argument of the architecture. Repeat it for more.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Layout of the architecture; the same as --arg layout=LAYOUT.")
    ] = None,
    statistics: Annotated[str | None, typer.Option(help="Statistics of batch norms: running or batch.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the chip; default: as the CSV.")] = None,
    quiet: Quiet = False,
) -> None:
    """Import a checkpoint, or measured cells.

    With --arch: imports a checkpoint as a model folder. No code in the checkpoint is run.

    Without --arch: fits levels and device variation to a table of conductances. Columns are `LRS (uS),HRS (uS)` (any
    unit of S or ohm), or `state,conductance (uS)` with states LRS and HRS or level numbers. Prints the fit of each
    state with its goodness, writes a chip for use in other commands, and draws the CDFs.

    Examples:
      imc-sim import my_controller.pth --arch batmann --out models/mine
      imc-sim import my_net.pth --arch ./my_net.py:Net --out models/my_net
      imc-sim import my_cells.csv
    """
    named = {"--arg": arg, "--layout": layout, "--statistics": statistics}
    if arch is not None:
        _refuse(source, {"--name": name}, "a checkpoint", "Leave it out; --out names the model.")
        _import_checkpoint(source, arch, out, arg or [], {"layout": layout, "statistics": statistics})
        return
    step = "Add --arch ARCH (see `imc-sim list archs`)."
    _refuse(source, named, "measured cells", f"To import a checkpoint: {step}")
    if source.suffix.lower() in _CHECKPOINTS:
        raise InputError(str(source), "a checkpoint without --arch", "a checkpoint with --arch, or a CSV", step)
    from imc_sim.cli._import_cells import import_cells

    import_cells(source, out, name)


def _refuse(source: Path, options: dict[str, Any], kind: str, step: str) -> None:
    """Refuse options that do not apply to this kind of file."""
    for option, value in options.items():
        if value is not None:
            raise InputError(str(source), f"{option} with {kind}", f"{kind} without {option}", step)


def _import_checkpoint(
    checkpoint: Path, arch: str, out: Path | None, pairs: list[str], named: dict[str, str | None]
) -> None:
    """Import a checkpoint into the model folder `out`, and print the report."""
    from imc_sim.cli._console import working

    if out is None:
        raise InputError(str(checkpoint), "no --out", "the model folder to write", "Add --out models/NAME.")
    with working(f"importing {checkpoint}"):
        from imc_sim.config import parse_setting
        from imc_sim.mapping import import_checkpoint

        given = dict(parse_setting(pair, "--arg", "key=value") for pair in pairs)
        given |= {key: value for key, value in named.items() if value is not None}
        report = import_checkpoint(checkpoint, arch, out, given)
    print(report.to_text())
