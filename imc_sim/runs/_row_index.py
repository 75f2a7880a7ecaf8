"""An index next to a file of rows: columns of the rows that were checked, so that only later lines are parsed.

The index is a cache and never the record. It holds the SHA-256 of the bytes that it covers, of the rules by which they
were checked, and of itself; if one of them does not fit, the index is ignored and the file is read and checked. Its
columns come first, then a description of them, then the length and hash of the description. Columns are read when they
are needed, and checked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from imc_sim._errors import InputError
from imc_sim._files import open_regular, write_file
from imc_sim.runs._row_table import Columns, Layout
from imc_sim.runs._stored_column import Array, FileReader, StoredColumn

#: raise it whenever rows are checked or columns are stored in another way
_VERSION = 2
#: bytes at the end of an index: length and hash of its description
_LENGTH_BYTES, _SUM_BYTES = 8, 32
#: bytes that are hashed at a time
_BLOCK = 2**20
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
            found = _opened(index, str(path), layout, rules)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if found is None:
        return None
    columns, size, expected = found
    sha256 = _hashed(file, size)
    if sha256.hexdigest() != expected:
        file.seek(0)
        return None
    return Index(columns, size, sha256)


def _hashed(file: IO[bytes], size: int) -> Any:
    """Return the hash of the next `size` bytes of a file, or of those that are left."""
    sha256 = hashlib.sha256()
    while size and (block := file.read(min(size, _BLOCK))):
        sha256.update(block)
        size -= len(block)
    return sha256


def save_index(rows: Path, columns: Columns, size: int, sha256: str, rules: str) -> None:
    """Write the index of a file of rows; without the right to write, or space, there is none.

    Args:
        rows: path of the file.
        columns: of the lines of its first `size` bytes, all of them accepted.
        size: number of bytes.
        sha256: hash of these bytes.
        rules: digest of the rules that rows must follow.
    """

    def write(file: IO[bytes]) -> None:
        """Write the columns one by one, then their description."""
        parts = []
        for name in columns.names:
            part = _short(columns.array(name))
            data = np.ascontiguousarray(part).view(np.uint8).data
            file.write(data)
            parts.append([name, part.dtype.str, len(part), hashlib.sha256(data).hexdigest()])
        about = {
            "version": _VERSION, "rules": rules, "size": size, "sha256": sha256, "rows": len(columns), "columns": parts,
            "texts": {name: list(each) for name, each in columns.texts.items()},
            "kinds": {name: sorted(each) for name, each in columns.kinds.items()},
        }  # fmt: skip
        text = json.dumps(about).encode()
        file.write(text + len(text).to_bytes(_LENGTH_BYTES, "big") + hashlib.sha256(text).digest())

    with contextlib.suppress(OSError, InputError):
        write_file(place_of_index(rows), write)


def is_due(size: int, covered: int) -> bool:
    """Tell whether a file of `size` bytes, of which an index covers some, should get a new index."""
    return size - covered >= max(_WORTH, size // _SHARE)


def _short(column: Array) -> Array:
    """Return the first value of a column in which all are equal to the bit, else the column."""
    words = column.view(f"V{column.dtype.itemsize}")
    return column[:1] if len(column) and (words == words[0]).all() else column


def _opened(index: IO[bytes], where: str, layout: Layout, rules: str) -> tuple[Columns, int, str] | None:
    """Return columns, size and hash of an index; None if it is damaged, or of another version or study."""
    index.seek(-_LENGTH_BYTES - _SUM_BYTES, os.SEEK_END)
    end, tail = index.tell(), index.read()
    start = end - int.from_bytes(tail[:_LENGTH_BYTES], "big")
    index.seek(start)
    text = index.read(end - start)
    if hashlib.sha256(text).digest() != tail[_LENGTH_BYTES:]:
        return None
    about = json.loads(text)
    if (about["version"], about["rules"]) != (_VERSION, rules):
        return None
    index.seek(0)
    read, place, rows, arrays = FileReader(index), 0, about["rows"], dict[str, Array | StoredColumn]()
    for name, kind, count, sha256 in about["columns"]:
        column = StoredColumn(read, place, np.dtype(kind), count, sha256, where)
        if _hashed(index, count * column.dtype.itemsize).hexdigest() != sha256:
            return None
        arrays[name] = column if count == rows else np.broadcast_to(column.whole(), rows)
        place += count * column.dtype.itemsize
    fits = (*layout.names, "start", "length") == tuple(arrays) and set(about["texts"]) == set(layout.texts)
    if not fits or place != start or rows > about["size"]:
        return None
    return Columns.of(layout, arrays, about["texts"], about["kinds"]), about["size"], about["sha256"]
