"""Refuse columns whose values are not what their headings say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.device.fit._columns import NAMES, Column, parse_heading

#: relative difference below which two columns hold the same values
_SAME = 1e-3
#: most texts in a column of numbers that are looked at
_MOST = 1000
#: least share of rows that are numbered where text without a digit is no name of a cell
_NUMBERED = 0.9
#: names of rows that spreadsheets and testers add below or above the cells
_STATISTIC = re.compile(
    r"(?:mean|average|avg|median|std|stdev|stddev|st\.? ?dev|standard dev\w*|sigma|variance|var|cv|rsd|min|max|minimum|"
    r"maximum|sum|total|count|mittel\w*|stdabw|stabw\w*|standardabw\w*|varianz|summe|anzahl|moyenne|[e\u00e9]cart\W?type|"
    r"media|promedio|desv\w*|\u5e73\u5747\w*|\u6807\u51c6\w*)(?![a-z0-9])",
    re.IGNORECASE,
)


def statistics_rows(frame: Any, columns: Sequence[Column]) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which rows of a table are no cells, such as `Mean` and `Std` below them, and the names of these rows.

    Such a row has the name of a statistic, or text without a digit where the other rows are numbered.
    """
    import pandas as pd

    found, names = np.zeros(len(frame), bool), []
    values = {c.index for c in columns if c.role not in NAMES}
    for place in (place for place in frame.columns if place not in values):
        if pd.api.types.is_numeric_dtype(frame[place]):
            continue
        codes, labels = pd.factorize(frame[place])
        texts: Any = pd.Series([str(x).strip() for x in labels], dtype=object)
        read: Any = pd.to_numeric(texts.str.replace(",", "."), errors="coerce")
        numbers = read.notna().to_numpy()
        numbered = np.append(numbers, False)[codes].sum() >= _NUMBERED * len(codes)
        bad = np.zeros(len(texts) + 1, bool)  # the last one for empty cells
        for k in np.flatnonzero(~numbers):
            bad[k] = bool(_STATISTIC.match(texts[k])) or (numbered and not re.search(r"\d", texts[k]))
        found |= bad[codes]
        names += texts[bad[:-1]].tolist()
    return found, names


def check_headings(frame: Any, columns: Sequence[Column], where: str) -> None:
    """Raise InputError for headings of another quantity, state or unit between the values: a second table."""
    import pandas as pd

    for column in (c for c in columns if c.unit is not None and not pd.api.types.is_numeric_dtype(frame[c.index])):
        words = [str(x) for x in frame[column.index].dropna().unique()[:_MOST]]
        for word in (x for x in words if re.match(r"\W*[^\W\d].*[(\[_]", x)):
            found = parse_heading(column.index, word, where)
            known = (column.role, column.state, column.unit)
            if found is not None and found.unit is not None and (found.role, found.state, found.unit) != known:
                got = f"a second table, with {word!r} below {column.heading!r}"
                raise InputError(
                    where, got, "one table", "Save each table as a file, or convert them to equal columns."
                )


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
