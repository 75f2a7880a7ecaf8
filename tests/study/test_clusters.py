"""The executor on dask with a client that is replaced: which calls are repeated, and how a cluster is requested."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from imc_sim import InputError
from imc_sim.runs import _dask, _dask_preload
from imc_sim.runs._lost_workers import LOSSES, LostExecutorError, LostWorkerError


class KilledWorker(Exception):  # noqa: N818  # the name that dask gives it
    """A worker that was lost too often."""


class FutureCancelledError(Exception):
    """A future of a client that lost its scheduler."""


class Inner:
    """A future of dask: its state, and what fetching its result gives."""

    def __init__(self, status: str, value: Any = None, fetched: Exception | None = None) -> None:
        self.status, self.value, self.fetched = status, value, fetched

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        call(self)

    def result(self) -> Any:
        if self.fetched is not None:
            raise self.fetched
        return self.value

    def exception(self) -> Any:
        return self.value

    def traceback(self) -> Any:
        return None


class Client:
    """A client whose calls end immediately, each with the next of the given futures."""

    def __init__(self, *ends: Inner, status: str = "running", threads: int = 1) -> None:
        self.ends, self.status, self.threads = list(ends), status, threads
        self.calls: list[tuple[Any, ...]] = []
        self.counted = 0

    def submit(self, *call: Any, pure: bool) -> Inner:
        assert not pure, "equal calls are separate calls"
        self.calls.append(call)
        return self.ends[min(len(self.calls), len(self.ends)) - 1]

    def nthreads(self) -> dict[str, int]:
        self.counted += 1
        return {"a": self.threads, "b": 1}

    def close(self) -> None:
        self.status = "closed"


def executor_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> _dask.DaskExecutor:
    monkeypatch.setattr(_dask, "_distributed", lambda: None)
    monkeypatch.setattr(_dask, "_client", lambda *_: client)
    return _dask.DaskExecutor(None, "tls://h:1")


SOUND = Inner("finished", 7)
GONE = Inner("lost")
SUSPECT = Inner("error", KilledWorker("x"))
UNFETCHED = Inner("finished", fetched=KilledWorker("x"))


@pytest.mark.parametrize(
    ("ends", "status", "calls", "outcome"),
    [
        ([SOUND], "running", 1, 7), ([GONE, SOUND], "running", 2, 7), ([SUSPECT, UNFETCHED, SOUND], "running", 3, 7),
        ([GONE], "running", LOSSES, LostExecutorError), ([SUSPECT], "running", LOSSES, LostWorkerError),
        ([UNFETCHED], "running", LOSSES, LostWorkerError), ([GONE], "connecting", 1, LostExecutorError),
        ([Inner("cancelled")], "running", 1, LostExecutorError),
        ([Inner("error", ValueError("v"))], "running", 1, ValueError),
        ([Inner("finished", fetched=FutureCancelledError())], "running", 1, LostExecutorError),
        ([Inner("finished", fetched=ValueError("v"))], "running", 1, ValueError),
    ],
)  # fmt: skip
def test_a_call_lost_with_its_worker_is_given_to_another(
    ends: list[Inner], status: str, calls: int, outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(*ends, status=status)
    executor = executor_of(client, monkeypatch)
    future = executor.submit(abs, -7)
    assert client.calls == [(abs, -7)] * calls
    if isinstance(outcome, int):
        assert future.result(0) == outcome
    else:
        assert type(future.exception(0)) is outcome
    assert not future.cancel()
    assert executor._running == {}


def test_the_width_follows_the_threads_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    client, now = Client(threads=4), [100.0]
    monkeypatch.setattr(_dask.time, "monotonic", lambda: now[0])
    executor = executor_of(client, monkeypatch)
    assert executor.width == 10
    client.threads = 0
    now[0] += 1.9
    assert (executor.width, client.counted) == (10, 1), "not named for again within two seconds"
    now[0] += 0.2
    assert (executor.width, client.counted) == (4, 2), "four at least, also without workers"
    monkeypatch.setattr(client, "nthreads", lambda: 1 / 0)
    now[0] += 3
    with pytest.raises(LostExecutorError, match="scheduler tls://h:1: got no connection"):
        _ = executor.width


@pytest.mark.parametrize(("workers", "count"), [(3, 3), (None, 5)])
def test_a_local_cluster_has_processes_of_one_thread_without_a_limit_of_memory(
    workers: int | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pytest.importorskip("dask").config
    seen: dict[str, Any] = {}

    def local(**options: Any) -> Any:
        named = ("distributed.scheduler.allowed-failures", "distributed.scheduler.http.routes",
                 "distributed.worker.http.routes")  # fmt: skip
        seen.update(options, settings=[config.get(name) for name in named])
        return SimpleNamespace(close=lambda: seen.update(closed=True))

    client = Client()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    monkeypatch.setattr(_dask, "_distributed", lambda: SimpleNamespace(LocalCluster=local))
    monkeypatch.setattr(_dask, "_client", lambda *_: client)
    monkeypatch.setattr(_dask, "_security", lambda _: "certificate")
    executor = _dask.DaskExecutor(workers)
    executor.close()
    assert (seen["n_workers"], seen["threads_per_worker"], seen["processes"]) == (count, 1, True)
    assert (seen["host"], seen["dashboard_address"], seen["security"]) == ("127.0.0.1", "127.0.0.1:0", "certificate")
    assert (seen["memory_limit"], seen["scheduler_kwargs"]) == (0, {"dashboard": False})
    assert seen["preload"] == ["imc_sim.runs._dask_preload"]
    assert seen["settings"] == [LOSSES - 1, [], []]
    assert (seen["closed"], client.status) == (True, "closed")


@pytest.mark.parametrize("error", [OSError("refused\nmore"), TimeoutError(), ValueError("no address")])
def test_a_scheduler_that_cannot_be_reached_is_named_with_the_reason(error: Exception) -> None:
    def refuse(*_: Any, **options: Any) -> Any:
        assert options == {"set_as_default": False, "timeout": 10.0}
        raise error

    with pytest.raises(InputError, match=r"^scheduler: got 'tcp://h:1' \((refused|TimeoutError|no address)\)"):
        _dask._client(SimpleNamespace(Client=refuse), "tcp://h:1")  # type: ignore[arg-type]


def test_the_error_of_a_call_has_the_traceback_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    inner = Inner("error", ValueError("v"))
    monkeypatch.setattr(inner, "traceback", lambda: caught.tb)
    error: Any = executor_of(Client(inner), monkeypatch).submit(abs, -7).exception(0)
    assert error is inner.value
    assert error.__traceback__ is caught.tb


def test_workers_of_a_local_cluster_leave_ctrl_c_to_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[Any] = []
    monkeypatch.setattr(_dask_preload.signal, "signal", lambda *given: handled.append(given))
    _dask_preload.dask_setup(None)
    assert handled == [(signal.SIGINT, signal.SIG_IGN)]

    def elsewhere(*_: Any) -> None:
        raise ValueError("signal only works in main thread of the main interpreter")

    monkeypatch.setattr(_dask_preload.signal, "signal", elsewhere)
    _dask_preload.dask_setup(None)
