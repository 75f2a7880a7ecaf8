"""Decide whether the code that a card, a study, a queue or a sweep names may run: only in folders that the user trusts.

Trusted are the folders in which models (for studies: studies) are searched, `./runs`, where training writes models, and
the folders of `$IMC_SIM_TRUST`; for all but models the working directory too. What lies in a results folder that is the
working directory is not trusted: its models are copies, perhaps of someone else's. Code that the user names by its own
path is no concern of this file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from imc_sim._errors import InputError
from imc_sim.config._code import names_code
from imc_sim.config._content import Kind, search_folders, user_path, working_folder

#: file of every results folder of a study
_RESULTS = "study.resolved.yaml"
#: kind of content -> what errors call its file
_FILES = {"model": "card", "training": "training sweep"}
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


def check_trusted(folder: Path, where: str, kind: Kind = "model") -> None:
    """Raise unless the code that a card or a study in this folder names may run.

    Args:
        folder: its folder, which need not exist.
        where: the card or study, for errors.
        kind: kind of the file that names code; that of a model is its card.

    Raises:
        InputError: the folder is in none that the user trusts.
    """
    working, real = working_folder(), folder.resolve()
    named = [user_path(p, "IMC_SIM_TRUST") for p in os.environ.get("IMC_SIM_TRUST", "").split(os.pathsep) if p]
    here, *others = search_folders(kind)
    place, trusted, holds_results = f"./{here.relative_to(working)}", [*others, *named], (working / _RESULTS).is_file()
    if not holds_results:
        trusted += [here, working / "runs"]
    beside = kind != "model" and not holds_results and real == working.resolve()
    if not (_ALL.get() or beside) and not any(real.is_relative_to(path.resolve()) for path in trusted):
        python = " (in Python: load_model(…, trust=True))" if kind == "model" else ""
        copy = "" if holds_results else f", or copy it to {place}"
        step = f"If you trust its author: add --trust{python}, set IMC_SIM_TRUST to the folder{copy}."
        got = f"a {_FILES.get(kind, kind)} in {str(folder)!r} that names code, which was not run"
        allowed = f"code in {place}, ./runs, or a folder of IMC_SIM_PATH or IMC_SIM_TRUST"
        raise InputError(where, got, f"{allowed}; here ./ holds results" if holds_results else allowed, step)


def check_code_in(data: Any, folder: Path, where: str, kind: Kind = "model") -> None:
    """Raise if the content of a file names code, such as ./eval.py:score, that may not run.

    Args:
        data: the content.
        folder: the folder of the file.
        where: the file, for errors.
        kind: kind of the file.

    Raises:
        InputError: it names code, and the folder is in none that the user trusts.
    """
    for key in _names_of_code(data):
        check_trusted(folder, f"{where}: {key}", kind)


def _names_of_code(data: Any, path: str = "") -> Iterator[str]:
    """Yield the key paths of texts that are paths of Python code."""
    if isinstance(data, dict | list | tuple):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _names_of_code(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, str) and names_code(data):
        yield path
