"""A study: a question, a model, a chip, a task, and what is swept over how many chips."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, Self, final

from pydantic import Field, field_validator, model_validator

from imc_sim.config import Engine, Spec, build, find_content, parse_setting, read_yaml, set_path

#: what study.resolved.yaml holds beyond a study
DERIVED = ("schema", "digest", "weights", "points")
Scalar = bool | int | float | str
#: what a path of a case or an axis may start with
ROOTS = ("model", "chip", "task", "engine")
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


@final
class Axis(Spec):
    """One swept quantity: the dotted path of a value, and how it is shown (value * scale, unit).

    also: further paths that take the same value, such as the resistances of both wires. spaced: of the figure.
    """

    path: str
    also: tuple[str, ...] = ()
    values: tuple[Scalar, ...] = Field(min_length=1)
    label: str = ""
    unit: str = ""
    scale: float = 1.0
    spaced: Literal["linear", "log"] = "linear"

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that take the value."""
        return (self.path, *self.also)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(map(repr, self.values))) < len(self.values):
            raise ValueError("each value once")
        if self.spaced == "log" and not all(isinstance(v, int | float) and v * self.scale > 0 for v in self.values):
            raise ValueError("values above 0 where spaced is 'log'")
        return self


@final
class Case(Spec):
    """A named variant: values set on top of the study's model, chip and task, in the order given.

    sweep: paths that take the first axis' values here, in place of the axis' own: one axis "share of the cells" may
    then sweep cells stuck at LRS in one case and at HRS in another.
    """

    name: str
    set: dict[str, Any] = Field(default_factory=dict)
    sweep: tuple[str, ...] | None = Field(default=None, min_length=1)


@final
class Chips(Spec):
    """The stopping rule: chips are drawn per point until the mean accuracy is known well enough.

    From `min` on, at fixed counts that grow by half, a point stops when the half width of the 95 % interval
    of its mean accuracy is at most `half_width` (a fraction), or at `max`.
    """

    min: int = Field(default=30, ge=1)
    max: int | None = Field(default=None, ge=1, description="None: min")
    half_width: float | None = Field(default=None, gt=0.0, lt=1.0, description="None: always max chips")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max of at least min ({self.min})")
        return self

    def checkpoints(self) -> list[int]:
        """Chip counts at which a point may stop, ascending; they depend on the rule alone."""
        last = self.max or self.min
        if self.half_width is None:
            return [last]
        counts = [self.min]
        while counts[-1] < last:
            counts.append(min(last, -(-counts[-1] * 3 // 2)))
        return counts


@final
class Study(Spec):
    """Everything a study file says. Paths of cases and axes start with model, chip, task or engine."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    summary: str = ""
    question: str = ""
    model: str
    chip: str | dict[str, Any]
    task: dict[str, Any] = Field(default_factory=dict)
    engine: Engine | None = Field(default=None, description="None: the chip's own")
    cases: tuple[Case, ...] = (Case(name="all"),)
    axes: tuple[Axis, ...] = Field(min_length=1)
    chips: Chips = Chips()
    seed: int = Field(default=0, ge=0)
    memory_limit: int = Field(default=2 * 10**9, ge=1, description="bytes, or a string such as '2 GB'")

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
        swept = [path for axis in self.axes for path in axis.paths]
        swept += [path for case in self.cases for path in case.sweep or () if path not in swept]
        for what, names in (("case names", [c.name for c in self.cases]), ("axis paths", swept)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} that differ")
        paths = [*swept, *(p for c in self.cases for p in c.set)]
        wrong = next((p for p in paths if p.split(".")[0] not in ROOTS), None)
        if wrong is not None:
            raise ValueError(f"paths that start with {', '.join(ROOTS)} (here {wrong!r})")
        return self


def load_study(study: str | os.PathLike[str] | Mapping[str, Any] | Study) -> Study:
    """A study by name (studies/), path or mapping; the study.resolved.yaml of a results folder is one too."""
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return build(Study, dict(study), where=f"study {study.get('name', '<mapping>')!r}")
    path = find_content("study", study)
    data = {key: value for key, value in read_yaml(path).items() if key not in DERIVED}
    return build(Study, data, where=str(path))


def with_settings(study: Study, settings: list[str]) -> Study:
    """`study` with `path=value` settings, values read as YAML; `chip.…` reaches into a chip given by name.

    Paths are those of the study file, and chip.… and task.… as in its axes: `chips.min=100`,
    `chip.tile.rows=64`, `task.episodes=50`, `seed=1`.
    """
    for path, value in map(parse_setting, settings):
        study = _with(study, path, value)
    return study


def _with(study: Study, path: str, value: Any) -> Study:
    root = path.split(".", maxsplit=1)[0]
    if path == root or root not in ("chip", "task"):
        return study.replace(path, value)
    data = _as_data(study.chip) if root == "chip" else dict(study.task)
    set_path({root: data}, path, value, "--set")
    return study.model_copy(update={root: data})


def _as_data(chip: str | dict[str, Any]) -> dict[str, Any]:
    from imc_sim.array import load_chip

    return load_chip(chip).to_dict()
