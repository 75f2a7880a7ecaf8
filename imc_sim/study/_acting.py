"""Refuse sweeps of settings that change no result, such as the bits of an ideal converter."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imc_sim._errors import InputError
from imc_sim.config import canonical_json

if TYPE_CHECKING:
    from imc_sim.study._points import Point
    from imc_sim.study._spec import Study


def check_axes(study: Study, found: Mapping[tuple[int, tuple[int, ...]], Point]) -> None:
    """Raise InputError for an axis whose values give the same chips, model and task wherever only it differs.

    found: points by the number of their case and the place on every axis. Axes that advance together count as one.
    Where an axis acts in some cases or next to some values of others, the answer names the rows that are equal.
    """
    for number, axis in enumerate(study.axes):
        together = {k for k, other in enumerate(study.axes) if k == number or (axis.zip and other.zip == axis.zip)}
        groups: dict[Any, list[Point]] = {}
        for (case, place), point in found.items():
            others = tuple(at for k, at in enumerate(place) if k not in together)
            groups.setdefault((case, others), []).append(point)
        compared = [group for group in groups.values() if len(group) > 1]
        if compared and all(len({_acting(point) for point in group}) == 1 for group in compared):
            raise _switched_off(f"study {study.name!r}, axes.{number}.path", axis.paths)


def _switched_off(where: str, paths: Sequence[str]) -> InputError:
    got = f"{', '.join(paths)}, which changes no result: what it belongs to is switched off or overridden"
    step = "Switch the effect on (for example chip.converter.kind: auto for its bits), or remove the axis."
    return InputError(where, got, "a setting that acts at one point at least", step)


def _acting(point: Point) -> str:
    """Return all that affects the point's result as one text, without settings that are switched off."""
    content = point.content
    chip = None if point.chip is None else _acting_chip(canonical_json(content["chip"]))
    return canonical_json({**content, "chip": chip, "digital": point.reference().content["task"]})


@functools.lru_cache(maxsize=1024)
def _acting_chip(chip: str) -> dict[str, Any]:
    from imc_sim.array import Chip
    from imc_sim.config import build

    prose = {"name", "source", "validity", "engine"}
    acting = build(Chip, json.loads(chip), "chip").acting()
    return {key: value for key, value in acting.items() if key not in prose}
