"""Decoded data sets, kept as one memory-mapped array each."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imc_sim._files import make_folder, write_file
from imc_sim.data._folders import cache_folder

#: Raise when a decoded array changes its meaning.
SCHEMA = 2
#: bytes of the checksum at the end of a cached file
_SUM = 32

Bytes = NDArray[np.uint8]
Facts = tuple[int, int, int, int]
Kind = TypeVar("Kind", bound=np.generic)


def fingerprint(facts: Iterable[object]) -> str:
    """A short digest of facts about the source: names, sizes and times of its files, or a version."""
    digest = hashlib.sha256(repr(SCHEMA).encode())
    for fact in facts:
        digest.update(f"{fact!r}\n".encode())
    return digest.hexdigest()[:16]


def file_facts(files: Iterable[Path]) -> list[tuple[str, Facts]]:
    """Return the name of each file, and what changes when its content does."""
    return [(f.name, stat_facts(f.stat())) for f in files]


def stat_facts(stat: os.stat_result) -> Facts:
    """Return size, inode, and times of the last change of content and of inode: copying cannot set the last one."""
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def cached_array(key: str, source: str, make: Callable[[], NDArray[Kind]]) -> NDArray[Kind]:
    """Return what `make` returns, read-only; from the cache if it was made before from the same `source`.

    A cached file ends in the SHA-256 of its content, which is checked whenever it is opened. A cache folder that
    cannot be used, and a damaged file in it, cost time but are no error.
    """
    path = cache_folder() / f"{key}-{source}.npy"
    kept = _mapped(path)
    if kept is None:
        made = make()
        _keep(path, made)
        kept = _mapped(path)
        if kept is None:
            made.setflags(write=False)
            return made
    return kept


def _mapped(path: Path) -> NDArray[Any] | None:
    """Return the array of a cached file, or None if the file is missing or damaged."""
    try:
        array = np.load(path, mmap_mode="r")
        content = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError, EOFError):
        return None
    whole = hashlib.sha256(content[:-_SUM].data).digest() == content[-_SUM:].tobytes()
    return np.asarray(array) if whole else None


def _keep(path: Path, array: NDArray[Any]) -> None:
    """Store the array, followed by the checksum of its file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    content = buffer.getbuffer()
    with contextlib.suppress(OSError):
        make_folder(path.parent)
        write_file(path, lambda file: (file.write(content), file.write(hashlib.sha256(content).digest())))
