"""Batches on an executor: rows as they finish, failures one by one, and fewer items at a time where memory runs out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar, final

from imc_sim._memory import is_out_of_memory
from imc_sim.runs._executors import Executor
from imc_sim.runs._lost_workers import CrashedWorkerError, LostExecutorError, LostWorkerError
from imc_sim.runs._rows_file import Row

Item = TypeVar("Item")
#: seconds between two reports of calls that run
_REPORT_S = 10.0


class _Call(NamedTuple):
    """A call that runs: its items, whether nothing runs next to it, and when it was submitted."""

    items: list[Any]
    alone: bool
    began: float


@final
@dataclass
class _Queue(Generic[Item]):
    """Batches that wait for the executor.

    Attributes:
        batches: items that one call computes; taken from the left.
        alone: items that ran out of memory next to other calls; they run one at a time after all others.
        most: largest number of items of a call, halved whenever memory runs out.
    """

    batches: deque[list[Item]]
    alone: deque[Item] = field(default_factory=deque)
    most: int | None = None

    def take(self, running: int, width: int) -> tuple[list[Item], bool] | None:
        """Return the next items and whether they run alone; None if they must wait, or if there are none."""
        if self.batches and running < width:
            items = self.batches.popleft()
            if rest := items[self.most or len(items) :]:
                self.batches.appendleft(rest)
            return items[: self.most], width == 1
        return ([self.alone.popleft()], True) if self.alone and not self.batches and not running else None

    def put_back(self, call: _Call, is_short: bool) -> bool:
        """Queue the items of a call that failed, fewer at a time; return False if nothing less can be tried.

        is_short: whether the call ran out of memory.
        """
        count = len(call.items)
        if count > 1:
            size = count // 2 if is_short else 1
            self.most = min(size, self.most or size) if is_short else self.most
            self.batches.extendleft(call.items[i : i + size] for i in reversed(range(0, count, size)))
        elif is_short and not call.alone:
            self.alone.append(call.items[0])
        else:
            return False
        return True


def finished_rows(
    batches: deque[list[Item]], executor: Executor, start: Callable[[list[Item]], Future[Any]],
    done: Callable[[list[Item], Any], list[Row]], failed: Callable[[Item, BaseException], Row],
    stop: Callable[[], bool] = lambda: False, left_open: Callable[[Item, BaseException], object] = lambda *_: None,
    waiting: Callable[[list[Item], float], object] = lambda *_: None,
) -> Iterator[list[Row]]:  # fmt: skip
    """Yield the rows of batches as they finish; no more batches run at a time than the executor is wide.

    If a batch fails, its items are run one by one, so that the failure of one item fails one row. If it runs out of
    memory, or its workers are killed, half of the items are run at a time, and a single one without others next to it;
    if that fails too, the item has no row. Once a stop is requested, running batches are finished, then
    KeyboardInterrupt is raised.

    Args:
        batches: items that one call computes; taken from the left.
        executor: where they run.
        start: submits a batch to the executor.
        done: returns the rows of a batch from the result of its call.
        failed: returns the row of an item that raised an error.
        stop: whether to stop.
        left_open: called with an item that memory did not suffice for, and the error.
        waiting: called with the items that have run longest, and their time in s, while nothing finishes.

    Raises:
        OSError, LostExecutorError: a full disk or a lost scheduler is no property of an item.
        KeyboardInterrupt: stopped before all batches were run.
    """
    running: dict[Future[Any], _Call] = {}
    queue = _Queue(batches)
    while True:
        while not stop() and (taken := queue.take(len(running), executor.width)) is not None:
            running[start(taken[0])] = _Call(*taken, time.monotonic())
        if stop():
            batches.extend(running.pop(future).items for future in list(running) if future.cancel())
        if not running:
            break
        finished, _ = wait(running, _REPORT_S, return_when=FIRST_COMPLETED)
        if not finished:
            oldest = min(running.values(), key=lambda call: call.began)
            waiting(oldest.items, time.monotonic() - oldest.began)
        for future in finished:
            if rows := _rows_of(running.pop(future), future, queue, done, failed, left_open):
                yield rows
    if batches or queue.alone:
        raise KeyboardInterrupt


def _rows_of(
    call: _Call, future: Future[Any], queue: _Queue[Item], done: Callable[[list[Item], Any], list[Row]],
    failed: Callable[[Item, BaseException], Row], left_open: Callable[[Item, BaseException], object],
) -> list[Row]:  # fmt: skip
    """Return the rows of a call that ended; none if its items are run again or left open."""
    try:
        return done(call.items, future.result())
    except Exception as error:
        is_short = _is_short_of_memory(error)
        if isinstance(error, OSError | LostExecutorError | CancelledError) and not is_short:
            raise
        if queue.put_back(call, is_short):
            return []
        if is_short:
            left_open(call.items[0], error)
            return []
        return [failed(call.items[0], error)]


def _is_short_of_memory(error: BaseException) -> bool:
    """Tell whether a call ran out of memory; a worker that was killed most often did."""
    is_killed = isinstance(error, LostWorkerError) and not isinstance(error, CrashedWorkerError)
    return is_killed or is_out_of_memory(error)
