"""A laboratory's tables: files, data frames or arrays become named columns in SI units."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._compressed import decompressed
from imc_sim._errors import InputError, check_whole
from imc_sim._files import read_file
from imc_sim._quantities import number_of
from imc_sim.device.fit._column_checks import check_distinct, check_headings, check_names, check_values, statistics_rows
from imc_sim.device.fit._columns import NAMES, Column, channel_of, named_columns, parse_headings, shown, state_name
from imc_sim.device.fit._contents import binary_content, decoded, frame_of
from imc_sim.device.fit._text import COMMENT, EXAMPLE, Layout, at_line, find_layout

_SPREADSHEET_ERROR = re.compile(r"#(?:DIV/0!|N/A|VALUE!|REF!|NUM!|NAME\?|NULL!)")
#: instruments write 9.9E37 where a value overflows
_OVERFLOW = 1e30
#: units that columns without one are taken to be in, which is reported
_ASSUMED = {"time": "s", "width": "s", "voltage": "V", "v_read": "V", "current": "A", "temperature": "K"}
_VALUES = ("G", "R", "current")
#: conductance above which a value is none of a cell, such as a number in the footer of an instrument
MOST_S = 1.0
#: lines of a text that are parsed together
_ROWS = 2**15


@final
@dataclass(frozen=True)
class Table:
    """Measurements in rows, one a row.

    Attributes:
        columns: role -> values [rows] in SI units. Roles: state (LRS, HRS or numbers of levels, as text), target, G,
            time, temperature, cycle, cell, row, column, device, pulse, voltage, current, width, sweep, v_read. Cells
            and devices are numbered from 0, R is turned into G, and columns for each state into rows with a `state`.
        source: (name, SHA-256) of each file.
        dropped: reason -> number of values left out: overflow, NaN, not positive, unread.
        notes: what was found out about the files.
    """

    columns: dict[str, NDArray[Any]]
    source: tuple[tuple[str, str], ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __contains__(self, role: str) -> bool:
        return role in self.columns

    def __getitem__(self, role: str) -> NDArray[Any]:
        return self.columns[role]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def name(self) -> str:
        """Return the names of the files, for errors and the chip."""
        return shown([name for name, _ in self.source], 3).replace("'", "") or "data"

    def select(self, rows: NDArray[Any]) -> Table:
        """Return the table with some of its rows.

        Args:
            rows: a mask or indices.
        """
        return replace(self, columns={role: values[rows] for role, values in self.columns.items()})


def cell_numbers(table: Table) -> NDArray[np.int64]:
    """Return a number for every row that tells cells apart: columns `device`, `cell`, `row` and `column` together."""
    known = [table[role] for role in ("device", "cell", "row", "column") if role in table]
    number = np.zeros(len(table), dtype=np.int64)
    for column in known:
        each = np.unique(column, return_inverse=True)[1]
        number = np.unique(number * (int(each.max()) + 1) + each, return_inverse=True)[1]
    return number


@checked
def read_table(
    data: Any, columns: Mapping[str, str] | str | None = None, skip_lines: int = 0, levels: bool = False
) -> Table:
    """Read measurements from files, a data frame, or arrays.

    Separators, decimal commas, lines of an instrument above the headings and compression are recognised and reported.
    Headings name what a column is and its unit: `state`, `conductance (uS)`, `LRS [kohm]`, `time_s`.

    Args:
        data: a path or several (text, gz, xlsx, npy, npz, mat), a pandas DataFrame, or a mapping of arrays.
        columns: meaning of columns by heading, `{"R_on": "LRS ohm"}` or `"R_on=LRS ohm,…"`.
        skip_lines: lines to leave out at the beginning of each file.
        levels: whether each file holds one level; they are numbered by their medians.

    Returns:
        The measurements in SI units.

    Raises:
        InputError: a file cannot be read, or no column is understood.
    """
    check_whole(skip_lines, "read_table, skip_lines")
    chosen = named_columns(columns)
    if isinstance(data, str | Path):
        data = [data]
    if not isinstance(data, list | tuple):
        return _from_frame(frame_of(data), chosen, "data", (), ())
    tables = [_read_file(Path(path), chosen, skip_lines) for path in data]
    if levels:
        tables = _numbered(tables)
    return _joined(tables)


def _read_file(path: Path, chosen: dict[str, str], skip: int) -> Table:
    """Return the measurements of one file."""
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise InputError(str(path), "no such file", "a file of measurements", "Check the path.") from None
    except OSError as error:
        raise InputError(str(path), error.strerror, "a readable file", "Check the path and its rights.") from error
    source = ((path.name, hashlib.sha256(content).hexdigest()),)
    if content[:2] == b"\x1f\x8b":
        try:
            content = decompressed(io.BytesIO(content), "gz", str(path))
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(str(path), "a damaged gzip file", "a whole one", "Use an undamaged copy.") from error
    frame = binary_content(content, path)
    if frame is not None and not isinstance(frame, str):
        return _from_frame(frame, chosen, path.name, source, ())
    text = frame if isinstance(frame, str) else decoded(content, path)
    del content
    layout = find_layout(text, chosen, skip, path.name)
    frame, notes = _parsed(text, layout, path.name)
    try:
        return _from_frame(frame, chosen, path.name, source, (*layout.notes, *notes), layout.columns)
    except InputError as error:
        raise at_line(error, text, layout) from error


def _parsed(text: str, layout: Layout, where: str) -> tuple[Any, list[str]]:
    """Return the columns of a text as a data frame with numbers of columns as names, and which rows are left out."""
    import pandas as pd

    width: Any = range(layout.width + 1)
    if "#" in text:
        text = COMMENT.sub("", _SPREADSHEET_ERROR.sub("error", text))
    names: Any = {c.index: "category" for c in layout.columns if c.role in NAMES}
    blank = layout.separator == " "
    parts: list[Any] = []
    extra, out, labels = 0, 0, []
    try:
        with pd.read_csv(
            io.BytesIO(text.encode()), sep=r"\s+" if blank else layout.separator, decimal=layout.decimal, header=None,
            names=width, index_col=False, skiprows=layout.above, dtype=names, chunksize=_ROWS,
            skipinitialspace=True, low_memory=False, thousands=layout.thousands,
        ) as chunks:  # fmt: skip
            for part in chunks:
                chunk = _without_long_integers(part)
                extra += int(chunk[layout.width].notna().sum())
                check_headings(chunk, layout.columns, where)
                no_cells, found = statistics_rows(chunk, layout.columns)
                out, labels = out + int(no_cells.sum()), labels + found
                parts.append(_wanted(chunk[~no_cells] if out else chunk, layout))
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        step = "Give every line as many cells as there are headings."
        raise InputError(where, str(error).strip(), "a table", step) from error
    if extra:
        got = f"{extra} lines with more cells than the {layout.width} headings"
        step = "Name every column; with decimal commas, separate columns by semicolons or tabs."
        raise InputError(where, got, "a cell for each heading", step)
    joined: dict[int, Any] = {}
    for column in layout.columns:
        pieces = [part.pop(column.index) for part in parts]
        named = column.role in NAMES
        joined[column.index] = (
            pd.api.types.union_categoricals(pieces) if named else pd.concat(pieces, ignore_index=True)
        )
    notes = [f"left out: {number_of(out, 'row')} not of cells: {shown(list(dict.fromkeys(labels)), 5)}"] if out else []
    return pd.DataFrame(joined), notes


def _without_long_integers(chunk: Any) -> Any:
    """Return a chunk with integers that no column of numbers can hold as text."""
    for name in chunk.columns:
        if chunk[name].dtype == object:
            chunk[name] = chunk[name].map(lambda cell: str(cell) if isinstance(cell, int) else cell)
    return chunk


def _wanted(chunk: Any, layout: Layout) -> Any:
    """Return a copy of the columns that are used; text in columns of numbers has decimal points."""
    import pandas as pd

    kept = chunk[[column.index for column in layout.columns]].copy()
    for column in layout.columns if layout.decimal == "," else []:
        values = kept[column.index]
        if column.role not in NAMES and not pd.api.types.is_numeric_dtype(values):
            kept[column.index] = values.str.replace(",", ".", regex=False)
    return kept


def _from_frame(
    frame: Any, chosen: dict[str, str], where: str, source: tuple[tuple[str, str], ...], notes: tuple[str, ...],
    columns: list[Column] | None = None,
) -> Table:  # fmt: skip
    """Return the measurements in a data frame, whose columns have headings, or numbers where `columns` are given."""
    if columns is None:
        heads = [str(name) for name in frame.columns]
        columns = parse_headings(heads, chosen, where)
        frame = frame.set_axis(range(len(heads)), axis=1)
        if not columns:
            step = f'Name what they are: --columns "{heads[0] if heads else 1}=LRS uS,…"; "*=LRS uS" names all.'
            raise InputError(f"{where}, headings", shown(heads), f"columns with a unit: {EXAMPLE}", step)
    groups, shared = _groups(columns, where)
    check_distinct(frame, groups, where)
    dropped: dict[str, int] = {}
    found = list(notes)
    parts = []
    for number, group in enumerate(groups):
        part = {c.role: _values(frame[c.index], c, found) for c in (*shared, *group)}
        check_values(part, shared)
        state, at = next(((c.state, c.at) for c in group if c.state is not None or c.at is not None), (None, None))
        if at is not None:
            part[at[0]] = np.full(len(frame), at[1])
            if not part.keys() & {"cell", "device"}:
                part["device" if at[0] == "pulse" else "cell"] = _row_numbers(frame, part.get("state"))
            found.append(f"a row for each {'device' if 'device' in part else 'cell'}, a column for each {at[0]}")
        if state is not None:
            part["state"] = np.full(len(frame), state)
        elif at is None and len(groups) > 1:
            part["sweep" if any(c.role == "current" for c in group) else "device"] = np.full(len(frame), float(number))
        parts.append(_kept(part, dropped, where))
    return Table(_concatenated(parts), source, dropped, tuple(dict.fromkeys(found)))


def _row_numbers(frame: Any, state: NDArray[Any] | None) -> NDArray[np.float64]:
    """Return the number of each row, counted in each state where a column names states."""
    numbers = np.arange(len(frame), dtype=np.float64)
    for name in () if state is None else np.unique(state):
        numbers[state == name] = np.arange((state == name).sum())
    return numbers


def _groups(columns: list[Column], where: str) -> tuple[list[list[Column]], list[Column]]:
    """Return columns that repeat, by repetition (a state, a sweep, a device), and those that all of these share."""
    single = [column for column in columns if column.state is not None or column.at is not None]
    roles = [column.role for column in columns]
    if single:
        others = [column for column in columns if column not in single]
        kinds = {(c.state is None, None if c.at is None else c.at[0]) for c in single}
        states = [] if all(c.state is None for c in single) else ["state"]
        if len(kinds) > 1 or any(c.role in (*states, *_VALUES) for c in others):
            got = f"columns of values with and without a state, cycle or time: {shown([c.heading for c in columns])}"
            step = 'Leave one kind out: --columns "HEADING=skip,…".'
            raise InputError(f"{where}, headings", got, f"{EXAMPLE}", step)
        return [[column] for column in single], others
    count = max(map(roles.count, roles))
    several = [role for role in dict.fromkeys(roles) if roles.count(role) > 1]
    repeated = [role for role in several if roles.count(role) == count]
    if len(several) > len(repeated) or (repeated and not any(role in _VALUES for role in repeated)):
        heads = shown([c.heading for c in columns if c.role in several])
        got = f"several columns for {', '.join(sorted(several))}: {heads}"
        others = [next(c for c in reversed(columns) if c.role == role).heading for role in several]
        step = f'Leave out what no fit needs: --columns "{"=skip,".join(others)}=skip".'
        raise InputError(f"{where}, headings", got, "one for each, or as many of values", step)
    same = {role: [c for c in columns if c.role == role] for role in repeated}
    channels = sorted({channel_of(c.heading) for role in same for c in same[role]} - {""})
    if len(channels) > 1:
        step = f'Leave out the others: --columns "{same[next(iter(same))][-1].heading}=skip,…".'
        raise InputError(f"{where}, headings", f"columns of {' and '.join(channels)}", "one channel of each role", step)
    groups = [[same[role][k] for role in same] for k in range(count)] if repeated else [[]]
    return groups, [c for c in columns if c.role not in repeated]


def _values(raw: Any, column: Column, notes: list[str]) -> NDArray[Any]:
    """Return the values of a column in SI; NaN for text that is no number."""
    import pandas as pd

    if column.role == "state":
        return _states(raw.astype("category").cat.remove_unused_categories().cat, column.heading)
    if column.role in NAMES:
        check_names(raw, column)
        return pd.factorize(raw)[0].astype(np.float64)
    if not pd.api.types.is_numeric_dtype(raw):
        raw = _numbers(raw, column.heading)
    values = raw.to_numpy(np.float64)
    if column.unit is None:
        if column.role in ("G", "R", "target"):
            step = (
                f'Write the unit in it, or --columns "{column.heading}={column.role} UNIT"; to leave it out, "…=skip".'
            )
            raise InputError(f"heading {column.heading!r}", "no unit", f"columns with a unit: {EXAMPLE}", step)
        if column.role in _ASSUMED:
            notes.append(f"{column.heading!r} taken to be in {_ASSUMED[column.role]}")
        return values
    found = column.unit.to_si(values)
    found[values >= _OVERFLOW] = np.inf
    found[values <= -_OVERFLOW] = -np.inf
    return found


def _numbers(raw: Any, heading: str) -> Any:
    """Return text as numbers, NaN for other text, which may be half of the column at most."""
    import pandas as pd

    numbers: Any = pd.to_numeric(raw, errors="coerce")
    unread = numbers.isna() & raw.notna() & (raw.astype(str).str.strip() != "")
    if 2 * unread.sum() > raw.notna().sum():
        got = f"{unread.sum()} cells that are no numbers, such as {str(raw[unread].iloc[0])[:40]!r}"
        step = f'Write numbers; or leave the column out, --columns "{heading}=skip".'
        raise InputError(f"column {heading!r}", got, "numbers", step)
    return numbers


def _states(names: Any, heading: str) -> NDArray[Any]:
    """Return LRS, HRS or numbers of levels [rows] of a categorical column; empty text where a row names none."""
    known = {name: state_name(str(name).removesuffix(".0")) for name in names.categories}
    strange = [name for name, state in known.items() if state is None]
    if strange:
        step = "Name states so; a target conductance needs a unit in its heading."
        got = f"state {shown(strange, 3)}"
        raise InputError(f"column {heading!r}", got, "LRS, HRS (ON, OFF, SET, RESET), or level numbers from 0", step)
    return np.array([*known.values(), ""])[names.codes.to_numpy()]


def _kept(part: dict[str, NDArray[Any]], dropped: dict[str, int], where: str) -> dict[str, NDArray[Any]]:
    """Return rows whose values can be used, with R turned into G; count the others by reason."""
    if "R" in part:
        R = part.pop("R")
        with np.errstate(divide="ignore"):
            G = np.where(R > 0.0, 1.0 / R, np.where(np.isnan(R), np.nan, -1.0))
        G[np.isinf(R)] = np.inf
        if "G" in part and not np.nanmedian(np.abs(part["G"] * R - 1.0)) < 0.05:
            got = "2 columns of values, G and R, that disagree"
            raise InputError(f"{where}, headings", got, "one of them", "Leave the other out, or correct its unit.")
        part.setdefault("G", G)
    numbers = {role: values for role, values in part.items() if values.dtype.kind == "f"}
    bad = {
        "overflow": np.logical_or.reduce([np.isinf(v) for v in numbers.values()]),
        "NaN or unread": np.logical_or.reduce([np.isnan(v) for v in numbers.values()]),
        "not positive": part["G"] < 0.0 if "G" in part else np.False_,
        "above 1 S": part["G"] > MOST_S if "G" in part else np.False_,
        "no state": part["state"] == "" if "state" in part else np.False_,
    }
    keep = np.ones(len(next(iter(part.values()))), bool)
    for reason, rows in bad.items():
        count = int((rows & keep).sum())
        keep &= ~rows
        if count:
            dropped[reason] = dropped.get(reason, 0) + count
    return {role: values[keep] for role, values in part.items()} if dropped else part


def _concatenated(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return parts[0] if len(parts) == 1 else {role: np.concatenate([p[role] for p in parts]) for role in parts[0]}


def _numbered(tables: list[Table]) -> list[Table]:
    """Return tables of one level each with numbers of levels, in the order of their medians."""
    for table in tables:
        if "G" not in table or "state" in table or not len(table):
            got = f"columns {', '.join(table.columns) or 'none'} with {len(table)} values"
            step = 'Leave out the others: --columns "HEADING=skip,…"; or name what all are: --columns "*=G uS".'
            raise InputError(f"--levels, {table.name}", got, "one column of conductances or resistances", step)
    medians = [float(np.median(table["G"])) for table in tables]
    return [
        replace(table, columns=table.columns | {"state": np.full(len(table), str(sorted(medians).index(median)))})
        for table, median in zip(tables, medians, strict=True)
    ]


def _joined(tables: list[Table]) -> Table:
    """Return the rows of all tables."""
    roles = [set(table.columns) for table in tables]
    if any(r != roles[0] for r in roles):
        got = " and ".join(f"{table.name}: {', '.join(sorted(table.columns))}" for table in tables[:2])
        raise InputError("the files", got, "the same columns in each", "Read them one after the other.")
    dropped: dict[str, int] = {}
    for table in tables:
        for reason, count in table.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    columns = _concatenated([table.columns for table in tables])
    return Table(columns, tuple(source for table in tables for source in table.source), dropped, notes)
