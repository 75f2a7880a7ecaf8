"""Refuse sweeps and cases of settings that change no result, such as the bits of an ideal converter."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from imc_sim._errors import InputError
from imc_sim.config import canonical_json
from imc_sim.study._point import Point
from imc_sim.study._spec import Study

_PROSE = ("name", "source", "validity", "engine")


def check_acting(study: Study, points: Sequence[Point], chips: Callable[[Point], dict[str, Any]]) -> None:
    """Refuse axes and cases whose settings change no result.

    An axis is refused if its values give the same chips, model and task wherever only it differs; a case, if it equals
    another one at every place of the axes. Axes that advance together count as one. Where an axis acts in some cases or
    next to some values of others, the answer names the rows that are equal.

    Args:
        study: the study.
        points: its points.
        chips: returns the settings of a point's chip that act.

    Raises:
        InputError: for the first axis or case that changes nothing.
    """
    acting = [(point, _acting(point, chips)) for point in points]
    for number, axis in enumerate(study.axes):
        together = {k for k, other in enumerate(study.axes) if k == number or (axis.zip and other.zip == axis.zip)}
        groups: dict[str, list[str]] = {}
        for point, content in acting:
            others = [value for k, value in enumerate(point.coordinates) if k not in together]
            groups.setdefault(repr((point.case, others)), []).append(content)
        compared = [group for group in groups.values() if len(group) > 1]
        if compared and all(len(set(group)) == 1 for group in compared):
            step = "Switch the effect on (for example chip.converter.kind: auto for its bits), or remove the axis."
            raise _idle(f"study {study.name!r}, axes.{number}.path", ", ".join(axis.paths), step)
    known: dict[str, str] = {}
    for case in study.cases:
        rows = [(point.coordinates, content) for point, content in acting if point.case == case.name]
        twin = known.setdefault(repr(rows), case.name) if rows else case.name  # a case may be skipped as a whole
        if twin != case.name:
            step = "Switch on the effect in which the two cases differ, or remove one of them."
            what = f"{', '.join(case.set) or 'nothing'} on top of what case {twin!r} has"
            raise _idle(f"study {study.name!r}, case {case.name!r}", what, step)


def _idle(where: str, what: str, step: str) -> InputError:
    got = f"{what}, which changes no result: what it belongs to is switched off, overridden or not in this model"
    return InputError(where, got, "a setting that acts at one point at least", step)


def _acting(point: Point, chips: Callable[[Point], dict[str, Any]]) -> str:
    """Return all that affects the point's result as one text, without settings that are switched off."""
    chip = None if point.chip is None else {k: v for k, v in chips(point).items() if k not in _PROSE}
    return canonical_json({**point.content, "chip": chip, "digital": point.reference().content["task"]})


def of_any_model(point: Point) -> dict[str, Any]:
    """Return the settings of the point's chip that act for some model."""
    return _of_chip(json.dumps(point.chip))


def of_its_model(point: Point) -> dict[str, Any]:
    """Return the settings of the point's chip that act for the layers, neurons and memory of its model."""
    from imc_sim.evaluate import network_key

    return _of_model(point.model, json.dumps(point.chip), json.dumps(point.task), network_key(point.model))


@functools.lru_cache(maxsize=1024)
def _of_chip(chip: str) -> dict[str, Any]:
    from imc_sim.array import Chip
    from imc_sim.config import build

    return build(Chip, json.loads(chip), "chip").acting()


@functools.lru_cache(maxsize=1024)
def _of_model(model: str, chip: str, task: str, _network: object) -> dict[str, Any]:
    from imc_sim.evaluate import acting_settings

    return acting_settings(model, json.loads(chip), json.loads(task))
