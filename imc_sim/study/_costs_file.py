"""Rows of costs.jsonl: energy, latency and area of trials, one row for each trial and each cost of its chip.

A row is identified by its trial and by what the circuits of the chip take. Chips with other prices get new rows, and
those of earlier prices are ignored; accuracies do not depend on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imc_sim.runs import FolderKind, Layout, Row, RowRules, RowTable, is_finite_number, ran, sound_rows, table_of
from imc_sim.study._point import cost_id, trial_id

COSTS_FILE = "costs.jsonl"
#: numbers of a row; None where the chip does not state them
NUMBERS = ("energy_J", "latency_s", "area_m2", "programming_J")


def has_costs(study: Mapping[str, Any]) -> bool:
    """Tell whether trials of a resolved study have costs."""
    return any("cost" in point for point in study["points"])


def cost_store_kind() -> FolderKind:
    """Return the names and rules of costs.jsonl."""
    return FolderKind("costs", None, COSTS_FILE, str, RULES, lambda _: False)


def costs_of(folder: Path, study: Mapping[str, Any], trials: RowTable) -> RowTable:
    """Return the finished costs of some trials at the prices of a study, by the id of the trial.

    Args:
        folder: results folder.
        study: content of study.resolved.yaml.
        trials: rows of the trials.
    """
    if not has_costs(study):
        return table_of((), RULES)
    rows = sound_rows(folder / COSTS_FILE, RULES)
    points, costs = ({text: n for n, text in enumerate(rows.texts(name))} for name in ("point", "cost"))
    pairs = ((points.get(point["id"]), costs.get(point["cost"])) for point in study["points"] if "cost" in point)
    now = [point * len(costs) + cost for point, cost in pairs if point is not None and cost is not None]
    priced = np.isin(rows.column("point").astype(np.int64) * len(costs) + rows.column("cost"), now)
    wanted = rows.has("state", "done") & np.isin(rows.column("trial"), trials.column("id"))
    return rows.select(wanted & priced, key="trial")


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
    return value is None or (is_finite_number(value) and value >= 0)


def _values(row: Row) -> tuple[Any, ...]:
    """Return the values of a row in the columns of `LAYOUT`."""
    texts = (json.dumps(row[key]) if key in row else None for key in ("not_counted", "scaled"))
    run, elapsed = ran(row)
    return (
        row["id"], row["trial"], row["state"], row["point"], row["cost"], *texts, run, row["chip"],
        *map(row.get, NUMBERS), elapsed,
    )  # fmt: skip


#: `not_counted` and `scaled` are JSON
LAYOUT = Layout(
    _values, ids=("id", "trial"), texts=("state", "point", "cost", "not_counted", "scaled", "run"), ints=("chip",),
    floats=(*NUMBERS, "elapsed"), identity=("id",), result=(),
)  # fmt: skip
RULES = RowRules(("state",), _fault, layout=LAYOUT, key="costs")
