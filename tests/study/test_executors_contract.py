"""Every executor fulfils the contract of executors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import deque
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from imc_sim import InputError
from imc_sim.runs import EXECUTORS, Executor, Row, _processes, finished_rows, make_executor
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


def test_items_of_a_failed_batch_are_run_one_by_one_in_their_order() -> None:
    def compute(items: list[str]) -> list[str]:
        if "bad" in items:
            raise ArithmeticError
        return items

    def done(items: list[str], result: list[str]) -> list[Row]:
        assert items == result
        return [{"id": item, "state": "done"} for item in items]

    def failed(item: str, error: BaseException) -> Row:
        return {"id": item, "state": type(error).__name__}

    def started(items: list[str]) -> Future[Any]:
        return inline.submit(compute, items)

    inline = make_executor("inline")
    batches = deque([["a", "b"], ["c", "bad", "d", "e"], ["f", "g"]])
    rows = [
        [(row["id"], row["state"]) for row in some] for some in finished_rows(batches, inline, started, done, failed)
    ]
    assert rows == [
        [("a", "done"), ("b", "done")], [("c", "done")], [("bad", "ArithmeticError")], [("d", "done")], [("e", "done")],
        [("f", "done"), ("g", "done")],
    ]  # fmt: skip


def test_a_call_that_kills_its_workers_takes_as_many_as_its_error_states(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[bytes] = []

    def lose(_: object, data: bytes) -> bytes:
        lost.append(data)
        raise EOFError

    monkeypatch.setattr(_processes._Worker, "_ask", lose)
    with closing(make_executor("process", 1)) as executor:
        error = executor.submit(len, "call").exception(60)
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
def test_invalid_combinations_are_refused(arguments: tuple, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make_executor(*arguments)
    assert list(EXECUTORS) == ["inline", "process", "dask"]


@needs_dask
def test_an_unreachable_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from imc_sim.runs import _dask

    monkeypatch.setattr(_dask, "_PATIENCE_S", 0.5)
    with pytest.raises(InputError, match=r"scheduler: got 'tcp://127.0.0.1:9'.*dask worker ADDRESS"):
        make_executor("dask", None, "tcp://127.0.0.1:9")


def test_without_dask_the_error_names_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'imc-sim\[dask\]'"):
        make_executor("dask", 2)


@pytest.mark.parametrize(("name", "made"), [("process", False), ("dask", False), ("inline", True)])
def test_a_main_program_from_standard_input_starts_no_workers(tmp_path: Path, name: str, made: bool) -> None:
    program = f"from imc_sim.study import make_executor\nmake_executor({name!r})\nprint('made')"
    done = subprocess.run(
        [sys.executable, "-"], input=program, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == ((0, "made\n") if made else (1, ""))
    assert done.stderr.count("the main program '<stdin>', which is no file") == (not made)


@pytest.mark.slow
def test_a_main_program_without_a_guard_ends_in_one_error_on_dask(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    script = tmp_path / "main.py"
    script.write_text("from imc_sim.study import make_executor\nmake_executor('dask', 1)")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "workers that do not start" in done.stderr.splitlines()[-1]
    assert done.stderr.count("if __name__ ==") == 1


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
