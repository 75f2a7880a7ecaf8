"""Results on disk: append-only JSON lines with one writer, healed on opening.

A row is written whole or not at all as far as a reader can tell: a torn last line, which is what a killed
writer leaves, is cut off when the folder is opened again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Self, final

from imc_sim._errors import ResultsError
from imc_sim.config import canonical_json, read_yaml, write_yaml
from imc_sim.study._lock import FolderLock
from imc_sim.study._points import SCHEMA

STUDY, TRIALS = "study.resolved.yaml", "trials.jsonl"
#: what two rows of one trial must agree in; time and machine may differ
_PAYLOAD = ("state", "correct", "total")
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}

Row = dict[str, Any]


@final
class ResultStore:
    """The results folder of one study, open for writing. Use as a context manager."""

    def __init__(self, folder: Path, resolved: dict[str, Any]) -> None:
        self.folder, self.resolved = folder, resolved
        self.rows: dict[str, Row] = {}
        self._lock = FolderLock(folder)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        check_folder(self.folder, self.resolved)
        try:
            self._open()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
                step = "Change its rights, or write elsewhere with --out."
                raise ResultsError(str(self.folder), str(error), "a folder that can be written", step) from error
            raise
        return self

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        check_folder(self.folder, self.resolved)  # another run may have begun here since
        heal(self.folder / TRIALS)
        self.rows = read_rows(self.folder / TRIALS)
        replace_text(self.folder / STUDY, write_yaml(self.resolved))
        self._file = (self.folder / TRIALS).open("ab", buffering=0)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._lock.release()

    def done(self, trial_id: str) -> Row | None:
        """The stored row of a finished trial, or None if it is still to do or failed."""
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
            step = "Two machines or devices computed it differently: keep them in folders of their own, or report it."
            raise ResultsError(f"trial {row['id'][:12]}", got, "one result per trial", step)
        return False


def results_digest(rows: Mapping[str, Row]) -> str:
    """SHA-256 over what the finished trials found, whoever computed them, in whatever order."""
    found = sorted((i, *(row[k] for k in _PAYLOAD)) for i, row in rows.items() if row["state"] == "done")
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, on disk before it takes the place of the old one."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write and flush to disk; a raw file may take a part only, which is how a full disk begins."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]
    os.fsync(file.fileno())


def read_study(folder: Path) -> dict[str, Any]:
    """The study of a results folder; refuses folders that are none, and those of a newer schema."""
    path = folder / STUDY
    if not path.is_file():
        raise ResultsError(str(folder), f"no {STUDY}", "a results folder", "Name the folder that `imc-sim run` wrote.")
    held = read_yaml(path)
    schema = held.get("schema", 0)
    if schema > SCHEMA:
        got, step = f"results of schema {schema}", "Use a newer imc_sim, one that wrote them or later."
        raise ResultsError(str(folder), got, f"schema {SCHEMA} or older", step)
    return held


def check_folder(folder: Path, resolved: dict[str, Any]) -> None:
    """Raise if `folder` holds something else than results of this very study. Touches nothing."""
    if folder.exists() and not folder.is_dir():
        raise ResultsError(str(folder), "a file", "a folder", "Name a folder with --out.")
    if not (folder / STUDY).is_file():
        trials = folder / TRIALS
        if trials.exists() and trials.stat().st_size:
            raise ResultsError(str(folder), f"{TRIALS} without {STUDY}", "both or none", "Use another folder.")
        return
    held = read_study(folder)
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
    """Rows by trial id, the first finished one winning, else the last failed one, in the order of the file.

    A torn last line is passed over, damage elsewhere raises.
    """
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
            rows.pop(row["id"], None)  # in the order of the rows that count
            rows[row["id"]] = row
    return rows


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"id", "state"} <= row.keys() else None
