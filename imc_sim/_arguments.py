"""Check the types of the arguments of public functions by their annotations, before anything is computed."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin

import numpy as np

from imc_sim._errors import InputError, nearest, shown_value
from imc_sim._quantities import type_of

F = TypeVar("F", bound=Callable[..., Any])
#: phrases of types
_PHRASES: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "True or False", str: "a text", bytes: "bytes", range: "a range",
    Path: "a pathlib.Path", os.PathLike: "a path", dict: "a mapping", Mapping: "a mapping", NoneType: "None",
    Callable: "a function", np.ndarray: "an array",
}  # fmt: skip
#: what to do where a network is missing
_NETWORK = "Use imc_sim.load_model(NAME), imc_sim.load_onnx(FILE), or build the network in Python."
_SERIES = (list, tuple, Sequence, Iterable)
#: tests of types that are not `isinstance`
_ADMITS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: isinstance(value, Integral) and not isinstance(value, bool),
    float: lambda value: isinstance(value, Real) and not isinstance(value, bool) and not _is_long(value),
    bool: lambda value: isinstance(value, bool | np.bool_),
    np.ndarray: lambda value: hasattr(value, "__array__") or isinstance(value, list | tuple),
}


class _Kind(NamedTuple):
    """Hold what an annotation allows.

    Attributes:
        phrase: what it is, for an error.
        admits: tells whether a value is of it.
        choice: the text that it is, where it is a single one.
    """

    phrase: str
    admits: Callable[[Any], bool]
    choice: str = ""


def checked(function: F) -> F:
    """Make a function raise InputError for arguments of other types than its annotations name.

    Parameters whose annotation has `Any` are left to the function.

    Args:
        function: function or method, under `@classmethod` where it is one.
    """
    names, scope = tuple(inspect.signature(function).parameters), inspect.unwrap(function).__globals__
    place = function.__qualname__.removesuffix(".__init__")

    @functools.cache
    def kinds() -> dict[str, list[_Kind]]:  # of the first call, when all names of the module are known
        texts = {name: text for name, text in function.__annotations__.items() if name != "return"}
        try:
            found = {name: _kinds_of(text, scope) for name, text in texts.items()}
        except NameError:
            every = {**scope, **_imported_for_types(scope["__name__"])}
            found = {name: _kinds_of(text, every) for name, text in texts.items()}
        return {name: each for name, each in found.items() if each is not None}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        """Check the arguments, and call the function."""
        tests = kinds()
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in tests and not any(kind.admits(value) for kind in tests[name]):
                *others, last = dict.fromkeys(kind.phrase for kind in tests[name])
                allowed = f"{', '.join(others)} or {last}" if others else last
                step = _NETWORK if "a torch module" in allowed else f"Set {name} to such a value."
                if isinstance(value, str):
                    step = nearest(value, [kind.choice for kind in tests[name] if kind.choice]) + step
                raise InputError(f"{place}, {name}", _shown(value), allowed, step)
        return function(*args, **kwargs)

    call.__dict__["kinds"] = kinds
    return cast("F", call)


def _kinds_of(annotation: str, scope: dict[str, Any]) -> list[_Kind] | None:
    """Return what an annotation allows; None where that is unknown.

    Args:
        annotation: its text.
        scope: names of the module.
    """
    parts, node = list[ast.expr](), ast.parse(annotation, mode="eval").body
    while isinstance(node, ast.BinOp):
        parts.append(node.right)
        node = node.left
    hints = [eval(ast.unparse(part), scope) for part in (node, *reversed(parts))]  # noqa: S307 - our own code
    found = [_kinds(hint) for hint in hints]
    return None if None in found else [kind for kinds in found for kind in kinds or ()]


def _imported_for_types(module: str) -> dict[str, Any]:
    """Return the names that a module imports for type checkers alone."""
    found: dict[str, Any] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module, "exec"), found)  # noqa: S102 - our own code
    return found


def _kinds(hint: Any) -> list[_Kind] | None:
    """Return what a type allows; None where it is not plain."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return [_Kind(repr(each), functools.partial(_equals, each), f"{each}") for each in inner]
    if origin in (Union, UnionType):
        found = [_kinds(each) for each in inner]
        return None if None in found else [kind for kinds in found for kind in kinds or ()]
    kind = NoneType if hint is None else origin or hint
    if not isinstance(kind, type) or kind in (Any, object):
        return None
    if kind is tuple and inner and Ellipsis not in inner:
        return [_Kind(f"{len(inner)} values", lambda value: isinstance(value, Sequence) and len(value) == len(inner))]
    if kind in _SERIES and inner and inner[0] is str:
        return [
            _Kind("a list of texts", lambda value: _is_series(value) and all(isinstance(each, str) for each in value))
        ]
    named = f"a torch {kind.__name__.lower()}" if kind.__module__.startswith("torch") else f"a {kind.__name__}"
    phrase = _PHRASES.get(kind, "a list" if kind in _SERIES else named)
    return [_Kind(phrase, _ADMITS.get(kind, _is_series if kind in _SERIES else lambda value: isinstance(value, kind)))]


def _shown(value: Any) -> str:
    """Return a number or text itself, and of anything else its type."""
    return shown_value(value) if value is None or isinstance(value, Real | str) else type_of(value)


def _equals(literal: Any, value: Any) -> bool:
    return type(value) is type(literal) and value == literal


def _is_long(value: Any) -> bool:
    """Tell whether a whole number exceeds the 64 bits that torch takes."""
    return isinstance(value, int) and abs(value) >= 2**63


def _is_series(value: Any) -> bool:
    """Tell whether a value holds others, and is no text."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
