"""Lines in errors: where the values of a specification were written, looked up only once an error occurs."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pydantic
import yaml

from imc_sim._errors import InputError
from imc_sim.config._spec import TOGETHER, Spec
from imc_sim.config._synonyms import stored_path
from imc_sim.config._yaml import composed_yaml, read_text

_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,:]+""")
_QUOTED = re.compile(r"'([^']*)'")
#: what errors say they got for a key that is not known
_UNKNOWN = re.compile(r"""unknown key ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
#: errors show this many characters of long text
_LONG = 40


class Place(NamedTuple):
    """A place of values in a file.

    Attributes:
        file: path of the file, as errors name it.
        under: key path in the file.
        path: key path of the specification whose value is there; empty: the whole specification.
    """

    file: str
    under: str = ""
    path: str = ""

    def keys(self, wanted: Sequence[str]) -> list[str] | None:
        """Return the keys in the file of a value.

        Args:
            wanted: key path of the value in the specification.

        Returns:
            The keys; None for values that are not of this place.
        """
        own = _split(self.path)
        return [*_split(self.under), *wanted[len(own) :]] if list(wanted[: len(own)]) == own else None


class _Found(NamedTuple):
    """A line: the number of its keys that were found there, of those wanted, and the node of the value."""

    line: int
    matched: int
    whole: bool
    node: yaml.Node


@dataclass(frozen=True)
class Origin:
    """Where the values of a specification were written.

    All origins are equal: specifications are compared by their values.

    Attributes:
        places: places of values; the first that holds a value counts.
        settings: paths that `--set` replaced.
    """

    places: tuple[Place, ...] = field(default=(), compare=False)
    settings: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, *files: Path | str) -> Self:
        """Return the origin of a specification that files hold, such as a study and its bases.

        Args:
            *files: paths of the files.
        """
        return cls(tuple(Place(str(file)) for file in files))

    def first(self, *places: Place) -> Origin:
        """Return the origin of values that may also be in other places.

        Args:
            *places: these places, which count before those of this origin.
        """
        return Origin((*places, *self.places), self.settings)

    def with_settings(self, paths: Iterable[str]) -> Origin:
        """Return the origin of values of which `--set` replaced some.

        Args:
            paths: paths of the settings.
        """
        return Origin((Place(""), *self.places), (*self.settings, *paths))

    @contextlib.contextmanager
    def naming(self, *heads: str) -> Iterator[None]:
        """Add the file and the line to an InputError of the block.

        Args:
            *heads: names that errors have for the specification, such as `study 'x'`.

        Yields:
            Nothing.
        """
        try:
            yield
        except InputError as error:
            located = self.located(error, *heads)
            if located is error:
                raise
            raise located.with_traceback(error.__traceback__) from error.__cause__

    def located(self, error: InputError, *heads: str) -> InputError:
        """Return the error with the file and the line of its key, or the option that set it; see `naming`.

        An error that names neither the specification nor its file is about a value that is used elsewhere. It is
        returned unchanged unless that value is found.

        Args:
            error: the error.
            *heads: names that errors have for the specification.
        """
        head = next((head for head in (*heads, *(p.file for p in self.places)) if _begins(error.where, head)), None)
        rest = None if head is None else _after(error.where, head)
        if re.match(r"line \d", rest) if rest is not None else re.search(r", line \d", error.where):
            return error
        unknown = _UNKNOWN.fullmatch(str(error.got))
        keys = _keys(error.where if rest is None else rest, ast.literal_eval(unknown[1]) if unknown else "")
        place = self._place(keys, error, rest is not None)
        if place is None:
            return error
        rest = _after(error.where, (head or "").partition(", ")[0])  # the head may go on, such as with an entry
        told = not rest or f"{place}.".endswith((f" {'.'.join(keys)}.", f".{rest}."))  # a setting names its key
        text = place if told else f"{place}: {rest}"
        return type(error)(text, error.got, error.allowed, error.next_step)

    def _place(self, keys: list[str], error: InputError, known: bool) -> str | None:
        """Return the text for the place of a key path."""
        roots = {place.file: _root(place.file) for place in self.places if place.file}
        best: tuple[int, str] | None = None
        for place in self.places:
            path = place.keys(keys)
            if path is None:
                continue
            if (setting := self._setting(path)) is not None:
                return f"--set {setting}"
            root = roots.get(place.file)
            found = None if root is None else _follow(root, path)
            if found is None:
                continue
            if found.whole and (known or _is(found.node, error.got)):
                return f"{place.file}, line {_named_in(found.node, error) or found.line}"
            count = found.matched - len(path) + len(keys) - len(_split(place.path))
            if best is None or count > best[0]:
                best = count, f"{place.file}, line {found.line}"
        if known:
            return None if best is None else best[1]
        return next(
            (f"{file}, line {line}" for file, root in roots.items() if (line := _line_of(root, error.got))), None
        )

    def _setting(self, path: Sequence[str]) -> str | None:
        """Return the path of the last setting that replaced the value at a key path, or a part of it."""
        for setting in reversed(self.settings):
            own = _split(stored_path(setting))
            if path and all(a == b for a, b in zip(own, path, strict=False)):
                return setting
        return None


class FileSpec(Spec):
    """Base of specifications whose errors in later steps name their files."""

    _origin: Origin = pydantic.PrivateAttr(default=Origin())

    @property
    def origin(self) -> Origin:
        """Return where the values were written."""
        return self._origin

    def with_origin(self, origin: Origin) -> Self:
        """Return this specification with another origin.

        Args:
            origin: where its values were written.
        """
        copy = self.model_copy()
        copy._origin = origin
        return copy


def _begins(where: str, head: str) -> bool:
    """Tell whether `where` of an error begins with the name of a specification."""
    return where.startswith(head) and where[len(head) : len(head) + 1] in ("", ",", ":", ".", " ")


def _after(where: str, head: str) -> str:
    """Return what follows the name of a specification in `where` of an error."""
    return re.sub(r"^[,:.]? ?", "", where[len(head) :])


def _split(path: str) -> list[str]:
    return path.split(".") if path else []


def _keys(place: str, unknown: str = "") -> list[str]:
    """Return the key path in `where` of an error: `case 'a', task: keys` -> task, keys.

    Args:
        place: where the error is.
        unknown: the last key where it is not known, and so may hold any characters.
    """
    if unknown and place.endswith(unknown):
        return [*_keys(place[: -len(unknown)]), unknown]
    tokens = _TOKEN.findall(place)
    found: list[str] = []
    for token, after in zip(tokens, [*tokens[1:], ""], strict=False):
        quoted, names = token[0] in "'\"", after[:1] in ("'", '"')
        if quoted and found and found[-1] in ("path", "derived"):
            found[-1:] = [] if found[-1] == "path" else ["derived"]
            found.append(token[1:-1])
        elif not quoted and not (names and token in ("case", "entry")):
            found.append(token)
    return [key for key in _split(".".join(found)) if key]


def _root(file: str) -> yaml.Node | None:
    """Return the node of a file; None where it cannot be read as YAML."""
    try:
        return composed_yaml(read_text(Path(file)))
    except InputError:
        return None


def _follow(node: yaml.Node, keys: Sequence[str]) -> _Found:
    """Return the line of the value at a key path, or of the deepest part of it that exists."""
    at, count = node, 0
    while count < len(keys):
        rest = keys[count:]
        if isinstance(node, yaml.SequenceNode) and not rest[0].isdecimal():  # the place lacks the number of the entry
            inner = max((_follow(each, rest) for each in node.value), key=lambda found: found.matched, default=None)
            if inner is None or not inner.matched:
                break
            return inner._replace(matched=count + inner.matched)
        entry = _entry(node, rest)
        if entry is None:
            # an entry of a list that the file changes by name, or writes as a range
            count = len(keys) if isinstance(node, yaml.MappingNode) and rest[0].isdecimal() else count
            break
        at, node, used = entry
        count += used
    return _Found(at.start_mark.line + 1, count, count == len(keys), node)


def _entry(node: yaml.Node, keys: Sequence[str]) -> tuple[yaml.Node, yaml.Node, int] | None:
    """Return the node of a key, that of its value, and how many keys of the path it is: keys may be paths."""
    if isinstance(node, yaml.SequenceNode) and int(keys[0]) < len(node.value):
        return node.value[int(keys[0])], node.value[int(keys[0])], 1
    pairs = _pairs(node) if isinstance(node, yaml.MappingNode) else []
    for count in range(len(keys), 0, -1):
        name = ".".join(keys[:count])
        for key, value in pairs:
            if stored_path(str(key.value)) == name:
                return key, value, count
    inside = (pair for pair in pairs if stored_path(str(pair[0].value)).startswith(f"{'.'.join(keys)}."))
    return next(((key, value, len(keys)) for key, value in inside), None)


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return keys and values of a mapping, with those that it merges by `<<`."""
    merged = [value for key, value in node.value if key.value == "<<"]
    parts = [part for value in merged for part in (value.value if isinstance(value, yaml.SequenceNode) else [value])]
    return node.value + [pair for part in parts if isinstance(part, yaml.MappingNode) for pair in _pairs(part)]


def _named_in(node: yaml.Node, error: InputError) -> int | None:
    """Return the line of the part of a mapping that an error about several of its values names, if it names one."""
    if error.got == TOGETHER:
        for text in reversed(_QUOTED.findall(str(error.allowed))):
            for key, value in _scalars(node, set()):
                if text in (value.value, key.value):
                    return value.start_mark.line + 1
    return None


def _line_of(root: yaml.Node | None, got: Any) -> int | None:
    """Return the line of a single value that an error is about."""
    return next((node.start_mark.line + 1 for _, node in _scalars(root, set()) if _is(node, got)), None)


def _scalars(
    node: yaml.Node | None, seen: set[int], key: yaml.Node | None = None
) -> Iterator[tuple[yaml.Node, yaml.ScalarNode]]:
    """Yield the single values of a node in the order of the file, each after the key that it is under."""
    if isinstance(node, yaml.ScalarNode):
        yield key or node, node
    elif isinstance(node, yaml.CollectionNode) and id(node) not in seen:
        seen.add(id(node))
        for each in node.value:
            above, value = each if isinstance(each, tuple) else (key, each)
            yield from _scalars(value, seen, above)


def _is(node: yaml.Node, got: Any) -> bool:
    """Tell whether an error is about the single value of a node."""
    if not isinstance(node, yaml.ScalarNode) or not (node.value or node.style):
        return False
    shown = repr(node.value) if len(node.value) <= _LONG else repr(node.value[:_LONG])[:-1]
    return str(got).startswith(shown) or str(got) == node.value
