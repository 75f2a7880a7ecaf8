"""Loaded by the dask workers that a run starts itself: Ctrl-C is the run's business, as with worker processes."""

from __future__ import annotations

import contextlib
import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called once in a worker."""
    with contextlib.suppress(ValueError):  # not in the main thread, which alone is interrupted
        signal.signal(signal.SIGINT, signal.SIG_IGN)
