"""Errors of allocations that failed."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Any

from imc_sim._errors import InputError, reason_of

#: messages of torch, its backends, the C++ library and the loader of libraries
_TEXTS = re.compile(r"can't allocate memory|out of memory|not enough memory|std::bad_alloc|Cannot allocate memory")


class OutOfMemoryError(InputError):
    """A call that ran out of memory: no property of what it computes."""

    @classmethod
    def of(cls, reason: str) -> OutOfMemoryError:
        """Return the error of a call.

        Args:
            reason: message of the allocation that failed.
        """
        step = "Take fewer workers or a smaller --batch, lower memory_limit in the study, or free memory."
        return cls("a batch of trials", f"no memory ({reason})", "memory for one chip at least", step)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or what caused it, is an allocation that failed.

    Args:
        error: what was raised; None: nothing.
    """
    while error is not None:
        found = isinstance(error, OSError) and error.errno == errno.ENOMEM
        found |= isinstance(error, RuntimeError | ImportError) and _TEXTS.search(str(error)) is not None
        if found or isinstance(error, MemoryError | OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def within_memory(fn: Callable[..., Any], *args: Any) -> Any:
    """Call a function; raise OutOfMemoryError where an allocation fails, which holds nothing of what was allocated.

    Args:
        fn: function to call.
        args: its arguments.
    """
    try:
        return fn(*args)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = reason_of(error)
    raise OutOfMemoryError.of(reason)
