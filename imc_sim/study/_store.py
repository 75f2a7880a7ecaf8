"""Results on disk: append-only JSON lines with one writer, healed on opening.

A row is written whole or not at all as far as a reader can tell: a torn last line, which is what a killed
writer leaves, is cut off when the folder is opened again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Self, final

from imc_sim._errors import ResultsError
from imc_sim.config import canonical_json, read_yaml, write_yaml
from imc_sim.study._points import SCHEMA

STUDY, TRIALS = "study.resolved.yaml", "trials.jsonl"
#: what two rows of one trial must agree in; time and machine may differ
_PAYLOAD = ("state", "correct", "total")

Row = dict[str, Any]


@final
class ResultStore:
    """The results folder of one study, open for writing. Use as a context manager."""

    def __init__(self, folder: Path, resolved: dict[str, Any]) -> None:
        self.folder, self.resolved = folder, resolved
        self.rows: dict[str, Row] = {}
        self._lock: IO[str] | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        check_folder(self.folder, self.resolved)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._take_lock()
            self._write_study()
            heal(self.folder / TRIALS)
            self.rows = read_rows(self.folder / TRIALS)
            self._file = (self.folder / TRIALS).open("ab", buffering=0)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder."""
        for handle in (self._file, self._lock):
            if handle is not None:
                handle.close()
        self._file = self._lock = None

    def done(self, trial_id: str) -> Row | None:
        """The stored row of a finished trial, or None if it is still to do."""
        row = self.rows.get(trial_id)
        return row if row is not None and row["state"] == "done" else None

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows and flush them to disk. A repeated id is left out; a differing result is an error."""
        fresh = [row for row in rows if self._is_new(row)]
        if not fresh or self._file is None:
            return
        data = "".join(canonical_json(row) + "\n" for row in fresh).encode()
        path = self.folder / TRIALS
        size = path.stat().st_size
        try:
            _write_all(self._file, data)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            raise OSError(error.errno, error.strerror, str(path)) from error
        self.rows.update({row["id"]: row for row in fresh})

    def _is_new(self, row: Row) -> bool:
        known = self.rows.get(row["id"])
        if known is None or known["state"] != "done":
            return True
        if row["state"] == "done" and any(known[k] != row[k] for k in _PAYLOAD):
            got = ", ".join(f"{k} {known[k]} and {row[k]}" for k in _PAYLOAD if known[k] != row[k])
            step = "The evaluation is not reproducible on this machine: report it, with both rows."
            raise ResultsError(f"trial {row['id'][:12]}", got, "one result per trial", step)
        return False

    def _take_lock(self) -> None:
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            step = "Wait for it to end, or write elsewhere with --out."
            raise ResultsError(str(self.folder), "another run that is writing here", "one writer", step) from error

    def _write_study(self) -> None:
        part = self.folder / (STUDY + ".part")
        part.write_text(write_yaml(self.resolved), encoding="utf-8")
        part.replace(self.folder / STUDY)


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write and flush to disk; a raw file may take a part only, which is how a full disk begins."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]
    os.fsync(file.fileno())


def check_folder(folder: Path, resolved: dict[str, Any]) -> None:
    """Raise if `folder` holds something else than results of this very study. Touches nothing."""
    if folder.exists() and not folder.is_dir():
        raise ResultsError(str(folder), "a file", "a folder", "Name a folder with --out.")
    path = folder / STUDY
    if not path.is_file():
        if (folder / TRIALS).exists():
            raise ResultsError(str(folder), f"{TRIALS} without {STUDY}", "both or none", "Use another folder.")
        return
    held = read_yaml(path)
    if held.get("schema", 0) > SCHEMA:
        got = f"results of schema {held['schema']}"
        raise ResultsError(str(folder), got, f"schema {SCHEMA} or older", "Use a newer imc_sim.")
    if held.get("digest") != resolved["digest"]:
        got = f"results of study {held.get('name')!r} {str(held.get('digest'))[:12]}"
        allowed = f"study {resolved['name']!r} {resolved['digest'][:12]}"
        raise ResultsError(str(folder), got, allowed, "Choose another folder with --out, or remove this one.")


def heal(path: Path) -> None:
    """Cut off a torn last line; give a whole one that lacks its end of line that end."""
    if not path.exists():
        path.touch()
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return
    if _parse(data[whole:]) is not None:
        with path.open("ab") as file:
            file.write(b"\n")
        return
    os.truncate(path, whole)


def read_rows(path: Path) -> dict[str, Row]:
    """Rows by trial id, the last finished one winning. A torn last line is passed over, damage elsewhere raises."""
    rows: dict[str, Row] = {}
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, 1):
        row = _parse(line)
        if row is None:
            if line and number < len(lines):
                step = "Remove that line; its trial is then run again."
                raise ResultsError(f"{path}, line {number}", "something that is no row", "one JSON row a line", step)
            continue
        known = rows.get(row["id"])
        if known is None or known["state"] != "done":
            rows[row["id"]] = row
    return rows


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"id", "state"} <= row.keys() else None
