"""Strict YAML: no duplicate keys, numbers and words as a person means them.

PyYAML follows YAML 1.1: `5e-5` is a string there, `no` is False, and the last of two equal keys wins in
silence. Here `5e-5` is a number, `no` a string, and a duplicate key an error with its line.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from imc_sim._errors import HIDDEN, InputError
from imc_sim._files import open_regular
from imc_sim._quantities import type_of
from imc_sim.config._synonyms import stored_path

_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"
_TAGS = frozenset(f"{_PREFIX}{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge"))
#: most values that a document may hold once every alias is written out, apart from those in its text
_ALIASED = 100_000
#: most digits of a whole number
_DIGITS = 300
#: most levels of values in values
_LEVELS = 50


def _integer(loader: yaml.SafeLoader, node: Any) -> int:
    return int(loader.construct_scalar(node))


class _Strict:
    """Part of a SafeLoader with YAML 1.2 booleans and numbers; keys are text, and each occurs once in its mapping."""

    yaml_implicit_resolvers: Any
    resolve: Any

    def _begin(self, text: str, where: str) -> None:
        """Start with a document whose source errors name."""
        self.name = where
        self._sizes: dict[int, int] = {}
        self._level, self._most = 0, _ALIASED + len(text)  # no value takes less than a character

    def get_single_node(self) -> Any:
        """Return the root of the document, whose values have been checked."""
        node = super().get_single_node()  # type: ignore[misc]  # that of a loader
        if node is not None:
            self._size(node)
        return node

    def _size(self, node: yaml.Node) -> int:
        """Check the node and those in it, and return how many values they are with every alias written out."""
        if id(node) in self._sizes:
            if not self._sizes[id(node)]:
                raise self._error(node, "a value that contains itself", "values that end", "Remove the alias (`*`).")
            return self._sizes[id(node)]
        self._sizes[id(node)] = 0  # in progress
        self._level += 1
        if self._level > _LEVELS:
            step = "Write fewer levels."
            raise self._error(node, "values that are nested too deeply", f"{_LEVELS} levels or fewer", step)
        if node.tag not in _TAGS:
            raise self._tag_error(node)
        children: list[yaml.Node] = []
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            children = [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        size = 1 + sum(map(self._size, children))
        if size > self._most:
            raise self._error(node, "aliases that repeat each other", f"{self._most:,} values", "Remove aliases (`*`).")
        self._sizes[id(node)] = size
        self._level -= 1
        return size

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        """Raise InputError unless a value is text that can be shown, or what its tag says."""
        if HIDDEN.search(node.value):
            step = "Remove the control characters."
            raise self._error(node, ascii(node.value), "text without control characters", step)
        if node.tag != f"{_PREFIX}str" and self.resolve(yaml.ScalarNode, node.value, (True, False)) != node.tag:
            raise self._tag_error(node)
        if node.tag == f"{_PREFIX}int" and len(node.value) > _DIGITS:
            got = f"a number of {len(node.value)} digits"
            raise self._error(node, got, f"{_DIGITS} digits or fewer", "Write text in quotes, numbers such as 1e9.")

    def _check_keys(self, node: yaml.MappingNode) -> None:
        """Raise InputError unless the keys of a mapping are text, and each occurs once."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_PREFIX}str", _MERGE):
                got = f"{key.value!r} as a key" if isinstance(key, yaml.ScalarNode) else "a list or mapping as a key"
                raise self._error(key, got, "text as a key", "Put text that contains braces, or a number, in quotes.")
            if key.tag != _MERGE and key.value in seen:
                got = f"a second {key.value!r} (first in line {seen[key.value]})"
                raise self._error(key, got, "each key once", "Remove one of the two.")
            seen[key.value] = key.start_mark.line + 1

    def _tag_error(self, node: yaml.Node) -> InputError:
        tag = node.tag.replace(_PREFIX, "!!")
        return self._error(node, f"the tag {tag}", "plain values", "Remove the tag, or put the text in quotes.")

    def _error(self, node: yaml.Node, got: str, allowed: str, step: str) -> InputError:
        return InputError(f"{self.name}, line {node.start_mark.line + 1}", got, allowed, step)


class _StrictLoader(_Strict, yaml.SafeLoader):
    """The loader that decides what is valid, and whose errors are shown."""

    def __init__(self, text: str, where: str) -> None:
        yaml.SafeLoader.__init__(self, text)
        self._begin(text, where)


_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: what the parser in C accepts in places where that in Python does not: tabs, byte order marks, tags, `|#`
_READ_OTHERWISE = re.compile(r"[\t\ufeff]|(?<![^\s,\[{:-])!|[|>][-+0-9]*#")


class _FastLoader(_Strict, Composer, _FAST):
    """The same with a parser in C where PyYAML has it; it fails where the other loader may say more or something else.

    Values are composed in Python: the composer in C has no limit of levels, and ends the process where they are many.
    """

    def __init__(self, text: str, where: str) -> None:
        if _READ_OTHERWISE.search(text):
            raise yaml.YAMLError
        _FAST.__init__(self, text)
        Composer.__init__(self)
        self._begin(text, where)

    def _size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.CollectionNode) and node.flow_style:
            parts = itertools.chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
            if any(isinstance(part, yaml.ScalarNode) and not part.style and "?" in part.value for part in parts):
                raise yaml.YAMLError  # in Python, a question mark is no part of plain text in brackets
        return super()._size(node)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag.rsplit(":", 1)[1] not in {"bool", "float", "int", "timestamp"}]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER_STARTS = list("-+0123456789.")
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), _NUMBER_STARTS)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|nan))$"),
    _NUMBER_STARTS,
)
_FastLoader.yaml_implicit_resolvers = _StrictLoader.yaml_implicit_resolvers
for _loader in (_StrictLoader, _FastLoader):
    _loader.add_constructor("tag:yaml.org,2002:int", _integer)


class _MarkingLoader(Composer, _FAST):
    """Composes nodes with their places by a parser in C where PyYAML has it."""

    def __init__(self, text: str) -> None:
        _FAST.__init__(self, text)
        Composer.__init__(self)


def composed_yaml(text: str) -> yaml.Node | None:
    """Return the root node of a YAML document, with the lines and columns of all nodes; None where it is no YAML.

    Args:
        text: the document.
    """
    for loader in (_MarkingLoader, yaml.SafeLoader):  # the parser in C refuses other texts
        with contextlib.suppress(yaml.YAMLError, RecursionError, ValueError):
            return loader(text).get_single_node()
    return None


def parse_yaml(text: str, where: str = "<text>") -> dict[str, Any]:
    """Parse a YAML document.

    Args:
        text: the document.
        where: its source for errors.

    Returns:
        The mapping that it holds.

    Raises:
        InputError: it is not strict YAML, or not a mapping.
    """
    try:
        data = _FastLoader(text, where).get_single_data()
    except (InputError, yaml.YAMLError, RecursionError, ValueError):
        data = _parsed_in_python(text, where)
    if not isinstance(data, dict):
        got, step = "nothing" if data is None else type_of(data), "Start the file with `name: …`."
        raise InputError(f"{where}, line 1", got, "a mapping of keys to values", step)
    return data


def _parsed_in_python(text: str, where: str) -> Any:
    """Return what a document holds, or raise the InputError that says where it is not strict YAML."""
    try:
        loader = _StrictLoader(text, where)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        got, step = f"the character {chr(error.character)!a}", "Remove the character."
        raise InputError(f"{where}, line {line}", got, "text without control characters", step) from error
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or loader.get_mark()
        got = " ".join(str(error).split())
        raise InputError(f"{where}, line {mark.line + 1}", got, "YAML", "Fix the syntax at that place.") from error
    except RecursionError:
        place, allowed = f"{where}, line {loader.line + 1}", f"{_LEVELS} levels or fewer"
        raise InputError(place, "values that are nested too deeply", allowed, "Write fewer levels.") from None


def parse_setting(setting: str, option: str = "--set", allowed: str = "path=value") -> tuple[str, Any]:
    """Parse `path=value`, the value as YAML.

    Args:
        setting: the text.
        option: the option of the command line that it was given with.
        allowed: the form that an error names.

    Returns:
        The path and the value.

    Raises:
        InputError: there is no path or no `=`, or the value is not YAML.
    """
    path, equals, text = setting.partition("=")
    path = path.strip()
    if not equals or not path:
        step = f"Write for example {option} {'task.episodes=50' if option == '--set' else 'size=28'}."
        raise InputError(option, repr(setting), allowed, step)
    return stored_path(path), parse_yaml(f"value: {text}", where=f"{option} {path}")["value"]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file.

    Args:
        path: the file.

    Returns:
        The mapping that it holds.
    """
    return parse_yaml(read_text(path), str(path))


def held_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that is parsed again only once it changes.

    Args:
        path: the file.

    Returns:
        The mapping that it holds; do not change it in place.
    """
    return _parsed(read_text(path), str(path))


_parsed = functools.lru_cache(maxsize=64)(parse_yaml)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be read as UTF-8.
    """
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}", str(error), "text in UTF-8", "Save the file as UTF-8.") from error
    except OSError as error:
        raise InputError(str(path), str(error), "a readable UTF-8 file", "Check the path and its rights.") from error


def write_yaml(data: dict[str, Any], one_line: bool = False) -> str:
    """Write YAML in the order given; reading it back gives the same values.

    Args:
        data: plain data.
        one_line: whether to write it in braces, on one line.

    Returns:
        The text.
    """
    layout: dict[str, Any] = {"default_flow_style": True, "width": math.inf} if one_line else {"width": 110}
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout)


class _Dumper(yaml.SafeDumper):
    """SafeDumper whose plain scalars are read back by the strict loader as what they were; numbers stand in rows."""

    def represent_list(self, data: Any) -> yaml.SequenceNode:
        numbers = bool(data) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=numbers)


_Dumper.yaml_implicit_resolvers = _StrictLoader.yaml_implicit_resolvers
for _kind in (list, tuple):
    _Dumper.add_representer(_kind, _Dumper.represent_list)
