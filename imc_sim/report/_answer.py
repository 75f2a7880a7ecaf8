"""Answer the question of a study in one sentence, computed from its table."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from imc_sim.plotting import Metric, chip_count, numbers
from imc_sim.report._certainty import ChipSample

#: series that the sentence names at most; more are counted
_NAMED = 3
#: number of other outcomes of resampling that are named, and the probability below which none is
_OUTCOMES, _RARE = 2, 0.005
_UNKNOWN = "This cannot be answered yet: a digital network has not been measured."


def answer(data: DataFrame, tolerance: float | None = None, chips: ChipSample | None = None) -> str:
    """Answer the question of a study over all series: where is the median within `tolerance` of digital?

    Args:
        data: table of `robustness_data`.
        tolerance: difference from digital that counts as close, as shown; None: that of the metric, 1 point of an
            accuracy.
        chips: accuracies behind the rows; with them a second sentence states how certain the answer is.

    Returns:
        The sentences.
    """
    parts, at = list(data.groupby("series", sort=False)), _Values(data, tolerance)
    if np.isnan(numbers(data, "digital")).any():
        return _UNKNOWN
    if len(parts) == 1:
        return answers(data, tolerance, chips)[0]
    groups: dict[str, list[str]] = {}
    for series, part in parts:
        groups.setdefault(_reach(at, part)[0], []).append(str(series))
    clauses = [f"{reach} {_members(names, len(parts))}" for reach, names in groups.items()]
    text = f"{_head(data, at.metric)} {joined(clauses)}."
    return text if chips is None else f"{text} {_least_certain(data, at, chips)}".rstrip()


def answers(data: DataFrame, tolerance: float | None = None, chips: ChipSample | None = None) -> list[str]:
    """Answer per series: where the median is close to digital, its value at the next point, and how certain that is.

    Args:
        data: table of `robustness_data`.
        tolerance: see `answer`.
        chips: accuracies behind the rows; with them, other outcomes of resampling and equal rows are named.

    Returns:
        The sentences of each series.
    """
    sentences, at = [], _Values(data, tolerance)
    for series, part in data.groupby("series", sort=False):
        digital = numbers(part, "digital")
        if np.isnan(digital).any():
            sentences.append(f"{series}: {_UNKNOWN[0].lower()}{_UNKNOWN[1:]}")
            continue
        reach, tail = _reach(at, part)
        stated = f" ({at.metric.quantity(digital[0])})" if (digital == digital[0]).all() else ""
        head = _head(part, at.metric)
        named = head if series == "all" else f"{series}: {head[0].lower()}{head[1:]}"
        more = [] if chips is None else [_certainty(at, part, chips), _equal(at, part, chips)]
        sentences.append(" ".join([f"{named}{stated} {reach}{tail}.", *filter(None, more)]))
    return sentences


def _certainty(at: _Values, part: DataFrame, chips: ChipSample) -> str:
    """State how often resampled chips give the same answer, and which others they give."""
    if chips.alone(list(part.index)):
        return "One chip does not show how certain this is."
    given = _reach(at, part)[0]
    shares = _outcomes(at, part, chips)
    own = shares.pop(given, 0.0)
    others = sorted(shares.items(), key=lambda item: -item[1])
    if not others or own > 1.0 - _RARE:
        return "Resampling the chips gives the same."
    named = [f"{reach} in {100 * share:.0f} %" for reach, share in others[:_OUTCOMES] if share >= _RARE]
    rest = joined(named) if named else f"each of {len(others)} other answers more rarely"
    return f"Resampling the chips gives this in {100 * own:.0f} % of cases, {rest}."


def _outcomes(at: _Values, part: DataFrame, chips: ChipSample) -> dict[str, float]:
    """Return answer -> fraction of the resamplings that give it."""
    names, part = _ordered(part)
    digital = numbers(part, "digital")
    gaps = at.metric.gap(digital, chips.medians[:, list(part.index)])
    patterns, counts = np.unique(_close(at, gaps, digital), axis=0, return_counts=True)
    shares: dict[str, float] = {}
    for pattern, count in zip(patterns.tolist(), counts.tolist(), strict=True):
        given = _where(at, part["x"].tolist(), pattern, names)
        shares[given] = shares.get(given, 0.0) + count / len(gaps)
    return shares


def _least_certain(data: DataFrame, at: _Values, chips: ChipSample) -> str:
    """State how often resampled chips give the same answers over several series, at the least."""
    if chips.alone(list(data.index)):
        return "One chip does not show how certain this is."
    found = {}
    for series, part in data.groupby("series", sort=False):
        given = _reach(at, part)[0]
        found[str(series)] = _outcomes(at, part, chips).get(given, 0.0)
    least = min(found, key=found.__getitem__)
    if found[least] > 1.0 - _RARE:
        return "Resampling the chips gives the same."
    return f"Resampling the chips gives the same in {100 * found[least]:.0f} % of cases or more (least: {least})."


def _equal(at: _Values, part: DataFrame, chips: ChipSample) -> str:
    """Name the values of x whose results are equal to the bit on every chip."""
    _, part = _ordered(part)
    x = part["x"].tolist()
    groups = chips.equal(list(part.index))
    if groups and len(groups[0]) == len(x):
        return f"Every {at.name} tried gives the same on every chip, to the bit."
    listed = "; ".join(joined([at(x[place]) for place in group]) for group in groups)
    return f"The same on every chip, to the bit: {at.name} {listed}." if listed else ""


class _Values:
    """Format values of x with their unit, or with the name of the axis and the unit; hold the metric."""

    def __init__(self, data: DataFrame, tolerance: float | None) -> None:
        metric = Metric.shown_in(data)
        self.metric = metric if tolerance is None else replace(metric, tolerance=tolerance)
        self.name, self.unit = str(data.attrs["x_name"]), str(data.attrs["x_unit"])

    def __call__(self, value: object) -> str:
        return f"{value:g} {self.unit}".strip() if isinstance(value, int | float) else str(value)

    def named(self, value: object) -> str:
        return f"{self.name} {self(value)}"


def _head(data: DataFrame, metric: Metric) -> str:
    count, name = chip_count(data), "" if metric.is_share else f" {metric.name}"
    return f"The median{name} of {count} {'chip' if count == '1' else 'chips'} stays within {metric.near} of digital"


def _reach(at: _Values, part: DataFrame) -> tuple[str, str]:
    """Describe where the median is close to digital, at either end of the axis, and the median at the next point."""
    names, part = _ordered(part)
    x, median = part["x"].tolist(), part["median"].tolist()
    digital = numbers(part, "digital")
    gap = at.metric.gap(digital, numbers(part, "median"))
    close: list[bool] = _close(at, gap, digital).tolist()
    return _where(at, x, close, names), _beyond(at, x, median, gap.tolist(), close, names)


def _ordered(part: DataFrame) -> tuple[bool, DataFrame]:
    """Return whether x are names, which have no order, and the rows in the order of x."""
    names = any(isinstance(v, str) for v in part["x"])
    return names, part if names else part.sort_values("x")


def _close(at: _Values, gap: NDArray[np.float64], digital: NDArray[np.float64]) -> NDArray[np.bool_]:
    return gap <= at.metric.allowed(digital) + 1e-9 * (1.0 if at.metric.is_share else np.abs(digital))  # rounding


def _where(at: _Values, x: list[object], close: list[bool], names: bool) -> str:
    """Return the clause on the values of x at which the median is close."""
    if not any(close):
        return f"at no {at.name} tried"
    if all(close):
        return f"at every {at.name} tried{_range(at, x, names)}"
    runs = _runs(close)
    if names:
        return f"at {at.name} {joined([at(v) for v, c in zip(x, close, strict=True) if c])} alone"
    if len(runs) == 1 and runs[0][0] == 0:
        return f"up to {at.named(x[runs[0][1]])}"
    if len(runs) == 1 and runs[0][1] == len(x) - 1:
        return f"from {at.named(x[runs[0][0]])} on"
    return f"only at {at.name} {joined([at(x[a]) if a == b else f'{at(x[a])} to {at(x[b])}' for a, b in runs])}"


def _beyond(at: _Values, x: list[object], median: list[float], gap: list[float], close: list[bool], names: bool) -> str:
    """Return the end of that clause: the median at the next point, or the smallest distance."""
    runs = _runs(close)
    if not runs:
        best = min(range(len(x)), key=gap.__getitem__)
        far = f"{at.metric.number(gap[best], 1)} {at.metric.difference}".strip()
        return f": it is closest at {at(x[best])}, {far} {'above' if at.metric.lower else 'below'}"
    if names or len(runs) > 1:
        return "" if names else " and not at every value between"
    first, last = runs[0]
    if first == 0:
        end = min(last + 1, len(x) - 1)
        return _tail(at, x[end], median[end])
    return _tail(at, x[first - 1], median[first - 1]) if last == len(x) - 1 else ""


def _runs(close: list[bool]) -> list[tuple[int, int]]:
    """Return the first and the last index of every unbroken run of True."""
    groups = [list(g) for value, g in itertools.groupby(range(len(close)), key=close.__getitem__) if value]
    return [(g[0], g[-1]) for g in groups]


def _tail(at: _Values, x: object, median: float) -> str:
    return f"; at {at(x)} it is {at.metric.quantity(median)}"


def _range(at: _Values, x: list[object], names: bool) -> str:
    return f" ({at(x[0])})" if len(x) == 1 else "" if names else f" ({at(x[0])} to {at(x[-1])})"


def _members(names: list[str], count: int) -> str:
    if len(names) == count:
        return "in both cases" if count == 2 else f"in all {count} cases"
    return f"({'; '.join(names)})" if len(names) <= _NAMED else f"({len(names)} of {count} cases)"


def joined(parts: list[str], word: str = "and") -> str:
    """Return an enumeration: `a`, `a and b` or `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"
