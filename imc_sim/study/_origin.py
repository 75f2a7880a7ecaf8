"""Where the settings of a point are written: in axes, cases and other keys of the study file and its bases."""

from __future__ import annotations

from collections.abc import Iterator

from imc_sim.config import Origin, Place
from imc_sim.study._spec import Case, Study


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
