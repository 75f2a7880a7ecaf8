"""Axes: swept settings, their values as lists, ranges or log ranges, and how axes are zipped or crossed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, final

from pydantic import BeforeValidator, Field, model_validator

from imc_sim._errors import InputError, nearest
from imc_sim.config import Spec

Scalar = bool | int | float | str
Value = Scalar | dict[str, Any] | None

#: most values that a range may give: one more digit is a slip of the pen
_MOST = 10_000


def _range(start: float, stop: float, step: float) -> list[float]:
    """Return start, start + step, … up to and including stop, in decimal arithmetic, so that 0.1 three times is 0.3."""
    first, last, by = (Decimal(repr(v)) for v in (start, stop, step))
    if by == 0 or (last - first) / by < 0:
        raise InputError("range", [start, stop, step], "a step that leads from start to stop", "Fix the step's sign.")
    count = int((last - first) / by) + 1
    _bounded("range", count)
    whole = all(isinstance(v, int) for v in (start, stop, step))
    return [int(first + k * by) if whole else float(first + k * by) for k in range(count)]


def _linspace(start: float, stop: float, count: float) -> list[float]:
    """Return `count` evenly spaced values from start to stop, both included."""
    number = _bounded("linspace", count)
    return _spread(start, stop, [start + (stop - start) * k / (number - 1) for k in range(number)])


def _log(start: float, stop: float, count: float) -> list[float]:
    """Return `count` values from start to stop, both included, with a constant ratio."""
    number = _bounded("log", count)
    if start <= 0 or stop <= 0:
        raise InputError("log", [start, stop, count], "start and stop above 0", "Use a range or a list.")
    return _spread(start, stop, [start * (stop / start) ** (k / (number - 1)) for k in range(number)])


def _bounded(form: str, count: float) -> int:
    least = 1 if form == "range" else 2
    if not isinstance(count, int) or not least <= count <= _MOST:
        step = "Check start, stop and step." if form == "range" else "Write [start, stop, count]."
        raise InputError(form, f"{count} values", f"a whole number of {least} to {_MOST}", step)
    return count


def _spread(start: float, stop: float, values: list[float]) -> list[float]:
    """Round to twelve digits, so that the last bit of a power is no part of a trial's id; to integers where all are
    whole.
    """
    rounded = [start, *(float(f"{v:.12g}") for v in values[1:-1]), stop]
    if isinstance(start, int) and isinstance(stop, int) and all(float(v).is_integer() for v in rounded):
        return [int(v) for v in rounded]
    return [float(v) for v in rounded]


_FORMS: dict[str, Callable[[float, float, float], list[float]]] = {"range": _range, "linspace": _linspace, "log": _log}


def _expanded(values: Any) -> Any:
    """Return the values of a short form such as `{range: [start, stop, step]}`; a list is returned unchanged."""
    if not isinstance(values, Mapping):
        return values
    allowed = "a list, or one of " + ", ".join(_FORMS)
    if len(values) != 1 or next(iter(values)) not in _FORMS:
        keys = ", ".join(map(str, values)) or "an empty mapping"
        raise InputError("", keys, allowed, f"{nearest(keys, _FORMS)}For example {{range: [0, 1, 0.1]}}.")
    ((form, arguments),) = values.items()
    numbers = isinstance(arguments, list | tuple) and all(
        isinstance(a, int | float) and not isinstance(a, bool) and math.isfinite(a) for a in arguments
    )
    if not numbers or len(arguments) != 3:
        third = "step" if form == "range" else "count"
        raise InputError(form, repr(arguments), f"[start, stop, {third}], numbers in SI", "Give three numbers.")
    return tuple(_FORMS[form](*arguments))


def short_forms() -> dict[str, Any]:
    """Return the JSON schema of the short forms of a list of values."""
    three = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
    forms = {form: three | {"description": function.__doc__} for form, function in _FORMS.items()}
    return {
        "type": "object",
        "properties": forms,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


@final
class Axis(Spec):
    """One swept setting: its dotted path, its values, and how they are shown (value * scale, unit).

    A value may be a whole chip, model or task: `path: chip` with names or mappings as values; or null for a setting
    that may be left out. Mappings and null need labels.
    """

    path: str = Field(description="what is swept: a path such as chip.tile.rows, or model, chip, task, engine, seed")
    also: tuple[str, ...] = Field(default=(), description="further paths that take the same value")
    values: Annotated[tuple[Value, ...], BeforeValidator(_expanded)] = Field(
        min_length=1,
        description="a list, or {range: [start, stop, step]}, {linspace: [start, stop, count]} or "
        "{log: [start, stop, count]}, which include stop",
    )
    labels: tuple[str, ...] = Field(default=(), description="what tables and figures show, one a value")
    zip: str | None = Field(default=None, description="axes with the same word here advance together, not crossed")
    label: str = Field(default="", description="what the quantity is called in tables and figures")
    unit: str = Field(default="", description="the unit of value * scale")
    scale: float = Field(default=1.0, description="factor from the value to what is shown")
    spaced: Literal["linear", "log"] = Field(default="linear", description="of the figure")

    @property
    def paths(self) -> tuple[str, ...]:
        """Return all paths that take the value."""
        return (self.path, *self.also)

    def shown(self, index: int) -> Scalar:
        """Return what tables and figures show for value number `index`."""
        value = self.labels[index] if self.labels else self.values[index]
        return str(value) if isinstance(value, dict) or value is None else value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(map(repr, self.values))) < len(self.values):
            raise ValueError("each value once")
        if self.spaced == "log" and not all(isinstance(v, int | float) and v * self.scale > 0 for v in self.values):
            raise ValueError("values above 0 where spaced is 'log'")
        return self

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.labels and (len(self.labels) != len(self.values) or len(set(self.labels)) < len(self.labels)):
            raise ValueError(f"labels that differ, one for each of the {len(self.values)} values")
        if not self.labels and any(isinstance(v, dict) or v is None for v in self.values):
            raise ValueError("labels, one a value, where values are mappings or null")
        return self


def unequal_zip(axes: tuple[Axis, ...]) -> str | None:
    """Return what is wrong with zipped axes, or None: those of a group need equally many values."""
    for name, group in _groups(axes).items():
        counts = [len(axes[i].values) for i in group]
        if len(set(counts)) > 1:
            return f"equally many values on axes zipped as {name!r} (here {', '.join(map(str, counts))})"
    return None


def _groups(axes: tuple[Axis, ...]) -> dict[str | int, list[int]]:
    """Return the numbers of the axes that advance together, in the order of their first axis."""
    groups: dict[str | int, list[int]] = {}
    for number, axis in enumerate(axes):
        groups.setdefault(number if axis.zip is None else axis.zip, []).append(number)
    return groups


def grid(axes: tuple[Axis, ...]) -> Iterator[tuple[int, ...]]:
    """Return for each point the index of the value on every axis: groups crossed in order, axes of a group in step."""
    groups = list(_groups(axes).values())
    for places in itertools.product(*(range(len(axes[group[0]].values)) for group in groups)):
        at = {number: place for group, place in zip(groups, places, strict=True) for number in group}
        yield tuple(at[number] for number in range(len(axes)))
