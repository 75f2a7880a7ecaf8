"""Conditions that skip points of a study, and settings derived from other settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, final

from pydantic import Field, model_validator

from imc_sim._errors import InputError, nearest
from imc_sim.config import Spec
from imc_sim.study._axes import Scalar

#: a value, a comparison such as '>= 0.5', or several of these of which one must hold
Condition = Scalar | None | tuple[Scalar | None, ...]
_COMPARISON = re.compile(r"^\s*(>=|<=|==|!=|>|<)(.*)$")
_MISSING = object()


@final
class Derived(Spec):
    """A setting derived from another: value at `path` * `times` + `plus`. In YAML, a path alone copies the value."""

    path: str = Field(description="path of the source value")
    times: float = Field(default=1.0, description="factor on the source value")
    plus: float = Field(default=0.0, description="number added to the product")

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
        """Return the derived value, an integer if the source is one and the result is whole.

        Args:
            value: value at `path`; with the default `times` and `plus` it may be of any type.
            where: place of the setting, for errors.

        Raises:
            InputError: the value is not a number.
        """
        if (self.times, self.plus) == (1.0, 0.0):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(where, repr(value), "a number to multiply or add to", "Leave out times and plus.")
        result = float(f"{value * self.times + self.plus:.12g}")
        return int(result) if isinstance(value, int) and result.is_integer() else result


def look_up(data: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Return whether the dotted `path` exists, and its value (None if it does not exist)."""
    node: Any = data
    for part in path.split("."):
        node = node.get(part, _MISSING) if isinstance(node, Mapping) else _MISSING
    return node is not _MISSING, None if node is _MISSING else node


def paths_in(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every dotted path of nested mappings; a mapping comes before its entries."""
    for key, value in data.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from paths_in(value, f"{prefix}{key}.")


def unknown_path(path: str, known: Iterable[str], where: str) -> InputError:
    """Return the error for a path that exists at no point."""
    return InputError(where, repr(path), "a path that exists at a point", f"{nearest(path, known)}Fix the path.")


def matches(rule: Mapping[str, Condition], facts: Mapping[str, Any], where: str | None) -> bool:
    """Return whether all conditions of a rule hold. No condition holds for a path that does not exist.

    A mapping is compared by its name or kind: `chip: ideal`, `chip.wires: nodal`, `engine: memtorch`.

    Args:
        rule: path -> condition.
        facts: settings of the point.
        where: place of the rule, for errors; None: a condition of another type than the value does not hold.

    Raises:
        InputError: a condition has another type than the value, if `where` is given.
    """
    return all(
        there and _meets(condition, value, None if where is None else f"{where}: {path}")
        for path, condition in rule.items()
        for there, value in [look_up(facts, path)]
    )


def _meets(condition: Condition, value: Any, where: str | None) -> bool:
    """Return whether a value meets a condition; see `matches`."""
    if isinstance(condition, tuple | list):
        return any(_meets(each, value, where) for each in condition)
    if isinstance(value, Mapping):
        value = value.get("name", value.get("kind", value))
    match = _COMPARISON.match(condition) if isinstance(condition, str) else None
    if match is None:
        return _equal(condition, value, where)
    sign, text = match[1], match[2].strip()
    if sign in ("==", "!="):
        return _equal(_read(text), value, where) is (sign == "==")
    return _ordered(sign, _read(text), value, where)


def _read(text: str) -> Scalar | None:
    """Parse the right-hand side of a comparison."""
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
    """Return whether `value sign limit` holds for one of <, <=, > and >=."""
    if value is None or not _same_kind(0.0 if limit is None else limit, value, where):
        return False
    if _kind(limit) != "a number":
        if where is not None:
            raise InputError(where, f"{sign} {limit}", "a number after <, <=, > or >=", "Write it in SI units.")
        return False
    less, equal = value < limit, value == limit
    return {">": not less and not equal, ">=": not less, "<": less, "<=": less or equal}[sign]


def _same_kind(wanted: Any, value: Any, where: str | None) -> bool:
    if _kind(wanted) == _kind(value):
        return True
    if where is not None:
        step = "Write it in SI units, without the unit." if _kind(value) == "a number" else "Use another path or value."
        raise InputError(where, f"{wanted!r} for a value that is {_kind(value)}", _kind(value), step)
    return False
