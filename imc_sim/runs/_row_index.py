"""An index next to a file of rows: columns of the rows that were checked, so that only later lines are parsed.

The index is a cache and never the record. It holds the SHA-256 of the bytes that it covers, of the rules by which they
were checked, and of itself; if one of them does not fit, the index is ignored and the file is read and checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from imc_sim._errors import InputError
from imc_sim._files import open_regular, write_file
from imc_sim.runs._row_table import Array, Columns, Layout

#: raise it whenever rows are checked or columns are stored in another way
_VERSION = 1
_SUM_BYTES = 32
#: bytes that an index must add to be written, and their share of the file
_WORTH, _SHARE = 2**20, 16


class Index(NamedTuple):
    """Columns that an index holds, and the bytes that it covers.

    Attributes:
        columns: of the covered lines.
        size: number of bytes that are covered.
        sha256: hash of these bytes, ready for those that follow.
    """

    columns: Columns
    size: int
    sha256: Any


def place_of_index(rows: Path) -> Path:
    """Return the path of the index of a file of rows."""
    return rows.with_suffix(".index")


def load_index(rows: Path, file: IO[bytes], layout: Layout, rules: str) -> Index | None:
    """Return the index of a file of rows, or None if there is none that fits.

    Args:
        rows: path of the file.
        file: the open file; its position is behind the covered bytes afterwards, or at its beginning.
        layout: columns that are expected.
        rules: digest of the rules that rows must follow.
    """
    path = place_of_index(rows)
    try:
        if path.is_symlink():
            return None
        with open_regular(path) as index:
            data = index.read()
        found = _decoded(data, layout, rules)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if found is None:
        return None
    columns, size, expected = found
    sha256, left = hashlib.sha256(), size
    while left and (block := file.read(min(left, 2**20))):
        sha256.update(block)
        left -= len(block)
    if left or sha256.hexdigest() != expected:
        file.seek(0)
        return None
    return Index(columns, size, sha256)


def save_index(rows: Path, columns: Columns, size: int, sha256: str, rules: str) -> None:
    """Write the index of a file of rows; without the right to write, or space, there is none.

    Args:
        rows: path of the file.
        columns: of the lines of its first `size` bytes, all of them accepted.
        size: number of bytes.
        sha256: hash of these bytes.
        rules: digest of the rules that rows must follow.
    """
    arrays = columns.arrays()
    header = {
        "version": _VERSION, "rules": rules, "size": size, "sha256": sha256,
        "columns": [[name, each.dtype.str, len(each)] for name, each in arrays.items()],
        "texts": {name: list(each) for name, each in columns.texts.items()},
        "kinds": {name: sorted(each) for name, each in columns.kinds.items()},
    }  # fmt: skip

    def write(file: IO[bytes]) -> None:
        own = hashlib.sha256()
        parts = (np.ascontiguousarray(each).data.cast("B") for each in arrays.values() if len(each))
        for part in (json.dumps(header).encode() + b"\n", *parts):
            own.update(part)
            file.write(part)
        file.write(own.digest())

    with contextlib.suppress(OSError, InputError):
        write_file(place_of_index(rows), write)


def is_due(size: int, covered: int) -> bool:
    """Tell whether a file of `size` bytes, of which an index covers some, should get a new index."""
    return size - covered >= max(_WORTH, size // _SHARE)


def _decoded(data: bytes, layout: Layout, rules: str) -> tuple[Columns, int, str] | None:
    """Return columns, size and hash of an index; None if it is damaged, or of another version or study."""
    view = memoryview(data)[:-_SUM_BYTES]
    if hashlib.sha256(view).digest() != data[-_SUM_BYTES:]:
        return None
    end = data.index(b"\n") + 1
    header = json.loads(data[:end])
    if (header["version"], header["rules"]) != (_VERSION, rules):
        return None
    arrays: dict[str, Array] = {}
    for name, kind, count in header["columns"]:
        arrays[name] = np.frombuffer(view, np.dtype(kind), count, end)
        end += arrays[name].nbytes
    texts = header["texts"]
    fits = (*layout.names, "start", "length") == tuple(arrays) and set(texts) == set(layout.texts) and end == len(view)
    fits = fits and len({len(each) for each in arrays.values()}) == 1
    return (Columns.of(layout, arrays, texts, header["kinds"]), header["size"], header["sha256"]) if fits else None
