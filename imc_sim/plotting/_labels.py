"""Names of axes and of their values, equal in figures, tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def heading(axis: Mapping[str, Any]) -> str:
    """Return the label of an axis, or its path, with its unit.

    Args:
        axis: as in the resolved study.
    """
    return f"{_name(axis)} ({axis['unit']})" if axis["unit"] else _name(axis)


def is_number(value: Any) -> bool:
    """Tell whether a value is a number; true and false are not.

    Args:
        value: of an axis or of a table.

    Returns:
        Whether it is.
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any, axis: Mapping[str, Any]) -> str:
    """Return a value in the unit of its axis, without the unit.

    Args:
        value: in SI units.
        axis: as in the resolved study.
    """
    if is_number(value):
        return f"{value * axis['scale']:g}"
    return {True: "on", False: "off", None: "none"}.get(value, str(value))


def place(value: Any, axis: Mapping[str, Any]) -> str:
    """Return name, value and unit of a value on an axis, which distinguish one series from the next."""
    return f"{_name(axis)} {shown(value, axis)} {axis['unit']}".strip()


def further(study: Mapping[str, Any], *used: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the axes of the study other than those used and those zipped with one of them."""
    paths, zips = {axis["path"] for axis in used}, {axis.get("zip") for axis in used} - {None}
    return [axis for axis in study["axes"] if axis["path"] not in paths and axis.get("zip") not in zips]


def _name(axis: Mapping[str, Any]) -> str:
    return str(axis["label"] or axis["path"])
