"""Frozen specifications: an object is its own configuration, validated, hashable, replaceable by path."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Self, TypeVar, get_args

import pydantic

from imc_sim._errors import HIDDEN, InputError, nearest
from imc_sim.config._synonyms import stored_path

S = TypeVar("S", bound="Spec")
#: the name of a study and the like, which is also that of a folder: never `..`, and no path
FolderName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
#: mappings whose `kind` says which keys they have
_KINDS_DIFFER = ("encoding", "encoding_multibit", "programming")


class Spec(pydantic.BaseModel):
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
        data = self.to_dict()
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Spec):
                data[name] = value.acting()
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
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


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
        raise InputError(where, type(data).__name__, "a mapping of keys to values", "Write `key: value` lines.")
    try:
        return kind.model_validate(_plain(data, where))
    except pydantic.ValidationError as error:
        raise _explain(kind, error, where) from None


def _plain(data: Any, where: str) -> Any:
    """Turn lists of YAML into tuples, which frozen specifications hold, and refuse text that cannot be shown."""
    if isinstance(data, dict):
        return {_plain(key, where): _plain(value, where) for key, value in data.items()}
    if isinstance(data, str) and HIDDEN.search(data):
        step = "Remove the control characters."
        raise InputError(where, ascii(data), "text without control characters, lines and tabs excepted", step)
    return tuple(_plain(v, where) for v in data) if isinstance(data, list | tuple) else data


def _explain(kind: type[Spec], error: pydantic.ValidationError, where: str) -> InputError:
    """Return the error of pydantic as one that names the key, what was got and what is allowed."""
    # A misspelt key also leaves the one that was meant missing: the misspelling is what to fix. That pieces are no
    # number says less than what is wrong in them.
    first = min(error.errors(include_url=False), key=lambda e: (
        e["type"] != "extra_forbidden", e["type"] == "float_type" and isinstance(e["input"], tuple),
    ))  # fmt: skip
    parts, specs = _place(kind, first["loc"])
    path = ".".join(map(str, parts))
    place = f"{where}: {path}" if path else where
    nested = first.get("ctx", {}).get("error")
    if isinstance(nested, InputError):
        return InputError(f"{place}.{nested.where.lstrip(': ')}", nested.got, nested.allowed, nested.next_step)
    got, text = first["input"], first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = sorted({name for spec in _place(kind, first["loc"][:-1])[1] for name in spec.model_fields})
        key = str(first["loc"][-1])
        step = f"{nearest(key, known)}Remove or rename the key."
        return InputError(place, f"unknown key {key!r}", ", ".join(known) or "no key here", step)
    if first["type"] == "missing":
        return InputError(place, "nothing", "a value (the key is required)", "Add the key.")
    if first["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        tags, tag = [tag for spec in specs for tag in _tags(spec)], first.get("ctx", {}).get("tag", "")
        step = f"{nearest(tag, tags)}Name one of these kinds."
        return InputError(f"{place}.kind", tag or "no kind", ", ".join(tags), step)
    if first["type"] in {"model_type", "model_attributes_type"}:
        step = f"Write {{kind: {got}}}." if any(got in _tags(spec) for spec in specs) else "Write `key: value` lines."
        return InputError(place, repr(got), "a mapping of keys to values", step)
    allowed = text[0].lower() + text[1:]
    shown = "values that do not go together" if isinstance(got, dict) else repr(got)
    return InputError(place, shown, allowed.removeprefix("input should be "), "Change the value.")


def _place(kind: type[Spec], location: tuple[int | str, ...]) -> tuple[list[int | str], list[type[Spec]]]:
    """Return the keys of a location, without kinds and types that it names, and the specifications possible there."""
    keys: list[int | str] = []
    candidates = [kind]
    for part in location:
        fields = [c.model_fields[str(part)].annotation for c in candidates if str(part) in c.model_fields]
        tagged = [c for c in candidates if part in _tags(c)]
        typed = candidates and (part == "float" or str(part).startswith("tuple["))  # one type of several
        keys += [] if (tagged or typed) and not fields else [part]
        candidates = [s for f in fields for s in _specs_in(f)] if fields else (tagged or candidates)
    return keys, candidates


def _tags(kind: type[Spec]) -> tuple[Any, ...]:
    field = kind.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def _specs_in(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [s for part in get_args(annotation) for s in _specs_in(part)]
