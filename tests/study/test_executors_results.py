"""Every executor, number of workers and batch size gives the same results, also when workers die."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imc_sim import CheckpointError, InputError
from imc_sim._errors import InsecureWarning, ResultsWarning
from imc_sim.array import Crossbar
from imc_sim.runs import _batches, _dask, sound_rows
from imc_sim.study import Progress, Results, _runner, load_study, points_of, run
from imc_sim.study._trials_file import TRIALS, rules_of
from imc_sim.study._work import Batch, evaluate_batch
from imc_sim.testing._stand_in import FATAL, HUGE, KILL_ONCE, MEMORY, SLOW

needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra dask")


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 1},
        {"batch": 100},
        {"executor": "process", "workers": 2, "batch": 1},
        pytest.param({"executor": "dask", "workers": 2, "batch": 3}, marks=needs_dask),
    ],
    ids=str,
)
def test_executor_workers_and_batch_change_no_result(
    options: dict[str, Any], complete: Results, go: Callable[..., Results], tmp_path: Path
) -> None:
    results = go(tmp_path / "x", **options)
    assert results.digest == complete.digest
    assert results.table.equals(complete.table)


def test_the_digest_is_that_of_the_results(
    complete: Results, go: Callable[..., Results], small: dict, tmp_path: Path
) -> None:
    assert go(tmp_path / "more", small | {"chips": {"min": 7}}).digest != complete.digest
    assert go(tmp_path / "seed", small | {"seed": 1}).digest != complete.digest


@pytest.mark.usefixtures("forked_workers")
def test_real_chips_do_not_depend_on_the_batch_or_the_worker(tmp_path: Path) -> None:
    """With device variation, read noise and calibrated ADCs: every effect that samples or measures."""
    study = {
        "name": "real",
        "model": "batmann_small_xnor",
        "chip": "rram_hfo2_1t1r",
        "task": {"dataset": "glyphs", "split": "test", "episodes": 2, "classes": 6, "queries": 2, "rotations": False},
        "axes": [{"path": "chip.device.read.sigma", "values": [0.0, 0.3]}],
        "cases": [{"name": "all", "set": {"chip.converter.kind": "auto", "chip.converter.range": "calibrated"}}],
        "chips": {"min": 4},
    }
    one = run(study, tmp_path / "one", batch=1)
    many = run(study, tmp_path / "many", executor="process", workers=2, batch=3)
    assert one.digest == many.digest
    assert one.failed == 0
    assert one.table["half_width"].iloc[1] > 0


@pytest.mark.usefixtures("forked_workers")
def test_a_worker_that_dies_loses_no_result(
    complete: Results, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    monkeypatch.setenv(KILL_ONCE, str(flag))
    assert go(tmp_path / "x", executor="process", workers=2).digest == complete.digest
    assert not flag.exists()


def short_study(small: dict) -> dict[str, Any]:
    """Return a study of one point with six chips."""
    return small | {"cases": [{"name": "a"}], "axes": [{"path": small["axes"][0]["path"], "values": [0.2]}]}


def states(folder: Path) -> dict[int, str]:
    return {row["chip"]: row["state"] for row in sound_rows(folder / TRIALS, rules_of()).values()}


@pytest.mark.usefixtures("forked_workers")
def test_a_chip_whose_workers_are_killed_is_left_open_alone(
    small: dict, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel without memory kills a worker so: nothing is stored for the chip, and the next run computes it."""
    monkeypatch.setenv(FATAL, "3")
    with pytest.warns(ResultsWarning, match=r"1 trial left open.*a, sigma 0.2, chip 3: 3 workers lost"):
        results = go(tmp_path / "x", short_study(small), executor="process", workers=1, batch=2)
    assert states(tmp_path / "x") == dict.fromkeys([-1, 0, 1, 2, 4, 5], "done")
    assert results.table["chips"].tolist() == [5]
    monkeypatch.delenv(FATAL)
    again = go(tmp_path / "x", short_study(small))
    assert again.digest == go(tmp_path / "y", short_study(small)).digest


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("options", [{}, {"executor": "process", "workers": 2}], ids=str)
def test_trials_that_run_out_of_memory_run_again_with_fewer_chips(
    options: dict[str, Any], complete: Results, go: Callable[..., Results], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv(MEMORY, "1")
    assert go(tmp_path / "x", batch=4, **options).digest == complete.digest


def test_a_trial_that_no_memory_holds_is_left_open(
    small: dict, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HUGE, "5")
    seen: list[Progress] = []
    with pytest.warns(ResultsWarning, match=r"1 trial left open without a result; .*chip 5: no memory \(MemoryError\)"):
        go(tmp_path / "x", short_study(small), progress=seen.append)
    assert (seen[-1].left_open, seen[-1].failed) == (1, 0)
    assert states(tmp_path / "x") == dict.fromkeys(range(-1, 5), "done")


def test_real_chips_that_run_out_of_memory_give_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = {
        "name": "real", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r",
        "task": {"dataset": "glyphs", "split": "test", "episodes": 2, "classes": 6, "queries": 2, "rotations": False},
        "chips": {"min": 4},
    }  # fmt: skip
    undisturbed, calls, program = run(study, tmp_path / "one"), list[int](), Crossbar.program

    def short(weights: Any, chip: Any, chips: Any, *args: Any, **options: Any) -> Any:
        calls.append(len(chips))
        return torch.empty(2**55) if len(chips) > 2 else program(weights, chip, chips, *args, **options)

    monkeypatch.setattr(Crossbar, "program", short)
    assert run(study, tmp_path / "two").digest == undisturbed.digest
    assert 4 in calls
    assert 2 in calls


@pytest.mark.usefixtures("forked_workers")
def test_the_progress_names_a_trial_that_runs_long(
    small: dict, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW, "0.3")
    monkeypatch.setattr(_batches, "_REPORT_S", 0.05)
    monkeypatch.setattr(_runner, "_LONG_S", 0.1)
    told: list[str] = []
    go(tmp_path / "x", short_study(small), executor="process", workers=1, progress=lambda p: told.append(p.waiting))
    assert {re.sub(r" since \d\d:\d\d:\d\d$", "", text) for text in told} >= {"a, sigma 0.2, chips 0 to 3", ""}
    assert told[-1] == ""


@needs_dask
@pytest.mark.slow
def test_a_stopped_worker_of_a_local_cluster_gives_its_call_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dask, "_SILENT_S", 2.0)
    with contextlib.closing(_dask.DaskExecutor(1)) as executor:
        first = executor.submit(os.getpid).result(60)
        os.kill(first, signal.SIGSTOP)
        assert executor.submit(os.getpid).result(60) != first


def test_weights_other_than_those_of_the_study_are_refused_by_the_worker(small: dict) -> None:
    from imc_sim.evaluate import evaluate_chips

    trial = points_of(load_study(small))[0].trial(0)
    batch = Batch.of([trial], evaluate_chips, "cpu")
    other = Batch(**{**vars(batch), "weights": "0" * 64})
    with pytest.raises(CheckpointError, match=r"on this worker: got weights .*allowed: 000000000000.*IMC_SIM_PATH"):
        evaluate_batch(other)


# -- a real scheduler with two real workers ---------------------------------------------------------------------


@contextlib.contextmanager
def program(*arguments: str, until: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Return a program that runs in the background, once it has written what `until` matches."""
    env = os.environ | {"PYTHONUNBUFFERED": "1", "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    process = subprocess.Popen([sys.executable, "-m", *arguments], stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stderr is not None
        found = next(m for line in process.stderr if (m := re.search(until, line)))
        yield process, found.group(0)
    finally:
        process.kill()
        process.communicate()


@needs_dask
def test_a_worker_of_a_real_cluster_is_killed_in_mid_run(
    complete: Results, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW, "0.1")
    local = ("--host", "127.0.0.1", "--no-dashboard")
    with contextlib.ExitStack() as stack:
        start = ("distributed.cli.dask_scheduler", *local, "--port", "0")
        _, address = stack.enter_context(program(*start, until=r"tcp://127.0.0.1:\d+"))
        options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path))
        start = ("distributed.cli.dask_worker", address, *options)
        workers = [stack.enter_context(program(*start, until="Registered to"))[0] for _ in range(2)]
        killed: list[int] = []

        def watch(progress: Progress) -> None:
            if progress.done >= 8 and not killed:
                assert all(worker.poll() is None for worker in workers)
                workers[0].send_signal(signal.SIGKILL)
                killed.append(progress.done)

        with pytest.warns(InsecureWarning, match=r"scheduler tcp://.*without TLS"):
            results = go(tmp_path / "x", executor="dask", scheduler=address, batch=1, progress=watch)
        assert killed
        assert killed[0] < 38
        assert workers[0].wait(10) == -signal.SIGKILL
        assert workers[1].poll() is None
    assert results.failed == 0
    assert results.digest == complete.digest


@needs_dask
def test_only_this_run_reaches_the_cluster_that_it_starts() -> None:
    """Whoever may connect to a scheduler runs code as its user; other users of the machine must not."""
    import distributed
    import psutil

    executor = _dask.DaskExecutor(1)
    try:
        assert executor.submit(os.getppid).result(60) > 0
        address = executor._cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        this = psutil.Process()
        sockets = [each for p in (this, *this.children(recursive=True)) for each in p.net_connections()]
        listening = [each.laddr for each in sockets if each.status == psutil.CONN_LISTEN]
        assert len(listening) >= 3
        assert {each.ip for each in listening} == {"127.0.0.1"}
        other = _dask._security(distributed)
        for reached, security in ((address.replace("tls", "tcp"), None), (address, other)):
            with pytest.raises(OSError, match=r"closed|certificate"):
                distributed.Client(reached, security=security, timeout=2, set_as_default=False)
    finally:
        executor.close()


@needs_dask
def test_without_a_certificate_no_cluster_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dask.shutil, "which", lambda _: None)
    monkeypatch.setattr(_dask.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="without a way to make a certificate; allowed: openssl or cryptography"):
        _dask._security(None)  # type: ignore[arg-type]


@needs_dask
def test_a_cluster_that_is_restarting_a_worker_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt fails and leaves `closing` behind, in which a second one would wait for ever."""
    states = pytest.importorskip("distributed").core.Status
    monkeypatch.setattr(_dask, "_START_S", 0.0)
    seen: list[Any] = []

    class Cluster:
        status: Any = states.running

        def close(self) -> None:
            seen.append(self.status)
            if len(seen) == 1:
                self.status = states.closing
                raise AssertionError("can only join a started process")

    _dask._shut(Cluster())
    assert seen == [states.running, states.failed]


def test_a_lost_scheduler_ends_the_run_and_fails_no_trial(
    go: Callable[..., Results], complete: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    from imc_sim.runs import LostExecutorError

    monkeypatch.setenv(SLOW, "0.05")
    local: Any = distributed.LocalCluster
    with local(n_workers=1, processes=False, dashboard_address=":0") as cluster:

        def watch(progress: Progress) -> None:
            if progress.done >= 3:
                cluster.close()

        started = time.monotonic()
        with pytest.raises(LostExecutorError, match="run it again to go on"):
            go(tmp_path / "x", executor="dask", scheduler=cluster.scheduler_address, batch=1, progress=watch)
        assert time.monotonic() - started < 60
    monkeypatch.delenv(SLOW)
    assert {r["state"] for r in sound_rows(tmp_path / "x" / TRIALS, rules_of()).values()} == {"done"}
    assert go(tmp_path / "x").digest == complete.digest
