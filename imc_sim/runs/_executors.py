"""Executors: where trials run, behind one protocol.

An executor takes picklable calls and returns futures. To add one, add a class with `submit`, `width` and `close` to
EXECUTORS; `imc_sim.testing.ExecutorContract` tests it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import process
from pathlib import Path
from typing import Any, Protocol, final

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole, nearest
from imc_sim.runs._lost_workers import DASK_WORKER_NAME, UNGUARDED_EXIT, WORKER_NAME, UnguardedMainError

#: worker processes of one machine at most
_MOST_WORKERS = 4096


class Executor(Protocol):
    """Runs calls somewhere. A call whose worker is lost is repeated on another worker."""

    @property
    def width(self) -> int:
        """Return how many calls to submit at a time; it may change as workers come and go."""
        ...

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start fn(*args).

        Args:
            fn: importable by name on the workers.
            args: picklable.

        Returns:
            The future of the result.
        """
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
    from imc_sim.runs._processes import ProcessExecutor

    return ProcessExecutor(workers)


def _dask(workers: int | None, scheduler: str | None = None) -> Executor:
    from imc_sim.runs._dask import DaskExecutor

    return DaskExecutor(workers, scheduler)


EXECUTORS: dict[str, Callable[[int | None], Executor]] = {
    "inline": InlineExecutor, "process": _process, "dask": _dask,
}  # fmt: skip


def check_executor(name: str, workers: int | None, scheduler: str | None = None) -> None:
    """Check the name of an executor, the number of its workers, and whether its options fit together.

    Args:
        name: name of an executor.
        workers: number of worker processes; None: one per core.
        scheduler: address of an existing dask scheduler.

    Raises:
        InputError: there is no such executor, the workers are no whole number of 1 or more, or options do not fit
            together.
    """
    if not isinstance(name, str) or name not in EXECUTORS:
        step = f"{nearest(str(name), EXECUTORS)}Choose one of these."
        raise InputError("executor", repr(name), ", ".join(EXECUTORS), step)
    if workers is not None:
        check_whole(workers, "workers", 1, _MOST_WORKERS, step="Leave it out for one worker a core.")
    if name == "inline":
        InlineExecutor(workers)  # raises for several workers
    if scheduler is not None and name != "dask":
        raise InputError("scheduler", f"{scheduler!r} with executor {name}", "executor dask", "Leave one of them out.")
    if scheduler is not None and workers is not None:
        step = "Leave workers out: the cluster has its own."
        raise InputError("workers", f"{workers} with scheduler {scheduler}", "one of the two", step)


@checked
def make_executor(name: str, workers: int | None = None, scheduler: str | None = None) -> Executor:
    """Create the executor of that name.

    Args:
        name: one of EXECUTORS.
        workers: number of worker processes; None: one per core.
        scheduler: address of an existing dask scheduler.

    Returns:
        The executor; close it at the end.

    Raises:
        InputError: unknown name, or options that do not fit together.
    """
    check_executor(name, workers, scheduler)
    _check_guard()
    if scheduler is None:
        if name != "inline":
            _check_main()
        return EXECUTORS[name](workers)
    return _dask(None, scheduler)


def _check_main() -> None:
    """Refuse worker processes for a main program that they cannot import, such as one read from standard input."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is not None and main.__spec__ is None and not Path(file).exists():
        step = "Save the program as a file, or choose executor inline."
        raise InputError("executor", f"the main program {file!r}, which is no file", "a file", step)


def _check_guard() -> None:
    """Refuse to start workers from a worker that still imports the main program: it would never end."""
    current = process.current_process()
    if not getattr(current, "_inheriting", False):
        return
    if current.name.startswith((WORKER_NAME, DASK_WORKER_NAME)):
        sys.exit(UNGUARDED_EXIT)  # without a word: the main process reports it, once
    raise UnguardedMainError.found()
