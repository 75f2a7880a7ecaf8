"""Preloaded by local dask workers: they ignore Ctrl-C, which the run handles."""

from __future__ import annotations

import contextlib
import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Prepare a worker; dask calls this once."""
    with contextlib.suppress(ValueError):  # not in the main thread, which alone is interrupted
        signal.signal(signal.SIGINT, signal.SIG_IGN)
