"""Lines of a file of rows: how a row is written with its checksum, and how it is checked when it is read."""

from __future__ import annotations

import hashlib
import io
import json
import json.scanner
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, final

import numpy as np

from imc_sim._errors import ResultsError
from imc_sim._files import open_regular
from imc_sim.config import canonical_json, digest
from imc_sim.runs._row_index import is_due, load_index, save_index
from imc_sim.runs._row_table import Columns, Layout, Row, RowTable, contradictions, counting
from imc_sim.runs._stored_column import Array, FileReader, Read

_SUM, _SUM_DIGITS = "checksum", 16
_SEAL = b'"checksum":"'
#: bytes that are read at a time; smaller files are kept in memory
_BLOCK = 2**22
#: characters of an id
_LONGEST = 200
_scan: Callable[[str, int], tuple[Any, int]] = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]


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
        layout: columns that are held of every row; None: those that every file has.
        key: digest of everything that the checks depend on, under which an index of checked rows is stored; None:
            there is no index.
    """

    payload: tuple[str, ...]
    fault: Callable[[Row], str | None] = lambda row: None
    identity: Callable[[Row], Hashable] = lambda row: row["id"]
    sealed: bool = True
    step: str = "Give the command that wrote the file again: it moves such lines away and runs them again."
    complete: Callable[[Row], Row] = lambda row: row
    layout: Layout | None = None
    key: str | None = None

    @property
    def columns(self) -> Layout:
        """Return the columns that are held of every row."""
        return self.layout or Layout(
            self._values, ("id",), ("state", "run"), ("identity", "result"), ("elapsed",), ("identity",), ("result",)
        )

    def _values(self, row: Row) -> Sequence[Any]:
        run, elapsed = ran(row)
        done = row["state"] == "done"
        identity = hash_of(self.identity(row)) if done else None
        result = hash_of([row.get(key) for key in self.payload]) if done else None
        return row["id"], row["state"], run, identity, result, elapsed

    def parse(self, line: bytes, row_id: str) -> Row:
        """Return the row of a line that was checked.

        Args:
            line: the line.
            row_id: id of the row that was there.

        Raises:
            ResultsError: the line was changed since.
        """
        found = _parse(line)
        if isinstance(found, str) or found["id"] != row_id or _seal_fault(line, found, self.sealed):
            step = "Keep other programs out of the folder, and give the command again."
            raise ResultsError(f"row {row_id[:12]}", "a line that was changed", "the line as it was checked", step)
        return self.complete(found)


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
        torn: whether the last line is incomplete, as a killed run leaves it.
        columns: of the accepted lines.
        size: number of bytes of whole lines.
        indexed: how many of them an index covers, or cannot cover.
        sha256: hash of the whole lines.
    """

    rows: RowTable
    damaged: tuple[Damage, ...]
    torn: bool
    columns: Columns
    size: int
    indexed: int
    sha256: Any


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


def ran(row: Row) -> tuple[str | None, float | None]:
    """Return the run that computed a row, and the time from its start to the row in s; None where unknown.

    Args:
        row: a row of any file.
    """
    meta = row.get("meta", {})
    return (meta["run"], meta["elapsed"]) if "run" in meta else (None, None)


def hash_of(data: Any) -> int:
    """Return a hash of plain data within 64 bits, other than `MISSING`.

    Args:
        data: what JSON can hold.
    """
    hashed = hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big", signed=True) | 1


def read_rows(path: Path, rules: RowRules, index: bool = True) -> RowsFile:
    """Read a file of rows and check lines that its index does not cover; write the index if there are enough.

    Args:
        path: the file; one that does not exist has no lines.
        rules: what rows must agree with.
        index: whether to use an index.

    Returns:
        The rows, and the lines that are not accepted.
    """
    if not path.exists():
        columns, nothing = Columns(rules.columns), hashlib.sha256()
        return RowsFile(RowTable(columns, _in(b""), rules.parse), (), False, columns, 0, 0, nothing)
    with open_regular(path) as file:
        found = _read(path, file, rules, index)
    if rules.key and index and not found.damaged and is_due(found.size, found.indexed):
        save_index(path, found.columns, found.size, found.sha256.hexdigest(), rules.key)
        return replace(found, indexed=found.size)
    return found


def _read(path: Path, file: IO[bytes], rules: RowRules, index: bool) -> RowsFile:
    """Return the content of an open file; lines that no index covers are read in blocks."""
    small = file.read() if os.fstat(file.fileno()).st_size <= _BLOCK else None
    read, file = (FileReader(file), file) if small is None else (_in(small), io.BytesIO(small))
    known = load_index(path, file, rules.columns, rules.key) if index and rules.key else None
    columns, size, sha256 = known or (Columns(rules.columns), 0, hashlib.sha256())
    indexed, faults, last = size, dict[int, Damage](), b""
    for block in _blocks(file):
        if not block.endswith(b"\n"):
            last = block
            continue
        _check_lines(block.split(b"\n")[:-1], size, columns, faults, rules)
        sha256.update(block)
        size += len(block)
    torn = is_torn(last)
    if last and not torn:
        _check_lines([last], size, columns, faults, rules)
        indexed = size  # an index holds whole lines only
    accepted = None
    if found := contradictions(columns):
        faults |= _contradictions(found, columns, read, faults)
        accepted = np.setdiff1d(np.arange(len(columns)), np.concatenate(found))
    rows = RowTable(columns, read, rules.parse, counting(columns, accepted))
    return RowsFile(rows, tuple(faults[n] for n in sorted(faults)), torn, columns, size, indexed, sha256)


def _check_lines(lines: list[bytes], start: int, columns: Columns, faults: dict[int, Damage], rules: RowRules) -> None:
    """Add the rows of some lines to the columns, and the lines that are not accepted to the faults."""
    for number, line in enumerate(lines, len(columns) + len(faults) + 1):
        row = _checked(line, rules)
        if isinstance(row, str):
            faults[number] = Damage(number, row, line)
        else:
            columns.append(row, start, len(line))
        start += len(line) + 1


def _contradictions(
    groups: Sequence[Array], columns: Columns, read: Read, faults: Mapping[int, Damage]
) -> dict[int, Damage]:
    """Return the damage of rows that contradict each other, by the numbers of their lines."""
    numbers = np.setdiff1d(np.arange(1, len(columns) + len(faults) + 1), np.array(list(faults), np.int64))
    found = dict[int, Damage]()
    for group in groups:
        lines = ", ".join(map(str, numbers[group]))
        reason = f"one of several results that contradict each other (lines {lines})"
        for position in group.tolist():
            content = read(columns.item("start", position), columns.item("length", position))
            found[int(numbers[position])] = Damage(int(numbers[position]), reason, content)
    return found


def _in(data: bytes) -> Read:
    """Return a function that reads from bytes in memory."""
    return lambda start, length: data[start : start + length]


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks of whole lines, and at the end those of a line without an end."""
    pieces: list[bytes] = []
    while data := file.read(_BLOCK):
        end = data.rfind(b"\n") + 1
        if end:
            yield b"".join([*pieces, data[:end]])
            pieces = []
        pieces.append(data[end:])
    yield b"".join(pieces)


def table_of(rows: Iterable[Row], rules: RowRules) -> RowTable:
    """Return rows as a table that is held in memory.

    Args:
        rows: in their order, sound and with different ids.
        rules: of their file.
    """
    columns, lines = Columns(rules.columns), bytearray()
    for row in rows:
        line = sealed(row).encode()
        columns.append(row, len(lines), len(line) - 1)
        lines += line
    return RowTable(columns, _in(bytes(lines)), rules.parse)


def sound_rows(path: Path, rules: RowRules) -> RowTable:
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
    fault = _seal_fault(line, found, rules.sealed) or rules.fault(row) or _meta_fault(row.get("meta", {}))
    return fault or (row if isinstance(row["state"], str) else "JSON that is no row")


def _parse(line: bytes) -> Row | str:
    """Return the row, or what is wrong with the line."""
    try:
        text = line.decode()
        row, end = _scan(text, 0)
        if end != len(text):
            row = json.loads(line)
    except (ValueError, RecursionError, StopIteration):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return "something that is no JSON"
    key = row.get("id") if isinstance(row, dict) else None
    return row if isinstance(key, str) and len(key) <= _LONGEST and key.isprintable() else "JSON that is no row"


def _seal_fault(line: bytes, row: Row, required: bool) -> str | None:
    """Return what is wrong with the checksum of a row, or None."""
    if _SUM not in row:
        return "a row without a checksum" if required else None
    at = line.find(_SEAL)  # a line as runs write it is the content, with the checksum as one more member
    end = at + len(_SEAL) + _SUM_DIGITS
    if at > 0 and line[end : end + 2] == b'",':
        content = hashlib.sha256(line[:at])
        content.update(line[end + 2 :])
        if content.hexdigest()[:_SUM_DIGITS] == row[_SUM]:
            return None
    try:
        fits = digest({key: value for key, value in row.items() if key != _SUM})[:_SUM_DIGITS] == row[_SUM]
    except ValueError:  # NaN, or text that UTF-8 cannot hold
        fits = False
    return None if fits else "a row that does not fit its checksum"


def _meta_fault(meta: Any) -> str | None:
    """Return what is wrong with the metadata of a row, which no digest covers, or None."""
    if meta == {}:
        return None
    if not isinstance(meta, dict) or not isinstance(meta.get("versions", {}), dict):
        return "meta without its numbers"
    sound = is_finite_number(meta.get("seconds")) and ("run" not in meta or is_finite_number(meta.get("elapsed")))
    texts = all(isinstance(meta.get(key, ""), str) for key in ("time", "host", "device", "run"))
    return None if sound and texts else "meta without its numbers"


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a number that a float can hold, and no NaN.

    Args:
        value: any value of a row.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_torn(last: bytes) -> bool:
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
