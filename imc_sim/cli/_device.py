"""`imc-sim device`: fit chips to measured cells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imc_sim._quantities import number_of
from imc_sim.cli._console import Quiet
from imc_sim.cli._help import GroupedCommands, add_command

if TYPE_CHECKING:
    from imc_sim.device import DeviceFit

#: deviations from the data that are printed
_SHOWN = 3

device_app = typer.Typer(
    cls=GroupedCommands,
    help="Fit chips to measured cells.",
    epilog="\b\nExamples:\n  imc-sim device fit my_cells.csv\n  imc-sim device fit my_bake.csv --into my_chip.yaml",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def fit(
    files: Annotated[list[Path], typer.Argument(help="Tables of measurements: text, gz, xlsx, npy, npz or mat.")],
    kind: Annotated[
        str | None,
        typer.Option(help="levels, retention, endurance, pulses, iv or noise; default: guessed from the columns."),
    ] = None,
    into: Annotated[Path | None, typer.Option(help="YAML file of the chip, which is extended where it exists.")] = None,
    v_read: Annotated[
        float | None, typer.Option("--v-read", help="Read voltage in V; turns currents into conductances.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help='Meaning of columns: "HEADING=ROLE UNIT,…", such as "R_on=LRS ohm,t=time s".')
    ] = None,
    skip_lines: Annotated[int, typer.Option("--skip-lines", help="Lines to leave out at the beginning.", min=0)] = 0,
    levels: Annotated[bool, typer.Option("--levels", help="Each file holds one level, in any order.")] = False,
    model: Annotated[
        str | None, typer.Option(help="Switching model of pulse trains: pulse_response (default) or vteam.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of a new chip; default: that of its file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Fit a chip to measured cells, one kind of measurement at a time.

    Prints the kind, estimates with 95 % intervals and the largest deviations between the data and cells sampled from
    the finished chip; writes the chip and figures.

    Examples:
      imc-sim device fit my_cells.csv
      imc-sim device fit my_bake.csv --into device_configs/my_cells.yaml
      imc-sim device fit --levels g0.csv g1.csv g2.csv --into my_chip.yaml
    """
    options = {"v_read": v_read, "columns": columns, "skip_lines": skip_lines, "levels": levels, "model": model}
    fit_chip(files, kind, into, name, **options)


add_command(device_app, "fit", fit)


def fit_chip(files: list[Path], kind: str | None, into: Path | None, name: str | None, **options: Any) -> None:
    """Fit a chip, print the fit, and write the chip and its figures.

    Args:
        files: tables of measurements.
        kind: kind of measurement; None: guessed.
        into: file of the chip, which is extended where it exists; None: a new device_configs/NAME.yaml.
        name: name of a new chip; None: that of the file.
        **options: of `imc_sim.device.fit`.

    Raises:
        InputError: the measurements cannot be fitted, or the new file exists; nothing is written.
    """
    from imc_sim._errors import InputError
    from imc_sim.cli._console import print_paths, print_rows, say, working
    from imc_sim.device import fit as fit_device

    stem = name or re.sub(r"[^\w-]+", "_", files[0].name.split(".")[0])
    path = into or Path("device_configs") / f"{stem}.yaml"
    extends = into is not None and into.exists()
    if path.exists() and not extends:
        step = f"Add --into {path} to extend it, or --name NAME for another."
        raise InputError(str(path), "a file that exists", "a new file", step)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError("--into", str(path), "a YAML file", f"Use {path}.yaml.")
    name = name or path.stem
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError("--name", repr(name), "letters, digits, _ and -", "Use another name.")
    with working(f"fitting {files[0].name}"):
        try:
            found = fit_device(list(files), kind, path if extends else None, **options)
        except InputError as error:
            if any(file.name in error.where for file in files):
                raise
            where = f"{files[0]}{' and others' if len(files) > 1 else ''}, {error.where}"
            raise InputError(where, error.got, error.allowed, error.next_step) from error
        figures = _written(found, name, path)
    say(f"{found.part.kind}: {found.reason}")
    for remark in (
        *found.table.notes,
        *(f"left out: {number_of(n, 'value')} ({why})" for why, n in found.table.dropped.items()),
    ):
        say(remark)
    ends = {"low": "95 % low", "high": "95 % high"}
    print_rows([{ends.get(key, key): value for key, value in row.items()} for row in found.part.rows])
    if found.replaced:
        say(f"programming of the chip: the fit of {found.part.kind} replaces that of {found.replaced}")
    for deviation in found.part.deviations[:_SHOWN]:
        say(deviation)
    print_paths([path, *figures])


def _written(found: DeviceFit, name: str, path: Path) -> list[Path]:
    """Write the chip to `path` and the figures next to it, all or nothing; return the figures."""
    import tempfile

    from imc_sim._files import make_folder, publish, read_file, write_file
    from imc_sim.array import load_chip
    from imc_sim.config import edit_yaml, write_yaml
    from imc_sim.plotting import draw_fit

    chip = found.chip(name)
    load_chip(chip)
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fit_") as draft:
        drawn = draw_fit(found.part.figures, Path(draft) / path.stem)
        write_file(path, edit_yaml(read_file(path).decode(), chip) if path.exists() else write_yaml(chip))
        for each in drawn:
            publish(each, path.with_name(each.name))
    return [path.with_name(each.name) for each in drawn]
