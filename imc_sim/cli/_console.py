"""Data to stdout, progress to stderr."""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Annotated, Any, final

import typer

from imc_sim._errors import ResultsWarning

Update = Callable[..., None]
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


def _be_quiet(wanted: bool) -> bool:
    _QUIET.set(wanted)
    return wanted


#: the option of every command that shows progress; `progress_bar` heeds it
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.", callback=_be_quiet)]
#: what takes longer shows that it is under way
_SHORT_S = 2.0
#: seconds without a line after which a log gets one, whatever the progress
_SILENCE_S = 60.0
#: latest updates that the rate is taken over
_WINDOW = 50


def say(text: str) -> None:
    """A remark to the person in front of the screen (stderr)."""
    print(text, file=sys.stderr)


@contextmanager
def remarks() -> Iterator[None]:
    """Show warnings about results folders as remarks of one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ResultsWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, ResultsWarning):
                say(f"imc-sim: {message}")
            else:
                shown(message, category, *rest)

        warnings.showwarning = show
        yield


def print_rows(rows: Sequence[Mapping[str, Any]], headings: Mapping[int, str] | None = None) -> None:
    """Print rows as aligned columns on stdout; the columns are those of the rows, in order of first appearance.

    headings: remarks (stderr) by the number of the row that they precede.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for number, line in enumerate(cells, -1):
        if headings and number in headings:
            say(headings[number])
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(),
            flush=bool(headings),
        )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "..".join(_cell(v) for v in value)
    return "" if value is None else str(value)


def duration(seconds: float) -> str:
    """h:mm:ss, with the days before it where there are any."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{h}:{m:02}:{s:02}"


@final
class Pace:
    """Rate and time to the end, from the latest updates, on a clock that never jumps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)], _WINDOW)
        self._first: int | None = None

    def update(self, done: int) -> None:
        """`done` now; what the first update finds done already was no work of this run."""
        if self._first is None:
            self._first = done
        self._seen.append((self._clock(), done - self._first))

    @property
    def rate(self) -> float | None:
        """Steps a second; None before there are any."""
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if last > first and end > start else None

    def text(self, done: int, total: int | None, unit: str = "") -> str:
        """Such as `3.2/s, ETA 0:01:20`; empty as long as nothing is known."""
        rate = self.rate
        if rate is None:
            return ""
        shown = f"{_rate(rate / 1e6)} MB/s" if unit == "bytes" else f"{_rate(rate)}/s"
        return f"{shown}, ETA {duration((total - done) / rate)}" if total and total >= done else shown


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[Update]:
    """Progress on stderr, driven by calls `update(done, total[, row])`; until the first, as with `working`.

    On a terminal a bar with rate and time to the end; elsewhere plain lines, one at every new tenth of the way and
    one a minute, so that a log shows where a long run is. With --quiet nothing.
    """
    if _QUIET.get():
        yield lambda *_: None
        return
    with working(what) as begun:
        yield from _lines(what, unit, begun) if not sys.stderr.isatty() else _bar(what, unit, begun)


def _bar(what: str, unit: str, begun: Callable[[], None]) -> Iterator[Update]:
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
    pace, tenth, spoken = Pace(), -1, time.monotonic()

    def update(done: int, total: int | None, row: Mapping[str, Any] | None = None) -> None:
        nonlocal tenth, spoken
        begun()
        pace.update(done)
        now = time.monotonic()
        reached = done * 10 // total if total else tenth
        if reached == tenth and now - spoken < _SILENCE_S:
            return
        tenth, spoken = reached, now
        say(
            _joined(f"{what}: {done}/{total}" if total else f"{what}: {done}", pace.text(done, total, unit), _note(row))
        )

    yield update


@contextmanager
def working(what: str) -> Iterator[Callable[[], None]]:
    """Says on stderr that a step without countable parts is under way, once it has taken two seconds.

    On a terminal a line with the time so far; elsewhere a plain line, and one a minute. With --quiet nothing. Modules
    that take long to load are loaded inside. Gives a function that ends it early.
    """
    ended = threading.Event()
    voice = threading.Thread(target=_speak, args=(what, ended), daemon=True)
    if not _QUIET.get():
        voice.start()

    def end() -> None:
        ended.set()
        if voice.is_alive():
            voice.join()

    try:
        yield end
    finally:
        end()


def _speak(what: str, ended: threading.Event) -> None:
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
    """A callable that says whether Ctrl-C was pressed (or SIGTERM came, as batch systems send it).

    The first time says `what` is finished before the end and does nothing else; the second time stops at once.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def handle(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt
        say(f"stopping: finishing {what}; Ctrl-C again stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
