"""Inheritance between study files: merge the settings of a study into those of its base."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imc_sim._errors import InputError, nearest
from imc_sim.config import find_content, user_path

#: lists whose single entries a derived study can change with a mapping -> key that identifies an entry
KEYED = {"axes": "path", "cases": "name"}
#: most files that a study derives from
_MOST = 20


def base_file(base: Any, folder: Path, where: str) -> Path:
    """Return the file of a base study: relative to `folder` if it exists there, else found like any study."""
    if not isinstance(base, str):
        step = "Name one study, or give its path."
        raise InputError(f"{where}: base", type(base).__name__, "the name or path of a study", step)
    path = folder / user_path(base, f"{where}: base")
    return path if path.suffix in {".yaml", ".yml"} and path.is_file() else find_content("study", base)


def follow(path: Path, chain: tuple[Path, ...]) -> tuple[Path, ...]:
    """Append `path` to the chain of study files that derive from each other; reject cycles and long chains."""
    if len(chain) > _MOST:
        raise InputError(f"{path}: base", f"more than {_MOST} bases", f"{_MOST} bases or fewer", "Remove some.")
    here = Path(os.path.realpath(path))
    if here in chain:
        names = " -> ".join(p.stem for p in (*chain[chain.index(here) :], here))
        raise InputError(f"{path}: base", names, "bases without a cycle", "Remove one of these bases.")
    return (*chain, here)


def refuse_patches(data: Mapping[str, Any], where: str) -> None:
    """Reject changes of single entries in a study without a base."""
    wrong = next((key for key in KEYED if isinstance(data.get(key), Mapping)), None)
    if wrong is not None:
        step = f"Write a list of `- {KEYED[wrong]}: …`, or name a base."
        raise InputError(f"{where}: {wrong}", "a mapping", "a list in a study without a base", step)


def derive(base: Mapping[str, Any], own: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Merge `own` into `base`: mappings merge, other values replace.

    Under `axes` and `cases`, a list replaces the list of the base; a mapping changes entries by path or name, adds
    entries that the base lacks, and removes entries that are set to null.
    """
    if "name" not in own:
        raise InputError(f"{where}: name", "nothing", "a name that differs from the base", "Add `name: …`.")
    patches = {key: own[key] for key in KEYED if isinstance(own.get(key), Mapping)}
    merged = _merge(base, {key: value for key, value in own.items() if key not in patches})
    for key, patch in patches.items():
        merged[key] = _patched(base[key], patch, key, where)
    return merged


def _merge(base: Any, own: Any) -> Any:
    """Merge nested mappings; if both name a `kind` and the kinds differ, keep only `own`."""
    if not isinstance(base, Mapping) or not isinstance(own, Mapping):
        return own
    if "kind" in base and own.get("kind", base["kind"]) != base["kind"]:
        return dict(own)
    return {**base, **{key: _merge(base[key], value) if key in base else value for key, value in own.items()}}


def _patched(entries: list[dict[str, Any]], patch: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """Change, add and remove entries of a list by the key that identifies them."""
    named = {entry[KEYED[key]]: entry for entry in entries}
    for name, change in patch.items():
        if change is None and name not in named:
            step = f"{nearest(str(name), named)}Remove one of these."
            raise InputError(f"{where}: {key}", f"no {name!r} to remove", ", ".join(named), step)
        if not isinstance(change, Mapping | None):
            step = "Write the keys that change, or null to remove the entry."
            raise InputError(f"{where}: {key}.{name}", type(change).__name__, "a mapping or null", step)
    changed = {**named, **{n: {KEYED[key]: n} | _merge(named.get(n, {}), c) for n, c in patch.items() if c is not None}}
    return [entry for name, entry in changed.items() if not (name in patch and patch[name] is None)]
