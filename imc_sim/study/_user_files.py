"""Files of the user that a study names relative to its folder: functions of tasks, images, measured conductances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from imc_sim.config import Spec, is_held
from imc_sim.data import own_kind

S = TypeVar("S", bound=Spec)
#: keys of a function task that name files
_KEYS = ("call", "inputs", "files")


def with_places(study: S, folder: Path) -> S:
    """Return the study with absolute paths of the functions and arrays that its tasks name; other paths are unchanged.

    Args:
        study: a `Study`.
        folder: folder that its relative paths are relative to.
    """
    data: Any = study
    cases = tuple(case.model_copy(update={"set": _settings(case.set, folder)}) for case in data.cases)
    axes = tuple(
        axis.model_copy(update={"values": tuple(_placed(axis.path, value, folder) for value in axis.values)})
        for axis in data.axes
    )
    whole = {key: _placed(key, getattr(data, key), folder) for key in ("task", "chip_task", "conductances")}
    return study.model_copy(update={"cases": cases, "axes": axes, **whole})


def _settings(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {path: _placed(path, value, folder) for path, value in settings.items()}


def _placed(path: str, value: Any, folder: Path) -> Any:
    """Return the value of a path with the files that it names made absolute."""
    root, _, key = path.partition(".")
    if path == "conductances":
        return _absolute(value, folder)
    if root not in ("task", "chip_task"):
        return value
    if not key and isinstance(value, Mapping):
        return {k: _placed(f"{path}.{k}", v, folder) for k, v in value.items()}
    if key == "dataset" and isinstance(value, str) and own_kind(value) == "arrays":
        return ",".join(_absolute(each.strip(), folder) for each in value.split(","))
    if key not in _KEYS:
        return value
    if isinstance(value, list | tuple):
        return [_absolute(each, folder) for each in value]
    return _absolute(value, folder)


def _absolute(value: Any, folder: Path) -> Any:
    """Return a path relative to the folder as an absolute one; the task checks `~` and values other than text."""
    fixed = not isinstance(value, str) or value.startswith("~") or is_held(value)
    return value if fixed else str((folder / value).absolute())
