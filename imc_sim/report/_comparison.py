"""Comparison tables of reproduced systems, published and ours, for pages, terminals and Markdown files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas import DataFrame

from imc_sim._files import write_file
from imc_sim.plotting import compares, comparison_data, distinct, numbers, save_table
from imc_sim.report._answer import TOLERANCE
from imc_sim.report._html import Cell

if TYPE_CHECKING:
    from imc_sim.study import Results

#: columns of text: what is empty in a file of them is an empty text
_TEXT = ("setting", "digital_over", "chip", "chip_task", "model", "trained", "note")
_NOTHING = "-"

Row = dict[Any, Any]


class _Column(NamedTuple):
    head: str
    cell: Callable[[Row], Cell]


def cells(data: DataFrame) -> tuple[list[str], list[list[Cell]]]:
    """Return heads and rows of a comparison table without columns that carry no information.

    Differences between the task of chips and the whole task are a column if only some settings have them, and in the
    caption if all have.
    """
    columns = _columns(data)
    rows = [[column.cell(row) for column in columns] for row in data.to_dict("records")]
    return [column.head for column in columns], rows


def _columns(data: DataFrame) -> list[_Column]:
    chips = distinct(data, "chip")
    apart = bool((numbers(data, "same_task") == numbers(data, "same_task")).any())
    noted, common, sampled = any(data["note"]), _common(data), bool((numbers(data, "classes") > 0).any())
    differ = any(len(_asked(row)) > len(common) for row in data.to_dict("records"))
    own = _Column("chips are asked", lambda row: ", ".join(p for p in _asked(row) if p not in common) or _NOTHING)
    return [
        _Column("setting", lambda row: str(row["setting"])),
        *([_value("published")] if (numbers(data, "published") >= 0).any() else []),
        _value("ours, digital", "digital"),
        _Column("95 % interval", lambda row: _interval(row, "digital")),
        *([_Column("95 % interval, new classes", lambda row: _interval(row, "classes"))] if sampled else []),
        *([_Column("ours, digital, task of the chips", _same)] if apart else []),
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
    return (_shown(value), value) if math.isfinite(value) else (_NOTHING, math.nan)


def _shown(value: float) -> str:
    return f"{value:.2f}"


def _interval(row: Row, name: str) -> Cell:
    """Return the ends of an interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return (f"{_shown(low)} to {_shown(high)}", low) if math.isfinite(low) else (_NOTHING, math.nan)


def _same(row: Row) -> Cell:
    value, ends = row["same_task"], _interval(row, "same_task")[0]
    if not math.isfinite(value):
        return _NOTHING, math.nan
    return (_shown(value) if ends == _NOTHING else f"{_shown(value)} ({ends})"), value


def caption(data: DataFrame) -> str:
    """Describe what the intervals are over, and the task of the chips."""
    over = [text for text in distinct(data, "digital_over") if text]
    own = " (on the task of the chips over that task's own)" if any(data["chip_task"]) else ""
    digital = f"intervals of the digital network over {_either(over)}{own}, " if over else "intervals "
    said = f"Accuracies in %; {digital}on chips of the mean over chips (Student t)."
    said += _classes(data) + (" Intervals of the digital network are Wilson's." if over else "")
    common = _common(data)
    return f"{said} Task of the chips: {', '.join(common)}." if common else said


def _classes(data: DataFrame) -> str:
    """Describe what the two intervals of few-shot tasks hold for; empty where the second is not known."""
    counts = [f"{int(count)}" for count in distinct(data, "classes") if count > 0]
    if not counts:
        return ""
    text = " The interval over episodes is for the same classes; that for new classes counts"
    return f"{text} the {_either(counts)} classes as a sample as well."


def _common(data: DataFrame) -> list[str]:
    """Describe how the task of chips differs from that of the digital network in every setting."""
    asked = [_asked(row) for row in data.to_dict("records")]
    return [part for part in (asked or [[]])[0] if all(part in own for own in asked)]


def _asked(row: Row) -> list[str]:
    return [part for part in str(row["chip_task"]).split(", ") if part]


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def against_published(data: DataFrame, tolerance: float = TOLERANCE) -> str:
    """State how many settings reach their published accuracy digitally; empty if none is published."""
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
    """Return the table and its caption as Markdown; equal tables give equal text."""
    heads, rows = cells(data)
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    right = ["---:" if rows and isinstance(rows[0][k], tuple) else "---" for k in range(len(heads))]
    lines = [_line(heads), _line(right), *map(_line, texts)]
    return "\n".join([*lines, "", caption(data), ""])


def _line(parts: list[str]) -> str:
    return "| " + " | ".join(map(plain_text, parts)) + " |"


def plain_text(text: str) -> str:
    """Escape text for a cell of a Markdown table, in which it is shown as typed, on one line."""
    return re.sub(r"([\\|<*`$])", r"\\\1", " ".join(text.splitlines()))


def write_comparison(results: Results) -> list[Path]:
    """Write comparison.csv and comparison.md into the results folder, if there is something to compare."""
    if not compares(results):
        return []
    data, text = comparison_data(results), results.folder / "comparison.md"
    write_file(text, markdown(data))
    return [save_table(data, text.with_suffix("")), text]


def read_comparison(path: Path) -> DataFrame:
    """Read a `comparison.csv`."""
    from pandas import read_csv

    return read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXT, str)).fillna(
        dict.fromkeys(_TEXT, "")
    )
