"""Stopping rule: decide when a point has enough chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imc_sim._stats import mean_interval
from imc_sim.runs import Array, Row, RowTable
from imc_sim.study._spec import Chips
from imc_sim.study._trials_file import as_table, measures


def stopping_count(chips: Chips, results: Sequence[float] | Array) -> int | None:
    """Return the number of chips at which a point stops, or None if it needs further chips.

    Failed chips count as sampled, but not in the mean.

    Args:
        chips: stopping rule.
        results: results of the stored chips from number 0 on, without a gap; NaN for a failed one.
    """
    checkpoints, values = chips.checkpoints(), np.asarray(results, np.float64)
    for count in checkpoints:
        if len(values) < count:
            return None
        finished = values[:count][~np.isnan(values[:count])]
        if chips.half_width is not None and len(finished) > 1:
            mean, low, _ = mean_interval(finished)
            if mean - low <= chips.half_width:
                return count
    return checkpoints[-1]


def wanted_chips(study: Mapping[str, Any], rows: RowTable) -> tuple[dict[str, range], bool]:
    """Return the chips of each point that the study requests so far, and whether a point needs further chips.

    Args:
        study: content of study.resolved.yaml.
        rows: stored rows; a run with another number of chips may have stored more than are requested.
    """
    rule, stored = Chips.model_validate(study["chips"]), by_point(rows)
    chips, results = rows.column("chip"), measures(rows)
    wanted = {p[key]: range(-1, 0) for p in study["points"] for key in ("baseline", "reference") if key in p}
    is_open = False
    for point in {p["id"] for p in study["points"]}:
        numbers = stored.get(point, np.arange(0))
        known = without_gap(chips[numbers], results[numbers])
        count = stopping_count(rule, known)
        is_open |= count is None
        wanted[point] = range(count or next(c for c in rule.checkpoints() if c > len(known)))
    return wanted, is_open


def are_wanted(rows: RowTable, wanted: Mapping[str, range]) -> Array:
    """Return for every row whether its point and chip are among those that `wanted_chips` returned."""
    ends = [wanted.get(str(point), range(0)) for point in rows.texts("point")]
    first, last = (np.array([getattr(each, end) for each in ends], np.int64) for end in ("start", "stop"))
    points, chips = rows.column("point"), rows.column("chip")
    return (chips >= first[points]) & (chips < last[points]) if ends else np.zeros(0, bool)


def trials_left(rows: RowTable, wanted: Mapping[str, range]) -> int:
    """Return how many of the requested trials have no row.

    Args:
        rows: stored rows of requested trials alone; a trial may have several.
        wanted: chips of each point, of `wanted_chips`.
    """
    offsets, total = {}, 0
    for point, chips in wanted.items():
        offsets[point] = total - chips.start
        total += len(chips)
    offset = np.array([offsets.get(str(point), 0) for point in rows.texts("point")], np.int64)
    held = np.zeros(total, bool)
    held[offset[rows.column("point")] + rows.column("chip")] = True
    return total - int(held.sum())


def by_point(rows: RowTable) -> dict[str, Array]:
    """Return the numbers of the rows of each point, in the order of chips, and of the file for one chip."""
    points = rows.column("point")
    order = np.lexsort([rows.column("chip"), points])
    bounds = np.flatnonzero(np.diff(points[order], prepend=-1))
    names = rows.texts("point")
    parts = np.split(order, bounds[1:])
    return {str(names[points[each[0]]]): each for each in parts if len(each)}


def finished_trials(rows: Mapping[str, Row]) -> tuple[RowTable, dict[str, Array]]:
    """Return the finished trials, and for each point the numbers of its trials in the order of chips.

    Args:
        rows: by trial id, as `Results.rows`.
    """
    table = as_table(rows)
    table = table.select(table.has("state", "done"))
    return table, by_point(table)


def without_gap(chips: Array, results: Array) -> Array:
    """Return the results of chips 0, 1, … up to the first that is missing; the last of several rows of a chip counts.

    Args:
        chips: sorted numbers of chips, -1 for a digital network.
        results: one per chip.
    """
    last = np.concatenate([chips[1:] != chips[:-1], np.ones(len(chips[:1]), bool)]) & (chips >= 0)
    chips, results = chips[last], results[last]
    return results[: int(np.argmin(np.append(chips == np.arange(len(chips)), [False])))]
