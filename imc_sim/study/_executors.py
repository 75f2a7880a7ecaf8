"""Executors: where trials run, behind one protocol.

An executor takes picklable calls and returns futures. To add one, add a class with `submit`, `width` and `close` to
EXECUTORS; `imc_sim.testing.ExecutorContract` tests it.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, final

from imc_sim._errors import InputError, ResultsError, nearest

#: workers that one call may take down with it before it counts as failed
LOSSES = 3


class LostWorkerError(InputError):
    """A call that lost its worker several times: an error of that call."""

    @classmethod
    def after(cls, losses: int) -> LostWorkerError:
        """Return the error of a call that lost that many workers."""
        got = f"{losses} workers lost, one after the other"
        step = "It may need more memory than there is: lower memory_limit in the study, or take fewer workers."
        return cls("a batch of trials", got, "a worker that lives to the end of it", step)


class LostEngineError(ResultsError):
    """The executor itself is lost: not an error of any call, and the run ends."""


#: name and exit code of worker processes by which an unguarded main program is recognized
WORKER_NAME, UNGUARDED_EXIT = "imc_sim worker", 78


class UnguardedMainError(LostEngineError):
    """The main program starts its run again in every worker that imports it."""

    @classmethod
    def found(cls) -> UnguardedMainError:
        """Name the guard that the main program needs."""
        got = "a run that starts while a worker process imports the main program"
        step = 'Put the code that starts the run under `if __name__ == "__main__":`.'
        return cls("executor", got, "a main program that workers can import", step)


class Executor(Protocol):
    """Runs calls somewhere. A call whose worker is lost is repeated on another worker."""

    @property
    def width(self) -> int:
        """Return how many calls are worth submitting at a time; it may change as workers come and go."""
        ...

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start fn(*args)."""
        ...

    def close(self) -> None:
        """Release all resources; calls that still run are abandoned."""
        ...


@final
class InlineExecutor:
    """Runs calls in this process, one after the other; torch uses all threads."""

    width = 1

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers > 1:
            step = "Choose executor process for several workers on this machine."
            raise InputError("workers", workers, "1 with executor inline", step)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        return


def _process(workers: int | None) -> Executor:
    from imc_sim.study._processes import ProcessExecutor

    return ProcessExecutor(workers)


def _dask(workers: int | None, scheduler: str | None = None) -> Executor:
    from imc_sim.study._dask import DaskExecutor

    return DaskExecutor(workers, scheduler)


EXECUTORS: dict[str, Callable[[int | None], Executor]] = {
    "inline": InlineExecutor, "process": _process, "dask": _dask,
}  # fmt: skip


def make_executor(name: str, workers: int | None = None, scheduler: str | None = None) -> Executor:
    """Create the executor of that name.

    Args:
        name: one of EXECUTORS.
        workers: number of worker processes; None: one per core.
        scheduler: address of an existing dask scheduler.
    """
    if name not in EXECUTORS:
        step = f"{nearest(name, EXECUTORS)}Choose one of these."
        raise InputError("executor", repr(name), ", ".join(EXECUTORS), step)
    if workers is not None and workers < 1:
        raise InputError("workers", workers, "1 or more", "Leave it out for one worker a core.")
    _check_guard()
    if scheduler is None:
        return EXECUTORS[name](workers)
    if name != "dask":
        raise InputError("scheduler", f"{scheduler!r} with executor {name}", "executor dask", "Leave one of them out.")
    if workers is not None:
        step = "Leave workers out: the cluster has its own."
        raise InputError("workers", f"{workers} with scheduler {scheduler}", "one of the two", step)
    return _dask(None, scheduler)


def _check_guard() -> None:
    """Refuse to start workers from a worker that still imports the main program: it would never end."""
    process = multiprocessing.current_process()
    if not getattr(process, "_inheriting", False):
        return
    if process.name == WORKER_NAME:
        sys.exit(UNGUARDED_EXIT)  # without a word: the main process reports it, once
    raise UnguardedMainError.found()
