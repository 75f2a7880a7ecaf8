"""Frozen specifications: an object is its own configuration, validated, hashable, replaceable by path."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Self, TypeVar, cast, get_args

import pydantic

from imc_sim._errors import HIDDEN, InputError, nearest, shown_value
from imc_sim.config._synonyms import stored_path

S = TypeVar("S", bound="Spec")
#: the name of a study and the like, which is also that of a folder: never `..`, and no path
FolderName = Annotated[str, pydantic.Field(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
#: text that figures show, which take seconds to lay out where it is long
Label = Annotated[str, pydantic.Field(max_length=500)]
#: mappings whose `kind` says which keys they have
_KINDS_DIFFER = ("encoding", "encoding_multibit", "programming")
#: what was got where single values are allowed, but not with others
TOGETHER = "values that do not go together"
#: characters from which an error gives the length of a text in its place
_LONG = 200
_MAPPING = "a mapping of keys to values"
#: types of errors of pydantic -> what is allowed
_ALLOWED: dict[str, str] = {
    "float_type": "a number", "int_type": "a whole number", "int_from_float": "a whole number",
    "bool_type": "true or false", "string_type": "text", "invalid_key": "keys that are text",
    "tuple_type": "a list", "dict_type": _MAPPING,
    "model_type": _MAPPING, "model_attributes_type": _MAPPING,
}  # fmt: skip


class _Built(type(pydantic.BaseModel)):
    """Make a call of a specification's class raise InputError; files are read by `build`, without such a call."""

    def __call__(cls, *args, **values):  # noqa: ANN002, ANN003, ANN204 - the signature of the class
        try:
            return super().__call__(*args, **values)
        except pydantic.ValidationError as error:
            raise _explain(cast("type[Spec]", cls), error, values, cls.__name__) from None


class Spec(pydantic.BaseModel, metaclass=_Built):
    """Base of every specification: immutable, no unknown key, no silent conversion."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=False
    )

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return every key with its resolved value.

        Returns:
            Plain YAML types.
        """
        return self.model_dump(mode="json")

    def idle(self) -> frozenset[str]:
        """Return the dotted paths of settings that change no result, as the other settings are."""
        return frozenset()

    def acting(self) -> dict[str, Any]:
        """Return `to_dict()` without the settings that change no result, at any depth."""
        return self._without_idle(self.to_dict())

    def _without_idle(self, data: dict[str, Any]) -> dict[str, Any]:
        """Remove the settings that change no result from `to_dict()`, in place."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Spec):
                value._without_idle(data[name])
        return drop_paths(data, self.idle())

    def all_but(self, *names: str) -> frozenset[str]:
        """Return the names of all fields but some: those that `idle` reports where an effect is off.

        Args:
            *names: the exceptions.

        Returns:
            The other names.
        """
        return frozenset(type(self).model_fields) - set(names)

    def digest(self) -> str:
        """Hash the canonical JSON of `to_dict()`.

        Returns:
            SHA-256, as hex.
        """
        return digest(self.to_dict())

    def replace(self, path: str, value: Any) -> Self:
        """Copy the specification with another value, and validate it again.

        Args:
            path: dotted path.
            value: the new value.

        Returns:
            The new specification.
        """
        data = self.to_dict()
        set_path(data, path, value, where=type(self).__name__)
        return build(type(self), data, where=f"{type(self).__name__}.replace({path!r})")


class Effect(Spec, abc.ABC):
    """A specification of an effect that can be off, so that none of its settings changes a result."""

    @property
    @abc.abstractmethod
    def is_ideal(self) -> bool:
        """Tell whether the effect is off."""

    def idle(self) -> frozenset[str]:
        return self.all_but("kind") if self.is_ideal else frozenset()


def set_path(data: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set a value in nested mappings, in place.

    Kinds of encodings and of programming laws have different keys: with another `kind`, the old keys are dropped.

    Args:
        data: the outer mapping.
        path: dotted path; every part but the last must exist.
        value: the new value.
        where: source for errors.

    Raises:
        InputError: a part of the path does not exist.
    """
    if not isinstance(path, str):
        raise InputError(f"{where}, path", shown_value(path), "a text", "Write a dotted path.")
    *parents, leaf = stored_path(path).split(".")
    node: Any = data
    for part in parents:
        held, node = node, node.get(part)
        if not isinstance(node, dict):
            known = sorted(key for key, each in held.items() if isinstance(each, dict))
            step = f"{nearest(part, known)}Check the path's spelling."
            allowed = ", ".join(known) or "a path that ends before it"
            raise InputError(f"{where}, path {path!r}", f"no mapping {part!r}", allowed, step)
    if leaf == "kind" and parents and parents[-1] in _KINDS_DIFFER and node.get(leaf) != value:
        node.clear()
    node[leaf] = value


def drop_paths(data: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Remove values from nested mappings, in place.

    Args:
        data: the outer mapping.
        paths: dotted paths; one that does not exist is ignored.

    Returns:
        The outer mapping.
    """
    for path in paths:
        *parents, leaf = path.split(".")
        node: Any = data
        for part in parents:
            node = node.get(part, {})
        node.pop(leaf, None)
    return data


def canonical_json(data: Any) -> str:
    """Write JSON with sorted keys and no spaces, which is equal on every machine for equal data.

    Args:
        data: plain data.

    Returns:
        The text.
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(data: Any) -> str:
    """Hash the canonical JSON of plain data.

    Args:
        data: plain data.

    Returns:
        SHA-256, as hex.
    """
    return hashlib.sha256(canonical_json(data).encode("utf-8", "surrogatepass")).hexdigest()


def build(kind: type[S], data: Any, where: str) -> S:
    """Build a specification from plain data.

    Args:
        kind: class of the specification.
        data: mapping of keys to values.
        where: source for errors.

    Returns:
        The specification.

    Raises:
        InputError: a key or a value is not valid.
    """
    if not isinstance(data, dict):
        raise InputError(where, type(data).__name__, _MAPPING, "Write `key: value` lines.")
    plain = _plain(data, where)
    try:
        return kind.model_validate(plain)
    except pydantic.ValidationError as error:
        raise _explain(kind, error, plain, where) from None


def _plain(data: Any, where: str) -> Any:
    """Turn lists of YAML into tuples, which frozen specifications hold, and refuse text that cannot be shown."""
    if isinstance(data, str):
        if HIDDEN.search(data):
            step = "Remove the control characters."
            raise InputError(where, ascii(data), "text without control characters, lines and tabs excepted", step)
    elif isinstance(data, dict):
        return {_plain(key, where): _plain(value, where) for key, value in data.items()}
    elif isinstance(data, list | tuple):
        return tuple(_plain(value, where) for value in data)
    return data


def _explain(kind: type[Spec], error: pydantic.ValidationError, data: Any, where: str) -> InputError:
    """Return the error of pydantic as one that names the key, what was got and what is allowed."""
    # A misspelt key also leaves the one that was meant missing: the misspelling is what to fix.
    errors = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    places = [_place(kind, e["loc"], data) for e in errors]
    # Where one of several types is allowed, each has an error: those in pieces of the value say more.
    start = places[0][0]
    inside = [n for n, (keys, _) in enumerate(places) if keys[: len(start)] == start]
    number = 0 if errors[0]["type"] == "extra_forbidden" else max(inside, key=lambda n: (len(places[n][0]), -n))
    first, (parts, specs) = errors[number], places[number]
    path = ".".join(map(str, parts))
    place = f"{where}: {path}" if path else where
    nested = first.get("ctx", {}).get("error")
    if isinstance(nested, InputError):
        within = f"{place}.{nested.where.lstrip(': ')}".rstrip(".")
        return InputError(within, nested.got, nested.allowed, nested.next_step)
    got = first["input"]
    if first["type"] == "extra_forbidden":
        known = sorted({name for spec in _place(kind, first["loc"][:-1], data)[1] for name in spec.model_fields})
        key = str(first["loc"][-1])
        step = f"{nearest(key, known)}Remove or rename the key."
        return InputError(place, f"unknown key {key!r}", ", ".join(known) or "no key here", step)
    if first["type"] == "missing":
        key = "" if isinstance(parts[-1], int) else " (the key is required)"
        return InputError(place, "nothing", f"a value{key}", "Add the key." if key else "Add the value.")
    if first["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        tags, tag = [tag for spec in specs for tag in _tags(spec)], first.get("ctx", {}).get("tag", "")
        step = f"{nearest(tag, tags)}Name one of these kinds."
        return InputError(f"{place}.kind", tag or "no kind", ", ".join(tags), step)
    same = [e for e, (keys, _) in zip(errors, places, strict=True) if keys == parts]
    allowed = " or ".join(dict.fromkeys(map(_allowed, same)))
    if first["type"] == "value_error" and isinstance(got, dict) and specs:
        return InputError(place, TOGETHER, allowed, "Change the value.")
    step = "Write one value, not a mapping." if isinstance(got, dict) else "Change the value."
    if allowed == _MAPPING:
        step = f"Write {{kind: {got}}}." if any(got in _tags(spec) for spec in specs) else "Write `key: value` lines."
    return InputError(place, _shown(got), allowed, step)


def _allowed(error: Any) -> str:
    """Return what an error of pydantic allows, in the words of YAML."""
    if error["type"] == "too_short":
        return f"a list of {error['ctx']['min_length']} or more"
    if error["type"] == "string_too_long":
        return f"text of {error['ctx']['max_length']} characters or fewer"
    if error["type"] in _ALLOWED:
        return _ALLOWED[error["type"]]
    text: str = error["msg"].removeprefix("Value error, ").replace("String should match", "text of the")
    return (text[0].lower() + text[1:]).removeprefix("input should be ")


def _shown(got: Any) -> str:
    """Return a value as a user wrote it."""
    if isinstance(got, dict):
        return f"a mapping with the keys {', '.join(map(repr, got))}" if got else "an empty mapping"
    if isinstance(got, str) and len(got) > _LONG:
        return f"a text of {len(got):,} characters"
    return repr(_listed(got))


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _place(kind: type[Spec], location: tuple[int | str, ...], data: Any) -> tuple[list[int | str], list[type[Spec]]]:
    """Return the keys of a location and the specifications possible there.

    A location of pydantic also names kinds and types, of which several are allowed: those are no keys of the data.
    """
    keys: list[int | str] = []
    candidates = [kind]
    for part in location:
        fields = [c.model_fields[str(part)].annotation for c in candidates if str(part) in c.model_fields]
        tagged = [c for c in candidates if part in _tags(c)]
        inner: dict[Any, Any] = (
            dict(enumerate(data)) if isinstance(data, tuple) else data if isinstance(data, dict) else {}
        )
        if fields or ((part in inner or isinstance(part, int)) and not tagged):
            keys.append(part)
            data = inner.get(part)
            candidates = [s for f in fields for s in _specs_in(f)] if fields else candidates
        elif tagged:
            candidates = tagged
    return keys, candidates


def _tags(kind: type[Spec]) -> tuple[Any, ...]:
    field = kind.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def _specs_in(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [s for part in get_args(annotation) for s in _specs_in(part)]
