"""Every line of the benchmarks runs, at a size that says nothing about speed."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.warm import run_python


@pytest.mark.slow
def test_every_line_of_the_speed_table_is_printed(repository: Path) -> None:
    found = _ran(repository, "benchmarks/performance.py", "--smoke")
    lines = [re.split(r"\s{2,}", line.strip()) for line in found.splitlines()[2:]]
    errors = {line[0].rpartition(", ")[::2]: float(line[-1]) for line in lines}
    assert len(errors) == 15
    (digital,) = (errors.pop(key) for key in list(errors) if "digital network" in key[0])
    assert digital == 0.0
    for (work, compute), error in errors.items():
        coarse = compute == "int8" and not work.endswith("vectors")
        assert (1e-4 if coarse else 0.0) < error < (0.05 if coarse else 0.01)


def _ran(repository: Path, *argv: str) -> str:
    done = run_python(*argv, cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_growth_measures_every_axis(repository: Path, tmp_path: Path) -> None:
    _ran(repository, "benchmarks/growth.py", "--smoke", "--out", str(tmp_path))
    with (tmp_path / "performance_growth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["axis"] for row in rows] == ["images", "chips", "width", "rows", "bits", "r_ohm"]
    assert all(float(row["ratio"]) > 0.0 for row in rows)
    assert [row["axis"] for row in rows if row["peak_mib"] and float(row["peak_mib"]) > 0.0] == ["images", "r_ohm"]
    assert (tmp_path / "performance_growth.png").stat().st_size > 10_000


@pytest.mark.slow
def test_results_folders_are_measured_by_work(repository: Path, tmp_path: Path) -> None:
    _ran(repository, "benchmarks/results_folders.py", "--smoke", "--out", str(tmp_path))
    with (tmp_path / "results_folders.csv").open() as file:
        rows = {(row["store"], row["work"]): row for row in csv.DictReader(file)}
    works = ["fill", "status", "table", "report", "run", "resume", "add"]
    assert [work for store, work in rows if store == "imc_sim"] == works
    assert [work for store, work in rows if store == "sqlite3"] == ["fill", "status", "table", "add"]
    assert float(rows["sqlite3", "status"]["peak_MB"]) < 30, "nothing else is loaded"
    assert 30 < float(rows["imc_sim", "status"]["peak_MB"]) < float(rows["imc_sim", "resume"]["peak_MB"])
    assert all(float(rows[store, "add"]["each_ms"]) > 0.0 for store in ("imc_sim", "sqlite3"))
    assert (tmp_path / "results_folders.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_runner_and_the_loop_give_the_same(repository: Path) -> None:
    assert "median" in _ran(repository, "benchmarks/runner.py", "--smoke")


@pytest.mark.slow
def test_training_is_timed_and_its_memory_is_counted(repository: Path) -> None:
    lines = _ran(repository, "benchmarks/training.py", "--smoke").splitlines()
    (kept, once), (twice, again) = (map(float, re.findall(r"\d+\.\d", line)) for line in lines[-2:])
    assert twice > 1.8 * kept
    assert again < 1.1 * once


@pytest.mark.slow
def test_every_task_of_the_comparison_runs_with_this_package_alone(repository: Path) -> None:
    _ran(repository, "benchmarks/peers/run.py", "--smoke")
    for work, most in {"linear": 0.1, "memory": 0.02, "controller": 0.1, "wires": 1e-8}.items():
        text = (repository / ".peers" / "smoke" / f"{work}-1.json").read_text()
        for name in ("imc_sim, float32", "imc_sim, int8"):
            found = json.loads(text)["found"][name]
            assert 0.0 < found["error"] < most, (work, name)
            # The variation that was set, of a thousand cells at least: 5 standard errors are a tenth of it.
            assert work == "wires" or abs(found["spread"] - 0.1) < 0.015, (work, name)


def test_the_reason_of_a_peer_is_one_line_without_folders(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks" / "peers"))
    from _environments import reason_of  # type: ignore[import-not-found]

    trace = "RuntimeError: no such tile\nraised at /a/b/tile.cpp:2\nframe #0: c10::Error::Error(int) (0x1 in /c/d.so)\n"
    assert reason_of(trace) == "RuntimeError: no such tile"
    assert reason_of("ERROR: cannot read /a/b/c.toml") == "cannot read c.toml"
