"""Files of the user that a study names relative to its folder: functions of tasks, images, measured conductances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from imc_sim.config import Spec, is_held
from imc_sim.data import own_kind

S = TypeVar("S", bound=Spec)
#: keys of a function task that name files
_KEYS = ("call", "inputs", "files")


def with_places(study: S, folder: Path) -> S:
    """Return the study with absolute paths of the functions and arrays that it names; other paths are unchanged.

    An axis over files shows their names as written.

    Args:
        study: a `Study`.
        folder: folder that its relative paths are relative to.
    """
    # The task checks `~`.
    return with_files(study, lambda n: n if n.startswith("~") or is_held(n) else str((folder / n).absolute()))


def with_files(study: S, change: Callable[[str], str]) -> S:
    """Return the study with other names of the functions and arrays of the user that it names.

    Args:
        study: a `Study`.
        change: name -> other name.
    """
    data: Any = study
    cases = tuple(
        case.model_copy(update={"set": {path: _changed(path, value, change) for path, value in case.set.items()}})
        for case in data.cases
    )
    axes = tuple(_axis(axis, change) for axis in data.axes)
    whole = {key: _changed(key, getattr(data, key), change) for key in ("task", "chip_task", "chip", "conductances")}
    return study.model_copy(update={"cases": cases, "axes": axes, **whole})


def _axis(axis: Any, change: Callable[[str], str]) -> Any:
    """Return an axis with other names of files, and labels with those that it had."""
    values = tuple(_changed(axis.path, value, change) for value in axis.values)
    labels = axis.labels or (tuple(map(str, axis.values)) if values != axis.values else ())
    return axis.model_copy(update={"values": values, "labels": labels})


def _changed(path: str, value: Any, change: Callable[[str], str]) -> Any:
    """Return the value of a path with other names of the files that it names."""
    root, _, key = path.partition(".")
    if isinstance(value, Mapping) and (not key or root == "chip"):
        return {k: _changed(f"{path}.{k}", v, change) for k, v in value.items()}
    if path not in ("conductances", "chip.device.programming.file") and (
        root not in ("task", "chip_task") or key not in (*_KEYS, "dataset")
    ):
        return value
    if isinstance(value, list | tuple):
        return [_changed(path, each, change) for each in value]
    if not isinstance(value, str) or (key == "dataset" and own_kind(value) != "arrays"):
        return value  # the task checks what is no text
    return ",".join(change(each.strip()) for each in value.split(",")) if key == "dataset" else change(value)
