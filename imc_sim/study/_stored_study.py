"""Types of what study.resolved.yaml holds, so that a damaged file is one error instead of a failure in a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from pydantic import ConfigDict, Field

from imc_sim._errors import InputError
from imc_sim.config import Label, Spec, build
from imc_sim.study._axes import Axis, Scalar
from imc_sim.study._places import Content
from imc_sim.study._spec import Case, Chips

#: other versions may have written more keys
_LENIENT = ConfigDict(extra="ignore")


@final
class _StoredPoint(Spec):
    """A point, with facts for reports."""

    model_config = _LENIENT

    case: str
    values: tuple[Scalar, ...]
    id: str
    baseline: str
    reference: str = ""
    model: str = ""
    chip: str | None = None
    chance: float | None = None
    vary: bool = False
    stated: float | None = None
    chip_task: dict[str, Any] = Field(default_factory=dict)


@final
class _Metric(Spec):
    """Name, unit, direction and tolerance of the scores of a function."""

    model_config = _LENIENT

    name: Label
    unit: Label
    better: str
    tolerance: float | None = None


@final
class _StoredAttack(Spec):
    """The keys of an attack that pages read."""

    model_config = _LENIENT

    kind: str = "fgsm"
    epsilon: float = 0.0


@final
class _StoredTask(Spec):
    """The keys of a task that tables, figures and pages read."""

    model_config = _LENIENT

    kind: str = "few_shot"
    dataset: str | None = None
    way: int = Field(default=1, ge=1)
    attack: _StoredAttack | None = None
    features: str | None = None
    call: str = ""
    metric: str = ""
    files: tuple[str, ...] = ()


@final
class _StoredChip(Spec):
    """The keys of a chip that pages read as text."""

    model_config = _LENIENT

    name: Label
    source: str
    validity: str


@final
class _StoredStudy(Spec):
    """A resolved study."""

    model_config = _LENIENT

    name: Label
    summary: str = ""
    question: str = ""
    model: str
    chip: _StoredChip
    task: _StoredTask
    chip_task: _StoredTask = _StoredTask()
    derived: dict[str, Any] = Field(default_factory=dict)
    cases: tuple[Case, ...] = Field(min_length=1)
    axes: tuple[Axis, ...]
    chips: Chips
    seed: int = 0
    content: Content = Content()
    weights: dict[str, str | None] = Field(default_factory=dict)
    trained: dict[str, dict[str, int]] = Field(default_factory=dict)
    data: dict[str, str] | None = None
    metric: _Metric | None = None
    points: tuple[_StoredPoint, ...] = Field(min_length=1)


def check_stored(held: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a stored study with the defaults of settings that it lacks.

    Args:
        held: content of study.resolved.yaml.
        where: its path, for errors.

    Raises:
        InputError: a value has another type, or points do not fit the axes.
    """
    study = build(_StoredStudy, dict(held), where)
    wrong = next((n for n, point in enumerate(study.points) if len(point.values) != len(study.axes)), None)
    if wrong is not None:
        got, allowed = f"{len(study.points[wrong].values)} values", f"{len(study.axes)}, one per axis"
        raise InputError(f"{where}: points.{wrong}.values", got, allowed, "Run the study again into another folder.")
    lists = {"cases": study.cases, "axes": study.axes}
    parts = {k: [a.to_dict() | b for a, b in zip(own, held[k], strict=True)] for k, own in lists.items()}
    texts = {"summary": study.summary, "question": study.question, "weights": study.weights}
    return {**texts, **held, **parts, "chips": study.chips.to_dict() | held["chips"]}
