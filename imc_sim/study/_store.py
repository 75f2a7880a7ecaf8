"""Results on disk: append-only JSON lines with one writer, repaired on opening.

To a reader, a row is written whole or not at all: an incomplete last line, which a killed writer leaves, is removed
when the folder is opened again. Damaged rows are moved to trials.damaged.jsonl.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Self, final

from imc_sim._errors import ResultsError, ResultsWarning
from imc_sim._files import append, make_folder, sync_folder, write_all, write_file
from imc_sim.config import digest, read_yaml, write_yaml
from imc_sim.data import foreign_digests
from imc_sim.study._lock import FolderLock
from imc_sim.study._point import SCHEMA
from imc_sim.study._points import place_keys
from imc_sim.study._trials_file import (
    DAMAGED,
    PAYLOAD,
    STUDY,
    TRIALS,
    Row,
    TrialsFile,
    lines_of,
    read_trials,
    sound_rows,
)  # fmt: skip

RESCUED = "trials.rescued.jsonl"
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
#: device, inode and length of a file; None: it is not there
Mark = tuple[int, int, int] | None


@final
class ResultStore:
    """The results folder of one study, open for writing. Use as a context manager.

    Before every append, and at the end, the files of the folder must be those that were opened, with the length that
    they had after the last write. If they are not, the rows of this run are written to trials.rescued.jsonl, which the
    next run reads, and ResultsError is raised.
    """

    def __init__(self, folder: Path, resolved: dict[str, Any]) -> None:
        self.folder, self.resolved = folder, resolved
        self.rows: dict[str, Row] = {}
        self._lock = FolderLock(folder)
        self._file: IO[bytes] | None = None
        self._marks: dict[str, Mark] = {}

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
        make_folder(self.folder)
        self._lock.take()
        restored = check_folder(self.folder, self.resolved)  # another run may have begun here since
        path = self.folder / TRIALS
        heal(path)
        found = read_trials(path, self.resolved)
        if found.damaged:
            _set_aside(self.folder, found)
        self.rows = found.rows
        write_file(self.folder / STUDY, write_yaml(self.resolved))
        if restored:
            _warn(f"{self.folder / STUDY} was missing and was written again: all rows of {TRIALS} are of this study.")
        self._file = path.open("ab", buffering=0)
        self._marks = {name: _mark(self.folder / name) for name in (TRIALS, STUDY)}
        self._take_back()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._check_untouched([])
        finally:
            self.close()

    def close(self) -> None:
        """Release the folder."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._lock.release()

    def done(self, trial_id: str) -> Row | None:
        """Return the stored row of a finished trial, or None if it is still to do or failed."""
        row = self.rows.get(trial_id)
        return row if row is not None and row["state"] == "done" else None

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows and flush them to disk. A repeated id is left out; a different result is an error."""
        fresh = [row for row in rows if self._is_new(row)]
        if not fresh or self._file is None:
            return
        self._check_untouched(fresh)
        data, path = lines_of(fresh), self.folder / TRIALS
        mark = self._marks[TRIALS]
        size = 0 if mark is None else mark[2]
        try:
            write_all(self._file, data)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            raise OSError(error.errno, error.strerror, str(path)) from error
        self._marks[TRIALS] = None if mark is None else (*mark[:2], size + len(data))
        self.rows.update({row["id"]: row for row in fresh})

    def _is_new(self, row: Row) -> bool:
        known = self.rows.get(row["id"])
        if known is None or known["state"] != "done":
            return True
        if row["state"] == "done" and any(known[k] != row[k] for k in PAYLOAD):
            got = ", ".join(f"{k} {known[k]} and {row[k]}" for k in PAYLOAD if known[k] != row[k])
            step = "Two machines or devices computed it differently: keep them in folders of their own, or report it."
            raise ResultsError(f"trial {row['id'][:12]}", got, "one result per trial", step)
        return False

    def _check_untouched(self, pending: list[Row]) -> None:
        """Raise ResultsError if a file was replaced, cut, extended or removed since this run last wrote it."""
        for name, mark in self._marks.items():
            path = self.folder / name
            found = _mark(path)
            if found != mark:
                got = _difference(mark, found)
                raise ResultsError(str(path), got, "the file as this run left it", self._rescue(name, pending))

    def _rescue(self, name: str, pending: list[Row]) -> str:
        """Keep the rows of this run, if they are not safe in their file; return what to do next."""
        go_on = "Keep editors, sync clients and clean-ups out of the folder, and give the same command again: it "
        if name == STUDY and not pending:
            return f"All finished trials are safe in {TRIALS}. {go_on}writes the file again and goes on."
        rows = [*self.rows.values(), *pending]
        path = self.folder / RESCUED
        try:
            make_folder(self.folder)
            write_file(path, lines_of(rows))
        except OSError as error:
            return f"The {len(pending)} latest trials are lost ({error}). {go_on}runs again what is missing."
        return f"All {len(rows)} trials that this run knows are safe in {path}. {go_on}takes them back and goes on."

    def _take_back(self) -> None:
        """Store the rows that a run rescued when its files were touched."""
        path = self.folder / RESCUED
        if not path.exists():
            return
        self.add(sound_rows(path, self.resolved).values())
        path.unlink()
        sync_folder(self.folder)


def _mark(path: Path) -> Mark:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size


def _difference(known: Mark, found: Mark) -> str:
    """Describe how a file differs from what it was."""
    if found is None or known is None:
        return "nothing: it was removed, or the folder was moved, while this run went on"
    if found[:2] != known[:2]:
        return "another file: it was replaced while this run went on"
    return f"{found[2]} bytes instead of {known[2]}: it was changed while this run went on"


def _set_aside(folder: Path, found: TrialsFile) -> None:
    """Move damaged lines from trials.jsonl to trials.damaged.jsonl, where they are on disk first; warn with each."""
    append(folder / DAMAGED, b"".join(each.content + b"\n" for each in found.damaged))
    write_file(folder / TRIALS, b"".join(line + b"\n" for line in found.sound))
    lines = "; ".join(map(str, found.damaged[:10])) + ("; …" if len(found.damaged) > 10 else "")
    count = "1 damaged line was" if len(found.damaged) == 1 else f"{len(found.damaged)} damaged lines were"
    _warn(f"{folder / TRIALS}: {count} moved to {DAMAGED}, and their trials are run again: {lines}")


def _warn(text: str) -> None:
    warnings.warn(text, ResultsWarning, stacklevel=6)


def results_digest(rows: Mapping[str, Row]) -> str:
    """Return the SHA-256 over the results of the finished trials, independent of who computed them and in which
    order.
    """
    found = sorted((i, *(row[k] for k in PAYLOAD)) for i, row in rows.items() if row["state"] == "done")
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def read_study(folder: Path) -> dict[str, Any]:
    """Read and check the study of a results folder.

    Raises:
        ResultsError: no results folder, results of a newer version, or points that do not fit the digest.
    """
    path = folder / STUDY
    if not path.is_file():
        raise ResultsError(str(folder), f"no {STUDY}", "a results folder", "Name the folder that `imc-sim run` wrote.")
    held = read_yaml(path)
    schema = held.get("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        got, step = f"results of schema {schema}", "Use a newer imc_sim, one that wrote them or later."
        raise ResultsError(str(folder), got, f"schema {SCHEMA} or older", step)
    try:
        fits = held["digest"] == digest({"name": held["name"], "points": place_keys(held["points"])})
    except (KeyError, TypeError, AttributeError, ValueError):
        fits = False
    if not fits:
        step = "Remove the file and run the study again: it is written again where the trials are of that study."
        raise ResultsError(str(path), "points that do not fit its digest", f"{STUDY} as a run wrote it", step)
    return held


def check_folder(folder: Path, resolved: dict[str, Any]) -> bool:
    """Raise ResultsError if `folder` holds something other than results of this study. Changes nothing.

    Returns:
        Whether the study of the folder is missing and all its trials are of this one, so that it can be restored.
    """
    if folder.exists() and not folder.is_dir():
        raise ResultsError(str(folder), "a file", "a folder", "Name a folder with --out.")
    if not (folder / STUDY).is_file():
        return _can_be_restored(folder, resolved)
    held = read_study(folder)
    if held["schema"] != resolved["schema"]:
        step = "This version computes some numbers differently: run it into another folder with --out. "
        step += "plot, report, status and combine still read the old one."
        got = f"results of version {held['schema']}, made by an earlier imc_sim"
        raise ResultsError(str(folder), got, f"results of version {resolved['schema']}", step)
    check_data(folder, held, resolved)
    if held["digest"] != resolved["digest"]:
        got = f"results of study {held['name']!r} {held['digest'][:12]}"
        allowed = f"study {resolved['name']!r} {resolved['digest'][:12]}"
        raise ResultsError(str(folder), got, allowed, "Choose another folder with --out, or remove this one.")
    return False


def check_data(folder: Path, held: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    """Raise ResultsError if the stored trials are of other data than those on this machine, or if that is unknown."""
    known, now = held.get("data"), resolved.get("data", {})
    allowed = "the data that the stored trials are of"
    if known is None:
        part = next(iter(foreign_digests(now)), None)
        if part is not None:
            step = "Run into another folder with --out; plot, report and status still read this one."
            raise ResultsError(
                str(folder), f"trials that do not say which files of {part!r} they are of", allowed, step
            )
        return
    part = next((part for part in now if known.get(part, now[part]) != now[part]), None)
    if part is not None:
        step = "Put those files back, or run into another folder with --out."
        raise ResultsError(str(folder), other_files(part, now[part], known[part]), allowed, step)


def other_files(part: str, found: str, stored: str) -> str:
    """Describe a part of the data that changed."""
    return f"other files of {part!r} (content {found[:12]}, stored {stored[:12]})"


def _can_be_restored(folder: Path, resolved: dict[str, Any]) -> bool:
    """Tell whether there are trials without their study that are all of this one; raise if they are of another."""
    found = read_trials(folder / TRIALS, resolved)
    if found.damaged:
        got = f"{TRIALS} without {STUDY}, and in {found.damaged[0]}"
        step = "Run the study that wrote it, or use another folder with --out."
        raise ResultsError(str(folder), got, "trials of this study alone, or an empty folder", step)
    return bool(found.rows)


def heal(path: Path) -> None:
    """Remove an incomplete last line; complete a whole one that lacks its end of line."""
    if not path.exists():
        path.touch()
        sync_folder(path.parent)
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return
    if read_trials(path).torn:
        os.truncate(path, whole)
        return
    append(path, b"\n")
