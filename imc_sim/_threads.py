"""Threads of the processor: torch on one for a while, compiled work on as many as torch has."""

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
    """Tensor operations on one thread inside the block, or inside a function that this decorates.

    A circuit is thousands of operations on tensors that fit a cache. Shared between threads, each would wait for
    the slowest of them: measured, up to 40 times slower on two processors that others use too. Its results are
    also the same for any number of threads. torch is imported where the block begins.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: seconds of work from which a second thread pays: of torch's own team; and of threads beside it, which that team
#: leaves no processor to, since it turns in a loop for about as long after each of torch's operations
_WORTH_S, _WORTH_BESIDE_S = 5e-5, 2e-3
#: of the OpenMP that torch computes with: what starts work, and tells a thread its number and how many there are
_TEAM = "GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"


def share(
    alone: Callable[..., object], by_team: Callable[..., bool], arguments: tuple[Any, ...], count: int,
    seconds: float, multiple: int = 1,
) -> None:  # fmt: skip
    """alone(*arguments, begin, end) on as many threads as torch has, each with its part of 0 … count.

    Parts begin at a multiple. seconds: about what all takes on one thread; short work stays there. alone is compiled,
    and by_team is the same for `imc_sim._team`: its threads are torch's own, where torch computes with GNU's OpenMP.
    One thread where torch is not loaded.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        alone(*arguments, 0, count)
        return
    team = _team()
    threads = torch.get_num_threads() if seconds > (_WORTH_BESIDE_S if team is None else _WORTH_S) else 1
    part = -(-count // (threads * multiple)) * multiple
    if team is None:
        _beside(alone, arguments, count, part)
    elif by_team(arguments, (count, part, threads, *team)):
        raise MemoryError("compiled work found no memory for its own arrays")


@functools.cache
def _team() -> tuple[int, ...] | None:
    """Addresses of the functions of `_TEAM`; None where torch computes with another OpenMP, or without."""
    import torch

    try:
        library = ctypes.CDLL(torch._C.__file__)  # what torch is linked with is found through it
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _TEAM]
    except (OSError, AttributeError):
        return None
    return tuple(address or 0 for address in found)


def _beside(alone: Callable[..., object], arguments: tuple[Any, ...], count: int, part: int) -> None:
    """Every part on a thread of its own; a single one here."""
    edges = [(begin, min(begin + part, count)) for begin in range(0, count, part)]
    if len(edges) == 1:
        alone(*arguments, *edges[0])
        return
    with ThreadPoolExecutor(len(edges)) as pool:
        for done in [pool.submit(alone, *arguments, *edge) for edge in edges]:
            done.result()
