"""Batches and worker processes that are replaced: what is repeated, reported, cancelled and killed."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imc_sim import InputError
from imc_sim._errors import ResultsWarning
from imc_sim.runs import _batches, _executors, _processes, finished_rows
from imc_sim.runs._executors import _check_main
from imc_sim.runs._lost_workers import (
    LOSSES,
    UNGUARDED_EXIT,
    WORKER_NAME,
    CrashedWorkerError,
    LostExecutorError,
    LostWorkerError,
    UnguardedMainError,
)


class OddError(Exception):
    """An error that cannot be read again from its pickle."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")

    def __reduce__(self) -> tuple[Any, ...]:
        return OddError, (1,)


# -- batches ------------------------------------------------------------------------------------------------


def batches_of(
    count: int, width: int, stop: Callable[[], bool] = lambda: False
) -> tuple[Iterator[Any], list[Future[Any]], list[int]]:
    """Return rows of batches of one item, the futures that were started, and how many ran at each start."""
    started: list[Future[Any]] = []
    running: list[int] = []

    def start(_: list[int]) -> Future[Any]:
        running.append(sum(not future.done() for future in started))
        started.append(Future())
        if len(started) == min(width, count):
            threading.Thread(target=answer).start()
        elif len(started) > width:
            started[-1].set_result(None)
        return started[-1]

    def answer() -> None:
        for future in started[:width]:
            future.set_running_or_notify_cancel()
            future.set_result(None)

    rows = finished_rows(
        deque([n] for n in range(count)), SimpleNamespace(width=width), start,  # type: ignore[arg-type]
        lambda items, _: [{"id": items[0]}], lambda *_: {}, stop,
    )  # fmt: skip
    return rows, started, running


@pytest.mark.parametrize("width", [1, 2, 3])
def test_no_more_batches_run_than_the_executor_is_wide(width: int) -> None:
    rows, started, running = batches_of(7, width)
    assert sorted(row["id"] for some in rows for row in some) == list(range(7))
    assert len(started) == 7
    assert max(running) == width - 1


def test_a_stop_after_the_last_batch_is_no_interrupt() -> None:
    wanted = iter([False, False, True, True, True])
    rows, _, _ = batches_of(1, 1, lambda: next(wanted, True))
    assert [row["id"] for some in rows for row in some] == [0]


@pytest.mark.parametrize("stops", [True, False])
def test_a_stop_while_an_item_waits_to_be_run_alone_is_an_interrupt(stops: bool) -> None:
    """It ran out of memory next to others; without a stop it is run again."""
    outcomes, started = iter([MemoryError(), None]), list[Any]()

    def start(items: list[int]) -> Future[Any]:
        started.append(items)
        future, error = Future[Any](), next(outcomes)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        return future

    rows = finished_rows(
        deque([[0]]), SimpleNamespace(width=2), start,  # type: ignore[arg-type]
        lambda items, _: [{"id": items[0]}], lambda *_: {}, lambda: stops and bool(started),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt) if stops else contextlib.nullcontext():
        assert list(rows) == [[{"id": 0}]]
    assert len(started) == (1 if stops else 2)


def test_a_stop_gives_back_what_has_not_begun() -> None:
    """A call that runs is finished and gives its row; the one in the queue is cancelled."""
    first, second = Future[Any](), Future[Any]()
    first.set_running_or_notify_cancel()
    futures, stopped = iter([first, second]), [False]

    def start(_: list[int]) -> Future[Any]:
        future = next(futures)
        if future is second:
            stopped[0] = True
            threading.Timer(0.05, first.set_result, [None]).start()
        return future

    rows = finished_rows(
        deque([[0], [1], [2]]), SimpleNamespace(width=2), start,  # type: ignore[arg-type]
        lambda items, _: [{"id": items[0]}], lambda *_: {}, lambda: stopped[0],
    )  # fmt: skip
    assert [row["id"] for row in next(rows)] == [0]
    with pytest.raises(KeyboardInterrupt):
        next(rows)
    assert second.cancelled()


def test_what_runs_long_is_reported_while_nothing_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batches, "_REPORT_S", 0.01)
    future, told = Future[Any](), list[Any]()

    def waiting(items: list[int], seconds: float) -> None:
        told.append((items, seconds))
        if len(told) == 3:
            future.set_result(None)

    rows = finished_rows(
        deque([[1, 2]]), SimpleNamespace(width=1), lambda _: future,  # type: ignore[arg-type]
        lambda items, _: [{"id": items[0]}], lambda *_: {}, waiting=waiting,
    )  # fmt: skip
    assert list(rows) == [[{"id": 1}]]
    assert [items for items, _ in told] == [[1, 2]] * 3
    assert 0.01 <= told[0][1] < told[1][1] < told[2][1]


# -- processes ----------------------------------------------------------------------------------------------


def test_a_worker_computes_on_one_thread_and_leaves_signals_to_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    handled: dict[Any, Any] = {}
    threads: list[int] = []
    for name in names:
        monkeypatch.setenv(name, "8")
    monkeypatch.setattr(_processes.signal, "signal", lambda number, how: handled.update({number: how}))
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    sent: list[Any] = []
    calls = iter([pickle.dumps((abs, (-7,))), pickle.dumps((int, ("x",)))])

    def receive() -> bytes:
        try:
            return next(calls)
        except StopIteration:
            raise EOFError from None

    pipe: Any = SimpleNamespace(recv_bytes=receive, send_bytes=lambda data: sent.append(pickle.loads(data)))
    _processes._work(pipe)
    assert handled == {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_DFL}
    assert [os.environ[name] for name in names] == ["1"] * 3
    assert threads == [1]
    assert sent[0] == (True, 7, "")
    done, error, text = sent[1]
    assert (done, type(error)) == (False, ValueError)
    assert "Traceback" in text
    assert "invalid literal" in text


def _odd() -> None:
    raise OddError(1, 2)


def _unreadable() -> object:
    return threading.Lock()


def test_errors_that_cannot_be_sent_are_named() -> None:
    done, error, text = pickle.loads(_processes._made(pickle.dumps((_odd, ()))))
    assert (done, type(error), str(error)) == (False, RuntimeError, "OddError: 1 and 2")
    assert "_odd" in text
    assert pickle.loads(_processes._made(pickle.dumps((_unreadable, ()))))[0] is False
    assert pickle.loads(_processes._made(b"no pickle"))[0] is False


def test_an_answer_becomes_the_result_or_the_error_with_its_traceback() -> None:
    def outcome(answer: bytes) -> Future[Any]:
        future: Future[Any] = Future()
        _processes._pass_on(answer, future)
        return future

    assert outcome(pickle.dumps((True, [3], ""))).result(0) == [3]
    error = outcome(pickle.dumps((False, ValueError("bad"), "the text"))).exception(0)
    assert (type(error), str(error)) == (ValueError, "bad")
    assert isinstance(error.__cause__, _processes.RemoteTracebackError)  # type: ignore[union-attr]
    assert str(error.__cause__) == "\nthe text"  # type: ignore[union-attr]
    assert isinstance(outcome(b"").exception(0), EOFError)


class Process:
    """A process that ends with its pipe, or only when it is killed."""

    def __init__(self, code: int = 0, stays: bool = False) -> None:
        self.exitcode, self.stays, self.acts = code, stays, list[Any]()

    def join(self, seconds: float | None = None) -> None:
        self.acts.append(("join", seconds))

    def is_alive(self) -> bool:
        return self.stays

    def kill(self) -> None:
        self.stays = False
        self.acts.append("kill")

    def close(self) -> None:
        self.acts.append("close")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Process]]:
    """Replace the processes of workers; returns those that were started."""

    def replace(receive: Callable[[], bytes], **options: Any) -> list[Process]:
        started: list[Process] = []

        def start() -> Any:
            started.append(Process(**options))
            close = lambda: started[-1].acts.append("pipe closed")  # noqa: E731
            return started[-1], SimpleNamespace(send_bytes=lambda _: None, recv_bytes=receive, close=close)

        monkeypatch.setattr(_processes, "_start", start)
        return started

    return replace


def lost() -> bytes:
    raise EOFError


@pytest.mark.parametrize(
    ("code", "count", "kind"),
    [
        (-signal.SIGKILL, LOSSES, LostWorkerError), (-signal.SIGSEGV, LOSSES, CrashedWorkerError),
        (UNGUARDED_EXIT, 1, UnguardedMainError),
    ],
)  # fmt: skip
def test_a_lost_call_is_repeated_as_often_as_its_error_states(
    code: int, count: int, kind: type[Exception], processes: Callable[..., list[Process]]
) -> None:
    started = processes(lost, code=code)
    executor = _processes.ProcessExecutor(1)
    error = executor.submit(abs, 1).exception(60)
    executor.close()
    assert type(error) is kind
    assert len(started) == count
    assert kind is UnguardedMainError or f"{LOSSES} workers lost" in str(error)


@pytest.mark.parametrize(("kind", "stored"), [(LostWorkerError, []), (CrashedWorkerError, [1])])
def test_a_call_that_ends_its_worker_is_left_open_or_failed(kind: type[LostWorkerError], stored: list[int]) -> None:
    """A worker that was killed most often had too little memory; one that crashed will crash again."""
    open_: list[int] = []

    def start(items: list[int]) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(kind.after(LOSSES))
        return future

    rows = finished_rows(
        deque([[1]]), _executors.InlineExecutor(), start, lambda items, result: [], lambda item, error: {"id": item},
        left_open=lambda item, error: open_.append(item),
    )  # fmt: skip
    assert [row["id"] for batch in rows for row in batch] == stored
    assert open_ == ([] if stored else [1])


def test_a_stopped_worker_is_killed_and_its_call_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "STOPPED_S", 0.3)
    monkeypatch.setattr(_processes, "_LOOK_S", 0.05)
    executor = _processes.ProcessExecutor(1)
    first = executor.submit(os.getpid).result(60)
    os.kill(first, signal.SIGSTOP)
    with pytest.warns(ResultsWarning, match=rf"worker process {first} was stopped for 0.3 s \(SIGSTOP\) and is killed"):
        assert executor.submit(os.getpid).result(60) != first
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_worker_is_killed_only_if_it_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    worker: Any = SimpleNamespace(_lock=threading.Lock(), _busy=True, _stopped_s=0.0)
    killed: list[int] = []
    worker._held = (SimpleNamespace(pid=7, kill=lambda: killed.append(7)), None)
    stopped = [True]
    monkeypatch.setattr(_processes, "_is_stopped", lambda pid: stopped[0])
    for seconds in (10, 40):
        _processes._Worker.look(worker, seconds)
    stopped[0] = False
    _processes._Worker.look(worker, 10)
    stopped[0] = True
    for seconds in (10, 40, 9):
        _processes._Worker.look(worker, seconds)
    assert killed == [], "59 s since it went on"
    with pytest.warns(ResultsWarning, match="worker process 7 was stopped for 60 s"):
        _processes._Worker.look(worker, 1)
    assert killed == [7]


@pytest.mark.parametrize("stays", [False, True])
def test_a_process_that_does_not_end_is_killed(stays: bool, processes: Callable[..., list[Process]]) -> None:
    started = processes(lambda: pickle.dumps((True, 5, "")), stays=stays)
    executor = _processes.ProcessExecutor(1)
    assert [executor.submit(abs, n).result(60) for n in range(3)] == [5] * 3
    executor.close()
    (process,) = started
    ended = ["kill", ("join", None)] if stays else []
    assert process.acts == ["pipe closed", ("join", 2.0), *ended, "close"]


def test_a_worker_that_computes_is_killed_at_the_end(processes: Callable[..., list[Process]]) -> None:
    begun, ended = threading.Event(), threading.Event()

    def receive() -> bytes:
        begun.set()
        ended.wait(60)
        raise EOFError

    started = processes(receive)
    executor = _processes.ProcessExecutor(1)
    running, waiting = executor.submit(abs, 1), executor.submit(abs, 2)
    begun.wait(60)
    threading.Timer(0.05, ended.set).start()
    executor.close()
    assert started[0].acts[0] == "kill"
    assert len(started) == 1
    error = running.exception(60)
    assert isinstance(error, LostExecutorError)
    assert "a run that ended" in str(error)
    assert not waiting.done(), "abandoned"


def test_a_cancelled_call_reaches_no_worker(processes: Callable[..., list[Process]]) -> None:
    begun, ended, seen = threading.Event(), threading.Event(), list[int]()

    def receive() -> bytes:
        seen.append(len(seen))
        begun.set()
        ended.wait(60)
        return pickle.dumps((True, None, ""))

    processes(receive)
    executor = _processes.ProcessExecutor(1)
    first, second, third = (executor.submit(abs, n) for n in range(3))
    begun.wait(60)
    assert second.cancel()
    ended.set()
    third.result(60)
    executor.close()
    assert first.done()
    assert seen == [0, 1]


def test_a_process_is_spawned_with_its_end_of_the_pipe_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    acts: list[Any] = []
    theirs = SimpleNamespace(close=lambda: acts.append("closed"))

    def spawned(**options: Any) -> Any:
        return SimpleNamespace(start=lambda: acts.append(options))

    context = SimpleNamespace(Pipe=lambda: ("ours", theirs), Process=spawned)
    monkeypatch.setattr(_processes.multiprocessing, "get_context", {"spawn": context}.get)
    _, ours = _processes._start()
    assert ours == "ours"
    options = {"target": _processes._work, "args": (theirs,), "name": WORKER_NAME, "daemon": True}
    assert acts == [options, "closed"], "the end of the process is the end of the pipe"


@pytest.mark.parametrize(("workers", "count"), [(3, 3), (None, 5)])
def test_two_calls_wait_for_every_process(
    workers: int | None, count: int, monkeypatch: pytest.MonkeyPatch, processes: Callable[..., list[Process]]
) -> None:
    started = processes(lost)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    executor = _processes.ProcessExecutor(workers)
    assert (executor.width, len(executor._workers)) == (2 * count, count)
    executor.close()
    assert started == [], "a process starts with its first call"


@pytest.mark.parametrize(
    ("file", "spec", "refused"),
    [("<stdin>", None, True), (None, None, False), ("here", None, False), ("<stdin>", "a module", False)],
)
def test_workers_need_a_main_program_that_they_can_import(
    file: str | None, spec: Any, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").touch()
    place = {} if file is None else {"__file__": str(tmp_path / file)}
    monkeypatch.setitem(_executors.sys.modules, "__main__", SimpleNamespace(__spec__=spec, **place))
    if refused:
        with pytest.raises(InputError, match="which is no file"):
            _check_main()
    else:
        _check_main()
