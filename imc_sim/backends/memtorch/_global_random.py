"""Isolate foreign code that uses the global generators of the process.

This package never uses global generators. MemTorch does, so it runs inside `contained`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def contained(seed: int) -> Iterator[None]:
    """Seed the global generators of torch (CPU) and NumPy and suppress output and warnings; restore all afterwards.

    NumPy's error state, which MemTorch sets to `raise`, is restored as well. Do not use it from several threads
    together: generators, standard output and warning filters are global.

    Args:
        seed: The seed, of which both generators keep 32 bits.

    Yields:
        Nothing, while the generators are seeded.
    """
    held = np.random.get_state()  # noqa: NPY002 - the isolated code uses it
    with (
        torch.random.fork_rng(devices=[]),
        np.errstate(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        torch.random.manual_seed(seed % 2**32)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(held)  # noqa: NPY002
