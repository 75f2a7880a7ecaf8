"""Torch on one thread of the processor, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


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
