"""The one place that touches the process's global generators: a fence around foreign code that draws from them.

Nothing of this package draws from global generators. MemTorch cannot do otherwise, so it runs inside `contained`.
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
    """Global generators of torch (processor) and NumPy seeded, output and warnings swallowed; put back afterwards.

    NumPy's error state is put back as well, which MemTorch sets to `raise`. Both generators keep 32 bits of the
    seed. Not for use from several threads at once: generators, standard output and warning filters are global.
    """
    held = np.random.get_state()  # noqa: NPY002 - what is fenced in draws from it
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
