"""Refuse settings that would change cells that were measured: a file of conductances holds one array as programmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from imc_sim._errors import InputError
from imc_sim.study._point import PROSE, Point
from imc_sim.study._spec import Study

#: settings of a chip that act on programmed cells, or not on layers
_AFTER = {*PROSE, "wires", "inputs", "converter", "neurons", "compute"}
_AFTER_OF = {"device": {"time", "disturb", "read", "temperature_K"}, "policy": {"memory", "allow_rounding"}}


def check_measured(study: Study, points: Sequence[Point]) -> None:
    """Check that all points that share measured cells have the same model, and a chip that programs the same cells.

    Args:
        study: the study.
        points: its points.

    Raises:
        InputError: names the first setting that differs.
    """
    first: dict[str, dict[str, Any]] = {}
    for point in points:
        if point.conductances is None:
            continue
        programmed = dict(_programmed(point))
        known = first.setdefault(point.content["conductances"], programmed)
        paths = [path for path in {**known, **programmed} if known.get(path) != programmed.get(path)]
        if paths:
            where = f"study {study.name!r}, {min(paths, key=lambda path: (not path.endswith('.kind'), path))}"
            got = f"two values for the measured cells of {point.conductances!r}"
            step = (
                "Remove its axis or case, or give every value its own file, with an axis of conductances zipped to it."
            )
            raise InputError(where, got, "one value for each file: cells were measured as they were programmed", step)


def _programmed(point: Point) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of all that programmed cells depend on."""
    yield "model", [point.weights, point.arch]
    for key, value in (point.chip or {}).items():
        parts = value if isinstance(value, dict) else {}
        if key in _AFTER:
            continue
        if key not in _AFTER_OF:
            yield from _leaves(f"chip.{key}", value)
        for part in parts.keys() - _AFTER_OF.get(key, parts.keys()):
            yield from _leaves(f"chip.{key}.{part}", parts[part])


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every single value in nested mappings."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, part in value.items():
        yield from _leaves(f"{path}.{key}", part)
