"""Contract tests of executors, to inherit from."""

from __future__ import annotations

import abc
import os
import signal
import time
import traceback
from contextlib import closing
from pathlib import Path

from imc_sim.study import Executor
from imc_sim.testing._require import require


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
    """Tests of an executor.

    Attributes:
        own_processes: whether calls run in other processes.
        patience_s: longest wait of a test in seconds.
    """

    own_processes = True
    patience_s = 600.0

    @abc.abstractmethod
    def make(self) -> Executor:
        """Create the executor under test, with two workers."""

    def test_calls_give_what_they_return_or_raise(self) -> None:
        """Check that results return in any order, and errors with their type and the line that raised."""
        with closing(self.make()) as executor:
            futures = [executor.submit(_square, n) for n in range(20)]
            failed = executor.submit(_fail, "odd weights")
            require([f.result(self.patience_s) for f in futures] == [n * n for n in range(20)], "wrong results")
            error = failed.exception(self.patience_s)
            require(isinstance(error, ArithmeticError), f"raised {error!r}")
            require("_fail" in "".join(traceback.format_exception(error)), "the traceback does not name the line")
            require(executor.width >= 1, "no width")

    def test_lost_workers(self, tmp_path: Path) -> None:
        """Check that calls of a killed worker run again, and that only a call that kills every worker fails.

        Args:
            tmp_path: pytest's temporary folder.
        """
        if not self.own_processes:
            return
        flag = tmp_path / "flag"
        flag.touch()
        with closing(self.make()) as executor:
            lost, fatal = executor.submit(_die_once, str(flag)), executor.submit(_die, 0)
            futures = [executor.submit(_square, n) for n in range(10)]
            require([f.result(self.patience_s) for f in futures] == [n * n for n in range(10)], "others were lost")
            require(lost.result(self.patience_s) != os.getpid() and not flag.exists(), "the call was not run again")
            require("workers lost" in str(fatal.exception(self.patience_s)), f"{fatal.exception(0)!r}")

    def test_closing_waits_for_nothing(self) -> None:
        """Check that closing abandons running calls."""
        executor = self.make()
        if self.own_processes:
            executor.submit(time.sleep, 60)
            time.sleep(0.5)
        started = time.monotonic()
        executor.close()
        require(time.monotonic() - started < 20.0, "closing takes too long")
