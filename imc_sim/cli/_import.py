"""`imc-sim import`: a checkpoint as a model, or a table of measured cells as a chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim._errors import InputError
from imc_sim.cli._console import Quiet

#: endings of files that hold weights
_CHECKPOINTS = {".bin", ".ckpt", ".pkl", ".pt", ".pth", ".safetensors", ".tar"}


def import_(
    source: Annotated[Path, typer.Argument(help="A .safetensors or torch file, or a CSV of measured cells.")],
    arch: Annotated[str | None, typer.Option(help="A name of `imc-sim list archs`, or ./my_net.py:Net.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Model folder to write, such as models/mine; YAML of a chip: device_configs/NAME.yaml."),
    ] = None,
    arg: Annotated[list[str] | None, typer.Option(help="key=value, an argument of the architecture; repeat.")] = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the architecture; short for --arg layout=….")] = None,
    statistics: Annotated[str | None, typer.Option(help="Of batch norms: running or batch.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the chip of measured cells; default: as the file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Import a checkpoint, or measured cells.

    With --arch: reads a checkpoint without running any code in it, and writes a model folder.

    Without: fits levels and device variation to a table of conductances, with columns `LRS (uS),HRS (uS)` (any unit
    of S or ohm), or `state,conductance (uS)` with LRS, HRS or level numbers. Prints the fit of each state and its
    goodness, writes a chip that every command takes, and draws the CDFs.

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
    from imc_sim.cli._console import working

    if out is None:
        raise InputError(str(checkpoint), "no --out", "the model folder to write", "Add --out models/NAME.")
    with working(f"importing {checkpoint}"):
        from imc_sim.mapping import import_checkpoint

        given = _arguments(pairs) | {key: value for key, value in named.items() if value is not None}
        report = import_checkpoint(checkpoint, arch, out, given)
    print(report.to_text())


def _arguments(pairs: list[str]) -> dict[str, Any]:
    """Parse `key=value` texts, with values as in YAML."""
    from imc_sim.config import parse_yaml

    args: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError("--arg", repr(pair), "key=value, such as kind=xnor", "Write it so.")
        args |= parse_yaml(f"{key}: {value}", f"--arg {key}")
    return args
