"""Rules that rows of trials.jsonl must follow.

The id of a row must follow from its point and chip, the point must belong to the study of the folder, and the counts
or scores must be possible. Rows of results version 1 have no checksum, and their ids cannot be computed from the
folder; all other rules apply to them as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from imc_sim.config import digest
from imc_sim.runs import MISSING, Array, Layout, Row, RowRules, RowTable, hash_of, is_finite_number, ran, table_of
from imc_sim.study._point import SCHEMA, trial_id

STUDY, TRIALS, DAMAGED, RESCUED = (
    "study.resolved.yaml", "trials.jsonl", "trials.damaged.jsonl", "trials.rescued.jsonl",
)  # fmt: skip
#: results of a trial: counts of right answers, or scores of a function
PAYLOAD = ("state", "correct", "total", "score", "scores")
_STATES = ("done", "failed")
_ID = re.compile(r"[0-9a-f]{64}")


def rules_of(study: Mapping[str, Any] | None = None) -> RowRules:
    """Return the rules for rows of a study.

    Args:
        study: content of study.resolved.yaml, which determines the points and whether rows have checksums; None: any
            study.
    """
    schema = None if study is None else study.get("schema", 0)
    step = f"Run the study into this folder again: it moves such lines to {DAMAGED} and runs their trials again."
    if schema is not None and schema < SCHEMA:
        step = "Remove the line to read the others; results of an earlier version cannot be completed."
    place = lambda row: (row.get("point"), row.get("chip"))  # noqa: E731
    check, is_sealed = _Check.of(study), schema is not None and schema >= 2
    key = None if study is None else check.key(is_sealed)
    return RowRules(PAYLOAD, check.fault, place, sealed=is_sealed, step=step, layout=LAYOUT, key=key)


def _values(row: Row) -> tuple[Any, ...]:
    """Return the values of a row in the columns of `LAYOUT`."""
    meta, (run, elapsed), score = row.get("meta", {}), ran(row), row.get("score")
    scores = None if score is None else hash_of([score, row.get("scores")])
    counts = (row.get("correct"), row.get("total")) if row["state"] == "done" else (None, None)
    return (
        row["id"], row["state"], row.get("point"), json.dumps([row.get("case"), row.get("values")]), run,
        *map(meta.get, ("time", "host", "device")), row.get("chip"), *counts, scores,
        score, meta.get("seconds"), elapsed,
    )  # fmt: skip


#: `place` is case and values as JSON, `scores` a hash of the scores of a function
LAYOUT = Layout(
    _values, ids=("id",), texts=("state", "point", "place", "run", "time", "host", "device"),
    ints=("chip", "correct", "total", "scores"), floats=("score", "seconds", "elapsed"), identity=("point", "chip"),
    result=("correct", "total", "scores"),
)  # fmt: skip


@final
@dataclass(frozen=True)
class _Check:
    """Checks of the rows of one study.

    Attributes:
        places: point -> (case, values) that its rows may have, as JSON; None: any.
        digital: points without a chip.
        schema: version of the results; None: any.
    """

    places: Mapping[str, set[str]] | None
    digital: frozenset[str]
    schema: int | None

    @classmethod
    def of(cls, study: Mapping[str, Any] | None) -> _Check:
        """Return the checks of a resolved study; None: of any study."""
        if study is None:
            return cls(None, frozenset(), None)
        places: dict[str, set[str]] = {}
        digital: set[str] = set()
        for point in study["points"]:
            places.setdefault(point["id"], set()).add(json.dumps([point["case"], point["values"]]))
            for key in {"baseline", "reference"} & point.keys():
                digital.add(point[key])
                places.setdefault(point[key], set()).add(json.dumps([point["case"], []]))
        return cls(places, frozenset(digital), study.get("schema", 0))

    def key(self, is_sealed: bool) -> str:
        """Return the digest of these checks."""
        places = {} if self.places is None else {point: sorted(each) for point, each in self.places.items()}
        return digest([is_sealed, self.schema, sorted(self.digital), places])

    def fault(self, row: Row) -> str | None:
        """Return the first fault of a row, or None."""
        return _types(row) or self._identity(row) or _counts(row) or _more(row)

    def _identity(self, row: Row) -> str | None:
        """Return the contradiction to the study in point, chip, id, case or values of a row, or None."""
        if self.places is None:
            return None
        point, chip = row["point"], row["chip"]
        if point not in self.places:
            return f"point {point[:12]}, which is not in the study"
        if (chip == -1) != (point in self.digital):
            return f"chip {chip} of {'the digital network' if point in self.digital else 'a point with chips'}"
        if self.schema is not None and self.schema >= 2 and row["id"] != trial_id(point, chip):
            return f"id {row['id'][:12]}, which does not fit chip {chip} of point {point[:12]}"
        place = [row.get("case"), row.get("values")]
        known = self.places[point]
        return None if json.dumps(place) in known else f"case and values {place}, which do not fit its point"


def _types(row: Row) -> str | None:
    if row["state"] not in _STATES:
        return f"state {row['state']!r}"
    if not isinstance(row["id"], str) or not _ID.fullmatch(row["id"]):
        return f"id {str(row['id'])[:64]!r}"
    if not isinstance(row.get("point"), str):
        return f"point {str(row.get('point'))[:64]!r}"
    return None if _whole(row.get("chip")) and row["chip"] >= -1 else f"chip {row.get('chip')!r}"


def measure(row: Mapping[str, Any]) -> float:
    """Return the result of a finished trial: the fraction of right answers, or the score of a function.

    Args:
        row: a row of trials.jsonl.
    """
    return row["score"] if "score" in row else row["correct"] / row["total"]


def as_table(rows: Mapping[str, Row]) -> RowTable:
    """Return rows by trial id with their columns."""
    if isinstance(rows, RowTable):
        return rows
    return table_of(({"id": i, **row} for i, row in rows.items()), rules_of())


def measures(rows: RowTable) -> Array:
    """Return the result of every row, as `measure` does; NaN for failed trials.

    Args:
        rows: of trials.jsonl.
    """
    with np.errstate(invalid="ignore"):
        shares = rows.column("correct") / rows.column("total")
    found = np.where(rows.column("correct") == MISSING, rows.column("score"), shares)
    return np.where(rows.has("state", "done"), found, np.nan)


def _counts(row: Row) -> str | None:
    """Return the fault of the result of a row, or None."""
    if row["state"] == "failed":
        return None if isinstance(row.get("error"), str) else "a failed trial without its error"
    if "score" in row:
        scores = row.get("scores")
        fits = (
            isinstance(scores, dict) and all(map(is_finite_number, scores.values())) and row["score"] in scores.values()
        )
        return None if fits and not {"correct", "total"} & row.keys() else f"score {row['score']!r} of {scores!r}"
    if "scores" in row:
        return "scores without a score"
    correct: Any = row.get("correct")
    total: Any = row.get("total")
    possible = _whole(correct) and _whole(total) and 0 <= correct <= total and total >= 1
    return None if possible else f"{correct!r} correct of {total!r}"


def _more(row: Row) -> str | None:
    """Return the fault of the measurements that only some rows have, or None."""
    wrong = next(
        (key for key in ("ranges", "rows_on", "sample", "scores") if not isinstance(row.get(key, {}), dict)), None
    )
    return None if wrong is None else f"{wrong} {row[wrong]!r}"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
