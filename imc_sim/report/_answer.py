"""The answer to a study's question, in one sentence a series, computed from its table."""

from __future__ import annotations

from pandas import DataFrame

#: percentage points below digital that still count as close
TOLERANCE = 1.0


def answers(data: DataFrame, tolerance: float = TOLERANCE) -> list[str]:
    """Per series of a robustness table: up to where the median stays within `tolerance` points of digital."""
    label = str(data.attrs["x_label"])
    name, _, unit = label.removesuffix(")").partition(" (")
    return [_answer(str(s), part, name, unit, tolerance) for s, part in data.groupby("series", sort=False)]


def _answer(series: str, part: DataFrame, name: str, unit: str, tolerance: float) -> str:
    part = part.sort_values("x")
    close = (part["median"] >= part["digital"] - tolerance).tolist()
    digital, first, last = float(part["digital"].iloc[0]), part.iloc[0], part.iloc[-1]
    head = f"{series}: the median of {min(part['chips'])} chips"
    tail = f"; at {_value(last['x'], unit)} it is {last['median']:.1f} %."
    if not close[0]:
        where = f"already at {name} {_value(first['x'], unit)}"
        return f"{head} is {digital - first['median']:.1f} points below digital ({digital:.1f} %) {where}{tail}"
    held = close.index(False) if False in close else len(close)
    what = "at every value tried, up to" if held == len(close) else "up to"
    reach = f"{what} {name} {_value(part['x'].iloc[held - 1], unit)}"
    return f"{head} stays within {tolerance:g} point of digital ({digital:.1f} %) {reach}{tail}"


def _value(value: float, unit: str) -> str:
    return f"{value:g} {unit}".strip()
