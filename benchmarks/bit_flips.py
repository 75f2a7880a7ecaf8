"""Flip single bits of a results folder and of an SQLite database, and count changes that nobody reports.

    python benchmarks/bit_flips.py [flips]

The same table is stored as trials.jsonl and as an SQLite table. Each flip changes one random bit of the whole file.
A flip is silent if the table is read without an error and differs from the original one.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from imc_sim import ResultsError
from imc_sim.study import Results, run
from imc_sim.study._trials_file import TRIALS
from imc_sim.testing import stand_in_evaluator

STUDY = {
    "name": "flips", "model": "batmann_5w1s_xnor", "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
    "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.2, 0.4]}], "chips": {"min": 12},
}  # fmt: skip
_INSERT = "insert into trials values (?, ?, ?, ?, ?, ?, ?)"


def main(flips: int) -> None:
    """Run both experiments and print a line each."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "x")
        results = run(STUDY, folder, evaluator=stand_in_evaluator)
        original = results.table
        show(TRIALS, flipped(folder / TRIALS, lambda: Results.load(folder).table.equals(original), flips))
        path = Path(parent, "x.db")
        store(results, path)
        known = read(path, results)
        show("SQLite", flipped(path, lambda: read(path, results) == known, flips))


def store(results: Results, path: Path) -> None:
    """Write the rows into an SQLite table: the same content as in trials.jsonl, without its checksums."""
    keys = ("id", "point", "chip", "state", "correct", "total")
    with sqlite3.connect(path) as database:
        database.execute("create table trials (id text primary key, point, chip, state, correct, total, rest)")
        for row in results.rows.values():
            rest = json.dumps({k: v for k, v in row.items() if k not in (*keys, "checksum")})
            database.execute(_INSERT, (*(row[k] for k in keys), rest))
    database.close()


def read(path: Path, results: Results) -> dict[str, list[object]]:
    """Return what the table of the study is made of: the counts of the finished chips of each of its points."""
    points = {key: [] for point in results.study["points"] for key in (point["id"], point["baseline"])}
    database = sqlite3.connect(path)
    try:
        query = "select point, correct, total from trials where state = 'done' order by point, chip"
        for point, *counts in database.execute(query).fetchall():
            if point in points:
                points[point].append(counts)
    finally:
        database.close()
    return points


def flipped(path: Path, equal: Callable[[], bool], flips: int) -> Counter[str]:
    """Count what reading the file says after each flip."""
    data, random = path.read_bytes(), np.random.Generator(np.random.Philox(0))
    found: Counter[str] = Counter()
    if not equal():  # else an error of the reader itself would count as a report
        raise RuntimeError(f"{path} does not read as it was written")
    for bit in random.integers(0, 8 * len(data), flips).tolist():
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found["unchanged" if equal() else "silent"] += 1
        except (ResultsError, sqlite3.Error, UnicodeDecodeError):
            found["reported"] += 1
    path.write_bytes(data)
    return found


def show(name: str, found: Counter[str]) -> None:
    """Print the counts of one file."""
    total = found.total()
    shares = ", ".join(
        f"{kind} {found[kind]} ({100 * found[kind] / total:.2f} %)" for kind in ("reported", "unchanged", "silent")
    )
    print(f"{name}: {total} flips: {shares}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
