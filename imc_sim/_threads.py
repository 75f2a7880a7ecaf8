"""Number of threads: torch on one thread inside a block, compiled loops on as many threads as torch has."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside the block, or inside a decorated function.

    A circuit is solved by thousands of operations on tensors that fit a cache. On several threads each operation waits
    for the slowest thread: measured, up to 40 times slower on two processors that other programs use too. One thread
    also makes results independent of the number of threads. torch is imported when the block begins.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: shortest work in seconds that several threads speed up: on torch's thread pool, and on Python threads. Those get no
#: processor from the pool, which keeps its threads busy for about that long after each of torch's operations.
_LEAST_S, _LEAST_PYTHON_S = 5e-5, 2e-3
#: functions of OpenMP: start work, number of this thread, number of threads
_OPENMP = "GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"


def parallel_for(
    serial: Callable[..., object], pooled: Callable[..., bool], arguments: tuple[Any, ...], count: int,
    seconds: float, multiple: int = 1,
) -> None:  # fmt: skip
    """Call serial(*arguments, begin, end) for parts of 0 … count on as many threads as torch has.

    Args:
        serial: a compiled function.
        pooled: the same work on torch's thread pool, built with `imc_sim._thread_pool`. Used where torch computes with
            GNU OpenMP; elsewhere Python threads call `serial`.
        arguments: the first arguments of `serial`.
        count: number of items. Where torch is not loaded, one thread computes all of them.
        seconds: estimated time of all items on one thread; short work stays on one.
        multiple: parts begin at multiples of this number.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        serial(*arguments, 0, count)
        return
    pool = _openmp()
    threads = torch.get_num_threads() if seconds > (_LEAST_PYTHON_S if pool is None else _LEAST_S) else 1
    part = -(-count // (threads * multiple)) * multiple
    if pool is None:
        _on_python_threads(serial, arguments, count, part)
    elif pooled(arguments, (count, part, threads, *pool)):
        raise MemoryError("compiled work found no memory for its own arrays")


@functools.cache
def _openmp() -> tuple[int, ...] | None:
    """Return the addresses of the functions in `_OPENMP`; None where torch does not compute with GNU OpenMP."""
    import torch

    try:
        library = ctypes.CDLL(torch._C.__file__)  # finds the libraries that torch is linked with
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _OPENMP]
    except (OSError, AttributeError):
        return None
    return tuple(address or 0 for address in found)


def _on_python_threads(serial: Callable[..., object], arguments: tuple[Any, ...], count: int, part: int) -> None:
    """Compute each part on another thread, a single part on the calling thread."""
    edges = [(begin, min(begin + part, count)) for begin in range(0, count, part)]
    if len(edges) == 1:
        serial(*arguments, *edges[0])
        return
    with ThreadPoolExecutor(len(edges)) as threads:
        for done in [threads.submit(serial, *arguments, *edge) for edge in edges]:
            done.result()
