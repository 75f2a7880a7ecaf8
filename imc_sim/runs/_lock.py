"""A lock for results folders, which the system releases when its holder ends for whatever reason."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import IO, final

from imc_sim._errors import ResultsError
from imc_sim._files import open_log, open_regular, read_file, write_all

LOCK = ".lock"
#: `is_locked` of another process holds the lock for a moment
_TRIES, _PAUSE_S = 5, 0.05


@final
class FolderLock:
    """The right to write to a results folder. The lock file stays; what counts is which process holds it.

    Args:
        folder: the results folder; it must exist when the lock is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            InputError: the lock file is a symbolic link.
            ResultsError: another process holds it, or the file system has no locks.
        """
        self._file = open_log(self.folder / LOCK)
        try:
            taken = _taken(self._file, fcntl.LOCK_EX, self.folder, _TRIES)
        except ResultsError:
            self.release()
            raise
        if not taken:
            self.release()
            held = holder(self.folder)
            got = f"another run that is writing here{f' ({held})' if held else ''}"
            raise ResultsError(
                str(self.folder), got, "one writer", "Wait for it to end, or write elsewhere with --out."
            )
        self._file.truncate(0)
        write_all(self._file, json.dumps({"process": os.getpid(), "host": platform.node()}).encode() + b"\n")

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()
        self._file = None


def is_locked(folder: Path) -> bool:
    """Tell whether a process writes to the folder now.

    Args:
        folder: a results folder.

    Returns:
        Whether the lock is held.
    """
    try:
        with open_regular(folder / LOCK) as file:
            return not _taken(file, fcntl.LOCK_SH, folder, 1)
    except OSError:
        return False


def holder(folder: Path) -> str:
    """Return who took the lock last, in words; empty if that cannot be read.

    Args:
        folder: a results folder.
    """
    try:
        found = json.loads(read_file(folder / LOCK))
        return f"process {found['process']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _taken(file: IO[bytes], kind: int, folder: Path, tries: int) -> bool:
    """Try to lock the file a few times; returns whether that succeeded."""
    for attempt in range(tries):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                step = "Write to another disk with --out."
                got = f"a file system without locks ({error.strerror})"
                raise ResultsError(str(folder), got, "one that can lock files", step) from error
            if attempt + 1 < tries:
                time.sleep(_PAUSE_S)
        else:
            return True
    return False
