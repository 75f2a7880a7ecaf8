"""`imc-sim import`: a foreign checkpoint into the model store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imc_sim.cli._console import Quiet


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors or torch file.")],
    arch: Annotated[str, typer.Option(help="A name of `imc-sim list archs`, or ./my_net.py:Net.")],
    out: Annotated[Path, typer.Option(help="The model folder to write, e.g. models/mine.")],
    arg: Annotated[list[str] | None, typer.Option(help="key=value, an argument of the architecture; repeat.")] = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the architecture; short for --arg layout=….")] = None,
    statistics: Annotated[str | None, typer.Option(help="Of batch norms: running or batch.")] = None,
    quiet: Quiet = False,
) -> None:
    """Import a foreign checkpoint.

    Reads it without running any code in it, and writes a model folder.
    """
    from imc_sim.cli._console import working

    with working(f"importing {checkpoint}"):
        from imc_sim.mapping._import import import_checkpoint

        named = {"layout": layout, "statistics": statistics}
        given = _arguments(arg or []) | {key: value for key, value in named.items() if value is not None}
        report = import_checkpoint(checkpoint, arch, out, given)
    print(report.to_text())


def _arguments(pairs: list[str]) -> dict[str, Any]:
    """`key=value` texts as values of the kinds that YAML knows."""
    from imc_sim._errors import InputError
    from imc_sim.config import parse_yaml

    args: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError("--arg", repr(pair), "key=value, such as kind=xnor", "Write it so.")
        args |= parse_yaml(f"{key}: {value}", f"--arg {key}")
    return args
