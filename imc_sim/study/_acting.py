"""Reject axes and cases whose settings change no result, such as the ADC bits of an ideal readout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from imc_sim._errors import InputError
from imc_sim.config import copied, digest, drop_paths, once
from imc_sim.study._point import PROSE, Point
from imc_sim.study._spec import Study

#: point -> its settings that affect results, keys of `Point.content` and of `_acting`
Settings = Callable[[Point], dict[str, Any]]


def check_acting(study: Study, points: Sequence[Point], settings: Settings) -> None:
    """Reject axes and cases whose settings change no result.

    An axis is rejected if points that differ in this axis alone always have the same chip, model and task; an axis
    that acts in one case, or at one value of another axis, passes. A case is rejected if it equals an earlier case at
    every point of the axes. Zipped axes count as one.

    Args:
        study: the study.
        points: all points of the study.
        settings: returns the settings of a point that affect its result.

    Raises:
        InputError: names the first axis or case that changes no result.
    """
    acting = functools.cache(lambda number: _acting(points[number], settings))  # a few points decide on most axes
    for number, axis in enumerate(study.axes):
        together = {k for k, other in enumerate(study.axes) if k == number or (axis.zip and other.zip == axis.zip)}
        groups: dict[str, list[int]] = {}
        for k, point in enumerate(points):
            others = [value for place, value in enumerate(point.coordinates) if place not in together]
            groups.setdefault(repr((point.case, others)), []).append(k)
        compared = [group for group in groups.values() if len(group) > 1]
        if compared and not any(acting(first) != acting(k) for first, *rest in compared for k in rest):
            step = "Switch on its effect (for ADC bits, set chip.converter.kind: auto), or remove the axis."
            raise _idle(f"study {study.name!r}, axes.{number}.path", ", ".join(axis.paths), step)
    known: dict[str, tuple[list[str], list[int]]] = {}
    for case in study.cases:
        here = [k for k, point in enumerate(points) if point.case == case.name]  # none where it is skipped as a whole
        places = [repr(points[k].coordinates) for k in here]
        for twin, (others, there) in known.items():
            if here and places == others and all(acting(k) == acting(n) for k, n in zip(here, there, strict=True)):
                step = "Switch on the effect in which the two cases differ, or remove one of them."
                what = f"{', '.join(case.set) or 'nothing'} in addition to case {twin!r}"
                raise _idle(f"study {study.name!r}, case {case.name!r}", what, step)
        known[case.name] = places, here


def check_prices(study: Study, points: Sequence[Point]) -> None:
    """Reject points that differ only in what circuits take: they would have the same id.

    Args:
        study: the study.
        points: all points of the study.

    Raises:
        InputError: names two such points.
    """
    known: dict[str, Point] = {}
    for point in points:
        other = known.setdefault(point.id, point)
        if other.cost != point.cost:
            where = [", ".join(f"{path} {value}" for path, value in p.coordinates) for p in (other, point)]
            got = f"points that differ only in chip.cost, which changes no accuracy: {where[0]}; {where[1]}"
            step = "Run the study once for each cost, with --set: it keeps accuracies and computes only costs again."
            raise InputError(f"study {study.name!r}", got, "one cost of equal chips", step)


def _idle(where: str, what: str, step: str) -> InputError:
    got = f"{what}, which changes no result: its effect is switched off, overridden or not part of this model"
    return InputError(where, got, "a setting that acts at one or more points", step)


def _acting(point: Point, settings: Settings) -> str:
    """Return the SHA-256 of everything that affects the result of a point."""
    return digest({**point.content, "digital": point.reference().content["task"], **settings(point)})


def of_any_model(point: Point) -> dict[str, Any]:
    """Return the settings of the point's chip that affect results with some model; a quick check."""
    return {"chip": None if point.chip is None else _of_chip(point)}


def of_its_model(point: Point) -> dict[str, Any]:
    """Return the settings of the point's chip and tasks that affect results with its model; loads the model."""
    from imc_sim.evaluate import network_key

    network, whole = network_key(point.model), point.reference()
    found = {"task": _of_task(point, network), "digital": _of_task(whole, network)}
    return {**found, "chip": None if point.chip is None else _of_model(point, network)}


def _chip_of(point: Point) -> dict[str, Any]:
    """Return the chip with the backend of the point."""
    return {**(point.chip or {}), "engine": point.engine.to_dict()}


def _without_prose(acting: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a chip without those that describe or price it."""
    return {key: value for key, value in acting.items() if key not in PROSE or key == "engine"}


def _of_chip(point: Point) -> dict[str, Any]:
    from imc_sim.array import load_chip

    return _without_prose(load_chip(_chip_of(point)).acting())


def _of_model(point: Point, network: object) -> dict[str, Any]:
    from imc_sim.evaluate import acting_settings

    chip, task = _chip_of(point), point.task
    acting = once("acting", (network, repr([chip, task])), lambda: acting_settings(point.model, chip, task))
    return _without_prose(acting)


def _of_task(point: Point, network: object) -> dict[str, Any]:
    from imc_sim.evaluate import idle_in_task

    task, calibrates = point.task, point.calibrates
    key = network, repr(task), calibrates
    idle = once("idle", key, lambda: idle_in_task(point.model, calibrates, task))
    return drop_paths(copied(point.content["task"]), idle)
