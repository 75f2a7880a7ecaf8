"""Data to stdout, progress to stderr."""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, final

import typer

from imc_sim._errors import ImcSimWarning, printable

Update = Callable[..., None]
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


def _be_quiet(wanted: bool) -> bool:
    _QUIET.set(wanted)
    return wanted


#: the option --quiet of every command; `progress_bar` and `working` check it
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.", callback=_be_quiet)]
#: steps that take longer print a line
_SHORT_S = 2.0
#: longest time in seconds between two lines of a log
_SILENCE_S = 60.0
#: number of updates that the rate is measured over
_WINDOW = 50


def say(text: str) -> None:
    """Print a remark for the user to stderr."""
    print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def remarks() -> Iterator[None]:
    """Print the warnings of the package as one-line remarks, each once."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ImcSimWarning)
        shown, told = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if not issubclass(category, ImcSimWarning):
                shown(message, category, *rest)
            elif str(message) not in told:
                told.add(str(message))
                say(f"imc-sim: {message}")

        warnings.showwarning = show
        yield


def print_rows(rows: Sequence[Mapping[str, Any]], headings: Mapping[int, str] | None = None) -> None:
    """Print rows as aligned columns to stdout, with columns in order of first appearance.

    headings: remarks for stderr, by the number of the row that follows.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for number, line in enumerate(cells, -1):
        if headings and number in headings:
            say(headings[number])
        print(
            printable("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()),
            flush=bool(headings),
        )


def print_paths(paths: Iterable[Path]) -> None:
    """Print the files that a command has written, one per line."""
    for path in paths:
        print(printable(path))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "..".join(_cell(v) for v in value)
    return "" if value is None else str(value)


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss, with days before it if there are any."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{h}:{m:02}:{s:02}"


@final
class Pace:
    """Rate and remaining time, from the latest updates and a monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)], _WINDOW)
        self._first: int | None = None

    def update(self, done: int) -> None:
        """Record the steps done; those of the first update were done before this run."""
        if self._first is None:
            self._first = done
        self._seen.append((self._clock(), done - self._first))

    @property
    def rate(self) -> float | None:
        """Return steps per second; None before the first one."""
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if last > first and end > start else None

    def text(self, done: int, total: int | None, unit: str = "") -> str:
        """Format rate and remaining time, such as `3.2/s, ETA 0:01:20`; empty while unknown."""
        rate = self.rate
        if rate is None:
            return ""
        shown = f"{_rate(rate / 1e6)} MB/s" if unit == "bytes" else f"{_rate(rate)}/s"
        return f"{shown}, ETA {duration((total - done) / rate)}" if total and total >= done else shown


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[Update]:
    """Show progress on stderr, driven by calls `update(done, total[, row])`; before the first one as `working` does.

    On a terminal: a bar with rate and remaining time. Elsewhere: a line at every tenth of the total and once a minute,
    for logs. With --quiet: nothing.
    """
    if _QUIET.get():
        yield lambda *_: None
        return
    what = printable(what)
    with working(what) as begun:
        yield from _lines(what, unit, begun) if not sys.stderr.isatty() else _bar(what, unit, begun)


def _bar(what: str, unit: str, begun: Callable[[], None]) -> Iterator[Update]:
    """Yield the `update` of a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

    count = (MofNCompleteColumn(),) if not unit else ()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), *count)
    bar = Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=Console(stderr=True))
    pace = Pace()
    task = bar.add_task(what, total=None, note="")

    def update(done: int, total: int | None, row: Mapping[str, Any] | None = None) -> None:
        begun()
        pace.update(done)
        bar.start()
        bar.update(task, completed=done, total=total or None, note=_joined(_note(row), pace.text(done, total, unit)))

    try:
        yield update
    finally:
        bar.stop()


def _lines(what: str, unit: str, begun: Callable[[], None]) -> Iterator[Update]:
    """Yield the `update` that prints progress as lines of a log."""
    pace, tenth, printed = Pace(), -1, time.monotonic()

    def update(done: int, total: int | None, row: Mapping[str, Any] | None = None) -> None:
        """Print a line at a new tenth of the total, or after a silence."""
        nonlocal tenth, printed
        begun()
        pace.update(done)
        now = time.monotonic()
        reached = done * 10 // total if total else tenth
        if reached == tenth and now - printed < _SILENCE_S:
            return
        tenth, printed = reached, now
        say(
            _joined(f"{what}: {done}/{total}" if total else f"{what}: {done}", pace.text(done, total, unit), _note(row))
        )

    yield update


@contextmanager
def working(what: str) -> Iterator[Callable[[], None]]:
    """Report on stderr that a step without countable parts is running, once it has taken two seconds.

    On a terminal: a line with the elapsed time. Elsewhere: a line, and one a minute. With --quiet: nothing. Commands
    import slow modules inside. Yields a function that ends the report early.
    """
    ended = threading.Event()
    reporter = threading.Thread(target=_report_until, args=(printable(what), ended), daemon=True)
    if not _QUIET.get():
        reporter.start()

    def end() -> None:
        ended.set()
        if reporter.is_alive():
            reporter.join()

    try:
        yield end
    finally:
        end()


def _report_until(what: str, ended: threading.Event) -> None:
    """Report a running step until `ended` is set."""
    if ended.wait(_SHORT_S):
        return
    if not sys.stderr.isatty():
        began = time.monotonic() - _SHORT_S
        say(f"{what} ...")
        while not ended.wait(_SILENCE_S):
            say(f"{what}: {duration(time.monotonic() - began)}")
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), SpinnerColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as line:
        line.add_task(what)
        ended.wait()


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _note(row: Mapping[str, Any] | None) -> str:
    return "  ".join(f"{key} {_cell(value)}" for key, value in (row or {}).items())


@contextmanager
def gentle_stop(what: str) -> Iterator[Callable[[], bool]]:
    """Yield a callable that tells whether Ctrl-C was pressed, or SIGTERM received as batch systems send it.

    The first signal reports that `what` is finished before the run stops; the second one stops it immediately.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        say(f"stopping: finishing {what}; Ctrl-C again stops immediately")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
