"""Worker processes on this machine: spawned, single-threaded, kept between calls, replaced when they are lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, final

from imc_sim._errors import ResultsWarning
from imc_sim.runs._lost_workers import (
    LOSSES,
    UNGUARDED_EXIT,
    WORKER_NAME,
    CrashedWorkerError,
    LostExecutorError,
    LostWorkerError,
    UnguardedMainError,
)

#: seconds that an idle worker has to exit
_PATIENCE_S = 2.0
#: seconds after which a stopped worker is killed (SIGSTOP, Ctrl-Z in its terminal), and between two looks at workers
STOPPED_S, _LOOK_S = 60.0, 5.0
#: exit codes of a process that fails; SIGKILL, for example, is sent by a kernel that is out of memory
_CRASHES = {-signal.SIGSEGV, -signal.SIGILL, -signal.SIGFPE}


@final
class RemoteTracebackError(Exception):
    """The text of a worker's traceback: the cause of the error that the worker sent."""


@final
@dataclass(frozen=True)
class _Call:
    data: bytes
    future: Future[Any]


@final
class ProcessExecutor:
    """Runs calls on `workers` processes (default: one per core). A lost worker is replaced and its call repeated."""

    def __init__(self, workers: int | None = None) -> None:
        count = workers or len(os.sched_getaffinity(0))
        #: the call under way and the next one of each worker, so that none waits for this process
        self.width = 2 * count
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._workers = [_Worker(self._calls) for _ in range(count)]
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put(_Call(pickle.dumps((fn, args)), future))
        return future

    def _watch(self) -> None:
        """Kill workers that are stopped for long: their calls run again in others."""
        seen = time.monotonic()
        while not self._closed.wait(_LOOK_S):
            now = time.monotonic()
            for worker in self._workers:
                worker.look(min(now - seen, 2 * _LOOK_S))  # this process may have been stopped as well
            seen = now

    def close(self) -> None:
        self._closed.set()
        for worker in self._workers:
            worker.close()
        for _ in self._workers:
            self._calls.put(None)
        for worker in self._workers:
            worker.thread.join()


@final
class _Worker:
    """A process and the thread that feeds it. The process starts with its first call."""

    def __init__(self, calls: queue.SimpleQueue[_Call | None]) -> None:
        self._calls = calls
        self._held: tuple[BaseProcess, Connection] | None = None
        self._closing, self._busy, self._lock = False, False, threading.Lock()
        self._stopped_s = 0.0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Accept no further call. An idle process exits; one that computes is killed."""
        with self._lock:
            self._closing = True
            if self._busy and self._held is not None:
                self._held[0].kill()

    def look(self, seconds: float) -> None:
        """Kill the process if it computes and has been stopped for too long.

        seconds: time since the last look.
        """
        with self._lock:
            stopped = self._busy and self._held is not None and _is_stopped(self._held[0].pid)
            self._stopped_s = self._stopped_s + seconds if stopped else 0.0
            if self._stopped_s < STOPPED_S or self._held is None:
                return
            self._stopped_s = 0.0
            self._held[0].kill()
            name = self._held[0].pid
        text = f"worker process {name} was stopped for {STOPPED_S:g} s (SIGSTOP) and is killed; its trials run again"
        warnings.warn(text, ResultsWarning, stacklevel=2)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None and not self._closing:
            if call.future.set_running_or_notify_cancel():
                self._settle(call)
        self._leave()

    def _settle(self, call: _Call) -> None:
        """Give the call's future what the call gives."""
        kind = LostWorkerError
        for _ in range(LOSSES):
            try:
                answer = self._ask(call.data)
            except (EOFError, OSError):
                code = self._leave()
                if code == UNGUARDED_EXIT:
                    call.future.set_exception(UnguardedMainError.found())
                    return
                if self._closing:
                    break
                kind = CrashedWorkerError if code in _CRASHES else LostWorkerError
                continue
            _pass_on(answer, call.future)
            return
        step = "Run it again to go on."
        ended = LostExecutorError("executor process", "a run that ended", "a run", step)
        call.future.set_exception(ended if self._closing else kind.after(LOSSES))

    def _ask(self, data: bytes) -> bytes:
        """Have the process make the call; EOFError or OSError if it is lost."""
        with self._lock:
            if self._closing:
                raise EOFError
            if self._held is None:
                self._held = _start()
            self._busy = True
        try:
            pipe = self._held[1]
            pipe.send_bytes(data)
            return pipe.recv_bytes()
        finally:
            with self._lock:
                self._busy = False

    def _leave(self) -> int | None:
        """Let go of the process: once its pipe is closed, an idle one returns. Return its exit code."""
        with self._lock:
            held, self._held = self._held, None
        if held is None:
            return None
        process, pipe = held
        pipe.close()
        process.join(_PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        return code


def _is_stopped(pid: int | None) -> bool:
    """Tell whether a process is stopped by a signal; False where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return False


def _start() -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), name=WORKER_NAME, daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return process, ours


def _work(pipe: Connection) -> None:
    """Run calls in a worker on one torch thread; Ctrl-C is handled by the parent, and the worker ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    if "torch" in sys.modules:  # loaded by the main program, which a spawned process imports
        sys.modules["torch"].set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(_made(pipe.recv_bytes()))


def _made(data: bytes) -> bytes:
    """Return the pickled result or error of the call."""
    try:
        fn, args = pickle.loads(data)  # noqa: S301 - from the parent, through a pipe of its own
        return pickle.dumps((True, fn(*args), ""))
    except (Exception, SystemExit) as error:
        text = traceback.format_exc()
        if isinstance(error, Exception):
            with contextlib.suppress(Exception):
                answer = pickle.dumps((False, error, text))
                pickle.loads(answer)  # noqa: S301 - an error whose __init__ takes other arguments fails only here
                return answer
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}"), text))


def _pass_on(answer: bytes, future: Future[Any]) -> None:
    """Set the future to a worker's answer."""
    try:
        done, value, text = pickle.loads(answer)  # noqa: S301 - from our own worker
    except Exception as error:
        done, value, text = False, error, traceback.format_exc()
    if done:
        future.set_result(value)
        return
    value.__cause__ = RemoteTracebackError(f"\n{text}")
    future.set_exception(value)
