"""Text files of instruments and spreadsheets: their separator, decimal sign, headings and first line of data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from imc_sim._errors import InputError
from imc_sim.device.fit._columns import Column, names_numbers, parse_headings, parse_unit, shown

#: lines that are searched for headings, and lines of data that decide on the separator
_HEAD, _BULK = 400, 60
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?")
_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
#: numbers with both signs, of which one groups thousands
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:,\d{3})+\.\d+)")
#: a line that begins with #, except for a number such as #12, and the end of a line after a # between blanks
COMMENT = re.compile(r"^[ \t]*#(?!\d).*$|[ \t]#[ \t].*$", re.MULTILINE)
_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "blanks"}
EXAMPLE = "`state,conductance (uS)` with LRS and HRS in the first column, or `LRS (uS),HRS (uS)`"


@dataclass(frozen=True)
class Layout:
    """How a text is read: separator, decimal sign, groups of thousands, lines above the data, cells, and columns."""

    separator: str
    decimal: str
    thousands: str | None
    above: int
    width: int
    columns: list[Column]
    notes: tuple[str, ...]


class _UnitError(InputError):
    """The error of a heading, in a table of `width` columns; a separator that finds fewer of them is wrong."""

    width = 0


def find_layout(text: str, chosen: Mapping[str, str], skip: int, where: str) -> Layout:
    """Return the layout of a table in a text.

    Lines above the headings are those of an instrument. A line of units may follow the headings.

    Args:
        text: content of the file.
        chosen: meanings of columns by heading or number, as `named_columns` returns them.
        skip: lines to leave out at the beginning.
        where: name of the file, for errors.

    Raises:
        InputError: no headings are found, or lines have more cells than there are headings.
    """
    lines = text[: 2**20].splitlines()[:_HEAD]
    lines = [line if i >= skip else "" for i, line in enumerate(lines)]
    data = [line for line in lines if COMMENT.sub("", line).strip()][-_BULK:]
    if len(data) < 2:
        raise InputError(where, "no measurement", f"headings, {EXAMPLE}, and lines of numbers", "Add the values.")
    layouts = [layout for separator in _SEPARATORS if (layout := _layout(lines, data, separator, chosen, where))]
    fits = [layout for layout in layouts if isinstance(layout, Layout)]
    for error in (found for found in layouts if isinstance(found, _UnitError)):
        if all(error.width > layout.width for layout in fits):
            raise error
    if fits:
        return max(fits, key=lambda layout: _share_of_numbers(lines[layout.above :][-_BULK:], layout))
    if layouts:
        errors = [error for error in layouts if isinstance(error, InputError)]
        raise max(errors, key=lambda error: error.width if isinstance(error, _UnitError) else 0)
    first = next(line for line in lines if line.strip())
    if not any(_is_number(cell) for s in _SEPARATORS for line in data for cell in cells_of(COMMENT.sub("", line), s)):
        step = "Write the unit in the heading, and numbers without letters."
        raise InputError(where, f"no numbers, such as {data[-1].strip()[:60]!r}", "numbers such as 6.1e-05", step)
    step = 'Name columns and units in a first line, or by --columns "1=LRS uS,2=HRS uS"; "*=LRS uS" names all.'
    raise InputError(f"{where}, headings", shown(cells_of(first, ",")), f"columns with a unit: {EXAMPLE}", step)


def at_line(error: InputError, text: str, layout: Layout) -> InputError:
    """Return the error of a cell with its line, which is the first one of the column with that content."""
    cell = next(iter(re.findall(r"'([^']*)'", str(error.got))), None)
    index = next((c.index for c in layout.columns if error.where.endswith(f"column {c.heading!r}")), None)
    if cell is None or index is None:
        return error
    for number, line in enumerate(text.splitlines()[layout.above :], layout.above + 1):
        if cells_of(line, layout.separator)[index : index + 1] == [cell]:
            return InputError(f"{error.where}, line {number}", error.got, error.allowed, error.next_step)
    return error


def cells_of(line: str, separator: str) -> list[str]:
    """Return the cells of a line; at blanks, a unit in brackets belongs to the name before it."""
    line = line.lstrip().removeprefix("#").strip(" \r\n" if separator == "\t" else None)
    cells = re.split(r"\s+(?![(\[])", line) if separator == " " else line.split(separator)
    return [cell.strip().strip('"').strip() for cell in cells]


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None or _GROUPED.fullmatch(cell) is not None


def _share_of_numbers(data: list[str], layout: Layout) -> tuple[float, int]:
    """Return the share of cells that are numbers in columns that are read, and the number of these columns."""
    rows = [cells_of(line, layout.separator) for line in data]
    cells = [row[c.index] for row in rows for c in layout.columns if c.index < len(row)]
    return sum(map(_is_number, cells)) / max(len(cells), 1), len(layout.columns)


def _layout(
    lines: list[str], data: list[str], separator: str, chosen: Mapping[str, str], where: str
) -> Layout | InputError | None:
    """Return the layout with a separator; the error that its headings give; or None where there are no headings."""
    rows = [_filled(cells_of(COMMENT.sub("", line), separator)) for line in data]
    width = Counter(map(len, rows)).most_common(1)[0][0]
    numeric = [i for i in range(width) if sum(_is_number(r[i]) for r in rows if i < len(r)) * 2 > len(rows) // 2]
    if not numeric:
        return None
    error = None
    by_number = bool(chosen) and all(map(names_numbers, chosen))
    for number, line in enumerate(lines):
        heads = _heads(line, separator, width)
        words = heads if chosen else [heads[i] for i in numeric if i < len(heads)]
        if not line.strip() or any(map(_is_number, words)) or (by_number and len(heads) != width):
            continue
        heads, above, units = _with_units(heads, lines, number, separator)
        try:
            columns = parse_headings(heads, chosen, where)
        except InputError as found:
            if error is None and len(heads) >= width:
                error = _UnitError(found.where, found.got, found.allowed, found.next_step)
                error.width = width
            continue
        columns, above, units = _second_line(columns, lines, above, separator, chosen, where) or (
            columns,
            above,
            units,
        )
        if columns and len(heads) < width:
            error = error or _too_many(number, len(heads), width, separator, rows, where)
        elif columns:
            return _finished(separator, above, len(heads), columns, rows, number, units)
    if by_number and error is None:
        return _without_headings(lines, rows, width, numeric[0], separator, chosen, where)
    return error


def _without_headings(
    lines: list[str], rows: list[list[str]], width: int, number: int, separator: str, chosen: Mapping[str, str],
    where: str,
) -> Layout:  # fmt: skip
    """Return the layout of columns by number, from the first line with a number in a column of numbers on."""
    columns = parse_headings([str(i + 1) for i in range(width)], chosen, where)
    start = next(i for i, line in enumerate(lines) if any(map(_is_number, cells_of(line, separator)[number:][:1])))
    return _finished(separator, start, width, columns, rows, 0, ("no headings: columns by number",))


def _heads(line: str, separator: str, width: int) -> list[str]:
    """Return the headings in a line; those of numpy.savetxt may be separated in another way than its numbers."""
    heads = cells_of(line, separator)
    if line.lstrip().startswith("#"):
        heads = next((h for s in _SEPARATORS if len(h := cells_of(line, s)) == width), heads)
    return _filled(heads)


def _filled(cells: list[str]) -> list[str]:
    """Return cells without empty ones at the end."""
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def _with_units(
    heads: list[str], lines: list[str], number: int, separator: str
) -> tuple[list[str], int, tuple[str, ...]]:
    """Return headings, with the units that the next line may hold, and the number of lines above the data."""
    following = lines[number + 1] if number + 1 < len(lines) else ""
    units = [cell.strip("()[] ") for cell in cells_of(following, separator)]
    known = [parse_unit(unit) is not None for unit in units if unit]
    if not any(known) or sum(known) * 2 < len(known) or any(map(_is_number, units)):
        return heads, number + 1, ()
    joined = [f"{head} ({unit})" if unit else head for head, unit in zip(heads, units, strict=False)]
    return joined + heads[len(units) :], number + 2, ("units from the line below the headings",)


def _second_line(
    columns: list[Column], lines: list[str], above: int, separator: str, chosen: Mapping[str, str],
    where: str,
) -> tuple[list[Column], int, tuple[str, ...]] | None:  # fmt: skip
    """Return what headings in two lines name, groups above names; None where a second line names no more columns."""
    below = cells_of(lines[above], separator) if above < len(lines) else []
    if chosen or len(below) < 2 or any(map(_is_number, below)):
        return None
    try:
        named = {column.index: column for column in parse_headings(below, {}, where)}
    except InputError:
        return None
    both = {column.index: column for column in columns} | named
    if len(both) <= len(columns):
        return None
    return [both[index] for index in sorted(both)], above + 1, ("headings in two lines",)


def _finished(
    separator: str,
    above: int,
    width: int,
    columns: list[Column],
    rows: list[list[str]],
    number: int,
    notes: tuple[str, ...],
) -> Layout:
    """Return the layout, with its decimal sign and what was found out."""
    cells = [row[c.index] for row in rows for c in columns if c.index < len(row)]
    grouped = [c for c in cells if _GROUPED.fullmatch(c)]
    comma = separator != "," and any(map(_COMMA.fullmatch, cells)) and not any("." in c for c in cells if _is_number(c))
    comma = grouped[0].rfind(",") > grouped[0].rfind(".") if grouped else comma
    found = [f"separated by {_SEPARATORS[separator]}"] if separator != "," else []
    found += ["decimal commas"] if comma else []
    found += [f"thousands grouped as in {grouped[0]}"] if grouped else []
    found += [f"{number} lines above the headings left out"] if number else []
    decimal, group = (",", ".") if comma else (".", ",")
    return Layout(separator, decimal, group if grouped else None, above, width, columns, (*found, *notes))


def _too_many(number: int, heads: int, width: int, separator: str, rows: list[list[str]], where: str) -> InputError:
    """Return the error of lines with more cells than headings."""
    row = next(row for row in rows if len(row) == width)
    got = f"{width} cells ({shown(row)}) below {heads} headings in line {number + 1}"
    step = "Name every column; with decimal commas, separate columns by semicolons or tabs."
    return InputError(where, got, f"a cell for each heading, separated by {_SEPARATORS[separator]}", step)
