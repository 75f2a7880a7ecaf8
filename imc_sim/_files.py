"""Write files and folders that appear whole or not at all, and that are on disk before they count.

A rename is atomic for other processes, but after a power cut the new name may point to an empty file, or be gone:
the content is synced before the rename and the folder that holds the name after it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

#: what file systems answer that cannot sync a folder, and what a folder that may not be listed answers
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}


def write_file(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Replace the file at `path`, so that a reader finds the old content or the new one and never a part.

    Args:
        path: the file; its folder must exist.
        content: text (written as UTF-8), bytes, or a function that writes into the open file.

    Raises:
        OSError: names `path`, also where the system does not (a full disk).
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        write_new(part, content)
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_new(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write and sync a file; its name is not synced yet."""
    with path.open("wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def publish(part: Path, target: Path) -> None:
    """Rename a finished file or folder to `target`, with its content on disk before and its name after.

    All files of a folder are synced in one call, which syncs the whole system; so this is for rare events.
    """
    if part.is_dir():
        os.sync()
    else:
        with part.open("rb") as file:
            os.fsync(file.fileno())
    part.replace(target)
    sync_folder(target.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each of their names on disk."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk, where its file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def complete_lines(path: Path) -> list[str]:
    """Return the lines of a log, none where there is no file; a last line that a kill cut off is removed from it."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        write_file(path, "".join(lines))
    return lines
