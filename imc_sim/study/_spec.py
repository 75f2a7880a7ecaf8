"""Study files: a question, a model, a chip, a task, swept settings, and how many chips to sample."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, final

from pydantic import Field, field_validator, model_validator

from imc_sim._errors import InputError
from imc_sim.config import Engine, Spec, build, find_content, parse_setting, read_yaml
from imc_sim.study._axes import Axis, unequal_zip
from imc_sim.study._base import base_file, derive, follow, refuse_patches
from imc_sim.study._conditions import Condition, Derived
from imc_sim.study._places import Content
from imc_sim.study._settings import with_value

#: what study.resolved.yaml holds beyond a study
DERIVED = ("schema", "digest", "weights", "trained", "data", "points")
#: what a path of a case or an axis may start with
ROOTS = ("model", "chip", "task", "chip_task", "engine", "seed")
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


@final
class Case(Spec):
    """A named variant: values set on top of the study's model, chip and task; mappings are set before their entries.

    sweep: paths that take the first axis' values in this case, instead of the axis' own: an axis "share of the cells"
    may sweep cells stuck at LRS in one case and at HRS in another. published, note: of a reproduced system; they appear
    next to our results (`comparison.md`) and affect none.
    """

    name: str = Field(description="what the case is called in tables and figures")
    set: dict[str, Any] = Field(default_factory=dict, description="path -> value")
    sweep: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="paths that take the first axis' values here, not the axis' own"
    )
    published: Fraction | tuple[Fraction | None, ...] | None = Field(
        default=None, description="accuracy as published, a fraction of 1; a list: one a value of the first axis"
    )
    note: str = Field(default="", description="what to know when comparing with the published accuracy")


@final
class Chips(Spec):
    """The stopping rule: chips are sampled per point until the mean accuracy is known well enough.

    From `min` on, at fixed counts that grow by half, a point stops when the half width of the 95 % interval of its mean
    accuracy is at most `half_width` (a fraction), or at `max`.
    """

    min: int = Field(default=30, ge=1, le=1_000_000, description="chips of every point")
    max: int | None = Field(default=None, ge=1, le=1_000_000, description="chips of a point at most; null: min")
    half_width: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="stop at this 95 % half width of the mean; null: always max chips"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max of at least min ({self.min})")
        return self

    def checkpoints(self) -> list[int]:
        """Return the chip counts at which a point may stop, ascending; they depend on the rule alone."""
        last = self.max or self.min
        if self.half_width is None:
            return [last]
        counts = [self.min]
        while counts[-1] < last:
            counts.append(min(last, -(-counts[-1] * 3 // 2)))
        return counts


@final
class Study(Spec):
    """The content of a study file. Paths start with model, chip, task, chip_task, engine or seed.

    Without axes every case is one point. chip_task: keys of the task with other values on chips, where a published test
    is too long for hundreds of chips; the digital network is then evaluated on both tasks. A file may also have `base`,
    a study that it extends, and `set`, paths and values as with --set.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", description="results are kept by it")
    summary: str = Field(default="", description="one line for lists")
    question: str = Field(default="", description="what the study answers; heads its report")
    model: str = Field(description="name or path of a trained model")
    chip: str | dict[str, Any] = Field(description="name or path of a chip, or the chip itself")
    task: dict[str, Any] = Field(default_factory=dict, description="what the model is asked, on which data")
    chip_task: dict[str, Any] = Field(
        default_factory=dict, description="keys of task that are others on chips; the digital network then does both"
    )
    engine: Engine | None = Field(default=None, description="who computes; null: the chip's own")
    cases: tuple[Case, ...] = Field(default=(Case(name="all"),), description="named variants, one after the other")
    axes: tuple[Axis, ...] = Field(
        default=(), description="what is swept; crossed in this order unless zipped; none: a point a case"
    )
    derived: dict[str, Derived] = Field(
        default_factory=dict, description="path -> the path whose value it takes, once cases and axes are set"
    )
    skip: tuple[dict[str, Condition], ...] = Field(
        default=(), description="points to leave out: those at which all conditions of one entry hold"
    )
    chips: Chips = Field(default=Chips(), description="how many chips are drawn per point")
    seed: int = Field(default=0, ge=0, description="of all chips; an axis may sweep it")
    memory_limit: int = Field(default=2 * 10**9, ge=1, description="bytes, or a string such as '2 GB'")
    content: Content = Field(
        default=Content(), description="where named models and chips are; written by runs: shipped:NAME or a path"
    )

    @field_validator("memory_limit", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        number, _, unit = value.partition(" ")
        if unit not in _SIZES or not number.replace(".", "", 1).isdigit():
            raise ValueError("a number of bytes or a string such as '2 GB'")
        return int(float(number) * _SIZES[unit])

    @model_validator(mode="after")
    def _names(self) -> Self:
        for what, names in (("case names", [c.name for c in self.cases]), ("axis paths", self._swept())):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} that differ")
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
        uneven = unequal_zip(self.axes)
        if uneven is not None:
            raise ValueError(uneven)
        wrong = next((text for case in self.cases if (text := _unfit(case, self.axes))), None)
        if wrong is not None:
            raise ValueError(wrong)
        if not all(self.skip):
            raise ValueError("entries of skip with one condition at least")
        for number, (target, source) in enumerate(self.derived.items()):
            taken = next((p for p in self._set() if _inside(p, target)), None)
            if taken is not None:
                raise ValueError(f"derived paths that no axis and no case sets (here {taken!r})")
            if any(_inside(source.path, t) or _inside(t, source.path) for t in list(self.derived)[number:]):
                raise ValueError(f"derived paths after those that they follow from (here {target!r})")
        return self

    def _swept(self) -> list[str]:
        """Return the paths of all axes, and of cases that sweep others."""
        swept = [path for axis in self.axes for path in axis.paths]
        return swept + [path for case in self.cases for path in case.sweep or () if path not in swept]

    def _set(self) -> list[str]:
        return [*self._swept(), *(path for case in self.cases for path in case.set)]


def _unfit(case: Case, axes: tuple[Axis, ...]) -> str | None:
    """Return what is wrong with the case for these axes, or None."""
    if case.sweep and not axes:
        return f"an axis whose values case {case.name!r} sweeps"
    if isinstance(case.published, tuple) and (not axes or len(case.published) != len(axes[0].values)):
        values = (
            f"one for each of the {len(axes[0].values)} values of the first axis" if axes else "where there is none"
        )
        return f"published as one number, or {values} (here {len(case.published)} in case {case.name!r})"
    return None


def _inside(path: str, whole: str) -> bool:
    return path == whole or path.startswith(whole + ".")


def load_study(study: str | os.PathLike[str] | Mapping[str, Any] | Study) -> Study:
    """Load a study by name (studies/), path or mapping; the study.resolved.yaml of a results folder is one too.

    `base` and `set` of the file are resolved.
    """
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return _complete(study, f"study {study.get('name', '<mapping>')!r}", Path(), ())
    return _from_file(find_content("study", study), ())


def _from_file(path: Path, chain: tuple[Path, ...]) -> Study:
    chain = follow(path, chain)
    data = {key: value for key, value in read_yaml(path).items() if key not in DERIVED}
    return _complete(data, str(path), path.parent, chain)


def _complete(data: Mapping[str, Any], where: str, folder: Path, chain: tuple[Path, ...]) -> Study:
    own = {key: value for key, value in data.items() if key not in ("base", "set")}
    if "base" in data:
        base = _from_file(base_file(data["base"], folder, where), chain)
        own = derive(base.to_dict(), own, where)
    else:
        refuse_patches(own, where)
    study, settings = build(Study, own, where), data.get("set", {})
    study = study.model_copy(update={"content": study.content.relative_to(folder)})
    if not isinstance(settings, Mapping):
        raise InputError(
            f"{where}: set", type(settings).__name__, "a mapping of paths to values", "Write `path: value`."
        )
    for path, value in settings.items():
        study = with_value(study, str(path), value, f"{where}: set")
    return study


def with_settings(study: Study, settings: list[str]) -> Study:
    """Return the study with `path=value` settings; values are read as YAML.

    Paths are those of the study file, and chip.… and task.… as in its axes: `chips.min=100`, `chip.tile.rows=64`,
    `task.episodes=50`, `seed=1`, `axes.0.values=[0, 0.5]` (the first axis). `chip.…` reaches into a chip that is given
    by name.
    """
    for path, value in map(parse_setting, settings):
        study = with_value(study, path, value, "--set")
    return study
