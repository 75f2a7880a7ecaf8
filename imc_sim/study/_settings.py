"""Replace settings of a study by path, for `--set path=value` and for `set` of a study file."""

from __future__ import annotations

from typing import Any, TypeVar

from imc_sim._errors import InputError, nearest
from imc_sim.config import Spec, build, set_path
from imc_sim.study._conditions import look_up

S = TypeVar("S", bound=Spec)
#: mappings whose keys are paths: the rest of a path below them is one key
_BY_PATH = ("set", "derived")


def with_value(study: S, path: str, value: Any, where: str) -> S:
    """Return the study with the value at `path`; a path `chip.…` also enters a chip that is given by name."""
    data = study.to_dict()
    root, _, rest = path.partition(".")
    if rest and root == "engine":
        data[root] = data[root] or _chip(data["chip"])["engine"]
    # Chips and tasks are checked at every point, after cases and axes set further values.
    if rest and root == "chip":
        if not isinstance(look_up(data, path.rpartition(".")[0])[1], dict):
            data[root] = _chip(data[root])
        set_path(data, path, value, where)
        return study.model_copy(update={root: data[root]})
    _put(data, path, value, where)
    if rest and root == "task":
        return study.model_copy(update={root: data[root]})
    return build(type(study), data, f"{where} {path}")


def _put(data: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set a value in nested data; parts of a path count entries of lists from 0."""
    *parents, leaf = _parts(path)
    node: Any = data
    for part in parents:
        if node is data.get("task") and node.get(part) is None:
            node[part] = {}  # such as the attack of a task without one; the task validates it later
        node = node[_key(node, part, path, where)]
    if isinstance(node, dict) and node is not data:
        node[leaf] = value
    else:
        node[_key(node, leaf, path, where)] = value


def _parts(path: str) -> list[str]:
    """Split a path into keys; below a mapping of paths, the rest is one key."""
    parts = path.split(".")
    at = next((k for k, part in enumerate(parts) if part in _BY_PATH and parts[0] in ("cases", "derived")), None)
    return parts if at is None or at + 1 >= len(parts) else [*parts[: at + 1], ".".join(parts[at + 1 :])]


def _key(node: Any, part: str, path: str, where: str) -> Any:
    """Return the key or index that a part of a path means, which must exist."""
    if isinstance(node, list):
        if part.isdecimal() and int(part) < len(node):
            return int(part)
        allowed = f"a number from 0 to {len(node) - 1}" if node else "no number: the list is empty"
        raise InputError(f"{where} {path}", repr(part), allowed, "Count entries from 0.")
    if isinstance(node, dict) and part in node:
        return part
    known = list(node) if isinstance(node, dict) else []
    step = f"{nearest(part, known)}Check the spelling of the path."
    raise InputError(f"{where} {path}", repr(part), ", ".join(known) or "no part of a single value", step)


def _chip(chip: Any) -> dict[str, Any]:
    from imc_sim.array import load_chip

    return load_chip(chip).to_dict()
