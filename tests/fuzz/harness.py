"""Bad files, and the oracle of all of them: a result or one error of the package that names the file."""

from __future__ import annotations

import contextlib
import io
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from imc_sim import InputError
from imc_sim.cli import main

#: longest processor time in seconds that an input may take
LIMIT_S = 5.0
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


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of nested mappings and lists."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def with_hole(data: Any, path: tuple[Any, ...], mark: str) -> str:
    """Return the document in YAML with `mark` at a place."""
    copy = yaml.safe_load(yaml.safe_dump(data))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = mark
    return yaml.safe_dump(copy, sort_keys=False, width=10**6)


def check(read: Callable[[Path], object], path: Path) -> str | None:
    """Return how reading a file broke the promise: a result or an error of the package, in time."""
    began = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except InputError as error:
        if not error.where or "\n" in str(error):
            return f"no place: {error}"[:300]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    taken = time.process_time() - began
    return f"{taken:.1f} s" if taken > LIMIT_S else None


def command(words: list[str], name: str = "") -> str | None:
    """Return how a command broke the promise: exit code 0 or 1, or 2 with one error that names the file."""
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = main(words)
    except BaseException as error:
        return f"{words}: {type(error).__name__}: {error}"[:300]
    taken, text = time.process_time() - began, err.getvalue()
    if "is a bug in imc_sim" in text or "Traceback" in text:
        return f"{words}: {text}"[-300:]
    if code == 2 and not re.search(rf"^(Usage|imc-sim): .*{re.escape(name)}", out.getvalue() + text, re.MULTILINE):
        return f"{words}: no place: {text}"[:300]
    return f"{words}: {taken:.1f} s" if taken > LIMIT_S else None


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path
