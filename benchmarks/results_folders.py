"""Time, memory and size of results folders of 10^4 to 10^6 trials, next to optuna's and SQLite's stores of the same.

    python benchmarks/results_folders.py [--sizes 10000 100000 1000000] [--python PYTHON] [--out docs/figures] [--smoke]

A folder has 1,000 chips at each point. Every work is done once in a new process; the table has its time from the start
of the process to the end (`wall_s`), that of the processor (`cpu_s`) and the peak of its memory (Linux). Another store
is left out where a work takes more than 12 GB or `--limit` seconds of processor, or would at the rate of the size
before. Other stores hold the same trials, but check nothing and know nothing of stopping rules. optuna runs in an
environment under .peers/, or in that of PYTHON, where pandas is needed too. Writes results_folders.csv and
results_folders.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml
from matplotlib.ticker import NullFormatter
from pandas import DataFrame
from peers._environments import Peer, install

from imc_sim._files import write_file
from imc_sim.config import user_cache
from imc_sim.evaluate import ChipResult
from imc_sim.plotting._figure import LogLabels, legend_below, new_panels, save_table, style
from imc_sim.runs import Row, RunClock
from imc_sim.study import load_study, points_of, resolved
from imc_sim.study._point import Point
from imc_sim.study._rows import Writer
from imc_sim.study._store import ResultStore

CHIPS = 1000
#: store -> what the legend says, colour, marker
STORES = {
    "imc_sim": ("imc_sim", "C0", "o"), "sqlite3": ("sqlite3, a row a trial", "C2", "s"),
    "journal": ("optuna, journal file", "C1", "^"), "sqlite": ("optuna, SQLite", "C3", "v"),
}  # fmt: skip
OURS, ALL = ("status", "table", "report", "run", "resume", "add"), ("status", "table", "add")
#: panels of all stores: work, column, label
PANELS = (
    ("status", "cpu_s", "count trials (s of processor)"), ("table", "cpu_s", "write CSV (s of processor)"),
    ("table", "peak_MB", "memory for the CSV (MB)"), ("fill", "size_MB", "size on disk (MB)"),
    ("add", "each_ms", "store one trial (ms)"),
)  # fmt: skip
MOST_BYTES = 12 * 10**9


def study_of(points: int, chips: int) -> dict[str, Any]:
    """Return a study of accuracy against device variation."""
    task = {"dataset": "glyphs", "split": "test", "episodes": 10, "queries": 4, "classes": 40, "instances": 5}
    axis = {"path": "chip.device.programming.sigma", "values": {"linspace": [0.1, 1.0, points]}, "label": "sigma"}
    return {
        "name": "large", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r", "task": task | {"rotations": False},
        "axes": [axis], "chips": {"min": chips},
    }  # fmt: skip


def rows_of(points: list[Point], chips: int) -> Iterator[Row]:
    """Yield a row for each trial, with made-up accuracies that fall from point to point."""
    writer, generator = Writer(RunClock()), np.random.default_rng(0)
    for digital in {point.baseline().id: point.baseline() for point in points}.values():
        yield from writer.done([digital.trial(-1)], [ChipResult(-1, 188, 200, 0.5)])
    for number, point in enumerate(points):
        right = generator.binomial(200, 0.9 - 0.4 * number / len(points), chips).tolist()
        for chip, correct in enumerate(right):
            yield from writer.done([point.trial(chip)], [ChipResult(chip, correct, 200, 0.0123)])


def build(folder: Path, rows: int) -> float:
    """Write a results folder as a run would have left it; return the seconds."""
    chips = min(CHIPS, rows // 2)
    folder.with_suffix(".yaml").write_text(yaml.safe_dump(study_of(rows // chips, chips)))
    study = load_study(folder.with_suffix(".yaml"))
    points, began = points_of(study), time.perf_counter()
    with ResultStore(folder, resolved(study, points)) as store:
        store.add(rows_of(points, chips))
    return time.perf_counter() - began


def measured(python: str, store: str, work: str, path: Path, rows: Path, limit: float) -> dict[str, float]:
    """Return what a work takes in a new process; nothing where it exceeds a limit or fails."""
    argv = [python, str(Path(__file__).with_name("_stores.py")), store, work, str(path), str(rows)]
    cache = path.parent / "cache"
    shutil.rmtree(cache / "imc_sim" / "finished", ignore_errors=True)  # a second resume would print what the first did
    fonts = mpl.get_cachedir()  # finding them takes seconds
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "MPLCONFIGDIR": fonts, "OMP_NUM_THREADS": "1"}

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit)))

    began = time.perf_counter()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, preexec_fn=bound, check=False)
    wall = time.perf_counter() - began
    if done.returncode:
        print(done.stderr[-500:], file=sys.stderr)
        return {}
    found = json.loads(done.stdout.splitlines()[-1])
    each = {} if found["each_s"] is None else {"each_ms": 1000 * found["each_s"]}
    return {"wall_s": wall, "cpu_s": found["cpu_s"], "peak_MB": found["peak_MB"]} | each


def size_mb(path: Path) -> float:
    """Return the size of a file, or of all files in a folder, in MB."""
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*"))) / 1e6


def of_size(
    home: Path, rows: int, growth: float, pythons: dict[str, str], limit: float
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield the lines of the table for one number of trials.

    Stores that exceed the limit, or would at the next size, which is larger by `growth`, are removed from `pythons`.
    """
    folder = home / "imc_sim"
    build(folder, rows)
    lines = folder / "trials.jsonl"
    for store in tuple(pythons):
        path = home / store
        filled = measured(pythons[store], store, "fill", path, lines, 10 * limit) if path != folder else {"wall_s": 0}
        if not filled:
            del pythons[store]
            continue
        yield {"rows": rows, "store": store, "work": "fill", "size_MB": size_mb(path)}
        slow, found = False, filled
        for work in OURS if path == folder else ALL:
            found = measured(pythons[store], store, work, path, lines, limit)
            yield {"rows": rows, "store": store, "work": work, **found}
            if not found:
                break
            slow |= found["cpu_s"] * growth > limit
        if not found or (slow and path != folder):
            del pythons[store]


def _power(value: float) -> str:
    """Return a number, from 10,000 on as a power of ten."""
    return f"{value:g}" if value < 1e4 else "10" + f"{np.log10(value):.0f}".translate(str.maketrans("456789", "⁴⁵⁶⁷⁸⁹"))


def plot(table: DataFrame, stem: Path) -> Path:
    """Draw what grows with the number of trials: works of this package first, then all stores."""
    with style():
        figure, panels = new_panels(2, 3, 7.2, 4.4)
        for work, marker, line in zip(OURS[:-1], "osD^v", ("-", "--", ":", "-.", (0, (4, 1))), strict=True):
            rows = table[(table.store == "imc_sim") & (table.work == work)]
            name = {"table": "CSV", "run": "resume, run()", "resume": "resume, command"}.get(work, work)
            look = {"color": "C0", "marker": marker, "markersize": 3, "linestyle": line, "linewidth": 0.9}
            panels[0].plot(rows["rows"], rows["cpu_s"], label=name, **look)
        panels[0].set_ylabel("imc_sim (s of processor)")
        panels[0].legend(fontsize=5.5, frameon=False, loc="upper left", labelspacing=0.2)
        for panel, (work, column, label) in zip(panels[1:], PANELS, strict=True):
            for store, (name, colour, marker) in STORES.items():
                rows = table[(table.store == store) & (table.work == work)]
                panel.plot(rows["rows"], rows[column], color=colour, marker=marker, markersize=3, label=name)
            panel.set_ylabel(label)
        for panel in panels:
            for axis, scale in ((panel.xaxis, panel.set_xscale), (panel.yaxis, panel.set_yscale)):
                scale("log")
                axis.set_major_formatter(LogLabels(_power))
                axis.set_minor_formatter(NullFormatter())
            panel.set_xlabel("trials")
        panels[0].set_ylim(top=30 * panels[0].get_ylim()[1])  # room for the legend
        legend_below(panels[1], list(panels[1].get_lines()), ncols=4)
        path = stem.with_suffix(".png")
        write_file(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
    return path


def _link_images(folder: Path) -> None:
    """Let works find the images that the user's cache holds."""
    cached = user_cache() / "decoded"
    cached.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(cached)


def main() -> int:
    """Measure, print, write the table and the figure; exit 1 if a work of this package failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6], help="numbers of trials")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds of processor for a work")
    parser.add_argument("--python", help="Python with optuna and pandas; default: install both under .peers/")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--smoke", action="store_true", help="40 trials, without optuna")
    options: Any = parser.parse_args()
    sizes = [40] if options.smoke else options.sizes
    pythons = {"imc_sim": sys.executable, "sqlite3": sys.executable}
    if not options.smoke:
        optuna = Peer("optuna", "", (), "optuna", (("optuna", "pandas"),))
        reason = "" if options.python else install(optuna)
        print(reason, end="\n" * bool(reason))
        pythons |= {} if reason else dict.fromkeys(("journal", "sqlite"), options.python or optuna.python)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        _link_images(Path(home, "cache", "imc_sim", "decoded"))
        if not options.smoke:  # images are cached
            build(Path(home, "warm"), 40)
            measured(sys.executable, "imc_sim", "resume", Path(home, "warm"), Path(), 600)
        for rows, growth in zip(sizes, [*(b / a for a, b in itertools.pairwise(sizes)), 0.0], strict=True):
            place = Path(home, str(rows))
            place.mkdir()
            (place / "cache").symlink_to(Path(home, "cache"))
            for line in of_size(place, rows, growth, pythons, options.limit):
                lines.append(line)
                print(*(f"{key} {x:.4g}" if isinstance(x, float) else x for key, x in line.items()), flush=True)
            shutil.rmtree(place)
    options.out.mkdir(parents=True, exist_ok=True)
    table, stem = DataFrame(lines), options.out / "results_folders"
    save_table(table.round({"wall_s": 2, "cpu_s": 2, "peak_MB": 0, "each_ms": 3, "size_MB": 2}), stem)
    plot(table, stem)
    return int("imc_sim" not in pythons)


if __name__ == "__main__":
    raise SystemExit(main())
