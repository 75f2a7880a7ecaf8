"""Compile functions with numba and keep the compiled code where that is possible; numba must be there."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from numba import njit
from numba.core import config


def kept_njit(function: Callable[..., Any]) -> Any:
    """Compile without the interpreter's lock and keep the code on disk; without a writable folder for it, in memory."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as error:  # neither __pycache__ nor the user's cache folder can be written
        if "cannot cache" not in str(error):
            raise
        _say_once()
        return njit(nogil=True)(function)


def has_features(wanted: tuple[str, ...]) -> bool:
    """Tell whether the processor has these features and numba compiles for them."""
    features = llvmlite.binding.get_host_cpu_features()
    # NUMBA_CPU_NAME=generic and NUMBA_CPU_FEATURES restrict numba; LLVM aborts the process at any other instruction.
    restricted = getattr(config, "CPU_FEATURES", None)
    allowed = None if restricted is None else restricted.split(",")
    return all(features.get(name, False) and (allowed is None or f"+{name}" in allowed) for name in wanted)


@functools.cache
def _say_once() -> None:
    text = (
        "Compiled code cannot be kept: neither the installation of imc_sim nor the user's cache folder is writable. It "
        "is compiled in every process, in about 15 seconds. Set NUMBA_CACHE_DIR to a writable folder to keep it."
    )
    warnings.warn(text, RuntimeWarning, stacklevel=3)
