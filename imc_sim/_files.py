"""Write files and folders that appear whole or not at all, and that are on disk before they count.

A rename is atomic for other processes, but after a power cut the new name may point to an empty file, or be gone:
the content is synced before the rename and the folder that holds the name after it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from imc_sim._errors import InputError

#: size in bytes, inode, and times (ns) of the last change of content and of inode
Facts = tuple[int, int, int, int]
#: audit event that names a file whose content is known by its facts, without being read again
DEPENDS = "imc_sim.depends"
#: what file systems answer that cannot sync a folder, and what a folder that may not be listed answers
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}
#: bytes of a private copy that are kept in memory
_MEMORY = 2**22
#: rows of a table that become text at a time
_ROWS = 2**15
#: text that spreadsheets compute, and numbers, which begin with the same characters
_FORMULA, _NUMBER = re.compile(r"[=+\-@\t\r]."), re.compile(r"[-+]?(?:[0-9.]+(?:[eE][-+]?[0-9]+)?|inf|nan)")


def write_file(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Replace the file at `path`, so that a reader finds the old content or the new one and never a part.

    Args:
        path: the file; its folder must exist.
        content: text (written as UTF-8), bytes, or a function that writes into the open file.

    Raises:
        InputError: `path` is a symbolic link, which may lead out of the folder.
        OSError: names `path`, also where the system does not (a full disk).
    """
    refuse_link(path)
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


def file_facts(path: str | os.PathLike[str]) -> Facts:
    """Return the `Facts` of a file, and tell audit hooks (`DEPENDS`) that the caller relies on its content.

    They change with the content: copying or unpacking a file cannot set the time of the last change of its inode.
    """
    sys.audit(DEPENDS, os.fspath(path))
    found = os.stat(path)  # noqa: PTH116  # for entries of folders as well, of which there are 32,000
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def csv_text(table: Any) -> str:
    """Return a data frame as CSV; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return "".join(csv_parts(table))


def csv_parts(table: Any) -> Iterator[str]:
    """Yield the text of `csv_text` in parts, which take less memory than the whole."""
    for start in range(0, max(1, len(table)), _ROWS):
        text = table.iloc[start : start + _ROWS].rename(columns=as_text)
        for name, column in text.items():
            if not hasattr(column.dtype, "kind") or column.dtype.kind not in "biufcmM":
                text[name] = column.map(as_text, na_action="ignore")
        yield text.to_csv(index=False, header=start == 0, lineterminator="\n")


def as_text(cell: Any) -> Any:
    """Return a cell, with an apostrophe in front of text that a spreadsheet would take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def without_mark(cell: Any) -> Any:
    """Return a cell of a CSV file without the apostrophe of `as_text`."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and as_text(cell[1:]) != cell[1:] else cell


def write_new(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write and sync a file that does not exist yet; its name is not synced yet."""
    with path.open("xb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def write_inside(folder: Path, name: str, content: bytes) -> None:
    """Write a file below `folder` unless it already has this content; make the folders in between.

    Args:
        folder: the outer folder.
        name: path of the file in it.
        content: content of the file.

    Raises:
        InputError: a part of `name` is a symbolic link.
    """
    refuse_links(folder, name)
    path = folder / name
    if path.is_file() and path.read_bytes() == content:
        return
    make_folder(path.parent)
    write_file(path, content)


def refuse_link(path: Path) -> None:
    """Raise InputError if `path` is a symbolic link: what is written to it would change a file elsewhere."""
    if path.is_symlink():
        step = "Remove the link, or write elsewhere (--out)."
        raise InputError(str(path), f"a symbolic link to {str(path.readlink())!r}", "a file or folder", step)


def refuse_links(folder: Path, name: str) -> None:
    """Raise InputError if a part of the path `name` below `folder` is a symbolic link."""
    for each in (folder / name, *_folders(folder, name)[:-1]):
        refuse_link(each)


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it cannot be read, or is no regular file; reading a named pipe might never end.
    """
    with open_regular(path) as file:
        return file.read()


def regular(path: Path) -> Path:
    """Return the path of a file for a library that opens it.

    Raises:
        OSError: something else is there, such as a folder or a named pipe, which might never end.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_kind(path.stat().st_mode, path)
    return path


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read it; raise OSError if it is no regular file."""
    return os.fdopen(_regular(path, os.O_RDONLY | os.O_NONBLOCK), "rb")


def open_log(path: Path) -> IO[bytes]:
    """Open a file, which need not exist, to read it and to add to its end, without a buffer.

    Raises:
        InputError: it is a symbolic link.
        OSError: it cannot be opened, or is no regular file.
    """
    refuse_link(path)
    return os.fdopen(_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW), "a+b", buffering=0)


def private_copy(path: Path) -> IO[bytes]:
    """Return a copy of a file that has no name, so that no other program changes it; in memory where it is small."""
    copy = tempfile.SpooledTemporaryFile(_MEMORY, dir=str(path.parent))  # noqa: SIM115
    with open_regular(path) as file:
        shutil.copyfileobj(file, copy, 2**20)
    return copy


def _regular(path: Path, flags: int) -> int:
    """Open a regular file; return its descriptor."""
    handle = os.open(path, flags, 0o666)
    try:
        _check_kind(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return handle


def _check_kind(mode: int, path: Path) -> None:
    """Raise OSError for the mode of something that is no regular file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, computed again only when its size or times have changed.

    Raises:
        OSError: the file cannot be read.
    """
    found = path.stat()
    return _sha256(path, (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _state: tuple[int, ...]) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(part: Path, target: Path) -> None:
    """Rename a finished file or folder to `target`, with its content on disk before and its name after.

    All files of a folder are synced in one call, which syncs the whole system; so this is for rare events.
    """
    if part.is_dir():
        os.sync()
    else:
        with part.open("rb") as file:
            os.fsync(file.fileno())
    refuse_link(target)
    part.replace(target)
    sync_folder(target.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each of their names on disk."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (name -> content) into `folder` so that no reader ever sees half a file.

    A folder that does not exist appears in one step. In one that does, the files are replaced one by one in
    the order given, so what vouches for the others comes last. On an error nothing is left behind.
    An OSError without a file name (a full disk) gets the one that was being written.

    Raises:
        InputError: a file of the folder, or a folder in it, is a symbolic link.
    """
    for name in files:
        refuse_links(folder, name)
    missing = [p for p in (folder.parent, *folder.parent.parents) if not p.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    draft.mkdir()
    try:
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            _write(draft / name, content, folder / name)
        for part in {each for name in files for each in _folders(draft, name)}:
            sync_folder(part)
        if not folder.exists():
            draft.rename(folder)
            for each in (folder, *missing):
                sync_folder(each.parent)
            return
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).replace(folder / name)
            for part in _folders(folder, name):  # file by file: what vouches for the others must be on disk last
                sync_folder(part)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in missing:
            _remove_empty(parent)
        raise
    shutil.rmtree(draft, ignore_errors=True)


def _folders(folder: Path, name: str) -> list[Path]:
    """Return the folders from that of a file up to `folder`."""
    return [each for each in (folder / name).parents if each.is_relative_to(folder)]


def _write(path: Path, content: bytes, named: Path) -> None:
    try:
        write_new(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(named)) from error


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def append(path: Path, content: bytes) -> None:
    """Add whole lines to the end of a log and sync it; its name is synced if it is new.

    Raises:
        OSError: names `path`; no part of the lines is left in it.
    """
    is_new = not path.exists()
    with open_log(path) as file:
        extend(file, content, path)
    if is_new:
        sync_folder(path.parent)


def extend(file: IO[bytes], content: bytes, path: Path) -> None:
    """Add whole lines to the end of a log that is open, and sync it.

    Raises:
        OSError: names `path`; no part of the lines is left in it.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        write_all(file, content)
    except OSError as error:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_all(file: IO[bytes], content: bytes) -> None:
    """Write to a raw file and sync it; such a file may take a part only, which is how a full disk begins."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) or 0 :]
    os.fsync(file.fileno())


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
