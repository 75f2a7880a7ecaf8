"""Memory of this machine, and errors of allocations that failed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imc_sim._errors import InputError, reason_of
from imc_sim._quantities import shown_bytes

#: messages of torch, its backends, the C++ library and the loader of libraries
_TEXTS = re.compile(r"can't allocate memory|out of memory|not enough memory|std::bad_alloc|Cannot allocate memory")

#: what would take this many times the memory of the machine is refused: estimates may be that much too high
REFUSED = 3
#: limit and use of a control group of version 1
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


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


class Memory(NamedTuple):
    """Bytes of memory of this machine, or of the control group that limits this process: in all, and not in use."""

    total: int
    available: int


def memory_of_machine(root: Path = Path("/")) -> Memory:
    """Return the memory that processes of this user can take.

    Args:
        root: folder of the system's files.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known = _numbers(root / "proc/meminfo", 1024)
    found = Memory(known.get("MemTotal:", total), known.get("MemAvailable:", total))
    for limit in _group_limits(root):
        found = Memory(min(found.total, limit.total), min(found.available, limit.available))
    return found


def estimated(needed: int, what: str = "") -> str:
    """Return an upper estimate as text.

    Args:
        needed: its bytes.
        what: what takes them.
    """
    return f"up to {shown_bytes(needed)}{what}, by estimate"


def check_memory(
    needed: int, where: str, step: str, machine: Memory | None = None, got: str | None = None
) -> None:  # fmt: skip
    """Refuse what would take a multiple of the memory of this machine, before it is allocated.

    Args:
        needed: upper estimate of the bytes.
        where: place that the error names.
        step: what the user can do.
        machine: memory of the machine; None: that of this one.
        got: what takes the memory; None: `estimated(needed)`.

    Raises:
        InputError: it would take more than `REFUSED` times all memory.
    """
    total = (machine or memory_of_machine()).total
    if needed > REFUSED * total:
        allowed = f"{REFUSED} times the memory of this machine, {shown_bytes(total)}"
        raise InputError(where, got or estimated(needed), allowed, step)


def resident_bytes() -> int:
    """Return the memory that this process holds now, in bytes; 0 where the system does not tell."""
    return _numbers(Path("/proc/self/status"), 1024).get("VmRSS:", 0)


def _group_limits(root: Path) -> Iterator[Memory]:
    """Yield the limits of the control groups that this process is in, of both versions."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds not in ("", "memory"):
                continue
            mount = root / "sys/fs/cgroup" / kinds
            names = ("memory.max", "memory.current") if not kinds else _VERSION_1
            inner = mount / path.lstrip("/")
            for folder in (inner, *inner.parents):
                if not folder.is_relative_to(mount):
                    break
                with contextlib.suppress(OSError, ValueError):
                    limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names)
                    files = _numbers(folder / "memory.stat", 1).get("inactive_file", 0)  # given back when needed
                    yield Memory(limit, max(0, limit - used + files))


def _numbers(path: Path, unit: int) -> dict[str, int]:
    """Return the numbers of a file of lines such as `MemTotal: 16 kB`, by their first word; empty if there is none."""
    with contextlib.suppress(OSError):
        lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
        return {words[0]: int(words[1]) * unit for words in lines if len(words) > 1 and words[1].isdecimal()}
    return {}
