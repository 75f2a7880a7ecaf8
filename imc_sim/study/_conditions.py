"""Conditions that skip points, and settings that follow from others. No code is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, final

from pydantic import Field, model_validator

from imc_sim._errors import InputError, nearest
from imc_sim.config import Spec
from imc_sim.study._axes import Scalar

#: a value, several of which one must be met, or a comparison such as '>= 0.5'
Condition = Scalar | None | tuple[Scalar | None, ...]
_COMPARISON = re.compile(r"^\s*(>=|<=|==|!=|>|<)\s*(.*?)\s*$")
_MISSING = object()


@final
class Derived(Spec):
    """A setting that follows from another: the value at `path`, times `times`, plus `plus`. A path alone is a copy."""

    path: str = Field(description="where the value comes from")
    times: float = 1.0
    plus: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, data: Any) -> Any:
        return {"path": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _keeps_its_path(self) -> Self:
        if not self.path.strip():
            raise ValueError("a path such as chip.tile.cols")
        return self

    def of(self, value: Any, where: str) -> Any:
        """Return the derived value; integers stay integers where the result is whole."""
        if (self.times, self.plus) == (1.0, 0.0):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(where, repr(value), "a number to multiply or add to", "Leave out times and plus.")
        result = float(f"{value * self.times + self.plus:.12g}")
        return int(result) if isinstance(value, int) and result.is_integer() else result


def look_up(data: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Return whether the dotted `path` exists, and its value."""
    node: Any = data
    for part in path.split("."):
        node = node.get(part, _MISSING) if isinstance(node, Mapping) else _MISSING
    return node is not _MISSING, None if node is _MISSING else node


def paths_in(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Return every path of the data, mappings before their entries."""
    for key, value in data.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from paths_in(value, f"{prefix}{key}.")


def unknown_path(path: str, known: Iterable[str], where: str) -> InputError:
    """Return the error for a path that no point has."""
    return InputError(where, repr(path), "a path that a point has", f"{nearest(path, known)}Fix the path.")


def matches(rule: Mapping[str, Condition], facts: Mapping[str, Any], where: str | None) -> bool:
    """Tell whether every condition of the rule holds. A path that a point does not have satisfies no condition.

    A mapping is compared by its name or kind: `chip: ideal`, `chip.wires: nodal`, `engine: memtorch`.

    Args:
        rule: path -> condition.
        facts: the settings of the point.
        where: names the rule in the error for a condition of another type than the value; None: such a condition
            does not hold.
    """
    return all(
        there and _meets(condition, value, None if where is None else f"{where}: {path}")
        for path, condition in rule.items()
        for there, value in [look_up(facts, path)]
    )


def _meets(condition: Condition, value: Any, where: str | None) -> bool:
    if isinstance(condition, tuple | list):
        return any(_meets(each, value, where) for each in condition)
    if isinstance(value, Mapping):
        value = value.get("name", value.get("kind", value))
    match = _COMPARISON.match(condition) if isinstance(condition, str) else None
    if match is None:
        return _equal(condition, value, where)
    sign, text = match.groups()
    if sign in ("==", "!="):
        return _equal(_read(text), value, where) is (sign == "==")
    return _ordered(sign, _read(text), value, where)


def _read(text: str) -> Scalar | None:
    """Return the right-hand side of a comparison as a value."""
    try:
        return float(text)
    except ValueError:
        return {"true": True, "false": False, "null": None}.get(text, text)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else "a word" if isinstance(value, str) else "a mapping or list"


def _equal(wanted: Scalar | None, value: Any, where: str | None) -> bool:
    if wanted is None or value is None:
        return wanted is value
    return _same_kind(wanted, value, where) and wanted == value


def _ordered(sign: str, limit: Scalar | None, value: Any, where: str | None) -> bool:
    if value is None or not _same_kind(0.0 if limit is None else limit, value, where):
        return False
    if _kind(limit) != "a number":
        if where is not None:
            raise InputError(where, f"{sign} {limit}", "a number after <, <=, > or >=", "Write it in SI.")
        return False
    less, equal = value < limit, value == limit
    return {">": not less and not equal, ">=": not less, "<": less, "<=": less or equal}[sign]


def _same_kind(wanted: Any, value: Any, where: str | None) -> bool:
    if _kind(wanted) == _kind(value):
        return True
    if where is not None:
        step = "Write numbers in SI, without a unit." if _kind(value) == "a number" else "Name another path or value."
        raise InputError(where, f"{wanted!r} for a value that is {_kind(value)}", _kind(value), step)
    return False
