"""What every engine must do, as inherited tests."""

from __future__ import annotations

import abc
import os
import signal
import time
import traceback
from contextlib import closing
from pathlib import Path

from imc_sim.study import Executor


def _square(x: int) -> int:
    return x * x


def _fail(text: str) -> None:
    raise ArithmeticError(text)


def _die_once(flag: str) -> int:
    """Kill this process as `kill -9` does, unless the flag is gone."""
    path = Path(flag)
    if path.exists():
        path.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class ExecutorContract(abc.ABC):
    """Give `make`, an engine of two workers. own_processes: calls run elsewhere than in this process."""

    own_processes = True
    #: seconds that one test waits at most
    patience_s = 600.0

    @abc.abstractmethod
    def make(self) -> Executor:
        """The engine under test."""

    def test_calls_give_what_they_return_or_raise(self) -> None:
        """Results come back whatever the order, errors with their type and the line that raised."""
        with closing(self.make()) as engine:
            futures = [engine.submit(_square, n) for n in range(20)]
            failed = engine.submit(_fail, "odd weights")
            _require([f.result(self.patience_s) for f in futures] == [n * n for n in range(20)], "wrong results")
            error = failed.exception(self.patience_s)
            _require(isinstance(error, ArithmeticError), f"raised {error!r}")
            _require("_fail" in "".join(traceback.format_exception(error)), "the traceback does not name the line")
            _require(engine.width >= 1, "no width")

    def test_lost_workers(self, tmp_path: Path) -> None:
        """A worker killed in mid-call costs nothing but time; a call that kills every worker fails alone."""
        if not self.own_processes:
            return
        flag = tmp_path / "flag"
        flag.touch()
        with closing(self.make()) as engine:
            lost, fatal = engine.submit(_die_once, str(flag)), engine.submit(_die, 0)
            futures = [engine.submit(_square, n) for n in range(10)]
            _require([f.result(self.patience_s) for f in futures] == [n * n for n in range(10)], "others were lost")
            _require(lost.result(self.patience_s) != os.getpid() and not flag.exists(), "the call was not run again")
            _require("workers lost" in str(fatal.exception(self.patience_s)), f"{fatal.exception(0)!r}")

    def test_closing_waits_for_nothing(self) -> None:
        """Calls under way are given up."""
        engine = self.make()
        if self.own_processes:
            engine.submit(time.sleep, 60)
            time.sleep(0.5)
        started = time.monotonic()
        engine.close()
        _require(time.monotonic() - started < 20.0, "closing takes too long")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
