"""Data to stdout, progress to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

Update = Callable[..., None]


def say(text: str) -> None:
    """A remark to the person in front of the screen (stderr)."""
    print(text, file=sys.stderr)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as aligned columns on stdout; the columns are those of the rows, in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "..".join(_cell(v) for v in value)
    return "" if value is None else str(value)


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[Update]:
    """A bar on stderr, driven by calls `update(done, total[, row])`; nothing appears before the first.

    Where stderr is no terminal, a plain line at every new tenth of the way, so that a log shows where a long run is.
    """
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    bar = Progress(*columns, TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=Console(stderr=True))
    task = bar.add_task(what, total=None, note="")

    def update(done: int, total: int | None, row: Mapping[str, Any] | None = None) -> None:
        bar.start()
        bar.update(task, completed=done, total=total or None, note=_note(row) or unit)

    try:
        yield update
    finally:
        bar.stop()


def _lines(what: str) -> Update:
    started, tenth = time.monotonic(), -1

    def update(done: int, total: int | None, row: Mapping[str, Any] | None = None) -> None:
        nonlocal tenth
        if not total or done * 10 // total == tenth:
            return
        tenth = done * 10 // total
        say(f"{what}: {done}/{total}, {time.monotonic() - started:.0f} s  {_note(row)}".rstrip())

    return update


def _note(row: Mapping[str, Any] | None) -> str:
    return "  ".join(f"{key} {_cell(value)}" for key, value in (row or {}).items())
