"""Rows of a file as columns, with a row parsed from its line where it is needed.

Columns of an index stay in its file and are read each time that they are needed: of 10^6 rows, ids take 64 MB, other
columns 4 or 8 MB each.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from imc_sim.runs._stored_column import Array, Read, StoredColumn

Row = dict[str, Any]

#: whole number of a row that has none
MISSING = -(2**63)
#: rows that are gathered before they become part of the arrays
_BLOCK = 2**15


@final
@dataclass(frozen=True)
class Layout:
    """Columns that are held of every row.

    Attributes:
        values: returns the values of a row in the order `ids`, `texts`, `ints`, `floats`; None where it has none.
        ids: texts that differ from row to row; the first is the id of the row.
        texts: texts that repeat, stored as numbers; among them `state` and `run`.
        ints: whole numbers within 64 bits.
        floats: numbers; among them `elapsed`.
        identity: columns that say what a row is the result of.
        result: columns in which finished rows of one identity must agree, apart from their ids.
    """

    values: Callable[[Row], Sequence[Any]]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    ints: tuple[str, ...]
    floats: tuple[str, ...]
    identity: tuple[str, ...]
    result: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns."""
        return (*self.ids, *self.texts, *self.ints, *self.floats)


@final
@dataclass
class Columns:
    """Columns of the lines of a file, in their order; lines are added at the end.

    Attributes:
        layout: the columns.
        texts: distinct texts of each column of texts, by number.
        kinds: names of the types of the numbers in each column of floats.
    """

    layout: Layout
    texts: dict[str, dict[str | None, int]] = field(default_factory=dict)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    _parts: dict[str, list[Array | StoredColumn]] = field(default_factory=dict)
    _pending: list[Sequence[Any]] = field(default_factory=list)
    _starts: array[int] = field(default_factory=lambda: array("q"))
    _lengths: array[int] = field(default_factory=lambda: array("i"))
    _count: int = 0

    @classmethod
    def of(
        cls, layout: Layout, arrays: Mapping[str, Array | StoredColumn], texts: Mapping[str, Sequence[str | None]],
        kinds: Mapping[str, Sequence[str]],
    ) -> Columns:  # fmt: skip
        """Return columns from their arrays, which `array` returned."""
        numbers = {name: {text: n for n, text in enumerate(each)} for name, each in texts.items()}
        parts: dict[str, list[Array | StoredColumn]] = {name: [each] for name, each in arrays.items()}
        return cls(layout, numbers, {k: set(v) for k, v in kinds.items()}, parts, _count=len(arrays["start"]))

    def __len__(self) -> int:
        return self._count

    def append(self, row: Row, start: int, length: int) -> None:
        """Add a row.

        Args:
            row: the row.
            start: first byte of its line.
            length: bytes of its line, without the end of line.
        """
        self._pending.append(self.layout.values(row))
        self._starts.append(start)
        self._lengths.append(length)
        self._count += 1
        if len(self._pending) >= _BLOCK:
            self._gather()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns, `start` and `length` of the lines among them."""
        return (*self.layout.names, "start", "length")

    def array(self, name: str) -> Array:
        """Return a column.

        Args:
            name: of the column.
        """
        self._gather()
        parts = self._parts[name]
        arrays = [part.whole() if isinstance(part, StoredColumn) else part for part in parts]
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        if not any(isinstance(part, StoredColumn) for part in parts):
            parts[:] = [whole]
        return whole

    def parts(self, name: str) -> Iterator[Array]:
        """Yield a column in its order, a part at a time.

        Args:
            name: of the column.
        """
        self._gather()
        for part in self._parts[name]:
            yield from part.parts() if isinstance(part, StoredColumn) else [part]

    def item(self, name: str, number: int) -> Any:
        """Return one value of a column.

        Args:
            name: of the column.
            number: of the line.
        """
        self._gather()
        for part in self._parts[name]:
            if number < len(part):
                return part.item(number)
            number -= len(part)
        raise IndexError(number)

    def _gather(self) -> None:
        """Add the rows that were appended since to the arrays."""
        if not self._pending and self._parts:
            return
        layout, columns = self.layout, zip(*self._pending, strict=True)
        found = dict(zip(layout.names, columns, strict=True)) if self._pending else dict.fromkeys(layout.names, ())
        for name in layout.ids:
            self._add(name, np.array([text.encode() for text in found[name]], dtype=None if self._pending else "S1"))
        for name in layout.texts:
            numbers = self.texts.setdefault(name, {})
            self._add(name, np.array([numbers.setdefault(text, len(numbers)) for text in found[name]], np.int32))
        for name in layout.ints:
            self._add(name, np.array([MISSING if n is None else n for n in found[name]], np.int64))
        for name in layout.floats:
            self.kinds.setdefault(name, set()).update(type(n).__name__ for n in found[name])
            self._add(name, np.array(found[name], np.float64))
        self._add("start", np.array(self._starts, np.int64))
        self._add("length", np.array(self._lengths, np.int32))
        self._pending, self._starts, self._lengths = [], array("q"), array("i")

    def _add(self, name: str, part: Array) -> None:
        self._parts.setdefault(name, []).append(part)


@final
class RowTable(Mapping[str, Row]):
    """Rows by id, in the order of their file. A row is parsed from its line each time that it is looked up.

    Args:
        columns: of the lines.
        read: reads the bytes of a line.
        parse: returns the row of a line; raises ResultsError if the line has changed.
        positions: numbers of the lines whose rows are part of the table, in order; None: those that count.
        key: column of ids by which rows are looked up; None: the id of the row.
    """

    def __init__(
        self, columns: Columns, read: Read, parse: Callable[[bytes, str], Row], positions: Array | None = None,
        key: str | None = None,
    ) -> None:  # fmt: skip
        self.columns, self.read, self._parse = columns, read, parse
        self.key = key or columns.layout.ids[0]
        self.positions = counting(columns) if positions is None else positions
        self._order: Array | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[str]:
        return (text.decode() for text in self.column(self.key).tolist())

    def __getitem__(self, key: str) -> Row:
        number = self.number(key)
        if number is None:
            raise KeyError(key)
        return self.at(number)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.number(key) is not None

    def values(self) -> ValuesView[Row]:
        """Return a view of the rows, parsed one after the other."""
        return _Values(self)

    def items(self) -> ItemsView[str, Row]:
        """Return a view of keys and rows, parsed one after the other."""
        return _Items(self)

    def number(self, key: str) -> int | None:
        """Return the number of the row with a key, or None.

        Args:
            key: of a row.
        """
        if self._order is None:
            self._sorted = self.column(self.key)
            self._order = np.argsort(self._sorted, kind="stable")
        text = key.encode("utf-8", "replace")
        if not len(self) or len(text) > self._sorted.dtype.itemsize:
            return None
        found = np.searchsorted(self._sorted, np.array(text, self._sorted.dtype), sorter=self._order)
        number = int(self._order[min(int(found), len(self) - 1)])
        return number if self._sorted[number] == text else None

    def at(self, number: int) -> Row:
        """Return the row of this number in the order of the table.

        Args:
            number: of the row.
        """
        row_id = self.columns.item(self.columns.layout.ids[0], int(self.positions[number]))
        return self._parse(self.line(number), row_id.decode())

    def line(self, number: int) -> bytes:
        """Return the line of the row of this number, without its end.

        Args:
            number: of the row.
        """
        position = int(self.positions[number])
        return self.read(self.columns.item("start", position), self.columns.item("length", position))

    def column(self, name: str) -> Array:
        """Return a column; texts are numbers in `texts`.

        Args:
            name: of the column.
        """
        whole = self.columns.array(name)
        return whole if len(self.positions) == len(whole) else whole[self.positions]

    def texts(self, name: str) -> list[str | None]:
        """Return the distinct texts of a column, by number.

        Args:
            name: of the column.
        """
        return list(self.columns.texts.get(name, ()))

    def has(self, name: str, text: str | None) -> Array:
        """Return for every row whether a column has this text.

        Args:
            name: of a column of texts.
            text: the text; None: no text.
        """
        return self.column(name) == self.columns.texts.get(name, {}).get(text, -1)

    def where(self, name: str, text: str | None) -> Iterator[Row]:
        """Yield the rows of which a column has this text.

        Args:
            name: of a column of texts.
            text: the text; None: no text.
        """
        return map(self.at, np.flatnonzero(self.has(name, text)).tolist())

    def select(self, mask: Array, key: str | None = None) -> RowTable:
        """Return the rows for which `mask` is true, looked up by another column of ids if `key` names one.

        Args:
            mask: one truth value per row.
            key: name of a column of ids.
        """
        if key in (None, self.key) and mask.all():
            return self
        return RowTable(self.columns, self.read, self._parse, self.positions[mask], key or self.key)


@final
class _Values(ValuesView[Row]):
    _mapping: RowTable

    def __iter__(self) -> Iterator[Row]:
        return map(self._mapping.at, range(len(self._mapping)))


@final
class _Items(ItemsView[str, Row]):
    _mapping: RowTable

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        return zip(self._mapping, self._mapping.values(), strict=True)


def counting(columns: Columns, accepted: Array | None = None) -> Array:
    """Return the positions of the lines that count, in order: of each id the first finished row, else the last one.

    Args:
        columns: of all lines.
        accepted: positions of the lines to choose from; None: all.
    """
    positions = np.arange(len(columns)) if accepted is None else accepted
    if accepted is None and _all_differ(columns.parts(columns.layout.ids[0])):
        return positions
    ids = columns.array(columns.layout.ids[0])[positions]
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])) if len(ids) else np.arange(0)
    if len(first) == len(ids):
        return positions
    group = np.zeros(len(ids), np.int64)
    group[first[1:]] = 1
    group = group.cumsum()
    chosen = np.append(first[1:], len(ids)) - 1
    done = np.flatnonzero((columns.array("state")[positions] == columns.texts["state"].get("done", -1))[order])
    finished, earliest = np.unique(group[done], return_index=True)
    chosen[finished] = done[earliest]
    return np.sort(positions[order[chosen]])


def _all_differ(parts: Iterable[Array]) -> bool:
    """Tell whether it is certain, from 16 of their characters, that all ids differ; a sort of all takes more memory."""
    found = [np.zeros(0, np.uint64)]
    for ids in parts:
        if ids.dtype.itemsize % 8 or ids.dtype.itemsize < 16:
            return False
        words = np.ascontiguousarray(ids).view(np.uint64).reshape(len(ids), ids.dtype.itemsize // 8)
        found.append((words[:, 0] * np.uint64(0x9E3779B97F4A7C15)) ^ words[:, 1])
    mixed = np.sort(np.concatenate(found))
    return bool((mixed[1:] != mixed[:-1]).all())


def contradictions(columns: Columns) -> list[Array]:
    """Return groups of positions of finished rows that differ in the result of one identity."""
    layout = columns.layout
    done = np.flatnonzero(columns.array("state") == columns.texts.get("state", {}).get("done", -1))
    order = done[np.lexsort([columns.array(name)[done] for name in reversed(layout.identity)])] if len(done) else done
    repeated = np.zeros(len(order) + 1, bool)
    repeated[1:-1] = ~_differs(columns, layout.identity, order)
    some = np.flatnonzero(repeated[:-1] | repeated[1:])
    order, starts = order[some], ~repeated[some]
    differs = np.zeros(len(order), bool)
    differs[1:] = _differs(columns, (layout.ids[0], *layout.result), order)
    wrong = np.flatnonzero(differs & ~starts)
    if not len(wrong):
        return []
    bounds = np.append(np.flatnonzero(starts), len(order))
    groups = np.unique(np.searchsorted(bounds, wrong, side="right") - 1)
    found = [np.sort(order[bounds[g] : bounds[g + 1]]) for g in groups.tolist()]
    return sorted(found, key=lambda group: int(group[0]))


def _differs(columns: Columns, names: Sequence[str], order: Array) -> Array:
    """Return whether each line of an order, from the second on, differs in one of some columns from that before it."""
    found = np.zeros(max(0, len(order) - 1), bool)
    for name in names if len(order) > 1 else ():
        each = columns.array(name)[order]
        found |= each[1:] != each[:-1]
    return found
