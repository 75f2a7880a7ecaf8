"""Axes of a study: swept settings, short forms of their values, and the grid of zipped and crossed axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, final

from pydantic import BeforeValidator, Field, model_validator

from imc_sim._errors import InputError, nearest
from imc_sim.config import Label, Spec

Scalar = bool | int | float | str
Value = Scalar | dict[str, Any] | None

#: largest number of values of a short form; more is most likely a typing error
_MOST = 10_000


def _range(start: float, stop: float, step: float) -> list[float]:
    """Return start, start + step, … up to stop (included), in decimal arithmetic: 3 times 0.1 is 0.3."""
    first, last, by = (Decimal(repr(v)) for v in (start, stop, step))
    if by == 0 or (last - first) / by < 0:
        raise InputError("range", [start, stop, step], "a step from start towards stop", "Change the sign of step.")
    count = int((last - first) / by) + 1
    _bounded("range", count)
    whole = all(isinstance(v, int) for v in (start, stop, step))
    return [int(first + k * by) if whole else float(first + k * by) for k in range(count)]


def _linspace(start: float, stop: float, count: float) -> list[float]:
    """Return `count` evenly spaced values from start to stop, both included."""
    number = _bounded("linspace", count)
    return _rounded(start, stop, [start + (stop - start) * k / (number - 1) for k in range(number)])


def _log(start: float, stop: float, count: float) -> list[float]:
    """Return `count` logarithmically spaced values from start to stop, both included."""
    number = _bounded("log", count)
    if start <= 0 or stop <= 0:
        raise InputError("log", [start, stop, count], "start and stop above 0", "Use a range or a list.")
    return _rounded(start, stop, [start * (stop / start) ** (k / (number - 1)) for k in range(number)])


def _bounded(form: str, count: float) -> int:
    """Return a number of values that a short form may have."""
    least = 1 if form == "range" else 2
    if not isinstance(count, int) or not least <= count <= _MOST:
        step = "Check start, stop and step." if form == "range" else "Write [start, stop, count]."
        raise InputError(form, f"{count} values", f"a whole number of {least} to {_MOST}", step)
    return count


def _rounded(start: float, stop: float, values: list[float]) -> list[float]:
    """Round values to 12 significant digits, so that ids of trials do not depend on the last bit of a power.

    If start, stop and all values are whole, return integers.
    """
    rounded = [start, *(float(f"{v:.12g}") for v in values[1:-1]), stop]
    if isinstance(start, int) and isinstance(stop, int) and all(float(v).is_integer() for v in rounded):
        return [int(v) for v in rounded]
    return [float(v) for v in rounded]


_FORMS: dict[str, Callable[[float, float, float], list[float]]] = {"range": _range, "linspace": _linspace, "log": _log}


def _expanded(values: Any) -> Any:
    """Expand a short form such as `{range: [start, stop, step]}`; return a list unchanged."""
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
        raise InputError(form, repr(arguments), f"[start, stop, {third}], numbers in SI units", "Give three numbers.")
    return tuple(_FORMS[form](*arguments))


def short_forms() -> dict[str, Any]:
    """Return the JSON schema of the short forms, described by the docstrings of their functions."""
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
    """One swept setting: its dotted path, its values, and how tables and figures show them (value * scale, unit).

    A value may be a number, a word, a mapping (a whole chip or task), or null for a setting that may be missing.
    Mappings and null need labels.
    """

    path: str = Field(
        description="swept setting: a path such as chip.tile.rows, or one of `model`, `chip`, `task`, `engine`, `seed`"
    )
    also: tuple[str, ...] = Field(default=(), description="further paths that are set to the same value")
    values: Annotated[tuple[Value, ...], BeforeValidator(_expanded)] = Field(
        min_length=1,
        description="a list, or {range: [start, stop, step]}, {linspace: [start, stop, count]} or "
        "{log: [start, stop, count]}, which include stop",
    )
    labels: tuple[Label, ...] = Field(
        default=(), description="names of the values in tables and figures, one per value"
    )
    zip: str | None = Field(
        default=None, description="name of a group of axes that advance together instead of being crossed"
    )
    label: Label = Field(default="", description="name of the quantity in tables and figures")
    unit: Label = Field(default="", description="unit of value * scale")
    scale: float = Field(default=1.0, description="factor between a value and the number shown")
    spaced: Literal["linear", "log"] = Field(default="linear", description="spacing of the axis in figures")

    @property
    def paths(self) -> tuple[str, ...]:
        """Return all paths that are set to the value."""
        return (self.path, *self.also)

    def shown(self, index: int) -> Scalar:
        """Return the label or plain value that tables and figures show.

        Args:
            index: number of the value, from 0.
        """
        value = self.labels[index] if self.labels else self.values[index]
        return str(value) if isinstance(value, dict) or value is None else value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(map(repr, self.values))) < len(self.values):
            raise ValueError("values that differ")
        if self.spaced == "log" and not all(isinstance(v, int | float) and v * self.scale > 0 for v in self.values):
            raise ValueError("values above 0 where spaced is 'log'")
        return self

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.labels and (len(self.labels) != len(self.values) or len(set(self.labels)) < len(self.labels)):
            raise ValueError(f"distinct labels, one for each of the {len(self.values)} values")
        if not self.labels and any(isinstance(v, dict) or v is None for v in self.values):
            raise ValueError("labels, one per value, where values are mappings or null")
        return self


def unequal_zip(axes: tuple[Axis, ...]) -> str | None:
    """Return the requirement that zipped axes violate, or None: axes of a group need equally many values."""
    for name, group in _groups(axes).items():
        counts = [len(axes[i].values) for i in group]
        if len(set(counts)) > 1:
            return f"equally many values on axes zipped as {name!r} (here {', '.join(map(str, counts))})"
    return None


def _groups(axes: tuple[Axis, ...]) -> dict[str | int, list[int]]:
    """Return the indices of the axes of each zip group, in the order of their first axes."""
    groups: dict[str | int, list[int]] = {}
    for number, axis in enumerate(axes):
        groups.setdefault(number if axis.zip is None else axis.zip, []).append(number)
    return groups


def grid_size(axes: tuple[Axis, ...]) -> int:
    """Return the number of points that `grid` yields."""
    return math.prod(len(axes[group[0]].values) for group in _groups(axes).values())


def grid(axes: tuple[Axis, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the index of the value on every axis for each point; zip groups are crossed in order."""
    groups = list(_groups(axes).values())
    for places in itertools.product(*(range(len(axes[group[0]].values)) for group in groups)):
        at = {number: place for group, place in zip(groups, places, strict=True) for number in group}
        yield tuple(at[number] for number in range(len(axes)))
