"""Networks and functions of a Python session, by names that end in the digest of their content.

Worker processes read them from a folder of the process that runs the sweep, which lives as long as the sweep.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from imc_sim._errors import InputError

#: folder from which workers read what is held
FOLDER_VARIABLE = "IMC_SIM_HELD"
_NAME = re.compile(r"\w+@[0-9a-f]{16}")


@final
@dataclass(frozen=True)
class Held:
    """An object that is held under a name.

    Attributes:
        value: the object.
        sha256: digest of its content.
    """

    value: Any
    sha256: str


_HELD: dict[str, Held] = {}


def held_name(stem: str, sha256: str) -> str:
    """Return the name of an object.

    Args:
        stem: name of its class or function.
        sha256: digest of its content.

    Returns:
        The name.
    """
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', stem)}@{sha256[:16]}"


def is_held(name: str) -> bool:
    """Tell whether a name is one of objects of a session.

    Args:
        name: of a model or function.

    Returns:
        Whether it is.
    """
    return _NAME.fullmatch(name) is not None


def held(name: str) -> Held:
    """Return the object of that name.

    Args:
        name: see `held_name`.

    Returns:
        The object with its digest.

    Raises:
        InputError: this process does not have it.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    path = None if folder is None else Path(folder) / f"{name}.pkl"
    if name not in _HELD and path is not None and path.is_file():
        _HELD[name] = pickle.loads(path.read_bytes())  # noqa: S301  # written by the process that runs the sweep
    if name not in _HELD:
        step = "Call imc_sim.sweep again with it; plot and report read the results without it."
        raise InputError("name", repr(name), "an object of this Python session", step)
    return _HELD[name]


@contextlib.contextmanager
def holding_objects(objects: Mapping[str, Held], folder: Path | None = None) -> Iterator[None]:
    """Hold objects inside the block.

    Args:
        objects: by name.
        folder: where workers read them; None: there are no workers.

    Yields:
        Nothing.
    """
    before = os.environ.get(FOLDER_VARIABLE)
    _HELD.update(objects)
    if folder is not None:
        os.environ[FOLDER_VARIABLE] = str(folder)
    try:
        yield
    finally:
        for name in objects:
            _HELD.pop(name, None)
        if folder is not None:
            os.environ.pop(FOLDER_VARIABLE)
            os.environ |= {} if before is None else {FOLDER_VARIABLE: before}
