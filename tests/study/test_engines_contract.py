"""Every engine, against the contract of engines."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from imc_sim import InputError
from imc_sim.runs import EXECUTORS, Executor, _processes, make_executor
from imc_sim.testing import ExecutorContract

needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra dask")


class TestInline(ExecutorContract):
    own_processes = False

    def make(self) -> Executor:
        return make_executor("inline")


class TestProcess(ExecutorContract):
    def make(self) -> Executor:
        return make_executor("process", 2)


@needs_dask
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of connections to workers that were killed
class TestDask(ExecutorContract):
    def make(self) -> Executor:
        return make_executor("dask", 2)


def test_a_deadly_call_takes_as_many_workers_as_its_error_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[bytes] = []

    def lose(_: object, data: bytes) -> bytes:
        lost.append(data)
        raise EOFError

    monkeypatch.setattr(_processes._Worker, "_ask", lose)
    with closing(make_executor("process", 1)) as engine:
        error = engine.submit(len, "call").exception(60)
    assert f"{len(lost)} workers lost" in str(error)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("proces",), "Did you mean 'process'"),
        (("process", 0), "workers: got 0"),
        (("inline", 2), "Choose executor process"),
        (("process", None, "tcp://host:1"), "executor dask"),
        (("dask", 2, "tcp://host:1"), "the cluster has its own"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make_executor(*arguments)
    assert list(EXECUTORS) == ["inline", "process", "dask"]


@needs_dask
def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from imc_sim.runs import _dask

    monkeypatch.setattr(_dask, "_PATIENCE_S", 0.5)
    with pytest.raises(InputError, match=r"scheduler: got 'tcp://127.0.0.1:9'.*dask worker ADDRESS"):
        make_executor("dask", None, "tcp://127.0.0.1:9")


def test_without_dask_the_step_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'imc-sim\[dask\]'"):
        make_executor("dask", 2)


@pytest.mark.parametrize("guarded", [False, True])
def test_a_main_program_without_a_guard_ends_in_one_error(tmp_path: Path, guarded: bool) -> None:
    lines = ["executor = make_executor('process', 2)", "print(executor.submit(abs, -7).result())", "executor.close()"]
    opening = ["if __name__ == '__main__':"] if guarded else []
    script = tmp_path / "main.py"
    body = [f"    {line}" if guarded else line for line in lines]
    script.write_text("\n".join(["from imc_sim.study import make_executor", *opening, *body]))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == ((0, "7\n") if guarded else (1, ""))
    assert done.stderr.count("UnguardedMainError") == done.stderr.count("if __name__ ==") == (0 if guarded else 1)
