"""Rows of costs.jsonl: energy, latency and area of trials, one row for each trial and each cost of its chip.

A row is identified by its trial and by what the circuits of the chip take. Chips with other prices get new rows, and
those of earlier prices are ignored; accuracies do not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imc_sim.runs import FolderKind, Row, RowRules, sound_rows
from imc_sim.study._point import cost_id, trial_id

COSTS_FILE = "costs.jsonl"
#: numbers of a row; None where the chip does not state them
NUMBERS = ("energy_J", "latency_s", "area_m2", "programming_J")


def has_costs(study: Mapping[str, Any]) -> bool:
    """Tell whether trials of a resolved study have costs."""
    return any("cost" in point for point in study["points"])


def cost_store_kind() -> FolderKind:
    """Return the names and rules of costs.jsonl."""
    return FolderKind("costs", None, COSTS_FILE, "", _RULES, lambda _: False)


def costs_of(folder: Path, study: Mapping[str, Any], trials: Iterable[str]) -> dict[str, Row]:
    """Return the finished costs of some trials at the prices of a study, by the id of the trial.

    Args:
        folder: results folder.
        study: content of study.resolved.yaml.
        trials: ids of the trials.
    """
    if not has_costs(study):
        return {}
    wanted, now = set(trials), {(point["id"], point["cost"]) for point in study["points"] if "cost" in point}
    rows = sound_rows(folder / COSTS_FILE, _RULES).values()
    return {
        row["trial"]: row
        for row in rows
        if row["state"] == "done" and row["trial"] in wanted and (row["point"], row["cost"]) in now
    }


def _fault(row: Row) -> str | None:
    """Return what is wrong with a row, or None."""
    if row["state"] not in ("done", "failed"):
        return f"state {row['state']!r}"
    try:
        fits = row["trial"] == trial_id(row["point"], row["chip"]) and row["id"] == cost_id(row["trial"], row["cost"])
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        return "an id that does not fit trial and cost"
    if row["state"] == "failed":
        return None if isinstance(row.get("error"), str) else "a failed cost without its error"
    wrong = next((name for name in NUMBERS if not _number(row.get(name))), None)
    return None if wrong is None else f"{wrong} {row.get(wrong)!r}"


def _number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and math.isfinite(value) and value >= 0)


_RULES = RowRules(("state",), _fault)
