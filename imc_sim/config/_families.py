"""Families of models: a file with the recipe that its models share, and what each says on top of it.

`models/FAMILY/family.yaml` holds `bases` (parts of cards, which may name a `base` themselves) and `models`: for each
name a `base` and what differs, by dotted path, such as `recipe.epochs: 20` or `recipe.measure.0.note: …` for an entry
of a list. Mappings merge, everything else replaces. `results` names a JSON file with what was measured of the models.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imc_sim._errors import InputError, nearest
from imc_sim.config._installation import incomplete, is_shipped
from imc_sim.config._origin import Origin, Place
from imc_sim.config._yaml import parse_yaml, read_text

FAMILY = "family.yaml"
_KEYS = ("summary", "results", "bases", "models")
#: (file, model) -> what its family and their results say, and its card: a study looks it up for every point
_CARDS: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {}


def family_files(folder: Path, name: str = "") -> list[Path]:
    """Return the family files in a folder of models: all, or those that may list the model of that name."""
    return sorted(p for p in folder.glob(f"*/{FAMILY}") if not name or name.startswith(f"{p.parent.name}_"))


def family_card(file: Path, name: str) -> dict[str, Any]:
    """Return the whole card of a model that the family lists, with its results.

    Raises:
        InputError: a base, a path or the results of the model are not valid.
    """
    family, results = read_family(file), _results(file)
    key = (str(file), name)
    known = _CARDS.get(key)
    if known is None or known[0] is not family or known[1] is not results:
        with Origin.of(file).naming():
            card = {"name": name} | _derived(family, family["models"][name], (), f"{file}, models.{name}")
        card = _with_results(card, results.get(name, {}), f"{file.parent}, results of {name}")
        known = _CARDS[key] = (family, results, card)
    return copied(known[2])


def copied(data: Any) -> Any:
    """Return a copy of plain data, several times as fast as `copy.deepcopy`.

    Args:
        data: mappings and lists of values that do not change.
    """
    if isinstance(data, dict):
        return {key: copied(value) if isinstance(value, dict | list) else value for key, value in data.items()}
    return [copied(each) for each in data] if isinstance(data, list) else data


def family_origin(file: Path, name: str) -> Origin:
    """Return the places of the values of a card: its row in the family, then the bases of it."""
    family, places = read_family(file), []
    row = family["models"][name]
    under = f"models.{name}"
    while isinstance(row, dict):
        places.append(Place(str(file), under))
        base = row.get("base")
        row, under = family["bases"].get(base) if isinstance(base, str) else None, f"bases.{base}"
    return Origin(tuple(places))


def read_family(file: Path) -> dict[str, Any]:
    """Return what the file of a family says: `models` and `bases` by name, `summary` and `results` if given.

    Raises:
        InputError: the file is no valid family.
    """
    with Origin.of(file).naming():
        return _family(file, read_text(file))


@functools.lru_cache(maxsize=64)
def _family(file: Path, text: str) -> dict[str, Any]:
    """Parse and check a family."""
    data = {"bases": {}, "models": {}} | parse_yaml(text, str(file))
    for key in data:
        if key not in _KEYS:
            step = f"{nearest(key, _KEYS)}Remove or rename the key."
            raise InputError(f"{file}: {key}", f"unknown key {key!r}", ", ".join(_KEYS), step)
    prefix = f"{file.parent.name}_"
    for part in ("bases", "models"):
        if not isinstance(data[part], dict):
            raise InputError(f"{file}, {part}", type(data[part]).__name__, "a mapping by name", "Write `name:` lines.")
        for name, row in data[part].items():
            if not isinstance(row, dict) or "name" in row:
                step = f"Write the keys of the card under {name!r}; its name is that key."
                raise InputError(f"{file}, {part}.{name}", repr(row), "a mapping without `name`", step)
            if part == "models" and not name.startswith(prefix):
                step = "Rename the model, or move it to another family."
                raise InputError(f"{file}, models", repr(name), f"names that begin with {prefix}", step)
    return data


def _results(file: Path) -> dict[str, Any]:
    """Return the results of the family's models, by name."""
    name = read_family(file).get("results")
    if name is None:
        return {}
    path = file.parent / str(name)
    if not path.is_file():
        if is_shipped(path):
            raise incomplete(path)
        raise InputError(f"{file}, results", f"no file {str(path)!r}", "a JSON file", "Fix the name, or add the file.")
    found, models = _json(path, read_text(path)), read_family(file)["models"]
    unknown = sorted(set(found) - set(models))
    if unknown:
        step = f"{nearest(unknown[0], models)}Rename it, or remove it."
        raise InputError(str(path), repr(unknown[0]), f"a model of {file}", step)
    return found


@functools.lru_cache(maxsize=64)
def _json(path: Path, text: str) -> dict[str, Any]:
    """Parse and check the results of a family."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"{path}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(path)
        raise InputError(where, str(error), "a JSON object", "Fix the file.") from error
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
        raise InputError(str(path), "other values", "a JSON object of objects, by name", "Fix the file.")
    return found


def _derived(family: Mapping[str, Any], row: Mapping[str, Any], chain: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return a row on top of its base, bases first."""
    own = dict(row)
    base = own.pop("base", None)
    if base is None:
        card: dict[str, Any] = {}
    elif base in chain:
        names = " -> ".join((*chain[chain.index(base) :], base))
        raise InputError(f"{where}: base", names, "a chain of bases that ends", "Remove one of these bases.")
    elif not isinstance(base, str) or base not in family["bases"]:
        step = f"{nearest(str(base), family['bases'])}Name one of these."
        raise InputError(f"{where}: base", repr(base), ", ".join(family["bases"]) or "no base in this family", step)
    else:
        card = _derived(family, family["bases"][base], (*chain, base), f"{where.rpartition(', ')[0]}, bases.{base}")
    for path, value in own.items():
        _put(card, path.split("."), value, f"{where}: {path}")
    return card


def _put(node: Any, path: list[str], value: Any, where: str) -> None:
    """Set a value in nested mappings and lists in place; a mapping is merged into the one that is there."""
    key, *rest = path
    if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
        at: Any = int(key)
    elif isinstance(node, dict):
        at = key
        node.setdefault(key, {} if rest else None)
    else:
        got = f"a list of {len(node)}" if isinstance(node, list) else repr(node)
        raise InputError(where, f"{key!r} in {got}", "a key of a mapping, or the number of an entry", "Fix the path.")
    if rest:
        _put(node[at], rest, value, where)
    else:
        node[at] = _merged(node[at], value)


def _merged(base: Any, own: Any) -> Any:
    """Return a copy of own values on top of those of a base: mappings merge, everything else replaces."""
    if isinstance(base, Mapping) and isinstance(own, Mapping):
        return {**base, **{key: _merged(base.get(key), value) for key, value in own.items()}}
    return copied(own)


def _with_results(card: dict[str, Any], results: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the card with its results; each entry of `measured` adds to that of `recipe.measure` at its place."""
    card = _merged(card, results)
    if "measured" in results:
        asked, found = card.get("recipe", {}).get("measure", []), results["measured"]
        if len(asked) != len(found):
            step = "Measure the model again, or fix recipe.measure."
            raise InputError(f"{where}: measured", f"{len(found)} entries", f"{len(asked)}, as in recipe.measure", step)
        card["measured"] = [_merged(copied(task), row) for task, row in zip(asked, found, strict=True)]
    return card
