"""The answer to a study's question, in one sentence, computed from its table."""

from __future__ import annotations

import itertools

import numpy as np
from pandas import DataFrame

from imc_sim.plotting._tables import chip_count, numbers

#: percentage points below digital that still count as close
TOLERANCE = 1.0
#: most series that the one sentence names; more are counted
_NAMED = 3
_UNKNOWN = "This cannot be answered yet: a digital network has not been measured."


def answer(data: DataFrame, tolerance: float = TOLERANCE) -> str:
    """One sentence over all series of a robustness table: where the median stays within `tolerance` of digital."""
    parts = list(data.groupby("series", sort=False))
    if np.isnan(numbers(data, "digital")).any():
        return _UNKNOWN
    if len(parts) == 1:
        return answers(data, tolerance)[0]
    groups: dict[str, list[str]] = {}
    for series, part in parts:
        groups.setdefault(_reach(_Values(data), part, tolerance)[0], []).append(str(series))
    clauses = [f"{reach} {_members(names, len(parts))}" for reach, names in groups.items()]
    return f"{_head(data, tolerance)} {_joined(clauses)}."


def answers(data: DataFrame, tolerance: float = TOLERANCE) -> list[str]:
    """Per series: where the median stays close to digital, and what it is at the next value tried."""
    sentences = []
    for series, part in data.groupby("series", sort=False):
        digital = numbers(part, "digital")
        if np.isnan(digital).any():
            sentences.append(f"{series}: {_UNKNOWN[0].lower()}{_UNKNOWN[1:]}")
            continue
        reach, tail = _reach(_Values(data), part, tolerance)
        stated = f" ({digital[0]:.1f} %)" if (digital == digital[0]).all() else ""
        head = _head(part, tolerance)
        named = head if series == "all" else f"{series}: {head[0].lower()}{head[1:]}"
        sentences.append(f"{named}{stated} {reach}{tail}.")
    return sentences


class _Values:
    """How values of x are written: with the unit, or with the name before it as well."""

    def __init__(self, data: DataFrame) -> None:
        self.name, self.unit = str(data.attrs["x_name"]), str(data.attrs["x_unit"])

    def __call__(self, value: object) -> str:
        return f"{value:g} {self.unit}".strip() if isinstance(value, int | float) else str(value)

    def named(self, value: object) -> str:
        return f"{self.name} {self(value)}"


def _head(data: DataFrame, tolerance: float) -> str:
    count, unit = chip_count(data), "point" if tolerance == 1 else "points"
    return f"The median of {count} {'chip' if count == '1' else 'chips'} stays within {tolerance:g} {unit} of digital"


def _reach(at: _Values, part: DataFrame, tolerance: float) -> tuple[str, str]:
    """Where the median is close, whichever end of the axis is the harmless one; and the number just beyond."""
    names = any(isinstance(v, str) for v in part["x"])
    part = part if names else part.sort_values("x")
    x, median = part["x"].tolist(), part["median"].tolist()
    gap = (numbers(part, "digital") - numbers(part, "median")).tolist()
    close = [bool(g <= tolerance + 1e-9) for g in gap]  # in the last bit, 99 is not within 1 of 100
    if not any(close):
        best = min(range(len(x)), key=gap.__getitem__)
        return f"at no {at.name} tried", f": it comes nearest at {at(x[best])}, {gap[best]:.1f} points below"
    if all(close):
        return f"at every {at.name} tried{_range(at, x, names)}", "" if names else _tail(at, x[-1], median[-1])
    runs = _runs(close)
    if not names and len(runs) == 1 and runs[0][0] == 0:
        beyond = runs[0][1] + 1
        return f"up to {at.named(x[beyond - 1])}", _tail(at, x[beyond], median[beyond])
    if not names and len(runs) == 1 and runs[0][1] == len(x) - 1:
        first = runs[0][0]
        return f"from {at.named(x[first])} on", _tail(at, x[first - 1], median[first - 1])
    if names:
        return f"at {at.name} {_joined([at(v) for v, c in zip(x, close, strict=True) if c])} alone", ""
    spans = [at(x[a]) if a == b else f"{at(x[a])} to {at(x[b])}" for a, b in runs]
    return f"only at {at.name} {_joined(spans)}", " and not at every value between" if len(runs) > 1 else ""


def _runs(close: list[bool]) -> list[tuple[int, int]]:
    """First and last place of every unbroken run of True."""
    groups = [list(g) for value, g in itertools.groupby(range(len(close)), key=close.__getitem__) if value]
    return [(g[0], g[-1]) for g in groups]


def _tail(at: _Values, x: object, median: float) -> str:
    return f"; at {at(x)} it is {median:.1f} %"


def _range(at: _Values, x: list[object], names: bool) -> str:
    return f" ({at(x[0])})" if len(x) == 1 else "" if names else f" ({at(x[0])} to {at(x[-1])})"


def _members(names: list[str], count: int) -> str:
    if len(names) == count:
        return f"in all {count} cases"
    return f"({'; '.join(names)})" if len(names) <= _NAMED else f"({len(names)} of {count} cases)"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
