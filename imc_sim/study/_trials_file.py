"""Which rows of trials.jsonl are accepted.

The id of a row must follow from its point and its chip, its point must belong to the study of the folder, and its
counts must be possible. Rows of results version 1 have no checksum, and their ids cannot be computed again from the
folder; everything else is checked in them, too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from imc_sim import runs
from imc_sim.runs import Row, RowRules, RowsFile
from imc_sim.study._point import SCHEMA, trial_id

STUDY, TRIALS, DAMAGED, RESCUED = (
    "study.resolved.yaml", "trials.jsonl", "trials.damaged.jsonl", "trials.rescued.jsonl",
)  # fmt: skip
PAYLOAD = ("state", "correct", "total")
_STATES = ("done", "failed")
_ID = re.compile(r"[0-9a-f]{64}")


def rules_of(study: Mapping[str, Any] | None = None) -> RowRules:
    """Return what rows must agree with.

    study: the content of study.resolved.yaml, which decides which points there are and whether rows have checksums.
    """
    schema = None if study is None else study.get("schema", 0)
    step = f"Run the study into this folder again: it moves such lines to {DAMAGED} and runs their trials again."
    if schema is not None and schema < SCHEMA:
        step = "Remove the line to read the others; results of an earlier version cannot be completed."
    place = lambda row: (row.get("point"), row.get("chip"))  # noqa: E731
    return RowRules(PAYLOAD, _Check.of(study).fault, place, sealed=schema is not None and schema >= 2, step=step)


def read_trials(path: Path, study: Mapping[str, Any] | None = None) -> RowsFile:
    """Read and check every line of a trials.jsonl."""
    return runs.read_rows(path, rules_of(study))


def sound_rows(path: Path, study: Mapping[str, Any] | None = None) -> dict[str, Row]:
    """Return the rows of a trials.jsonl by trial id, or raise ResultsError that names the damaged lines."""
    return runs.sound_rows(path, rules_of(study))


@final
@dataclass(frozen=True)
class _Check:
    """Check of the rows of one study. places: per point, the (case, values) that its rows may have; None: unknown."""

    places: Mapping[str, set[str]] | None
    digital: frozenset[str]
    schema: int | None

    @classmethod
    def of(cls, study: Mapping[str, Any] | None) -> _Check:
        """Return the check of a resolved study; None: of any study."""
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

    def fault(self, row: Row) -> str | None:
        """Describe the fault of a row; None if it has none."""
        return _types(row) or self._identity(row) or _counts(row) or _meta(row.get("meta", {}))

    def _identity(self, row: Row) -> str | None:
        """Describe what contradicts the study in the point, chip, id, case or values of a row."""
        if self.places is None:
            return None
        point, chip = row["point"], row["chip"]
        if point not in self.places:
            return f"point {point[:12]}, which the study does not have"
        if (chip == -1) != (point in self.digital):
            return f"chip {chip} of {'the digital network' if point in self.digital else 'a point with chips'}"
        if self.schema is not None and self.schema >= 2 and row["id"] != trial_id(point, chip):
            return f"id {row['id'][:12]}, which is not that of chip {chip} of point {point[:12]}"
        place = [row.get("case"), row.get("values")]
        known = self.places[point]
        return None if json.dumps(place) in known else f"case and values {place}, which are not those of its point"


def _types(row: Row) -> str | None:
    if row["state"] not in _STATES:
        return f"state {row['state']!r}"
    if not isinstance(row["id"], str) or not _ID.fullmatch(row["id"]):
        return f"id {str(row['id'])[:64]!r}"
    if not isinstance(row.get("point"), str):
        return f"point {str(row.get('point'))[:64]!r}"
    return None if _whole(row.get("chip")) and row["chip"] >= -1 else f"chip {row.get('chip')!r}"


def _counts(row: Row) -> str | None:
    if row["state"] == "failed":
        return None if isinstance(row.get("error"), str) else "a failed trial without its error"
    correct: Any = row.get("correct")
    total: Any = row.get("total")
    possible = _whole(correct) and _whole(total) and 0 <= correct <= total and total >= 1
    return None if possible else f"{correct!r} right of {total!r}"


def _meta(meta: Any) -> str | None:
    """Return what reports and `status` take from a row, which nothing hashes."""
    if meta == {}:
        return None
    numbers = ("seconds", *(("elapsed",) if isinstance(meta, dict) and "run" in meta else ()))
    fits = isinstance(meta, dict) and all(_number(meta.get(key)) for key in numbers)
    return None if fits and isinstance(meta.get("versions", {}), dict) else "meta without its numbers"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
