"""A chip of the command line with settings on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imc_sim.array import Chip


def chip_with(chip: str, settings: Sequence[str]) -> Chip:
    """The chip by name or path, with `chip.path=value` settings."""
    from imc_sim._errors import InputError
    from imc_sim.array import load_chip
    from imc_sim.config import parse_setting

    spec = load_chip(chip)
    for path, value in map(parse_setting, settings):
        root, _, rest = path.partition(".")
        if root != "chip" or not rest:
            step = "Write for example chip.policy.float=digital."
            raise InputError("--set", repr(path), "chip.…", step)
        spec = spec.replace(rest, value)
    return spec
