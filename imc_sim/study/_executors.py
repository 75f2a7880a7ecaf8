"""Where trials run: one protocol, several engines.

An engine takes picklable calls and gives back futures. Adding one (a cluster) means adding a class with
`submit`, `width` and `close` to EXECUTORS.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Protocol, final

from imc_sim._errors import InputError, nearest


class Executor(Protocol):
    """Runs calls somewhere. `width`: calls worth having under way at once."""

    width: int

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start fn(*args)."""
        ...

    def close(self) -> None:
        """Wait for nothing more; give resources back."""
        ...


@final
class InlineExecutor:
    """In this process, one call after the other; torch uses all threads."""

    def __init__(self, workers: int | None = None) -> None:
        self.width = 1

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        return


@final
class ProcessExecutor:
    """Spawned worker processes, one thread each, kept alive between calls."""

    def __init__(self, workers: int | None = None) -> None:
        count = workers or os.cpu_count() or 1
        self.width = 2 * count
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        return self._pool.submit(fn, *args)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """One torch thread a worker; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


EXECUTORS: dict[str, Callable[[int | None], Executor]] = {"inline": InlineExecutor, "process": ProcessExecutor}


def make_executor(name: str, workers: int | None = None) -> Executor:
    """The engine of that name."""
    if name not in EXECUTORS:
        step = f"{nearest(name, EXECUTORS)}Choose one of these."
        raise InputError("executor", repr(name), ", ".join(EXECUTORS), step)
    if workers is not None and workers < 1:
        raise InputError("workers", workers, "1 or more", "Leave it out for one worker a core.")
    return EXECUTORS[name](workers)
