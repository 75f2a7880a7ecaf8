"""Specification of study files: a model, a chip, a task, swept settings, and the number of chips to sample."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, final

from pydantic import Field, field_validator, model_validator

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.config import (
    Engine,
    FileSpec,
    FolderName,
    Label,
    Origin,
    Spec,
    build,
    check_code_in,
    find_content,
    parse_setting,
    read_yaml,
    stored_names,
    warn_if_shadowed,
)
from imc_sim.study._axes import Axis, unequal_zip
from imc_sim.study._base import base_file, derive, follow, refuse_patches
from imc_sim.study._conditions import Condition, Derived
from imc_sim.study._places import Content
from imc_sim.study._settings import with_value
from imc_sim.study._user_files import with_places

#: keys that study.resolved.yaml has in addition to those of a study
DERIVED = ("schema", "digest", "weights", "trained", "data", "metric", "points")
#: first parts of the paths that cases and axes may set
ROOTS = ("model", "chip", "task", "chip_task", "engine", "seed", "conductances")
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


@final
class Case(Spec):
    """A named variant of a study, with settings that replace those of the study.

    `sweep` redirects the first axis: one axis over a fraction of cells can sweep cells stuck at LRS in one case and
    cells stuck at HRS in another. `published` and `note` belong to a reproduced system; they are shown next to the
    results (comparison.md) and change none.
    """

    name: Label = Field(description="name of the case in tables and figures")
    set: dict[str, Any] = Field(default_factory=dict, description="path -> value; short paths are set first")
    sweep: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="paths that the first axis sets in this case, instead of those of the axis",
    )
    published: Fraction | tuple[Fraction | None, ...] | None = Field(
        default=None, description="published accuracy, a fraction of 1, or a list with one per value of the first axis"
    )
    note: str = Field(default="", description="remark on the comparison with the published accuracy")


@final
class Chips(Spec):
    """Stopping rule: the number of chips sampled at every point.

    The 95 % t interval of the mean accuracy or score is tested at `min` chips, and again each time their number has
    grown by half. A point stops once the half width is at most `half_width`, or at `max` chips.
    """

    min: int = Field(default=30, ge=1, le=1_000_000, description="smallest number of chips per point")
    max: int | None = Field(
        default=None, ge=1, le=1_000_000, description="largest number of chips per point; null: min"
    )
    half_width: float | None = Field(
        default=None, gt=0.0,
        description="half width of the 95 % interval of the mean accuracy at which a point stops, a fraction of 1 (of "
        "a function task in the unit of its score); null: every point has max chips",
    )  # fmt: skip

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max of at least min ({self.min})")
        return self

    def checkpoints(self) -> list[int]:
        """Return the numbers of chips at which a point may stop, ascending."""
        last = self.max or self.min
        if self.half_width is None:
            return [last]
        counts = [self.min]
        while counts[-1] < last:
            counts.append(min(last, -(-counts[-1] * 3 // 2)))
        return counts


@final
class Study(FileSpec):
    """The content of a study file: every case at every combination of axis values is a point with sampled chips.

    Paths in cases and axes start with `model`, `chip`, `task`, `chip_task`, `engine`, `seed` or `conductances`. A file
    may also have `base`, a study whose settings it extends, and `set`, paths and values as with --set.
    """

    name: FolderName = Field(description="name of the study and of its default results folder")
    summary: str = Field(default="", description="one line for lists of studies")
    question: str = Field(default="", description="question that the study answers, shown at the top of its report")
    model: str = Field(description="name or path of a trained model")
    chip: str | dict[str, Any] = Field(description="name or path of a chip, or its settings")
    task: dict[str, Any] = Field(default_factory=dict, description="task that the model is evaluated on, with its data")
    chip_task: dict[str, Any] = Field(
        default_factory=dict,
        description="keys that replace those of task on chips, for a smaller evaluation there (reduced task); the "
        "digital network is evaluated on both tasks",
    )
    engine: Engine | None = Field(
        default=None, description="backend that computes the crossbar products; null: that of the chip"
    )
    conductances: str | None = Field(
        default=None,
        description="file of measured conductances, whose cells take the place of those that the chip would program in "
        "layers; null: cells are simulated",
    )
    cases: tuple[Case, ...] = Field(default=(Case(name="all"),), description="named variants of the study")
    axes: tuple[Axis, ...] = Field(
        default=(), description="swept settings, crossed in this order unless zipped; empty: one point per case"
    )
    derived: dict[str, Derived] = Field(
        default_factory=dict, description="path -> path of the value that it copies or scales, after cases and axes"
    )
    skip: tuple[dict[str, Condition], ...] = Field(
        default=(), description="points to leave out: those at which all conditions of one entry hold"
    )
    chips: Chips = Field(default=Chips(), description="stopping rule: number of chips sampled per point")
    seed: int = Field(default=0, ge=0, description="seed of all sampled chips")
    memory_limit: int = Field(
        default=2 * 10**9, ge=1, description="memory for the cells of a batch, in bytes or as text such as '2 GB'"
    )
    content: Content = Field(
        default=Content(), description="places of named models and chips, shipped:NAME or a path; written by runs"
    )

    @field_validator("memory_limit", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        number, _, unit = value.partition(" ")
        if unit not in _SIZES or not number.replace(".", "", 1).isdecimal():
            raise ValueError("a number of bytes or a string such as '2 GB'")
        return int(float(number) * _SIZES[unit])

    @model_validator(mode="after")
    def _names(self) -> Self:
        """Reject repeated names and paths, and paths with an unknown first part."""
        for what, names in (("case names", [c.name for c in self.cases]), ("axis paths", self._swept())):
            if len(set(names)) < len(names):
                raise ValueError(f"distinct {what}")
        paths = [*self._set(), *self.derived, *(d.path for d in self.derived.values())]
        wrong = next((p for p in paths if p.split(".")[0] not in ROOTS), None)
        if wrong is not None:
            raise ValueError(f"paths that start with {', '.join(ROOTS)} (here {wrong!r})")
        wrong = next((p for rule in self.skip for p in rule if p.split(".")[0] not in (*ROOTS, "case")), None)
        if wrong is not None:
            raise ValueError(f"paths in skip that start with {', '.join(ROOTS)}, or case (here {wrong!r})")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Reject cases, axes and derived settings that contradict each other."""
        uneven = unequal_zip(self.axes)
        if uneven is not None:
            raise ValueError(uneven)
        wrong = next((text for case in self.cases if (text := _unfit(case, self.axes))), None)
        if wrong is not None:
            raise ValueError(wrong)
        if not all(self.skip):
            raise ValueError("entries of skip with 1 or more conditions")
        for number, (target, source) in enumerate(self.derived.items()):
            taken = next((p for p in self._set() if _inside(p, target)), None)
            if taken is not None:
                raise ValueError(f"derived paths that no axis and no case sets (here {taken!r})")
            if any(_inside(source.path, t) or _inside(t, source.path) for t in list(self.derived)[number:]):
                raise ValueError(f"derived paths listed after those that they depend on (here {target!r})")
        return self

    def _swept(self) -> list[str]:
        """Return the paths that axes set, including those to which cases redirect the first axis."""
        swept = [path for axis in self.axes for path in axis.paths]
        return swept + [path for case in self.cases for path in case.sweep or () if path not in swept]

    def _set(self) -> list[str]:
        return [*self._swept(), *(path for case in self.cases for path in case.set)]


def _unfit(case: Case, axes: tuple[Axis, ...]) -> str | None:
    """Return the requirement of the axes that a case violates, or None."""
    if case.sweep and not axes:
        return f"an axis whose values case {case.name!r} sweeps"
    if isinstance(case.published, tuple) and (not axes or len(case.published) != len(axes[0].values)):
        count = f"a list of {len(axes[0].values)}, one per value of the first axis" if axes else "an axis for its list"
        return f"published as one number, or {count} (here {len(case.published)} in case {case.name!r})"
    return None


def _inside(path: str, whole: str) -> bool:
    return path == whole or path.startswith(whole + ".")


def load_study(study: str | os.PathLike[str] | Mapping[str, Any] | Study) -> Study:
    """Load a study, with its `base` and `set` resolved.

    Args:
        study: name of a study (in studies/), path of a file (also the study.resolved.yaml of a results folder), mapping
            or `Study`.

    Returns:
        The study.

    Raises:
        InputError: the study is not found or not valid.
    """
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return _complete(study, f"study {study.get('name', '<mapping>')!r}", Path(), (), Origin())
    path = find_content("study", study)
    warn_if_shadowed("study", study, path)
    return _from_file(path, ())


def _from_file(path: Path, chain: tuple[Path, ...]) -> Study:
    """Read a study and its bases; `chain` holds the files that derive from it."""
    origin = Origin.of(path)
    with origin.naming():
        chain = follow(path, chain)
    data = {key: value for key, value in read_yaml(path).items() if key not in DERIVED}
    with origin.naming():
        check_code_in(data, path.parent, str(path), "study")
    return _complete(data, str(path), path.parent, chain, origin)


def _complete(
    data: Mapping[str, Any], where: str, folder: Path, chain: tuple[Path, ...], origin: Origin
) -> Study:  # fmt: skip
    """Build a study from the content of its file, on top of its base; `chain` holds the files that derive from it."""
    with origin.naming():
        data = stored_names(dict(data), where)
        own = {key: value for key, value in data.items() if key not in ("base", "set")}
        if "base" in data:
            base = _from_file(base_file(data["base"], folder, where), chain)
            own = derive(base.to_dict(), own, where)
            origin = Origin((*origin.places, *base.origin.places))
        else:
            refuse_patches(own, where)
    with origin.naming():
        study, settings = build(Study, own, where), data.get("set", {})
        study = study.model_copy(update={"content": study.content.relative_to(folder)})
        if not isinstance(settings, Mapping):
            got, allowed = type(settings).__name__, "a mapping of paths to values"
            raise InputError(f"{where}: set", got, allowed, "Write `path: value`.")
        for path, value in settings.items():
            study = with_value(study, str(path), value, f"{where}: set")
        return with_places(study, folder).with_origin(origin)


@checked
def with_settings(study: Study, settings: list[str]) -> Study:
    """Return the study with some settings replaced.

    Args:
        study: the study.
        settings: texts `path=value` with the value in YAML. Paths are those of the study file and of its axes:
            `chips.min=100`, `chip.tile.rows=64` (also if the chip is given by name), `task.episodes=50`, `seed=1`,
            `axes.0.values=[0, 0.5]` (the first axis). They are applied in this order; one that does not go with the
            present values waits for the others.

    Raises:
        InputError: a path does not exist, or a value is not valid.
    """
    waiting = [parse_setting(setting) for setting in settings]
    origin = study.origin.with_settings(path for path, _ in waiting) if waiting else study.origin
    while waiting:
        failed: list[tuple[tuple[str, Any], InputError]] = []
        for path, value in waiting:
            try:
                study = with_value(study, path, value, "--set")
            except InputError as error:
                failed.append(((path, value), error))
        if len(failed) == len(waiting):
            raise failed[0][1]
        waiting = [setting for setting, _ in failed]  # chips.max=2 is allowed only after chips.min=2
    return study.with_origin(origin)
