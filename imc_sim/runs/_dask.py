"""An executor on a dask cluster: one on this machine, or one that exists."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, final

from imc_sim._errors import InputError, InsecureWarning, reason_of
from imc_sim.runs._lost_workers import LOSSES, LostExecutorError, LostWorkerError

#: how long the number of a cluster's threads is taken as known
_WIDTH_S = 2.0
#: how long a scheduler may take to answer
_PATIENCE_S = 10.0
#: how long a process of this machine takes to get its number
_START_S = 1.0
#: how long a local worker may give no sign of life before its calls run again in another
_SILENT_S = 300.0
_ROLES = ("client", "scheduler", "worker")
#: no dashboard and no other pages of dask, which every user of the machine could read
_NO_PAGES = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}


@final
class DaskExecutor:
    """Run calls on the workers of a dask scheduler, or on `workers` local ones (default: one per core) where none is
    named.

    Workers may come and go while calls run: the scheduler gives the call of a lost worker to another one.

    The local cluster is reached from this machine alone, and with the certificate of this run alone: whoever reaches a
    scheduler runs code as its user.

    Args:
        workers: number of local worker processes.
        scheduler: address such as tls://host:8786.
    """

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        distributed = _distributed()
        self._where = scheduler or "local cluster"
        self._cluster: Any = None if scheduler else _local(distributed, workers)
        self._client = _client(distributed, scheduler or self._cluster)
        if scheduler is not None and not scheduler.startswith(("tls://", "inproc://")):
            text = (
                f"scheduler {scheduler}: without TLS, whoever reaches this address can run code as you and read results"
            )
            warnings.warn(f"{text}; docs/running.md shows how to use TLS.", InsecureWarning, stacklevel=4)
        self._running: dict[Future[Any], Any] = {}
        self._width, self._known_until = 0, 0.0

    @property
    def width(self) -> int:
        """Return twice the number of the cluster's threads, at least 4."""
        if time.monotonic() > self._known_until:
            try:
                threads = sum(self._client.nthreads().values())
            except Exception as error:
                raise _lost(self._where) from error
            # While the queue of a batch system holds all workers back, a few calls wait with the scheduler.
            self._width = max(4, 2 * threads)
            self._known_until = time.monotonic() + _WIDTH_S
        return self._width

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # which of them a worker has begun is the scheduler's secret
        self._start(future, LOSSES, fn, args)
        return future

    def _start(self, future: Future[Any], tries: int, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        inner = self._client.submit(fn, *args, pure=False)
        self._running[future] = inner  # dask gives up a call whose future nobody holds
        again = partial(self._start, future, tries - 1, fn, args) if tries > 1 else None
        inner.add_done_callback(partial(self._settle, future, again))

    def _settle(self, future: Future[Any], again: Callable[[], None] | None, inner: Any) -> None:
        """Give `future` the outcome of dask's future; a call that was lost with its worker is submitted again."""
        self._running.pop(future, None)
        try:
            if again is not None and (self._went_with_worker(inner) or _is_suspect(inner)):
                again()
            elif inner.status == "finished":
                self._fetch(future, again, inner)
            elif inner.status == "error":
                future.set_exception(_raised(inner))
            else:
                future.set_exception(_lost(self._where))
        except Exception as error:
            future.set_exception(_lost(self._where) if _is_disconnection(error) else error)

    def _fetch(self, future: Future[Any], again: Callable[[], None] | None, inner: Any) -> None:
        """Fetch the result from its worker; if that one is lost, the scheduler runs the call on another."""
        try:
            result = inner.result()
        except Exception as error:
            if type(error).__name__ != "KilledWorker":
                raise
            if again is None:
                raise LostWorkerError.after(LOSSES) from error
            again()
        else:
            future.set_result(result)

    def _went_with_worker(self, inner: Any) -> bool:
        """Tell whether the result was lost with its worker while the scheduler is still connected."""
        return inner.status == "lost" and self._client.status == "running"

    def close(self) -> None:
        self._running.clear()
        self._client.close()
        if self._cluster is not None:
            _shut(self._cluster)


def _shut(cluster: Any) -> None:
    """Close a local cluster, also while it restarts a lost worker."""
    try:
        cluster.close()
    except AssertionError:  # distributed waits for the end of a process that has no number yet
        time.sleep(_START_S)
        cluster.status = type(cluster.status).failed  # otherwise it would wait for itself
        cluster.close()


def _is_suspect(inner: Any) -> bool:
    """Tell whether the scheduler gave up the call: it suspects all calls of a lost worker, also those in its queue."""
    return inner.status == "error" and type(inner.exception()).__name__ == "KilledWorker"


def _is_disconnection(error: BaseException) -> bool:
    """Tell whether fetching a result failed because the scheduler went away. Imports dask only when needed."""
    return type(error).__name__ in ("FutureCancelledError", "CommClosedError", "ClosedClientError")


def _raised(inner: Any) -> BaseException:
    """Return the error of a call, with the worker's traceback."""
    error = inner.exception()
    if _is_suspect(inner):
        return LostWorkerError.after(LOSSES)
    return error.with_traceback(inner.traceback())


def _lost(where: str) -> LostExecutorError:
    step = "What was finished is kept; run it again to go on."
    return LostExecutorError(f"scheduler {where}", "no connection any more", "a scheduler that runs", step)


def _distributed() -> ModuleType:
    try:
        import distributed
    except ImportError as error:
        step = "Install it: pip install 'imc-sim[dask]'"
        raise InputError("executor", "'dask' without dask.distributed", "inline, process", step) from error
    return distributed


def _local(distributed: ModuleType, workers: int | None) -> Any:
    """Start a local cluster of single-threaded processes without dask's own memory limit: batches are sized to the
    memory.
    """
    from dask import config

    options: dict[str, Any] = {"distributed.scheduler.allowed-failures": LOSSES - 1, **_NO_PAGES}
    options["distributed.scheduler.worker-ttl"] = f"{_SILENT_S} s"
    try:
        with config.set(options):
            return distributed.LocalCluster(
                n_workers=workers or len(os.sched_getaffinity(0)), threads_per_worker=1, processes=True,
                memory_limit=0, host="127.0.0.1", dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False}, security=_security(distributed), silence_logs="ERROR",
                preload=["imc_sim.runs._dask_preload"],
            )  # fmt: skip
    except RuntimeError as error:
        step = 'Put the code that starts the run under `if __name__ == "__main__":`, or choose executor inline.'
        allowed = "a main program that workers can import"
        raise LostExecutorError("executor dask", "workers that do not start", allowed, step) from error


def _security(distributed: ModuleType) -> Any:
    """Return TLS settings with a key and a certificate for one run, which are kept in memory alone."""
    if importlib.util.find_spec("cryptography") is not None:
        return distributed.Security.temporary()
    command = shutil.which("openssl")
    if command is None:
        step = "Install one of them (pip install cryptography), or choose executor process."
        raise InputError("executor", "'dask' without a way to make a certificate", "openssl or cryptography", step)
    with tempfile.TemporaryDirectory(prefix="imc_sim_") as folder:
        key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365"]
        files = ["-keyout", str(key), "-out", str(certificate)]
        words = [command, "req", "-x509", *made, "-subj", "/CN=imc_sim", *files]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
        pair = {"key": key.read_text(encoding="ascii"), "cert": certificate.read_text(encoding="ascii")}
    settings = {f"tls_{role}_{part}": text for role in _ROLES for part, text in pair.items()}
    return distributed.Security(require_encryption=True, tls_ca_file=pair["cert"], **settings)


def _client(distributed: ModuleType, cluster: Any) -> Any:
    try:
        return distributed.Client(cluster, set_as_default=False, timeout=_PATIENCE_S)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        step = "Start one (`dask scheduler`, then `dask worker ADDRESS` on each machine) or check the address."
        allowed = "the address of a dask scheduler that runs, such as tcp://host:8786"
        raise InputError("scheduler", f"{cluster!r} ({reason_of(error)})", allowed, step) from error
