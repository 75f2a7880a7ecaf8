"""Where the settings of a point are written: in axes, cases and other keys of the study file and its bases."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imc_sim._errors import InputError, MissingDataError
from imc_sim.config import Origin, Place
from imc_sim.study._point import Point
from imc_sim.study._spec import Case, Study

#: keys of a study that errors of its checks may begin with, and keys of tasks that they name without the task
_SECTIONS = "chip_task|task|chip|model|engine|conductances|chips"
_OF_THE_TASK = ("size", "split", "dataset", "scaling", "classes", "instances", "images", "episodes")


def origin_of(study: Study, case: Case, place: tuple[int, ...]) -> Origin:
    """Return the origin of the settings of a point; those that are set last come first.

    Args:
        study: the study.
        case: the case of the point.
        place: index of the value on every axis.
    """
    files = dict.fromkeys(each.file for each in study.origin.places)
    reduced = [Place(file, "task", "chip_task") for file in files]  # keys of chip_task replace those of task
    whole = Origin((*study.origin.places, *reduced), study.origin.settings)
    return whole.first(*(each for file in files for each in _places(study, case, place, file)))


def named(study: Study, error: InputError, key: str, point: Point | None = None) -> InputError:
    """Return an error of a check before a run with the file and the line of the setting that it is about.

    Args:
        study: the study.
        error: the error, which names no file.
        key: key of the study that was checked, for errors that name no key themselves.
        point: the point that was checked; None: the study as a whole.
    """
    case = None if point is None else next((each for each in study.cases if each.name == point.case), None)
    origin = study.origin if case is None or point is None else origin_of(study, case, point.place)
    if (
        not origin.places
        or isinstance(error, MissingDataError)
        or error.where == "device"
        or re.search(r", line \d", error.where)
    ):
        return error
    what = re.sub(r"^episode\.", "task.", error.where)
    what = f"task.{what}" if what in _OF_THE_TASK else f"task.split ({what})" if what.startswith("split of") else what
    if key == "chip_task":
        what = re.sub(r"^task\b", key, what)
    path = re.match(rf"({_SECTIONS})(\.\w+)*", what)
    head = f"study {study.name!r}"
    found = origin.located(InputError(f"{head}, {path[0] if path else key}", error.got, "", ""), head)
    place = re.match(r"--set \S+|.*?, line \d+", found.where)
    if place is None:
        return error
    return type(error)(f"{place[0]}: {what}", error.got, error.allowed, error.next_step)


def _places(study: Study, case: Case, place: tuple[int, ...], file: str) -> Iterator[Place]:
    """Yield the places in one file of the settings of a point."""
    for target in study.derived:
        yield Place(file, f"derived.{target}", target)
    for number, (axis, index) in enumerate(zip(study.axes, place, strict=True)):
        for path in case.sweep if case.sweep and number == 0 else axis.paths:
            for name in (axis.path, number):  # a study with a base may change axes and cases by name
                yield Place(file, f"axes.{name}.values.{index}", path)
    for name in (case.name, study.cases.index(case)):
        yield Place(file, f"cases.{name}.set")
    yield Place(file, "set")
