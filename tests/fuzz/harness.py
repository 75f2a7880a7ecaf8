"""Bad inputs, and the oracle of all of them: a result, or one error that names the file and the line.

The oracle asks of each input for exit code 2 with one error of the package (or a result), that names the file, and the
line where a text file is at fault; no traceback; less than `LIMIT_S` of processor time, since other work on the machine
does not lengthen that, and less than `HANG_S` on the clock; and less than `LIMIT_MB` of memory. Memory is the growth of
the peak of resident memory of this process (VmHWM of Linux, reset before each input) over what it held before, as torch
alone takes 300 MB and reserves many GB of addresses.

Errors may leave out the line if the fault is not in one: data that are not downloaded (`MissingDataError`), and tables
of cells that lack a column, rows or a fit as a whole.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imc_sim import InputError
from imc_sim._errors import MissingDataError
from imc_sim.cli import main

#: how many times as many inputs are tried
TIMES = int(os.environ.get("IMC_SIM_FUZZ", "1"))
#: limits of an input: processor time and time in s, memory in MB
LIMIT_S, HANG_S, LIMIT_MB = 5.0, 120.0, 500
#: kind of input -> inputs that were tried
TRIED: Counter[str] = Counter()
#: values in YAML that stand instead of a value or after it; each was an error without a place once, or took long
NASTY = [
    "{a: 1}", "[1, 2]", "{? [a, b] : 1}", "{1: 2}", "{null: 2}", "&a [*a]", "{<<: 5}", "{<<: [1]}", "*none",
    "!!int a",
    "!!bool x", "!!timestamp x", "!!omap [a]", "!!set {x}", "!!python/name:os.system ''", "!!binary '='", "!!float x",
    "0o17", "1:30", "0x1F", "1_000", "2001-01-01", "~", "null", "yes", "true", "''", "' '", ".nan", ".inf", "-.inf",
    "-1",
    "0", "1", "3", "-0.0", "1e400", "1e-400", "1000000", "10000000000", "1e6", "1e308", "9" * 400, "9" * 5000,
    "-" + "9" * 30, "0.5",
    "[" * 500 + "]" * 500, "{a: " * 500 + "1" + "}" * 500, "[]", "{}", "[[]]", "[null]", "[{}]", "[1, a, null]",
    "'" + "a" * 60000 + "'", "'" + "1" * 60000 + "'", "'" + "1." * 30000 + "'", '"\\0"', '"\\e[31m"', '"\\ud800"',
    '"\\ufffe"', "..", "../..", "/", ".", "./x.py:f", "a.b.c", "'$x_{$'", "'=1+1'", "kind", "{kind: x}",
    "{kind: [1]}",
    "{kind: {}}", "{kind: null}", "1 uS", "1 kg", "uS", "'1e9999 uS'", "5 %", "nan", "inf", "'٣'", "ideal",
    "[" + "[x, x, x, x, x, x, x, x, x], " * 3 + "]", "&a {b: &b [*a]}", "{range: [0, 1, 0.1]}",
    "{range: [0, 1, 1e-9]}", "{log: [0, 1, 3]}", "{linspace: [0, 1, 1e9]}", "{range: 1}",
]  # fmt: skip
#: texts that are inserted anywhere
JUNK = [
    "\t", ":", ": ", "- ", "{", "]", "&a ", "*a", "!!", "!!int ", "%", "\0", "\ufeff", "'", '"', "|\n", ">\n", "#",
    "\r", "\x85", "\u2028", "\x1b[2J", "\ud800", "\n", "\n---\n", "...\n", "? ", "<<: ", "@", "`", "  ", ",", "x: 1\n",
]  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of nested mappings and lists."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def with_hole(data: Any, path: tuple[Any, ...], mark: str) -> str:
    """Return the document in YAML with `mark` at a place."""
    changed = copy.deepcopy(data)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = mark
    return yaml.safe_dump(changed, sort_keys=False, width=10**6)


#: changes of a text: the place as a share of its length, what is done there, and a text to insert
edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["insert", "cut", "repeat", "drop", "indent"]), st.sampled_from(JUNK)),
    min_size=1, max_size=3,
)  # fmt: skip


def edited(text: str, changes: list[tuple[float, str, str]]) -> str:
    """Return the text after some changes of letters and lines."""
    for share, kind, junk in changes:
        at = int(share * len(text))
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at) + 1 or len(text)
        line = {"repeat": text[start:end] * 2, "drop": "", "indent": " " + text[start:end]}.get(kind)
        if line is not None:
            text = text[:start] + line + text[end:]
        else:
            text = text[:at] + (junk + text[at:] if kind == "insert" else "")
    return text


def examine(kind: str, count: int, strategy: st.SearchStrategy[Any], broken: Callable[[Any], str | None]) -> None:
    """Try inputs, and fail with all that broke the promise."""
    failed: dict[str, Any] = {}

    @settings(
        max_examples=count * TIMES, deadline=None, database=None, derandomize=TIMES == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(strategy)
    def each(value: Any) -> None:
        found = broken(value)
        TRIED[kind] += 1
        if found is not None:
            failed.setdefault(re.sub(r"\d+", "0", found)[:120], (found, value))

    each()
    _fail_with(kind, failed)


def examine_all(kind: str, values: list[Any], broken: Callable[[Any], str | None]) -> None:
    """Try all of some inputs, and fail with all that broke the promise."""
    TRIED[kind] += len(values)
    _fail_with(kind, {str(value): (found, value) for value in values if (found := broken(value)) is not None})


def _fail_with(kind: str, failed: dict[str, Any]) -> None:
    lines = [f"{found}\n    of {str(value)[:500]!r}" for found, value in failed.values()]
    assert not failed, f"{kind}: {len(lines)} kinds of failures\n" + "\n".join(lines)


def check(read: Callable[[Path], object], path: Path, line: bool = True) -> str | None:
    """Return how reading a file broke the promise.

    Args:
        read: what reads it.
        path: the file.
        line: whether its errors name a line.
    """
    with limits() as over:
        try:
            read(path)
        except InputError as error:
            lined = line and not isinstance(error, MissingDataError)
            if "\n" in str(error) or not _names(error.where if line else str(error), path.name, lined):
                return f"no place: {error}"[:300]
        except BaseException as error:
            return f"{type(error).__name__}: {error}"[:300]
    return over()


def command(words: list[str], name: str = "", line: bool = False) -> str | None:
    """Return how a command broke the promise: exit code 0 or 1, or 2 with one error that names the file."""
    out, err = io.StringIO(), io.StringIO()
    with limits() as over:
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(words)
        except BaseException as error:
            return f"{words}: {type(error).__name__}: {error}"[:300]
    text = err.getvalue()
    if "is a bug in imc_sim" in text or "Traceback" in text:
        return f"{words}: {text}"[-300:]
    told = re.findall(r"^(?:Usage|imc-sim): (.*)$", out.getvalue() + text, re.MULTILINE)
    if code == 2 and not any(_names(each, name, line) for each in told):
        return f"{words}: no place: {text}"[:300]
    slow = over()
    return None if slow is None else f"{words}: {slow}"


def _names(place: str, name: str, line: bool) -> bool:
    return bool(place) and name in place and (not line or re.search(rf"{re.escape(name)}, line \d+", place) is not None)


@contextlib.contextmanager
def limits() -> Iterator[Callable[[], str | None]]:
    """Interrupt what hangs; yield a function that says what a block took over its limits."""
    began, held = time.process_time(), _resident(reset=True)
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    taken: list[float] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield lambda: _over(taken)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        taken += [time.process_time() - began, _resident() - held]


def _over(taken: list[float]) -> str | None:
    if taken[0] > LIMIT_S:
        return f"{taken[0]:.1f} s"
    return f"{taken[1]:.0f} MB" if taken[1] > LIMIT_MB else None


def _interrupt(*_: object) -> None:
    raise TimeoutError(f"{HANG_S:g} s")


def _resident(reset: bool = False) -> float:
    """Return the peak of resident memory in MB; with `reset`, that of now, from which the next peak counts."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux: no measure of memory
        return 0.0
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else 0.0


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path
