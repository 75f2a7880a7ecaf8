"""Decoded data sets, kept as one memory-mapped array each."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imc_sim._files import Facts, file_facts, make_folder, regular, write_file
from imc_sim.data._folders import cache_folder

#: version of the decoded arrays; increase it when their meaning changes
SCHEMA = 2
#: bytes of the checksum at the end of a cached file
_SUM = 32
#: age in ns below which a file can change again and keep the same time of its last change
SETTLED_NS = 2 * 10**9
#: facts of cached files when this process found their checksum right
_WHOLE: dict[Path, Facts] = {}

Bytes = NDArray[np.uint8]
Kind = TypeVar("Kind", bound=np.generic)


def fingerprint(facts: Iterable[object]) -> str:
    """Return a short digest of facts about the source of an array, to tell whether a cached copy is up to date.

    Args:
        facts: values with a reproducible `repr`, such as names, sizes and times of files, or a version number; their
            order matters.

    Returns:
        The first 16 hexadecimal digits of a SHA-256 of the facts and of the version of the cache format.
    """
    digest = hashlib.sha256(repr(SCHEMA).encode())
    for fact in facts:
        digest.update(f"{fact!r}\n".encode())
    return digest.hexdigest()[:16]


def named_facts(files: Iterable[Path]) -> list[tuple[str, Facts]]:
    """Return the name and the `file_facts` of each file."""
    return [(f.name, file_facts(f)) for f in files]


def cached_array(key: str, source: str, make: Callable[[], NDArray[Kind]], cached: bool = True) -> NDArray[Kind]:
    """Return an array from the cache, or compute and store it.

    A cached file ends in the SHA-256 of its content, which is checked when a process first opens the file and when it
    opens it after a change. A damaged file is replaced, and a cache folder that cannot be read or written is ignored:
    the array is computed on every call.

    Args:
        key: first part of the name of the cached file.
        source: fingerprint of what the array is computed from; the array is computed again if it differs.
        make: function that computes the array.
        cached: False: compute the array, and neither read nor write the cache.

    Returns:
        The array; from the cache read-only and usually memory-mapped.
    """
    if not cached:
        return make()
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
        array = np.load(regular(path), mmap_mode="r")
        whole = _is_whole(path)
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(array) if whole else None


def _is_whole(path: Path) -> bool:
    """Tell whether the checksum of a file is right; remember it if the file has not changed for two seconds."""
    facts = file_facts(path)
    if _WHOLE.get(path) == facts:
        return True
    content = np.memmap(path, np.uint8, mode="r")
    whole = hashlib.sha256(content[:-_SUM].data).digest() == content[-_SUM:].tobytes()
    if whole and time.time_ns() - facts[-1] > SETTLED_NS:
        _WHOLE[path] = facts
    return whole


def _keep(path: Path, array: NDArray[Any]) -> None:
    """Store the array, followed by the checksum of its file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    content = buffer.getbuffer()
    with contextlib.suppress(OSError):
        make_folder(path.parent)
        write_file(path, lambda file: (file.write(content), file.write(hashlib.sha256(content).digest())))
