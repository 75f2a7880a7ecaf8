"""`imc-sim import CSV`: fit a chip to measured cells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imc_sim.device import DeviceFit


def import_cells(table: Path, out: Path | None, name: str | None) -> None:
    """Fit levels and device variation to a table of conductances, write a chip and draw the CDFs.

    Args:
        table: a CSV with columns `LRS (uS),HRS (uS)`, or `state,conductance (uS)`.
        out: the YAML file to write; by default device_configs/NAME.yaml.
        name: the name of the chip; by default that of the file.
    """
    from imc_sim._errors import InputError
    from imc_sim.cli._console import print_paths, print_rows, say, working

    name = name or re.sub(r"[^\w-]+", "_", (out or table).stem)
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError("--name", repr(name), "letters, digits, _ and -", "Use another name.")
    path = out or Path("device_configs") / f"{name}.yaml"
    if path.exists():
        raise InputError(str(path), "a file that exists", "a new file", "Remove it, or name another with --out.")
    with working(f"fitting {table.name}"):
        fitted, figures = _fitted(table, name, path)
    print_rows([state.row() for state in fitted.states])
    for state in fitted.states:
        if state.p_value < 0.05:
            say(
                f"{state.name}: a {state.law.replace('_', '-')} law does not fit (p = {state.p_value:.2g}); see the CDF"
            )
    print_paths([path, *figures])


def _fitted(table: Path, name: str, path: Path) -> tuple[DeviceFit, list[Path]]:
    """Return the fit, whose chip is written to `path`, and the figures next to it."""
    from imc_sim._files import make_folder, write_file
    from imc_sim.array import load_chip
    from imc_sim.config import write_yaml
    from imc_sim.device import fit
    from imc_sim.plotting import draw_cdf

    fitted = fit(table, "levels")
    chip = fitted.chip(name)
    load_chip(chip)
    make_folder(path.parent)
    write_file(path, write_yaml(chip))
    return fitted, draw_cdf(fitted, path.with_name(f"{path.stem}_cdf"))
