"""Comparison tables of published and reproduced accuracies, for pages, terminals and Markdown files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas import DataFrame

from imc_sim._files import regular, without_mark, write_file
from imc_sim.plotting import compares, comparison_data, distinct, numbers, save_table
from imc_sim.report._answer import joined
from imc_sim.report._html import Cell

if TYPE_CHECKING:
    from imc_sim.study import Results

#: columns of text, in which an empty cell of a file is an empty text
_TEXT = ("setting", "digital_over", "chip", "chip_task", "model", "trained", "note")
_NOTHING = "-"

Row = dict[Any, Any]


class _Column(NamedTuple):
    head: str
    cell: Callable[[Row], Cell]


def cells(data: DataFrame) -> tuple[list[str], list[list[Cell]]]:
    """Return heads and rows of a comparison table without columns that carry no information.

    Settings of a reduced task that all rows share are in the caption, others in a column.

    Args:
        data: table of `imc_sim.plotting.comparison_data`.
    """
    columns = _columns(data)
    rows = [[column.cell(row) for column in columns] for row in data.to_dict("records")]
    return [column.head for column in columns], rows


def _columns(data: DataFrame) -> list[_Column]:
    """Return the columns that these rows need."""
    chips = distinct(data, "chip")
    apart = bool((numbers(data, "same_task") == numbers(data, "same_task")).any())
    noted, common, sampled = any(data["note"]), _common(data), bool((numbers(data, "classes") > 0).any())
    differ = any(len(_reduced(row)) > len(common) for row in data.to_dict("records"))
    own = _Column("reduced task", lambda row: ", ".join(p for p in _reduced(row) if p not in common) or _NOTHING)
    return [
        _Column("setting", lambda row: str(row["setting"])),
        *([_value("published")] if (numbers(data, "published") >= 0).any() else []),
        _value("ours, digital", "digital"),
        _Column("95 % interval", lambda row: _interval(row, "digital")),
        *([_Column("95 % interval, new classes", lambda row: _interval(row, "classes"))] if sampled else []),
        *([_Column("ours, digital, reduced task", _same)] if apart else []),
        _value(f"ours on {chips[0]}" if len(chips) == 1 else "ours on a chip", "on_chip"),
        _Column("95 % interval over chips", lambda row: _interval(row, "on_chip")),
        *([] if len(chips) == 1 else [_Column("chip", lambda row: str(row["chip"]))]),
        _Column("chips", lambda row: (str(row["chips"]), row["chips"])),
        _Column("trained", lambda row: str(row["trained"]) or _NOTHING),
        *([own] if differ else []),
        *([_Column("note", lambda row: str(row["note"]))] if noted else []),
    ]


def _value(head: str, name: str | None = None) -> _Column:
    return _Column(head, lambda row: _number(row[name or head]))


def _number(value: float) -> Cell:
    return (f"{value:.2f}", value) if math.isfinite(value) else (_NOTHING, math.nan)


def _interval(row: Row, name: str) -> Cell:
    """Return an interval as text, sorted by its lower end."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return (f"{low:.2f} to {high:.2f}", low) if math.isfinite(low) else (_NOTHING, math.nan)


def _same(row: Row) -> Cell:
    value, ends = row["same_task"], _interval(row, "same_task")[0]
    if not math.isfinite(value):
        return _NOTHING, math.nan
    return (f"{value:.2f}" if ends == _NOTHING else f"{value:.2f} ({ends})"), value


def caption(data: DataFrame) -> str:
    """Describe the intervals of a comparison table and the reduced task that all its rows share.

    Args:
        data: table of `imc_sim.plotting.comparison_data`.

    Returns:
        The sentences.
    """
    over = [text for text in distinct(data, "digital_over") if text]
    own = " (on the reduced task, over those of that task)" if any(data["chip_task"]) else ""
    digital = f"intervals of the digital network over {joined(over, 'or')}{own}, " if over else "intervals "
    text = f"Accuracies in %; {digital}on chips of the mean over chips (Student t, Wilson's if all are equal)."
    text += _classes(data) + (" Intervals of the digital network are Wilson's." if over else "")
    common = _common(data)
    return f"{text} Reduced task: {', '.join(common)}." if common else text


def _classes(data: DataFrame) -> str:
    """Describe the two intervals of few-shot tasks; empty where the one for new classes is not known."""
    counts = [f"{int(count)}" for count in distinct(data, "classes") if count > 0]
    if not counts:
        return ""
    text = " The interval over episodes is for the same classes; that for new classes counts"
    return f"{text} the {joined(counts, 'or')} classes as a sample as well."


def _common(data: DataFrame) -> list[str]:
    """Return the settings of the reduced task that all rows share."""
    reduced = [_reduced(row) for row in data.to_dict("records")]
    return [part for part in (reduced or [[]])[0] if all(part in own for own in reduced)]


def _reduced(row: Row) -> list[str]:
    return [part for part in str(row["chip_task"]).split(", ") if part]


def against_published(data: DataFrame, tolerance: float = 1.0) -> str:
    """State how many settings reach their published accuracy digitally.

    Args:
        data: table of `imc_sim.plotting.comparison_data`.
        tolerance: percentage points below the published accuracy that still count.

    Returns:
        One sentence; empty if no accuracy was published.
    """
    gaps = dict(zip(data["setting"], numbers(data, "digital") - numbers(data, "published"), strict=True))
    known = {name: gap for name, gap in gaps.items() if math.isfinite(gap)}
    if not known:
        return ""
    short = [f"{name} ({gap:+.1f})" for name, gap in known.items() if gap < -tolerance]
    reached, count = len(known) - len(short), len(known)
    unit = "point" if tolerance == 1 else "points"
    head = f"Digitally, {reached} of {count} settings reach the published accuracy or come within {tolerance:g} {unit}"
    return f"{head}; short of it: {', '.join(short)}." if short else f"{head} of it."


def markdown(data: DataFrame) -> str:
    """Return the table and its caption as Markdown; equal tables give equal text.

    Args:
        data: table of `imc_sim.plotting.comparison_data`.
    """
    heads, rows = cells(data)
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    right = ["---:" if rows and isinstance(rows[0][k], tuple) else "---" for k in range(len(heads))]
    return "\n".join([*map(table_line, [heads, right, *texts]), "", caption(data), ""])


def table_line(parts: list[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(map(plain_text, parts)) + " |"


def plain_text(text: str) -> str:
    """Escape text for a cell of a Markdown table, on one line."""
    return re.sub(r"([\\|<*`$])", r"\\\1", " ".join(text.splitlines()))


def write_comparison(results: Results) -> list[Path]:
    """Write comparison.csv and comparison.md into the results folder, if there is something to compare."""
    if not compares(results):
        return []
    data, text = comparison_data(results), results.folder / "comparison.md"
    write_file(text, markdown(data))
    return [save_table(data, text.with_suffix("")), text]


def read_comparison(path: Path) -> DataFrame:
    """Read a comparison.csv.

    Args:
        path: path of the file.

    Returns:
        A table like that of `imc_sim.plotting.comparison_data`.
    """
    from pandas import read_csv

    data = read_csv(regular(path), keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXT, str))
    texts = [name for name in _TEXT if name in data]
    data[texts] = data[texts].fillna("").map(without_mark)
    return data
