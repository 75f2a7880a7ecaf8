"""Refuse columns whose values are not what their headings say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.device.fit._columns import NAMES, Column

#: relative difference below which two columns hold the same values
_SAME = 1e-3


def check_names(raw: Any, column: Column) -> None:
    """Raise InputError where the names of cells or devices are numbers that are not whole, such as currents."""
    import pandas as pd

    numbers: Any = pd.to_numeric(raw.astype(object), errors="coerce")
    broken = numbers[np.isfinite(numbers) & (numbers % 1 != 0.0)]
    if 2 * len(broken) > len(raw):
        got = f"numbers that are not whole, such as {broken.iloc[0]:g}"
        raise _error(column, got, f"names or numbers of a {column.role}")


def check_values(part: dict[str, NDArray[Any]], columns: Sequence[Column]) -> None:
    """Raise InputError for a column without any number, which leaves no row of the table."""
    for column in columns:
        values = part[column.role]
        if column.role not in NAMES and len(values) and bool(np.isnan(values).all()):
            raise _error(column, "no numbers", "numbers")


def check_distinct(frame: Any, groups: Sequence[Sequence[Column]], where: str) -> None:
    """Raise InputError for two columns of one role with the same magnitudes, such as I and |I|, which are one sweep."""
    import pandas as pd

    if len(groups) < 2:
        return
    for columns in zip(*groups, strict=True):
        if columns[0].role not in ("G", "R", "current") or columns[0].state is not None or columns[0].at is not None:
            continue
        numbers: list[Any] = [pd.to_numeric(frame[c.index], errors="coerce") for c in columns]
        values = [np.abs(each.to_numpy(np.float64)) for each in numbers]
        for (first, a), (second, b) in itertools.combinations(zip(columns, values, strict=True), 2):
            both = np.isfinite(a) & np.isfinite(b)
            if both.any() and np.allclose(a[both], b[both], rtol=_SAME, atol=0.0):
                got = f"{first.heading!r} and {second.heading!r}, which hold the same values"
                step = f'Leave one out: --columns "{second.heading}=skip".'
                raise InputError(f"{where}, headings", got, "a column for each sweep or device", step)


def _error(column: Column, got: str, allowed: str) -> InputError:
    step = f'Leave it out, --columns "{column.heading}=skip", or name what it is.'
    return InputError(f"column {column.heading!r}", got, allowed, step)
