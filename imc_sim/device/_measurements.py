"""A lab's own table of conductances: columns that say their unit, one row a cell or one row a cell and state."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError

#: Conductances in S by state: `HRS` and `LRS`, or `0` … `n - 1`; from the lowest to the highest.
Samples = dict[str, NDArray[np.float64]]

#: Fewest values of a state for a fit.
LEAST = 5

_PREFIXES = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "\u00b5": 1e-6, "\u03bc": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9,
}  # fmt: skip
# Both letters mu and both letters omega: keyboards and spreadsheets differ.
_UNIT = re.compile("^(?P<prefix>[nu\u00b5\u03bcmkMG]?)(?P<unit>S|[oO]hms?|\u03a9|\u2126)$")
_COLUMN = re.compile(r"^\s*(?P<name>.*?)\s*(?:\(\s*(?P<round>[^()]*?)\s*\)|\[\s*(?P<square>[^\[\]]*?)\s*\])?\s*$")
_EXAMPLE = "`state,conductance (uS)` with LRS and HRS in the first column, or `LRS (uS),HRS (uS)`"


@dataclass(frozen=True)
class _Column:
    """One column of values: its place, what it is called, and how to make S of it."""

    index: int
    name: str
    to_siemens: Callable[[float], float]


def read_measurements(path: Path) -> Samples:
    """Read the conductances of each state from a CSV file.

    The file has either a column `state` (LRS, HRS, or level numbers 0, 1, …) and one column of values, or a column of
    values for each state. Columns of values name their unit, in brackets or after an underscore: `conductance (uS)`,
    `resistance [kohm]`, `LRS_uS`. Other columns are ignored; an empty cell is no value.

    Args:
        path: file in UTF-8; its first line names the columns.

    Returns:
        Conductances in S by state, from HRS (level 0) to LRS, each array sorted.

    Raises:
        InputError: the file cannot be read, no column names a unit, a value is not a conductance of at least 0 S,
            states are missing or have fewer than 5 values, or their medians do not rise.
    """
    rows = _rows(path)
    head = [cell.strip() for cell in rows[0][1]]
    state = next((i for i, cell in enumerate(head) if cell.lower() in ("state", "level")), None)
    columns = _columns(head, str(path))
    values: dict[str, list[float]] = {}
    for state_name, value in _cells(rows[1:], columns, state, path):
        values.setdefault(state_name, []).append(value)
    return _ordered(values, str(path))


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of every line that is not empty; the first is the head."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise InputError(str(path), "no such file", "a readable CSV in UTF-8", "Check the path.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), str(error), "a readable CSV in UTF-8", "Check the path and the format.") from error
    if len(rows) < 2:
        raise InputError(str(path), "no measurement", f"a head, {_EXAMPLE}, and a line a cell", "Add the values.")
    return rows


def _columns(head: list[str], where: str) -> list[_Column]:
    """Return the columns of values: those that name a unit of conductance or resistance."""
    found = [column for i, cell in enumerate(head) if (column := _column(i, cell)) is not None]
    if found:
        return found
    got = ", ".join(repr(cell) for cell in head)
    step = "Say in its name what each column of values is in: S, uS, nS, ohm, kohm, …"
    raise InputError(f"{where}, head", got, f"columns with a unit: {_EXAMPLE}", step)


def _column(index: int, cell: str) -> _Column | None:
    """Return the column of values that a heading names; None for one without a unit."""
    match = _COLUMN.match(cell)
    name = match["name"] if match else ""
    text = (match["round"] or match["square"] or "") if match else ""
    if not text:
        name, _, text = cell.rpartition("_")
    unit = _UNIT.match(text)
    if unit is None:
        return None
    scale = _PREFIXES[unit["prefix"]]
    if unit["unit"] == "S":
        return _Column(index, name.strip(), lambda value: value * scale if scale >= 1 else value / round(1 / scale))
    return _Column(index, name.strip(), lambda value: 1.0 / (value * scale) if value > 0.0 else math.nan)


def _cells(
    rows: list[tuple[int, list[str]]], columns: list[_Column], state: int | None, path: Path
) -> Iterator[tuple[str, float]]:
    """Yield (state, conductance in S) of every value."""
    if state is not None and len(columns) != 1:
        got = f"{len(columns)} columns of values with a column of states"
        raise InputError(f"{path}, head", got, "one of them", "Leave the others out, or give them no unit.")
    for line, row in rows:
        for column in columns:
            text = row[column.index].strip() if column.index < len(row) else ""
            if text:
                label = column.name if state is None else row[state] if state < len(row) else ""
                yield _state(label, f"{path}, line {line}"), _value(text, column, f"{path}, line {line}")


def _state(label: str, where: str) -> str:
    name = label.strip().upper().removeprefix("LEVEL").strip()
    if name in ("LRS", "HRS"):
        return name
    if name.isdigit():
        return str(int(name))
    raise InputError(where, f"state {label!r}", "LRS, HRS, or level numbers from 0", f"Name states so: {_EXAMPLE}.")


def _value(text: str, column: _Column, where: str) -> float:
    """Return a cell of the table in S."""
    try:
        value = column.to_siemens(float(text))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0.0):
        step = "Fix the value, or leave its cell empty."
        raise InputError(f"{where}, {column.name!r}", repr(text), "a number: no conductance below 0 S", step)
    return value


def _ordered(values: dict[str, list[float]], where: str) -> Samples:
    """Return sorted conductances by state from low to high; raise InputError where the states are incomplete."""
    names = sorted(values, key=lambda name: ("HRS", "LRS").index(name) if name in ("HRS", "LRS") else int(name))
    if names != ["HRS", "LRS"] and (len(names) < 2 or names != [str(k) for k in range(len(names))]):
        got = f"states {', '.join(names)}"
        raise InputError(where, got, "HRS and LRS, or levels 0, 1, … without a gap", "Add what is missing.")
    samples = {name: np.sort(np.array(values[name])) for name in names}
    for name, data in samples.items():
        if len(data) < LEAST:
            allowed = f"{LEAST} or more, for a standard deviation"
            raise InputError(f"{where}, state {name}", f"{len(data)} values", allowed, "Measure more cells.")
    medians = [float(np.median(data)) for data in samples.values()]
    if any(b <= a for a, b in itertools.pairwise(medians)):
        got = ", ".join(f"{name}: {m:g} S" for name, m in zip(names, medians, strict=True))
        step = "Check which column is which, and the unit."
        raise InputError(f"{where}, medians", got, "conductances that rise from HRS (level 0) to LRS", step)
    return samples
