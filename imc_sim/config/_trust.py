"""Decide whether the code that a card names may run: only in folders that the user trusts.

Trusted are the folders in which models are searched, `./runs`, where training writes them, and the folders of
`$IMC_SIM_TRUST`. Code that the user names by its own path is no concern of this file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

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


def check_trusted(folder: Path, where: str) -> None:
    """Raise unless the code of a card in this folder may run.

    Args:
        folder: folder of the card; it need not exist.
        where: the card, for errors.

    Raises:
        InputError: the folder is in none that the user trusts.
    """
    own = [user_path(p, "IMC_SIM_TRUST") for p in os.environ.get("IMC_SIM_TRUST", "").split(os.pathsep) if p]
    trusted = [p.resolve() for p in (*search_folders("model"), working_folder() / "runs", *own)]
    if not _ALL.get() and not any(folder.resolve().is_relative_to(p) for p in trusted):
        step = (
            "If you trust its author: add --trust (in Python: load_model(…, trust=True)), set IMC_SIM_TRUST to the "
            "folder, or copy it to ./models."
        )
        got = f"a card in {str(folder)!r} that names code, which was not run"
        raise InputError(where, got, "code in ./models, ./runs, or a folder of IMC_SIM_PATH or IMC_SIM_TRUST", step)
