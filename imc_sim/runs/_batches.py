"""Batches on an executor: rows as they finish, and failures one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any, TypeVar

from imc_sim.runs._executors import Executor
from imc_sim.runs._lost_workers import LostExecutorError
from imc_sim.runs._rows_file import Row

Item = TypeVar("Item")


def finished_rows(
    batches: deque[list[Item]], executor: Executor, start: Callable[[list[Item]], Future[Any]],
    done: Callable[[list[Item], Any], list[Row]], failed: Callable[[Item, BaseException], Row],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Row]]:  # fmt: skip
    """Yield the rows of batches as they finish; no more batches run at a time than the executor is wide.

    If a batch fails, its items are run one by one, so that the failure of one item fails one row. Once a stop is
    requested, running batches are finished, then KeyboardInterrupt is raised.

    Args:
        batches: items that one call computes; taken from the left.
        executor: where they run.
        start: submits a batch to the executor.
        done: returns the rows of a batch from the result of its call.
        failed: returns the row of an item that raised an error.
        stop: whether to stop.

    Raises:
        OSError, LostExecutorError: a full disk or a lost scheduler is no property of an item.
        KeyboardInterrupt: stopped before all batches were run.
    """
    running: dict[Future[Any], list[Item]] = {}
    while True:
        while batches and not stop() and len(running) < executor.width:
            items = batches.popleft()
            running[start(items)] = items
        if stop():
            batches.extend(running.pop(future) for future in list(running) if future.cancel())
        if not running:
            break
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            items = running.pop(future)
            try:
                rows = done(items, future.result())
            except (OSError, LostExecutorError, CancelledError):
                raise
            except Exception as error:
                if len(items) > 1:
                    batches.extendleft([item] for item in reversed(items))
                    continue
                rows = [failed(items[0], error)]
            yield rows
    if batches:
        raise KeyboardInterrupt
