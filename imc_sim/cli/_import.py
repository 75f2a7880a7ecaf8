"""`imc-sim import`: import a checkpoint as a model, or measured cells as a chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim._errors import InputError
from imc_sim.cli._console import Quiet
from imc_sim.cli._help import complete_chip
from imc_sim.cli._own_network import Arguments, Inputs, Prefix, Rename, Weights, arguments, renamed_pairs

#: file name endings of checkpoints
_CHECKPOINTS = {".bin", ".ckpt", ".pkl", ".pt", ".pth", ".safetensors", ".tar"}


#: chip for which the mapping is shown
_CHIP = "rram_hfo2_1t1r"


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A network FILE.py:NAME or FILE.onnx, a checkpoint (.safetensors or torch file), or a CSV of cells."
        ),
    ],
    arch: Annotated[
        str | None,
        typer.Option(help="Architecture of a checkpoint: a name of `imc-sim list archs`, or FILE.py:NAME."),
    ] = None,
    weights: Weights = None,
    inputs: Inputs = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Model folder to write, such as models/mine; or YAML file of a chip, default device_configs/NAME.yaml."
        ),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            help=f"Chip for which import says how the model maps; default: {_CHIP}.", autocompletion=complete_chip
        ),
    ] = None,
    arg: Arguments = None,
    rename: Rename = None,
    prefix: Prefix = None,
    layout: Annotated[
        str | None, typer.Option(help="Layout of the architecture; the same as --arg layout=LAYOUT.")
    ] = None,
    statistics: Annotated[str | None, typer.Option(help="Statistics of batch norms: running or batch.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the chip; default: as the CSV.")] = None,
    quiet: Quiet = False,
) -> None:
    """Import a network, a checkpoint, or measured cells.

    A network FILE.py:NAME, a class or a function that returns a torch module, becomes a model folder with its code, its
    --weights and some --inputs, on which mapping watches its matrix products. Prints which of them a chip holds.

    An ONNX or QONNX file becomes a model folder with its graph and weights. No code in it is run.

    With --arch: imports a checkpoint as a model folder. No code in the checkpoint is run.

    A table of conductances (CSV): fits levels and device variation, as `imc-sim device fit` does.

    Examples:
      imc-sim import ./my_net.py:make --weights w.pth --inputs images.npy --out models/mine
      imc-sim import bnn.onnx --inputs images.npy --out models/mine
      imc-sim import my_controller.pth --arch batmann --out models/mine
      imc-sim import my_cells.csv
    """
    from imc_sim.config import is_code, is_onnx

    named = {"--arg": arg, "--layout": layout, "--statistics": statistics, "--rename": rename, "--prefix": prefix}
    if is_code(source):
        _refuse(source, {"--arch": arch, "--name": name}, "a network", "Leave it out; --out names the model.")
        _import_checkpoint(weights, source, out, named, inputs, chip)
        return
    if is_onnx(source):
        others = named | {"--arch": arch, "--name": name, "--weights": weights}
        _refuse(source, others, "an ONNX file", "Leave it out; the file has its weights.")
        _import_checkpoint(None, source, out, named, inputs, chip)
        return
    _refuse(source, {"--weights": weights}, "a file", "Name the network first: imc-sim import FILE.py:NAME --weights …")
    if arch is not None:
        _refuse(source, {"--name": name}, "a checkpoint", "Leave it out; --out names the model.")
        _import_checkpoint(Path(source), arch, out, named, inputs, chip)
        return
    if Path(source).is_dir():
        step = "Use a model folder by its path, without an import; or name a file to import."
        raise InputError(source, "a folder", "a network FILE.py:NAME or FILE.onnx, a checkpoint, or a CSV", step)
    step = "Add --arch ARCH (see `imc-sim list archs`)."
    _refuse(source, named | {"--inputs": inputs, "--chip": chip}, "measured cells", f"To import a checkpoint: {step}")
    if Path(source).suffix.lower() in _CHECKPOINTS:
        raise InputError(source, "a checkpoint without --arch", "a checkpoint with --arch, or a CSV", step)
    from imc_sim.cli._device import fit_chip

    if out is not None and out.exists():
        step = f"Remove it, name another with --out, or use `imc-sim device fit {source} --into {out}`."
        raise InputError(str(out), "a file that exists", "a new file", step)
    fit_chip([Path(source)], "levels", out, name)


def _refuse(source: str, options: dict[str, Any], kind: str, step: str) -> None:
    """Refuse options that do not apply to this kind of file."""
    for option, value in options.items():
        if value is not None:
            raise InputError(source, f"{option} with {kind}", f"{kind} without {option}", step)


def _import_checkpoint(
    checkpoint: Path | None, arch: str, out: Path | None, named: dict[str, Any], inputs: Path | None, chip: str | None
) -> None:
    """Import a checkpoint into the model folder `out`; print the report, and how the model maps onto a chip."""
    from imc_sim.cli._console import working

    if out is None:
        raise InputError(str(checkpoint or arch), "no --out", "the model folder to write", "Add --out models/NAME.")
    with working(f"importing {checkpoint or arch}"):
        from imc_sim.array import load_chip
        from imc_sim.mapping import import_checkpoint, preview
        from imc_sim.nn.store import inputs_of, load_model

        spec = load_chip(chip or _CHIP)
        given = arguments(named["--arg"])
        given |= {key: named[f"--{key}"] for key in ("layout", "statistics") if named[f"--{key}"] is not None}
        names = renamed_pairs(named["--rename"])
        report = import_checkpoint(checkpoint, arch, out, given, inputs=inputs, renames=names, prefix=named["--prefix"])
        network = load_model(out, trust=True)
        mapped = preview(network, spec, inputs_of(network))
    print(report.to_text(), mapped, sep="\n")
