"""Threads of the processor: torch on one for a while, compiled work on as many as torch has."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


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


#: seconds of work from which a second thread pays: for about as long torch's own threads turn in a loop after each of
#: its operations, and would take the time of the others
_WORTH_S = 2e-3


def share(work: Callable[[int, int], object], count: int, seconds: float, multiple: int = 1) -> None:
    """work(begin, end) on as many threads as torch has, each with its part of 0 … count, from a multiple on.

    seconds: about what it takes on one thread; short work stays there. work lets go of the interpreter's lock, as
    compiled code does. torch is imported when this is called.
    """
    import torch

    threads = torch.get_num_threads() if seconds > _WORTH_S else 1
    part = -(-count // (threads * multiple)) * multiple
    edges = [(begin, min(begin + part, count)) for begin in range(0, count, part)]
    others = [threading.Thread(target=work, args=edge) for edge in edges[1:]]
    for thread in others:
        thread.start()
    work(*edges[0])
    for thread in others:
        thread.join()
