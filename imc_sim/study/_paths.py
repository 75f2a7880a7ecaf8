"""Enumerate the dotted paths of a JSON schema that axes and cases may set, with the schema of their values."""

from __future__ import annotations

from typing import Any


def paths_of(schema: dict[str, Any], roots: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return path -> schema of its values, as references into `schema`; a mapping comes before its entries.

    A path that ends in `.*` allows any last part.

    Args:
        schema: JSON schema with `$defs`.
        roots: first part of a path -> JSON pointer to its schema.
    """
    found: dict[str, list[str]] = {}
    for name, pointer in roots.items():
        _walk(schema, pointer, name, found)
    return {path: _either(pointers) for path, pointers in found.items()}


def _either(pointers: list[str]) -> dict[str, Any]:
    references = [{"$ref": pointer} for pointer in pointers]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _walk(schema: dict[str, Any], pointer: str, path: str, found: dict[str, list[str]]) -> None:
    """Add the path and all paths below it; with alternatives a path has several schemas."""
    known = found.setdefault(path, [])
    if pointer in known:
        return
    known.append(pointer)
    for place in _objects(schema, pointer):
        node = _at(schema, place)
        for key in node.get("properties", {}):
            _walk(schema, f"{place}/properties/{key}", f"{path}.{key}", found)
        if isinstance(node.get("additionalProperties"), dict):
            _walk(schema, f"{place}/additionalProperties", f"{path}.*", found)


def _objects(schema: dict[str, Any], pointer: str) -> list[str]:
    """Return pointers to the object schemas that a value may have, following references and alternatives."""
    node = _at(schema, pointer)
    if "$ref" in node:
        return _objects(schema, node["$ref"])
    alternatives = [key for key in ("anyOf", "oneOf") if key in node]
    inner = [p for key in alternatives for k in range(len(node[key])) for p in _objects(schema, f"{pointer}/{key}/{k}")]
    return [pointer, *inner] if "properties" in node or "additionalProperties" in node else inner


def _at(schema: dict[str, Any], pointer: str) -> Any:
    node: Any = schema
    for part in pointer.removeprefix("#/").split("/"):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node
