"""Kill runs, cut the power, fill the disk and run several together; print what was lost. Exit code 1 if anything was.

`python -m tests.torture.driver` takes six minutes on two cores; `--short` tries a part of the first three experiments,
and names such as `kills` and `power_cuts` choose among them.
It needs Linux and a C compiler: calls that write are counted by `hook.c`, which every process has loaded. Chips state a
cost, and a figure is plotted, so that costs.jsonl and figures are written too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from imc_sim import ResultsError, load_chip
from imc_sim.plotting import STUDY_FIGURES
from imc_sim.report import write_report
from imc_sim.runs import _row_index, read_rows
from imc_sim.study import Results, _runner, combine, run, status
from imc_sim.study._store import read_study
from imc_sim.study._trials_file import STUDY, TRIALS, rules_of
from imc_sim.testing._stand_in import SLOW
from tests.torture.power import build, calls_of, states_of
from tests.torture.priced import price_chips, priced_evaluator

COUNT, KILL_BEFORE, KILL_HALF, FULL = 1, 2, 3, 5
CHIP = load_chip("rram_hfo2_1t1r").to_dict()
COST = {"technology_m": "90 nm", "supply_V": 1.2, "read_pulse_s": "6.5 ns", "lines": {"capacitance_F": "34 fF"}}
SMALL: dict[str, Any] = {
    "name": "small", "model": "batmann_5w1s_xnor", "chip": CHIP | {"cost": COST},
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5}, "chips": {"min": 3},
    "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.2]}],
}  # fmt: skip


#: files that are the same in every run; rows and the report hold times
SAME = ("table.csv", "robustness.csv", "robustness.png", "robustness.svg")


@dataclass
class Row:
    """A row of the summary."""

    experiment: str
    cases: int = 0
    lost_trials: int = 0
    lost_costs: int = 0
    unopened_folders: int = 0
    differing_files: int = 0
    seconds: float = 0.0

    @property
    def failures(self) -> int:
        """Return how much went wrong."""
        return self.lost_trials + self.lost_costs + self.unopened_folders + self.differing_files


class Torture:
    """All experiments on one small study.

    Args:
        hook: the loaded hook.
        home: folder for results.
        is_short: whether to run a part of the cases.
    """

    def __init__(self, hook: Any, home: Path, is_short: bool) -> None:
        self.hook, self.home, self.step = hook, home, 11 if is_short else 1
        self.is_short = is_short
        self.random = random.Random(1)
        self.killed_workers = 0
        whole = run(SMALL, home / "whole", evaluator=priced_evaluator, batch=1)
        write_report(whole, figures=True)
        self.digest = whole.digest
        self.files = {name: (home / "whole" / name).read_bytes() for name in SAME}
        self.number = 0
        self.calls = calls_of(self._recorded())

    def _recorded(self) -> bytes:
        """Return the log of a run that nothing disturbs."""
        self.folder = self.home / "watched"
        with (self.home / "log").open("w+b") as log:
            self._forked(COUNT, 0, log.fileno())
            log.seek(0)
            shutil.rmtree(self.folder)
            return log.read()

    def _forked(self, how: int, number: int, log: int = -1) -> int:
        """Run the study in a forked process that is disturbed; return how many trials it reported as stored."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            self._child(how, number, log, write)
        os.close(write)
        with os.fdopen(read, "rb") as reports:
            counts = reports.read()
        os.waitpid(child, 0)
        return counts[-1] if counts else 0

    def _child(self, how: int, number: int, log: int, reports: int) -> None:
        """Run the study, write its table and report, and end the process."""

        def progress(found: Any) -> None:
            self.hook.torture_mark(found.done)
            os.write(reports, bytes([found.done]))

        try:
            self.hook.torture_begin(str(self.folder).encode(), how, number, log)
            results = run(SMALL, self.folder, evaluator=priced_evaluator, batch=1, progress=progress)
            combine([self.folder], formats=["csv"])
            write_report(results, figures=True)
        except OSError:
            pass  # a full disk
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)

    def _experiment(self, name: str, cases: list[Callable[[Path], int]]) -> Row:
        """Run the cases, each of which disturbs a folder and returns how many trials were reported as stored."""
        row, began = Row(name), time.perf_counter()
        for case in cases:
            self.number += 1
            self.folder = self.home / f"case{self.number}"
            self._check(self.folder, case(self.folder), row)
            shutil.rmtree(self.folder, ignore_errors=True)
            row.cases += 1
            if sys.stderr.isatty() or row.cases % 50 == 0:
                print(f"\r{name}: {row.cases} of {len(cases)}, {row.failures} failures", end="", file=sys.stderr)
        print(f"\r{name}: {row.cases} cases, {row.failures} failures   ", file=sys.stderr)
        row.seconds = round(time.perf_counter() - began, 1)
        return row

    def _check(self, folder: Path, reported: int, row: Row) -> None:
        """Open a folder that was left, go on, and compare with the undisturbed run.

        A file that is there before the run goes on is whole, and a trial that is stored has its cost.
        """
        try:
            if (folder / STUDY).is_file():
                stored = read_rows(folder / TRIALS, rules_of(read_study(folder))).rows
                row.lost_trials += max(0, reported - int(stored.has("state", "done").sum()))
                status(folder)
                found = Results.load(folder)
                row.lost_costs += sum(each["chip"] >= 0 for each in found.rows.values()) - len(found.costs)
                row.differing_files += self._differing(folder, there=True)
                write_report(found) if len(found.table) else None
            else:
                row.lost_trials += reported
            results = run(SMALL, folder, evaluator=priced_evaluator)
            write_report(results, figures=True)
        except Exception:
            row.unopened_folders += 1
            traceback.print_exc()
            return
        row.differing_files += self._differing(folder) + (results.digest != self.digest)

    def _differing(self, folder: Path, there: bool = False) -> int:
        """Return how many files differ from those of the undisturbed run; with `there`, of those that exist."""
        names = [name for name in SAME if not there or (folder / name).exists()]
        return sum(_read(folder / name) != self.files[name] for name in names)

    def kills(self) -> Row:
        """Kill the run at every call that writes: before it, and in the middle of a write."""
        calls = [call for call in self.calls if call.what != "mark"]
        each = [(KILL_BEFORE, n) for n in range(len(calls) + 1)]
        each += [(KILL_HALF, n) for n, call in enumerate(calls) if call.what == "write"]
        cases = [lambda _, how=how, n=n: self._forked(how, n) for how, n in each[:: self.step]]
        return self._experiment("kill at a call that writes", cases)

    def full_disks(self) -> Row:
        """Fill the disk at every call."""
        calls = [call for call in self.calls if call.what != "mark"]
        numbers = [n for n, call in enumerate(calls) if call.what == "write"]
        return self._experiment("full disk", [lambda _, n=n: self._forked(FULL, n) for n in numbers[:: self.step]])

    def power_cuts(self) -> Row:
        """Build what a file system may leave when the power fails after any call."""
        watched = str(self.home / "watched")

        def cut(state: Any, reported: int) -> Callable[[Path], int]:
            return lambda folder: (build(state, watched, folder), reported)[1]

        states = states_of(self.calls, watched, 1)
        return self._experiment("power cut", [cut(*each) for each in states[:: self.step]])

    def runners(self) -> Row:
        """Start four runs of one folder together and kill them at random, until one ends."""

        def fight(folder: Path) -> int:
            runners: list[int] = []
            for _ in range(6):
                runners += [self._runner(folder) for _ in range(4 - len(runners))]
                time.sleep(self.random.uniform(0.05, 0.6))
                killed = runners.pop(self.random.randrange(4))
                os.kill(killed, signal.SIGKILL)
                os.waitpid(killed, 0)
            for runner in runners:
                os.waitpid(runner, 0)
            return 0

        return self._experiment("four runners, killed", [fight] * 20)

    def _runner(self, folder: Path) -> int:
        """Fork a slow run that waits for the folder to be free; return its process."""
        child = os.fork()
        if child:
            return child
        os.environ[SLOW] = "0.05"
        end = time.monotonic() + 30
        try:
            while time.monotonic() < end:
                with contextlib.suppress(ResultsError):
                    run(SMALL, folder, evaluator=priced_evaluator, batch=1)
                    break
                time.sleep(0.02)
        finally:
            os._exit(0)

    def workers(self) -> Row:
        """Kill workers of a run at random while it goes on."""

        def kill(folder: Path) -> int:
            stop = threading.Event()
            killer = threading.Thread(target=self._kill_children, args=(stop,))
            killer.start()
            os.environ[SLOW] = "0.3"
            try:
                found = run(SMALL, folder, "process", 2, evaluator=priced_evaluator, batch=1)
            finally:
                stop.set()
                killer.join()
                os.environ.pop(SLOW)
            return len(found.rows) - found.failed

        return self._experiment("killed workers", [kill] * 6)

    def _kill_children(self, stop: threading.Event) -> None:
        """Kill one worker, after a random time, while workers start or compute."""
        workers: list[int] = []
        while len(workers) < 2 and not stop.wait(0.05):
            tasks = Path("/proc/self/task").iterdir()
            children = [int(pid) for task in tasks for pid in _read(task / "children").split()]
            workers = [pid for pid in children if b"spawn_main" in _read(Path(f"/proc/{pid}/cmdline"))]
        if not stop.wait(self.random.uniform(0, 6)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(workers), signal.SIGKILL)
                self.killed_workers += 1


def _read(path: Path) -> bytes:
    """Return the content of a file; empty if it is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the summary."""
    heads = [each.name.replace("_", " ") for each in fields(Row)]
    yield "  ".join([f"{heads[0]:28s}", *heads[1:]])
    for row in rows:
        cells = [getattr(row, each.name) for each in fields(Row)]
        numbers = (f"{cell:>{len(head)}}" for cell, head in zip(cells[1:], heads[1:], strict=True))
        yield "  ".join([f"{cells[0]:28s}", *numbers])


def main(arguments: list[str]) -> int:
    """Compile and load the hook, start again with it, and run the experiments."""
    if "TORTURE_HOOK" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            library, source = Path(folder, "hook.so"), Path(__file__).with_name("hook.c")
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
            more = {"TORTURE_HOOK": str(library), "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
            return subprocess.call([sys.executable, "-m", "tests.torture.driver", *arguments], env=os.environ | more)
    hook = ctypes.CDLL(os.environ["TORTURE_HOOK"])
    hook.torture_begin.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int)
    hook.torture_mark.argtypes = (ctypes.c_long,)
    _row_index._WORTH = 1  # an index of a small study too
    _runner.evaluator_digest, _runner.chip_costs = (lambda _: None), price_chips  # else trials have no cost
    for kind in STUDY_FIGURES.keys() - {"robustness"}:
        del STUDY_FIGURES[kind]  # they are written in the same way
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as home:
        torture = Torture(hook, Path(home).resolve(), "--short" in arguments)
        each = ("kills", "power_cuts", "full_disks", *(() if torture.is_short else ("runners", "workers")))
        each = [name for name in each if name in arguments or not set(each) & set(arguments)]
        rows = [getattr(torture, name)() for name in each]
    print("\n".join(table(rows)))
    idle = "workers" in each and not torture.killed_workers
    if idle:
        print("no worker was killed: the runs ended before", file=sys.stderr)
    return int(idle or any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
