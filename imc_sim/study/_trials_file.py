"""Lines of trials.jsonl: how a row is written with its checksum, and how it is checked when it is read.

A row is accepted only if its checksum fits its content, its id follows from its point and its chip, its point belongs
to the study of the folder, and its counts are possible. Rows of results version 1 have no checksum, and their ids
cannot be computed again from the folder; everything else is checked in them, too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from imc_sim._errors import ResultsError
from imc_sim.config import canonical_json, digest
from imc_sim.study._point import SCHEMA, trial_id

STUDY, TRIALS, DAMAGED = "study.resolved.yaml", "trials.jsonl", "trials.damaged.jsonl"
#: what two rows of one trial must agree in; time and machine may differ
PAYLOAD = ("state", "correct", "total")
_SUM, _SUM_DIGITS = "checksum", 16
_STATES = ("done", "failed")
_ID = re.compile(r"[0-9a-f]{64}")

Row = dict[str, Any]


@final
@dataclass(frozen=True)
class Damage:
    """A line that is not accepted: its number from 1, the reason, and its bytes."""

    line: int
    reason: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@final
@dataclass(frozen=True)
class TrialsFile:
    """The content of a trials.jsonl.

    rows: by trial id, in the order of the file; the first finished row of a trial, else its last failed one. damaged:
    lines that are not accepted. sound: accepted lines, without their ends. torn: the last line is incomplete, as a
    killed run leaves it.
    """

    rows: dict[str, Row]
    damaged: tuple[Damage, ...]
    sound: tuple[bytes, ...]
    torn: bool


def sealed(row: Row) -> str:
    """Return the line of a row, with the checksum of its content."""
    content = {key: value for key, value in row.items() if key != _SUM}
    return canonical_json({**content, _SUM: digest(content)[:_SUM_DIGITS]}) + "\n"


def read_trials(path: Path, study: Mapping[str, Any] | None = None) -> TrialsFile:
    """Read and check every line of the file at `path`; a file that does not exist has none.

    study: the content of study.resolved.yaml, which decides which points there are and whether rows have checksums.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    torn = _is_torn(lines[-1])
    check = _Check.of(study)
    parsed: dict[int, Row] = {}
    damaged: dict[int, str] = {}
    for number, line in enumerate(lines[:-1] if torn else lines, 1):
        found = check.row(line) if line or number < len(lines) else None
        if isinstance(found, dict):
            parsed[number] = found
        elif found is not None:
            damaged[number] = found
    damaged |= _contradictions(parsed)
    rows: dict[str, Row] = {}
    for number, row in parsed.items():
        known = rows.get(row["id"])
        if number not in damaged and (known is None or known["state"] != "done"):
            rows.pop(row["id"], None)  # in the order of the rows that count
            rows[row["id"]] = row
    faults = tuple(Damage(number, damaged[number], lines[number - 1]) for number in sorted(damaged))
    return TrialsFile(rows, faults, tuple(lines[n - 1] for n in parsed if n not in damaged), torn)


def sound_rows(path: Path, study: Mapping[str, Any] | None = None) -> dict[str, Row]:
    """Return the rows of the file at `path` by trial id, or raise ResultsError that names the damaged lines.

    An incomplete last line, which a running or killed run leaves, is left out.
    """
    found = read_trials(path, study)
    if found.damaged:
        first, *others = found.damaged
        more = f" (and damage in line {', '.join(str(d.line) for d in others[:5])}" if others else ""
        more += f" and {len(others) - 5} more)" if len(others) > 5 else ")" if others else ""
        raise ResultsError(
            f"{path}, line {first.line}", f"{first.reason}{more}", "rows as a run wrote them", _step(study)
        )
    return found.rows


def _step(study: Mapping[str, Any] | None) -> str:
    if study is not None and study.get("schema", 0) < SCHEMA:
        return "Remove the line to read the others; results of an earlier version cannot be completed."
    return f"Run the study into this folder again: it moves such lines to {DAMAGED} and runs their trials again."


def _is_torn(last: bytes) -> bool:
    """Tell whether the bytes after the last end of line are the beginning of a row.

    A whole row followed by something else is not torn but damaged: its end of line was.
    """
    if not last or isinstance(_parse(last), dict):
        return False
    try:
        json.JSONDecoder().raw_decode(last.decode("utf-8", "replace"))
    except ValueError:
        return True
    return False


def _parse(line: bytes) -> Row | str:
    """Return the row, or what is wrong with the line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "something that is no JSON"
    return row if isinstance(row, dict) and {"id", "state"} <= row.keys() else "JSON that is no row of a trial"


def _contradictions(rows: Mapping[int, Row]) -> dict[int, str]:
    """Return lines of finished rows that differ in the result of one trial; none of them is accepted."""
    by_trial: dict[tuple[Any, ...], list[int]] = {}
    for number, row in rows.items():
        if row["state"] == "done":
            by_trial.setdefault((row.get("point"), row.get("chip")), []).append(number)
    found: dict[int, str] = {}
    for numbers in by_trial.values():
        if len({(rows[n]["id"], *(rows[n][key] for key in PAYLOAD)) for n in numbers}) > 1:
            lines = ", ".join(map(str, numbers))
            found |= dict.fromkeys(
                numbers, f"one of several results of a trial that contradict each other (lines {lines})"
            )
    return found


@final
@dataclass(frozen=True)
class _Check:
    """What rows must agree with. places: per point, the (case, values) that its rows may have; None: not known."""

    places: Mapping[str, set[str]] | None
    digital: frozenset[str]
    schema: int | None

    @classmethod
    def of(cls, study: Mapping[str, Any] | None) -> _Check:
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

    def row(self, line: bytes) -> Row | str:
        """Return the row of a line, or what is wrong with it."""
        row = _parse(line) if line else "an empty line"
        if isinstance(row, str):
            return row
        fault = self._seal(row) or _types(row) or self._identity(row) or _counts(row) or _meta(row.get("meta", {}))
        return row if fault is None else fault

    def _seal(self, row: Row) -> str | None:
        if _SUM not in row:
            return "a row without a checksum" if self.schema is not None and self.schema >= 2 else None
        content = {key: value for key, value in row.items() if key != _SUM}
        try:
            fits = digest(content)[:_SUM_DIGITS] == row[_SUM]
        except ValueError:  # NaN, or text that UTF-8 cannot hold
            fits = False
        return None if fits else "a row that does not fit its checksum"

    def _identity(self, row: Row) -> str | None:
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


def lines_of(rows: Iterable[Row]) -> bytes:
    """Return rows as they are stored."""
    return "".join(map(sealed, rows)).encode()
