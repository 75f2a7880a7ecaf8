"""Compile functions with numba and keep the compiled code where that is possible; numba must be there."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from numba import njit


def kept_njit(function: Callable[..., Any]) -> Any:
    """Compile without the interpreter's lock and keep the code on disk; without a writable folder for it, in memory."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as error:  # neither __pycache__ nor the user's cache folder can be written
        if "cannot cache" not in str(error):
            raise
        _say_once()
        return njit(nogil=True)(function)


@functools.cache
def _say_once() -> None:
    text = (
        "Compiled code cannot be kept: neither the installation of imc_sim nor the user's cache folder is writable. It "
        "is compiled in every process, in about 15 seconds. Set NUMBA_CACHE_DIR to a writable folder to keep it."
    )
    warnings.warn(text, RuntimeWarning, stacklevel=3)
