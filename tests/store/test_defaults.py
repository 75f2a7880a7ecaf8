"""Defaults and limits of keys of files, options of commands and parameters of functions are those of defaults.csv.

A file, a command line or a script means what it meant when it was written only while what it leaves out keeps its
value. After a wanted change, correct the row and state the change in the changelog.
`python tests/store/test_defaults.py` prints all rows.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import io
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import imc_sim
from imc_sim._errors import InputError
from imc_sim.cli import app
from imc_sim.config import Spec, build

TABLE = Path(__file__).with_name("defaults.csv")
LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <="}


def specs(base: type[Spec] = Spec) -> Iterator[type[Spec]]:
    for each in base.__subclasses__():
        if each.__module__.startswith("imc_sim."):
            yield from () if each.__name__.startswith("_") else (each,)
            yield from specs(each)


def plain(value: Any) -> str:
    """Return a default as text; a specification by its name and what it changes."""
    if isinstance(value, Spec):
        changed = {
            name: plain(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if field.is_required() or getattr(value, name) != field.get_default(call_default_factory=True)
        }
        return f"{type(value).__name__}({', '.join(f'{name}={text}' for name, text in changed.items())})"
    return json.dumps(value, default=list, ensure_ascii=False)


def public() -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes of the public modules, each with its first place."""
    seen = []
    for _, module, _ in pkgutil.walk_packages(imc_sim.__path__, "imc_sim."):
        if module.endswith("__main__"):
            continue
        found = importlib.import_module(module)
        for name in getattr(found, "__all__", ()) if "._" not in module else ():
            value = getattr(found, name)
            spec = isinstance(value, type) and issubclass(value, Spec)
            if not spec and inspect.isroutine(value) | inspect.isclass(value) and value not in seen:
                seen.append(value)
                yield f"{module}.{name}", value


def parameters() -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield the defaults of parameters of functions and classes."""
    for name, value in public():
        try:
            signature = inspect.signature(value)
        except ValueError:
            continue
        for parameter in signature.parameters.values():
            simple = isinstance(parameter.default, (str, int, float, tuple, type(None)))
            if simple and "=" in str(parameter):
                yield (name, parameter.name), (plain(parameter.default), "")


def options(command: Any, name: str) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield defaults and limits of the options of a command and of those below it."""
    for option in command.params:
        owner = option if hasattr(option, "min") else getattr(option, "type", None)  # of typer's own click, or click
        ends = {sign: getattr(owner, end, None) for sign, end in ((">=", "min"), ("<=", "max"))}
        limits = ", ".join(f"{sign} {end}" for sign, end in ends.items() if end is not None)
        default = "required" if option.required else json.dumps(option.default, default=str)
        yield (name, option.opts[0] if option.opts else str(option.name)), (default, limits)
    for word, below in getattr(command, "commands", {}).items():
        yield from options(below, f"{name} {word}")


def rows() -> dict[tuple[str, str], tuple[str, str]]:
    """Return default and limits by the names of an object and of its part."""
    found = dict(parameters()) | dict(options(typer.main.get_command(app), "imc-sim"))
    for spec in specs():
        for name, field in spec.model_fields.items():
            default = "required" if field.is_required() else plain(field.get_default(call_default_factory=True))
            limits = [
                f"{sign} {getattr(each, key)}"
                for each in field.metadata
                for key, sign in LIMITS.items()
                if getattr(each, key, None) is not None
            ]
            found[spec.__name__, name] = (default, ", ".join(limits))
    return found


def test_defaults_and_limits_are_unchanged() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        known = {(of, name): (default, limits) for of, name, default, limits in list(csv.reader(file))[1:]}
    found = rows()
    changed = {key: (was, found.get(key, "not there")) for key, was in known.items() if found.get(key) != was}
    assert not changed, "what leaves these out has another meaning now; see the text of this module"
    new = found.keys() - known.keys()
    assert len(new) < 0.05 * len(found), f"add rows of {sorted(new)}"


@pytest.mark.parametrize("wrong", [{"no_key": 1}, [{"no_key": 1}], [[[[]]]]], ids=str)
def test_errors_name_keys_of_the_file_and_no_types(wrong: Any) -> None:
    found: list[tuple[Any, InputError]] = []
    for spec in set(specs()):
        for name, field in () if inspect.isabstract(spec) else spec.model_fields.items():
            try:
                build(spec, {name: wrong}, "f")
            except InputError as error:
                found.append((field.annotation, error))
    types = {"float", "int", "str", *(spec.__name__ for spec in specs())}
    for annotation, error in found:
        assert re.fullmatch(r"f: \w+(\.\w+)*", error.where), error
        assert not types & set(error.where.split(".")), error
        assert annotation not in (int, float, str, bool) or "together" not in str(error.got), error
    assert len(found) > 500


if __name__ == "__main__":
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([
        ("of", "name", "default", "limits"), *sorted((*key, *value) for key, value in rows().items()),
    ])  # fmt: skip
    sys.stdout.write(text.getvalue())
