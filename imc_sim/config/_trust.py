"""Decide whether the code that a card or a study names may run: only in folders that the user trusts.

Trusted are the folders in which models (for studies: studies) are searched, `./runs`, where training writes models, and
the folders of `$IMC_SIM_TRUST`; for studies the working directory too. Code that the user names by its own path is no
concern of this file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

from imc_sim._errors import InputError
from imc_sim.config._content import search_folders, user_path, working_folder

_ALL: ContextVar[bool] = ContextVar("trusts_all", default=False)


def trust_all(wanted: bool = True) -> bool:
    """Let the code of any card run in this context, as the option `--trust` does.

    Args:
        wanted: False: change nothing.

    Returns:
        `wanted`.
    """
    if wanted:
        _ALL.set(True)
    return wanted


@contextlib.contextmanager
def trusting(wanted: bool = True) -> Iterator[None]:
    """Let the code of any card run inside the block, such as in a worker, whose models the main process has checked.

    Args:
        wanted: False: change nothing.

    Yields:
        Nothing.
    """
    token = _ALL.set(_ALL.get() or wanted)
    try:
        yield
    finally:
        _ALL.reset(token)


def check_trusted(folder: Path, where: str, kind: Literal["model", "study"] = "model") -> None:
    """Raise unless the code that a card or a study in this folder names may run.

    Args:
        folder: its folder, which need not exist.
        where: the card or study, for errors.
        kind: a card of a model, or a study.

    Raises:
        InputError: the folder is in none that the user trusts.
    """
    own = [user_path(p, "IMC_SIM_TRUST") for p in os.environ.get("IMC_SIM_TRUST", "").split(os.pathsep) if p]
    trusted = [p.resolve() for p in (*search_folders(kind), working_folder() / "runs", *own)]
    here = kind == "study" and folder.resolve() == working_folder().resolve()
    if not (_ALL.get() or here) and not any(folder.resolve().is_relative_to(p) for p in trusted):
        place = {"model": "./models", "study": "./studies"}[kind]
        python = " (in Python: load_model(…, trust=True))" if kind == "model" else ""
        step = f"If you trust its author: add --trust{python}, set IMC_SIM_TRUST to the folder, or copy it to {place}."
        got = f"a {'card' if kind == 'model' else kind} in {str(folder)!r} that names code, which was not run"
        raise InputError(where, got, f"code in {place}, ./runs, or a folder of IMC_SIM_PATH or IMC_SIM_TRUST", step)
