"""One operation on stored trials, in a process that holds nothing else: `python _stores.py STORE WORK PATH ROWS`.

It runs in the environment of the store and imports nothing but that. Prints the seconds of the processor and the peak
of the resident memory (Linux) as JSON in the last line. Stores: imc_sim, sqlite3, and journal and sqlite of optuna.
Works:

- fill: write the trials of the lines ROWS to a new store; those of optuna as its own calls write them, but in bulk.
- status: count finished trials. table: write all trials as CSV. report, run, resume: of imc_sim alone.
- add: store 100 further trials one by one, each on disk before the next; prints the seconds for each.
"""

from __future__ import annotations

import csv
import importlib
import json
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ADDED = 100
NAMES = ("id", "point", "chip", "correct", "total", "meta")


def lines(path: str) -> Iterator[dict[str, Any]]:
    """Yield the trials of a trials.jsonl."""
    with Path(path).open() as file:
        yield from map(json.loads, file)


def further(rows: str) -> list[dict[str, Any]]:
    """Return new trials, made from the first one with a chip."""
    one = next(row for row in lines(rows) if row["chip"] >= 0)
    return [one | {"id": f"{n:064d}", "chip": 10**7 + n} for n in range(ADDED)]


def timed(add: Callable[[dict[str, Any]], object], rows: str) -> float:
    """Return the seconds in which a trial is stored."""
    trials = further(rows)
    began = time.perf_counter()
    for row in trials:
        add(row)
    return (time.perf_counter() - began) / ADDED


class Ours:
    """A results folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def command(self, *arguments: str) -> None:
        """Run a command of `imc-sim`."""
        from imc_sim.cli import main

        sys.argv = ["imc-sim", *arguments]
        main()

    def status(self, _: str) -> None:
        """Show the progress, which checks that all rows are those that were checked before."""
        self.command("status", self.path)

    def table(self, _: str) -> None:
        """Write trials.csv."""
        self.command("report", self.path, "--trials", "csv", "--out", f"{self.path}.table", "--quiet")

    def report(self, _: str) -> None:
        """Write report.html."""
        self.command("report", self.path, "--quiet")

    def run(self, _: str) -> None:
        """Continue a run that has nothing left to do, from Python."""
        from imc_sim.study import run

        run(f"{self.path}.yaml", self.path)

    def resume(self, _: str) -> None:
        """Continue a run that has nothing left to do, by the command: with all figures and the report."""
        self.command("run", f"{self.path}.yaml", "--out", self.path, "--quiet")

    def add(self, _: str) -> float:
        """Store trials that are left."""
        from imc_sim.evaluate import ChipResult
        from imc_sim.runs import RunClock
        from imc_sim.study import load_study, points_of, resolved
        from imc_sim.study._rows import Writer
        from imc_sim.study._store import ResultStore

        study = load_study(f"{self.path}.yaml")
        points, writer = points_of(study), Writer(RunClock())
        trials = [points[0].trial(10**7 + n) for n in range(ADDED)]
        rows = [writer.done([trial], [ChipResult(trial.chip, 150, 200, 0.01)]) for trial in trials]
        with ResultStore(Path(self.path), resolved(study, points)) as store:
            store.protect()
            began = time.perf_counter()
            for row in rows:
                store.add(row)
            return (time.perf_counter() - began) / ADDED


class Sqlite:
    """A table of SQLite with a column for each key, the metadata as JSON; each trial is a transaction."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.base = sqlite3.connect(path)
        self.insert = f"INSERT INTO trials VALUES ({', '.join('?' * (1 + len(NAMES)))})"

    @staticmethod
    def values(row: dict[str, Any]) -> list[Any]:
        """Return the values of a trial."""
        return [row["state"], *(json.dumps(row[name]) if name == "meta" else row[name] for name in NAMES)]

    def fill(self, rows: str) -> None:
        """Store all trials."""
        self.base.execute(
            "CREATE TABLE trials (state TEXT, id TEXT PRIMARY KEY, point TEXT, chip INTEGER, correct INTEGER, "
            "total INTEGER, meta TEXT)"
        )
        self.base.executemany(self.insert, map(self.values, lines(rows)))
        self.base.commit()

    def status(self, _: str) -> None:
        """Count trials by state."""
        print(self.base.execute("SELECT state, count(*) FROM trials GROUP BY state").fetchall())

    def table(self, _: str) -> None:
        """Write all trials as CSV."""
        with Path(f"{self.path}.csv").open("w") as file:
            csv.writer(file).writerows(self.base.execute("SELECT * FROM trials"))

    def add(self, rows: str) -> float:
        """Store trials one by one."""

        def add(row: dict[str, Any]) -> None:
            self.base.execute(self.insert, self.values(row))
            self.base.commit()

        return timed(add, rows)


class Optuna:
    """A study of optuna: sigma as parameter, the accuracy as value, everything else as attributes of the user."""

    def __init__(self, path: str, kind: str) -> None:
        self.path, self.kind = path, kind
        self.optuna: Any = importlib.import_module("optuna")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        storages = self.optuna.storages
        if kind == "journal":
            self.storage = storages.JournalStorage(storages.journal.JournalFileBackend(path))
        else:
            self.storage = storages.RDBStorage(f"sqlite:///{path}")

    def trial(self, row: dict[str, Any]) -> Any:
        """Return a trial of optuna."""
        between = self.optuna.distributions.FloatDistribution(0.0, 10.0)
        return self.optuna.trial.create_trial(
            value=row["correct"] / row["total"], params={"sigma": row["values"][0]}, distributions={"sigma": between},
            user_attrs={name: row[name] for name in NAMES},
        )  # fmt: skip

    def study(self) -> Any:
        """Return the study that is stored."""
        return self.optuna.load_study(study_name="s", storage=self.storage)

    def fill(self, rows: str) -> None:
        """Store a trial by optuna, and all others with the same content."""
        study = self.optuna.create_study(storage=self.storage, study_name="s", direction="maximize")
        chips = (row for row in lines(rows) if row["chip"] >= 0)
        study.add_trial(self.trial(next(chips)))
        (self._fill_journal if self.kind == "journal" else self._fill_tables)(chips)

    def _fill_journal(self, rows: Iterator[dict[str, Any]]) -> None:
        pattern = json.loads(Path(self.path).read_text().splitlines()[-1])
        with Path(self.path).open("a") as file:
            for row in rows:
                attributes = {"user_attrs": {name: row[name] for name in NAMES}}
                result = {"value": row["correct"] / row["total"], "params": {"sigma": row["values"][0]}}
                file.write(json.dumps(pattern | result | attributes, separators=(",", ":")) + "\n")

    def _fill_tables(self, rows: Iterator[dict[str, Any]]) -> None:
        base = sqlite3.connect(self.path)
        tables = ("trials", "trial_user_attributes", "trial_params", "trial_values")
        patterns = {table: base.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        marks = {table: f"INSERT INTO {table} VALUES ({', '.join('?' * len(patterns[table][0]))})" for table in tables}
        trial, parameter, value = patterns["trials"][0], patterns["trial_params"][0], patterns["trial_values"][0]
        attribute = len(NAMES)
        for number, row in enumerate(rows, 2):
            base.execute(marks["trials"], (number, number - 1, *trial[2:]))
            some = [(attribute + k, number, name, json.dumps(row[name])) for k, name in enumerate(NAMES, 1)]
            base.executemany(marks["trial_user_attributes"], some)
            attribute += len(NAMES)
            base.execute(marks["trial_params"], (number, number, "sigma", row["values"][0], parameter[-1]))
            accuracy = row["correct"] / row["total"]
            base.execute(marks["trial_values"], (number, number, value[2], accuracy, value[-1]))
        base.commit()

    def status(self, _: str) -> None:
        """Count finished trials."""
        states = (self.optuna.trial.TrialState.COMPLETE,)
        print(len(self.study().get_trials(deepcopy=False, states=states)))

    def table(self, _: str) -> None:
        """Write all trials as CSV."""
        self.study().trials_dataframe().to_csv(f"{self.path}.csv")

    def add(self, rows: str) -> float:
        """Store trials one by one."""
        study = self.study()
        return timed(lambda row: study.add_trial(self.trial(row)), rows)


def main(store: str, work: str, path: str, rows: str) -> None:
    """Do the work, and print what it took."""
    made: Any = Ours(path) if store == "imc_sim" else Sqlite(path) if store == "sqlite3" else Optuna(path, store)
    seconds = getattr(made, work)(rows)
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    found = {"cpu_s": used.ru_utime + used.ru_stime, "peak_MB": int(peak.split()[1]) * 1024 / 1e6, "each_s": seconds}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
