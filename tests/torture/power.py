"""States that a file system may leave after a power cut, from a recorded log of writes, renames and syncs.

Until a file is synced, what was written to it may be on disk, or not, or a part of it, or zeros may stand for it. Until
a folder is synced, its names may be those of its last sync, or the present ones. So a rename may be on disk while
the content of the file is not. Contents and names are chosen independently of each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

#: bytes that a disk writes as a whole
_SECTOR = 512
_CONTENTS = ("written", "lost", "torn", "zeros")
_NAMES = ("written", "lost")


class Call(NamedTuple):
    """A recorded call: `what` was done to `path`; `at` is the offset of a write, the size of a cut, or a count."""

    what: str
    path: str
    other: str
    at: int
    data: bytes


@dataclass
class _File:
    """Content on disk, and content with all that was written since."""

    synced: bytearray = field(default_factory=bytearray)
    now: bytearray = field(default_factory=bytearray)

    def content(self, kind: str) -> bytes:
        """Return what may be on disk."""
        if kind == "written" or self.now == self.synced:
            return bytes(self.now)
        if kind == "lost":
            return bytes(self.synced)
        same = next((n for n, (a, b) in enumerate(zip(self.synced, self.now, strict=False)) if a != b), None)
        start = min(len(self.synced), len(self.now)) if same is None else same
        if kind == "zeros":
            return bytes(self.now[:start]) + bytes(len(self.now) - start)
        middle = start + max(1, (len(self.now) - start) // 2)
        return bytes(self.now[: max(start, middle // _SECTOR * _SECTOR) or middle])


def calls_of(log: bytes) -> list[Call]:
    """Return the calls of a log that the hook wrote."""
    found, place = list[Call](), 0
    while place < len(log):
        end = log.index(b"\n", place)
        what, path, other, at, size = log[place:end].decode().split("\t")
        place = end + 1 + int(size)
        found.append(Call(what, path, other, int(at), log[end + 1 : place]))
    return found


class Disk:
    """Files and names of a folder while calls are replayed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.names: dict[str, _File | None] = {}
        self.synced: dict[str, _File | None] = {}
        self.reported = 0

    def replay(self, call: Call) -> None:
        """Apply a call."""
        what, path = call.what, call.path
        known = self.names.get(path)
        if what == "mark":
            self.reported = call.at
        elif what == "mkdir":
            self.names[path] = None
        elif what == "make":
            self.names[path] = _File()
        elif what in ("rename", "link"):
            self.names[call.other] = self.names.pop(path) if what == "rename" else known
        elif what == "unlink":
            self.names.pop(path, None)
        elif what == "sync" and known is None:
            self._sync_names(path)
        elif what == "sync" and known is not None:
            known.synced[:] = known.now
        elif what == "cut" and known is not None:
            known.now[call.at :] = bytes(max(0, call.at - len(known.now)))
        elif what == "write" and known is not None:
            known.now[call.at : call.at + len(call.data)] = call.data

    def _sync_names(self, folder: str) -> None:
        """Put the names in a folder on disk."""
        inside = lambda path: str(Path(path).parent) == folder  # noqa: E731
        kept = {path: file for path, file in self.synced.items() if not inside(path)}
        self.synced = kept | {path: file for path, file in self.names.items() if inside(path)}

    def states(self) -> Iterator[tuple[tuple[str, bytes | None], ...]]:
        """Yield (path, content) of every file, None for folders, for each state that may be on disk."""
        for content, names in itertools.product(_CONTENTS, _NAMES):
            held = self.names if names == "written" else self.synced
            yield tuple(sorted((path, None if file is None else file.content(content)) for path, file in held.items()))


def states_of(calls: Sequence[Call], folder: str, step: int) -> list[tuple[tuple[tuple[str, bytes | None], ...], int]]:
    """Return the different states after every `step`-th call, each with the most trials that were reported by then."""
    disk, found = Disk(folder), dict[tuple[tuple[str, bytes | None], ...], int]()
    for number, call in enumerate(calls):
        disk.replay(call)
        for state in disk.states() if number % step == 0 else ():
            found[state] = max(found.get(state, 0), disk.reported)
    return list(found.items())


def build(state: Sequence[tuple[str, bytes | None]], was: str, folder: Path) -> None:
    """Write a state to a folder; a name below a folder that is lost is lost with it."""
    folders = {was, *(path for path, content in state if content is None)}
    for path, content in state:
        place = folder / Path(path).relative_to(was)
        if str(Path(path).parent) not in folders and path != was:
            continue
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
