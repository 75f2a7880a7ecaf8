"""Columns of rows that stay in their file until they are needed."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, final

import numpy as np

from imc_sim._errors import ResultsError

Array = np.ndarray[Any, np.dtype[Any]]

#: bytes of a column that are read at a time
_BYTES = 2**18

#: returns the bytes from a place, of a number
Read = Callable[[int, int], bytes]


@final
class FileReader:
    """Reads a file that was opened, also when its name is removed or given to another file.

    Args:
        file: the open file; it may be closed afterwards.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)

    def __call__(self, start: int, length: int) -> bytes:
        """Return the bytes from `start`."""
        return os.pread(self._handle, length, start)


@final
@dataclass(frozen=True)
class StoredColumn:
    """A column in a file, which is read when it is needed.

    Attributes:
        read: reads the file.
        start: its first byte.
        dtype: of its values.
        count: number of its values.
        sha256: hash of its bytes.
        where: name of the file.
    """

    read: Read
    start: int
    dtype: np.dtype[Any]
    count: int
    sha256: str
    where: str

    def __len__(self) -> int:
        return self.count

    def item(self, number: int) -> Any:
        """Return one value, which may have changed since the file was opened."""
        size = self.dtype.itemsize
        return np.frombuffer(self.read(self.start + number * size, size), self.dtype).item()

    def parts(self) -> Iterator[Array]:
        """Yield all values in their order, a part at a time; use none of them unless the last one was yielded.

        Raises:
            ResultsError: the file has changed since it was opened.
        """
        sha256, size = hashlib.sha256(), self.dtype.itemsize
        each = max(1, _BYTES // size) * size
        for place in range(0, self.count * size, each):
            part = self.read(self.start + place, min(each, self.count * size - place))
            sha256.update(part)
            yield np.frombuffer(part[: len(part) // size * size], self.dtype)
        if sha256.hexdigest() != self.sha256:
            step = "Keep other programs out of the folder, and give the command again."
            raise ResultsError(self.where, "an index that was changed", "the index as it was opened", step)

    def whole(self) -> Array:
        """Return all values.

        Raises:
            ResultsError: the file has changed since it was opened.
        """
        found, place = np.empty(self.count, self.dtype), 0
        for part in self.parts():
            found[place : place + len(part)] = part
            place += len(part)
        return found
