"""Settings of the command line on top of a chip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imc_sim.array import Chip
    from imc_sim.config import Origin, Place


def apply_settings(settings: Sequence[str] | None, **parts: dict[str, Any]) -> None:
    """Apply `PART.path=value` settings to the named parts, in place."""
    from imc_sim._errors import InputError
    from imc_sim.config import parse_setting, set_path

    for path, value in map(parse_setting, settings or ()):
        part, _, rest = path.partition(".")
        if part not in parts or not rest:
            example = f"for example chip.converter.bits=4{' or task.episodes=50' * ('task' in parts)}"
            whole = next((f"{name}.{path}" for name, data in parts.items() if rest and part in data), example)
            step = f"Write {whole}."
            raise InputError("--set", repr(path), " or ".join(f"{name}.…" for name in parts), step)
        set_path(parts, path, value, "--set")


def origin_of(settings: Sequence[str] | None, *places: Place) -> Origin:
    """Return the origin of values that the command line sets, and of others in some places."""
    from imc_sim.config import Origin

    return Origin(places).with_settings(text.partition("=")[0].strip() for text in settings or ())


def chip_with(chip: str, settings: Sequence[str] | None) -> Chip:
    """Return a chip by name or path, with `chip.path=value` settings applied."""
    from imc_sim.array import load_chip

    data = load_chip(chip).to_dict()
    apply_settings(settings, chip=data)
    return checked(chip, data, settings)


def checked(chip: str, data: dict[str, Any], settings: Sequence[str] | None) -> Chip:
    """Return the chip with these settings applied, whose errors name the setting or the line of the chip's file."""
    from imc_sim.array import load_chip
    from imc_sim.config import Place, find_content

    places = [Place("", "chip"), Place(str(find_content("chip", chip)))]
    with origin_of(settings, *places).naming(f"chip {data['name']!r}"):
        return load_chip(data)
