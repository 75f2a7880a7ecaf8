"""Made-up inputs of recorded cases, and what of a result is recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import ImcSimError


def real(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, the same for each version of torch."""
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32))


def whole(*shape: int, low: int = -3, high: int = 4, seed: int = 0) -> Tensor:
    """Return whole numbers of low to high - 1."""
    return torch.from_numpy(np.random.default_rng([seed, *shape]).integers(low, high, shape)).float()


def signs(*shape: int, seed: int = 0) -> Tensor:
    """Return -1 and +1."""
    return 2 * whole(*shape, low=0, high=2, seed=seed) - 1


def parts(value: Any) -> Any:
    """Return the fields of dataclasses and named tuples, however deep, as dicts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: parts(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: parts(getattr(value, name)) for name in value._fields}  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return {str(key): parts(part) for key, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [parts(part) for part in value]
    return value.name if isinstance(value, Path) else value


def tried(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what a function gives, or the text of its error."""
    try:
        return parts(function(*args, **kwargs))
    except (ImcSimError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Work in an empty folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def without(text: str, *places: Path) -> str:
    """Return a text in which folders of this run have one name."""
    for place in places:
        text = text.replace(str(place.resolve()), "FOLDER").replace(str(place), "FOLDER")
    return text


@contextlib.contextmanager
def warned() -> Iterator[list[str]]:
    """Collect the texts of warnings."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    found += [str(each.message) for each in caught]
