"""A results folder open for writing: append-only lines with one writer, repaired on opening.

To a reader, a row is written whole or not at all: an incomplete last line, which a killed writer leaves, is removed
when the folder is opened again. Damaged rows are moved to a separate file.
"""

from __future__ import annotations

import errno
import itertools
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self, final

from imc_sim._errors import ResultsError, ResultsWarning
from imc_sim._files import append, extend, make_folder, open_log, open_regular, private_copy, sync_folder, write_file
from imc_sim._quantities import number_of
from imc_sim.runs._lock import FolderLock
from imc_sim.runs._row_index import is_due, save_index
from imc_sim.runs._row_table import Row, RowTable
from imc_sim.runs._rows_file import RowRules, RowsFile, is_torn, lines_of, read_rows, sound_rows
from imc_sim.runs._stored_column import FileReader, Read

_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
#: rows that a run adds before they are sorted among the others
_FRESH = 2**17
#: bytes in which the last end of line is sought at first
_TAIL = 2**16
#: rows that are added in one write
_ADDED = 2**13
#: device, inode and length of a file; None: it is not there
Mark = tuple[int, int, int] | None


@final
@dataclass(frozen=True)
class FolderKind:
    """Names and rules of a results folder.

    Attributes:
        noun: what a row is the result of, in the plural, for messages.
        heading: file that describes the run; None: that of another store of the same folder, which holds its lock.
        rows: file of the rows, with the suffix .jsonl.
        description: returns the content of the heading.
        rules: what rows must agree with.
        admit: raises if the folder holds something else; returns whether its heading is missing and can be restored.
    """

    noun: str
    heading: str | None
    rows: str
    description: Callable[[], str]
    rules: RowRules
    admit: Callable[[Path], bool]

    def beside(self, what: str) -> str:
        """Return the name of the file for damaged or rescued rows.

        Args:
            what: damaged or rescued.
        """
        return self.rows.replace(".jsonl", f".{what}.jsonl")


@final
@dataclass
class _Lines:
    """Reads lines from the private copy of a file, or from the file; holds no store, which would hold it in turn."""

    read: Read = field(default=lambda start, length: b"")
    copy: IO[bytes] | None = None

    def __call__(self, start: int, length: int) -> bytes:
        if self.copy is None:
            return self.read(start, length)
        self.copy.seek(start)
        return self.copy.read(length)


class RowStore:
    """The rows of one run, open for writing. Use as a context manager.

    Before every append, and at the end, the files of the folder must be those that were opened, with the length that
    they had after the last write. If they are not, the rows of this run are written to a file of rescued rows, which
    the next run reads, and ResultsError is raised. Rows are held as columns; before any is added, a private copy of the
    file is made, from which their lines are read.

    Args:
        folder: created if it does not exist.
        kind: what the folder holds.
    """

    def __init__(self, folder: Path, kind: FolderKind) -> None:
        self.folder, self.kind = folder, kind
        self._lock = FolderLock(folder)
        self._file: IO[bytes] | None = None
        self._lines = _Lines()
        self._marks: dict[str, Mark] = {}
        self._hold(read_rows(folder / f".{kind.rows}.none", kind.rules))

    def _hold(self, found: RowsFile) -> None:
        """Hold the rows of a file."""
        self._table, self._columns, self._lines.read = found.rows, found.columns, found.rows.read
        self._table.read = self._lines
        self._size, self._indexed, self._sha256 = found.size, found.indexed, found.sha256
        self._fresh: dict[str, tuple[int, int]] = {}

    @property
    def rows(self) -> RowTable:
        """Return the rows by id, in the order of the file."""
        if self._fresh:
            self._table, self._fresh = RowTable(self._columns, self._lines, self.kind.rules.parse), {}
        return self._table

    def __enter__(self) -> Self:
        self.kind.admit(self.folder)
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
        """Take the lock, repair and read the rows, and open the file for appending."""
        make_folder(self.folder)
        if self.kind.heading is not None:
            self._lock.take()
        restored = self.kind.admit(self.folder)  # another run may have begun here since
        path = self.folder / self.kind.rows
        heading = None if self.kind.heading is None else self.folder / self.kind.heading
        heal(path)
        found = read_rows(path, self.kind.rules)
        if found.damaged:
            self._set_aside(found)
            found = read_rows(path, self.kind.rules)
        self._hold(found)
        if heading is not None:
            write_file(heading, self.kind.description())
        if restored:
            _warn(f"{heading} was missing and was written again: all rows of {path.name} are of this run.")
        self._file = open_log(path)
        self._marks = {file.name: _mark(file) for file in (path, heading) if file is not None}
        self._take_back()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._check_untouched([])
        finally:
            self.close()

    def close(self) -> None:
        """Release the folder, and write the index of its rows if there are enough new rows."""
        if self._file is not None:
            self._lines.read = FileReader(self._file)
            self._file.close()
            if self.kind.rules.key and is_due(self._size, self._indexed):
                path = self.folder / self.kind.rows
                save_index(path, self._columns, self._size, self._sha256.hexdigest(), self.kind.rules.key)
        if self._lines.copy is not None:
            self._lines.copy.close()
        self._file = self._lines.copy = None
        self._lock.release()

    def done(self, row_id: str) -> Row | None:
        """Return a stored finished row, or None if it is missing or failed.

        Args:
            row_id: of the row.
        """
        row = self._row(row_id)
        return row if row is not None and row["state"] == "done" else None

    def is_missing(self, row_id: str, retry_failed: bool) -> bool:
        """Tell whether a run has to compute a row.

        Args:
            row_id: of the row.
            retry_failed: whether failed rows are computed again.

        Returns:
            Whether the row is not stored, or is a failed one to compute again.
        """
        row = self._row(row_id)
        return row is None or (retry_failed and row["state"] == "failed")

    def _row(self, row_id: str) -> Row | None:
        place = self._fresh.get(row_id)
        return self._table.get(row_id) if place is None else self.kind.rules.parse(self._lines(*place), row_id)

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows and flush them to disk; finished rows that are stored already are left out.

        Args:
            rows: with `id`, `state` and the payload of the kind.

        Raises:
            ResultsError: a result differs from the stored one, or the files were changed.
            OSError: the disk is full; the file then ends with the row before.
        """
        rest = iter(rows)
        while some := list(itertools.islice(rest, _ADDED)):
            self._add([row for row in some if self._is_new(row)])

    def _add(self, fresh: list[Row]) -> None:
        """Append rows that are new."""
        if not fresh or self._file is None:
            return
        self._check_untouched(fresh)
        path, lines = self.folder / self.kind.rows, [lines_of([row]) for row in fresh]
        data = b"".join(lines)
        self.protect()
        if self._lines.copy is not None:
            self._lines.copy.seek(self._size)
            self._lines.copy.write(data)
        extend(self._file, data, path)
        mark = self._marks[path.name]
        self._marks[path.name] = None if mark is None else (*mark[:2], mark[2] + len(data))
        for row, line in zip(fresh, lines, strict=True):
            self._columns.append(row, self._size, len(line) - 1)
            self._fresh[row["id"]] = self._size, len(line) - 1
            self._size += len(line)
        self._sha256.update(data)
        if len(self._fresh) > _FRESH:
            _ = self.rows

    def protect(self) -> None:
        """Read rows from a private copy of their file from now on, so that they can be rescued if others change it."""
        path = self.folder / self.kind.rows
        if self._lines.copy is None and self._file is not None and _mark(path) == self._marks[path.name]:
            self._lines.copy = private_copy(path)

    def _is_new(self, row: Row) -> bool:
        """Tell whether the row is not stored as finished; raise if its result differs from the stored one."""
        known, payload = self._row(row["id"]), self.kind.rules.payload
        if known is None or known["state"] != "done":
            return True
        if row["state"] == "done" and (differ := [k for k in payload if known.get(k) != row.get(k)]):
            got = ", ".join(f"{k} {known.get(k)} and {row.get(k)}" for k in differ)
            step = "Two machines or devices computed it differently: keep them in separate folders, or report it."
            raise ResultsError(
                f"{self.kind.noun[:-1]} {row['id'][:12]}", got, f"one result per {self.kind.noun[:-1]}", step
            )
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
        noun = self.kind.noun
        go_on = "Keep editors, sync clients and clean-ups out of the folder, and give the same command again: it "
        if name == self.kind.heading and not pending:
            return f"All finished {noun} are safe in {self.kind.rows}. {go_on}writes the file again and goes on."
        path, table, lost = self.folder / self.kind.beside("rescued"), self.rows, []

        def write(file: IO[bytes]) -> None:
            """Write all lines that are still as they were."""
            for number, row_id in enumerate(table):
                line = table.line(number)
                try:
                    self.kind.rules.parse(line, row_id)
                except ResultsError:  # another program changed it before there was a private copy
                    lost.append(row_id)
                else:
                    file.write(line + b"\n")
            file.write(lines_of(pending))

        try:
            make_folder(self.folder)
            write_file(path, write)
        except OSError as error:
            return f"The {len(pending)} latest {noun} are lost ({error}). {go_on}runs again what is missing."
        known = len(table) - len(lost) + len(pending)
        return f"All {known} {noun} that this run knows are safe in {path}. {go_on}takes them back and goes on."

    def _take_back(self) -> None:
        """Store the rows that a run rescued when its files were touched."""
        path = self.folder / self.kind.beside("rescued")
        if not path.exists():
            return
        self.add(sound_rows(path, self.kind.rules).values())
        path.unlink()
        sync_folder(self.folder)

    def _set_aside(self, found: RowsFile) -> None:
        """Move damaged lines to a separate file, where they are on disk first; warn with each."""
        path, damaged = self.folder / self.kind.rows, self.kind.beside("damaged")
        append(self.folder / damaged, b"".join(each.content + b"\n" for each in found.damaged))
        numbers = {each.line for each in found.damaged}

        def write(file: IO[bytes]) -> None:
            with open_regular(path) as lines:
                file.writelines(line for number, line in enumerate(lines, 1) if number not in numbers)

        write_file(path, write)
        lines = "; ".join(map(str, found.damaged[:10])) + ("; …" if len(found.damaged) > 10 else "")
        one = len(found.damaged) == 1
        again = f"its {self.kind.noun[:-1]} is" if one else f"their {self.kind.noun} are"
        count = f"{number_of(len(found.damaged), 'damaged line')} {'was' if one else 'were'} moved to {damaged}"
        _warn(f"{path}: {count}; {again} run again: {lines}")


def heal(path: Path) -> None:
    """Remove an incomplete last line; complete a whole one that lacks its end of line.

    Args:
        path: file of rows; created if it does not exist.
    """
    is_new = not path.exists()
    with open_log(path) as file:
        if is_new:
            sync_folder(path.parent)
        elif (last := _last_line(file)) and is_torn(last):
            file.truncate(file.seek(0, os.SEEK_END) - len(last))
        elif last:
            extend(file, b"\n", path)


def _last_line(file: IO[bytes]) -> bytes:
    """Return what follows the last end of line of a file."""
    found, place = b"", file.seek(0, os.SEEK_END)
    while place and b"\n" not in found:
        place = max(0, place - max(_TAIL, len(found)))
        file.seek(place)
        found = file.read()
    return found[found.rfind(b"\n") + 1 :]


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


def _warn(text: str) -> None:
    warnings.warn(text, ResultsWarning, stacklevel=6)
