"""Stopping rule: decide when a point has enough chips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imc_sim._stats import mean_interval
from imc_sim.study._spec import Chips
from imc_sim.study._trials_file import measure


def stopping_count(chips: Chips, row: Callable[[int], Mapping[str, Any] | None]) -> int | None:
    """Return the number of chips at which a point stops, or None if it needs further chips.

    Failed chips count as sampled, but not in the mean.

    Args:
        chips: stopping rule.
        row: returns the stored row of a chip, or None.
    """
    checkpoints = chips.checkpoints()
    for count in checkpoints:
        rows = [row(c) for c in range(count)]
        if any(r is None for r in rows):
            return None
        values = [measure(r) for r in rows if r is not None and r["state"] == "done"]
        if chips.half_width is not None and len(values) > 1:
            mean, low, _ = mean_interval(values)
            if mean - low <= chips.half_width:
                return count
    return checkpoints[-1]


def wanted_trials(study: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> tuple[set[tuple[str, int]], bool]:
    """Return (point, chip) of every trial that the study requests so far, and whether a point needs further chips.

    Args:
        study: content of study.resolved.yaml.
        rows: stored rows by trial id; a run with another number of chips may have stored more than are requested.
    """
    rule = Chips.model_validate(study["chips"])
    stored: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows.values():
        stored.setdefault(row["point"], {})[row["chip"]] = row
    wanted = {(p[key], -1) for p in study["points"] for key in ("baseline", "reference") if key in p}
    is_open = False
    for point in {p["id"] for p in study["points"]}:
        chips = stored.get(point, {})
        count = stopping_count(rule, chips.get)
        is_open |= count is None
        count = count or next(c for c in rule.checkpoints() if any(k not in chips for k in range(c)))
        wanted |= {(point, chip) for chip in range(count)}
    return wanted, is_open
