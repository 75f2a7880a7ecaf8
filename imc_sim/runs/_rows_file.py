"""Lines of a file of rows: how a row is written with its checksum, and how it is checked when it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from imc_sim._errors import ResultsError
from imc_sim._files import read_file
from imc_sim.config import canonical_json, digest

_SUM, _SUM_DIGITS = "checksum", 16

Row = dict[str, Any]


@final
@dataclass(frozen=True)
class RowRules:
    """Checks of the rows of a file, apart from their checksums.

    Attributes:
        payload: keys in which all finished rows of one identity must agree, where they have them; time and machine may
            differ.
        fault: returns what is wrong with a row, or None.
        identity: what a row is the result of; by default its id.
        sealed: whether every row must have a checksum; a checksum that is there must fit in any case.
        step: what a reader of a damaged file can do.
        complete: returns a row of an earlier version with the keys that it lacks.
    """

    payload: tuple[str, ...]
    fault: Callable[[Row], str | None] = lambda row: None
    identity: Callable[[Row], Hashable] = lambda row: row["id"]
    sealed: bool = True
    step: str = "Give the command that wrote the file again: it moves such lines away and runs them again."
    complete: Callable[[Row], Row] = lambda row: row


@final
@dataclass(frozen=True)
class Damage:
    """A line that is not accepted.

    Attributes:
        line: its number from 1.
        reason: why it is not accepted.
        content: its bytes.
    """

    line: int
    reason: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@final
@dataclass(frozen=True)
class RowsFile:
    """The content of a file of rows.

    Attributes:
        rows: by id, in the order of the file; the first finished row of an id, else its last failed one.
        damaged: lines that are not accepted.
        sound: accepted lines, without their ends.
        torn: whether the last line is incomplete, as a killed run leaves it.
    """

    rows: dict[str, Row]
    damaged: tuple[Damage, ...]
    sound: tuple[bytes, ...]
    torn: bool


def sealed(row: Row) -> str:
    """Return the line of a row, with the checksum of its content.

    Args:
        row: with finite numbers only.
    """
    content = {key: value for key, value in row.items() if key != _SUM}
    return canonical_json({**content, _SUM: digest(content)[:_SUM_DIGITS]}) + "\n"


def lines_of(rows: Iterable[Row]) -> bytes:
    """Return the lines of rows.

    Args:
        rows: in the order of the lines.
    """
    return "".join(map(sealed, rows)).encode()


def read_rows(path: Path, rules: RowRules) -> RowsFile:
    """Read and check every line of a file of rows.

    Args:
        path: the file; one that does not exist has no lines.
        rules: what rows must agree with.

    Returns:
        The rows, and the lines that are not accepted.
    """
    lines = read_file(path).split(b"\n") if path.exists() else [b""]
    torn = _is_torn(lines[-1])
    parsed: dict[int, Row] = {}
    damaged: dict[int, str] = {}
    for number, line in enumerate(lines[:-1] if torn else lines, 1):
        found = _checked(line, rules) if line or number < len(lines) else None
        if isinstance(found, dict):
            parsed[number] = found
        elif found is not None:
            damaged[number] = found
    damaged |= _contradictions(parsed, rules)
    rows: dict[str, Row] = {}
    for number, row in parsed.items():
        known = rows.get(row["id"])
        if number not in damaged and (known is None or known["state"] != "done"):
            rows.pop(row["id"], None)  # in the order of the rows that count
            rows[row["id"]] = row
    faults = tuple(Damage(number, damaged[number], lines[number - 1]) for number in sorted(damaged))
    return RowsFile(rows, faults, tuple(lines[n - 1] for n in parsed if n not in damaged), torn)


def sound_rows(path: Path, rules: RowRules) -> dict[str, Row]:
    """Return the rows of a file by id.

    An incomplete last line, which a running or killed run leaves, is left out.

    Args:
        path: the file; one that does not exist has no rows.
        rules: what rows must agree with.

    Raises:
        ResultsError: names the damaged lines.
    """
    found = read_rows(path, rules)
    if found.damaged:
        first, *others = found.damaged
        more = f" (and damage in line {', '.join(str(d.line) for d in others[:5])}" if others else ""
        more += f" and {len(others) - 5} more)" if len(others) > 5 else ")" if others else ""
        raise ResultsError(
            f"{path}, line {first.line}", f"{first.reason}{more}", "rows as a run wrote them", rules.step
        )
    return found.rows


def _checked(line: bytes, rules: RowRules) -> Row | str:
    """Return the row of a line, or what is wrong with it."""
    found = _parse(line) if line else "an empty line"
    if isinstance(found, str):
        return found
    row = rules.complete(found)
    if "state" not in row:
        return "JSON that is no row"
    return _seal_fault(found, rules.sealed) or rules.fault(row) or _meta_fault(row.get("meta", {})) or row


def _parse(line: bytes) -> Row | str:
    """Return the row, or what is wrong with the line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "something that is no JSON"
    return row if isinstance(row, dict) and "id" in row else "JSON that is no row"


def _seal_fault(row: Row, required: bool) -> str | None:
    """Return what is wrong with the checksum of a row, or None."""
    if _SUM not in row:
        return "a row without a checksum" if required else None
    content = {key: value for key, value in row.items() if key != _SUM}
    try:
        fits = digest(content)[:_SUM_DIGITS] == row[_SUM]
    except ValueError:  # NaN, or text that UTF-8 cannot hold
        fits = False
    return None if fits else "a row that does not fit its checksum"


def _meta_fault(meta: Any) -> str | None:
    """Return what is wrong with the metadata of a row, which no digest covers, or None."""
    if meta == {}:
        return None
    if not isinstance(meta, dict) or not isinstance(meta.get("versions", {}), dict):
        return "meta without its numbers"
    numbers = [meta.get("seconds"), *([meta.get("elapsed")] if "run" in meta else [])]
    sound = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
    texts = all(isinstance(meta.get(key, ""), str) for key in ("time", "host", "device", "run"))
    return None if sound and texts else "meta without its numbers"


def _contradictions(rows: Mapping[int, Row], rules: RowRules) -> dict[int, str]:
    """Return lines of finished rows that differ in the result of one identity; none of them is accepted."""
    alike: dict[Hashable, list[int]] = {}
    for number, row in rows.items():
        if row["state"] == "done":
            alike.setdefault(rules.identity(row), []).append(number)
    found: dict[int, str] = {}
    for numbers in alike.values():
        if len({canonical_json([rows[n]["id"], *(rows[n].get(key) for key in rules.payload)]) for n in numbers}) > 1:
            lines = ", ".join(map(str, numbers))
            found |= dict.fromkeys(numbers, f"one of several results that contradict each other (lines {lines})")
    return found


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
