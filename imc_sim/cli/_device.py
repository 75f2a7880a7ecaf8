"""`imc-sim device`: a device from measurements."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imc_sim.cli._console import Quiet

if TYPE_CHECKING:
    from imc_sim.device._fit import DeviceFit

device_app = typer.Typer(help="Make devices from measurements.", rich_markup_mode=None, no_args_is_help=True)


@device_app.callback()
def _device() -> None:
    """Make devices from measurements."""


@device_app.command("fit")
def fit(
    table: Annotated[Path, typer.Argument(metavar="CSV", help="Cells, columns with units: LRS (uS),HRS (uS).")],
    out: Annotated[Path | None, typer.Option(help="YAML to write; default device_configs/NAME.yaml.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the chip; default: that of the file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Fit levels and spreads to a table of conductances.

    Columns `LRS (uS),HRS (uS)` (any unit of S or ohm), or `state,conductance (uS)` with LRS, HRS or level numbers.
    Prints the fit of each state and its goodness, writes a chip that every command takes, and draws the CDFs.
    """
    from imc_sim._errors import InputError
    from imc_sim.cli._console import print_rows, say, working

    name = name or re.sub(r"[^\w-]+", "_", (out or table).stem)
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError("--name", repr(name), "letters, digits, _ and -", "Choose another name.")
    path = out or Path("device_configs") / f"{name}.yaml"
    if path.exists():
        raise InputError(str(path), "a file that is there", "a new one", "Remove it, or name another with --out.")
    with working(f"fitting {table.name}"):
        fitted, figures = _fitted(table, name, path)
    print_rows([state.row() for state in fitted.states])
    for state in fitted.states:
        if state.p_value < 0.05:
            say(
                f"{state.name}: a {state.law.replace('_', '-')} law does not fit (p = {state.p_value:.2g}); see the CDF"
            )
    for each in (path, *figures):
        print(each)


def _fitted(table: Path, name: str, path: Path) -> tuple[DeviceFit, list[Path]]:
    """The fit, whose chip is written to `path`, and the figures beside it."""
    from imc_sim._files import make_folder, write_file
    from imc_sim.array import load_chip
    from imc_sim.config import write_yaml
    from imc_sim.device._fit import fit_device
    from imc_sim.device._measurements import read_measurements
    from imc_sim.plotting._cdf import draw_cdf

    fitted = fit_device(read_measurements(table))
    chip = fitted.chip(name, table.name)
    load_chip(chip)
    make_folder(path.parent)
    write_file(path, write_yaml(chip))
    return fitted, draw_cdf(fitted, path.with_name(f"{path.stem}_cdf"))
