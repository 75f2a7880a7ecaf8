"""Decoded data sets, kept as one memory-mapped array each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imc_sim.data._folders import cache_folder

#: Raise when a decoded array changes its meaning.
SCHEMA = 1

Bytes = NDArray[np.uint8]
Kind = TypeVar("Kind", bound=np.generic)


def fingerprint(facts: Iterable[object]) -> str:
    """A short digest of facts about the source: names, sizes and times of its files, or a version."""
    digest = hashlib.sha256(repr(SCHEMA).encode())
    for fact in facts:
        digest.update(f"{fact!r}\n".encode())
    return digest.hexdigest()[:16]


def file_facts(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of each file."""
    return [(f.name, s.st_size, s.st_mtime_ns) for f in files for s in [f.stat()]]


def cached_array(key: str, source: str, make: Callable[[], NDArray[Kind]]) -> NDArray[Kind]:
    """What `make` returns, read-only; from the cache if it was made before from the same `source`.

    A cache folder that cannot be used, and a damaged copy in it, cost time but are no error.
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
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError, EOFError):
        return None


def _keep(path: Path, array: NDArray[Any]) -> None:
    """Write aside and rename, so that a reader never sees half an array."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".npy")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, array)
            Path(aside).replace(path)
        finally:
            Path(aside).unlink(missing_ok=True)
