"""Progress, Ctrl-C, and the commands that read results folders."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import json
import os
import pty
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml

from imc_sim.cli import _console
from imc_sim.cli._app import app
from imc_sim.cli._console import Pace, duration, gentle_stop, progress_bar, working
from imc_sim.study import Results
from tests.warm import started_python

needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra dask")
STUDY = {
    "name": "tiny",
    "model": "batmann_small_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5, "classes": 10, "rotations": False},
    "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.5]}],
    "chips": {"min": 4},
}


@pytest.fixture
def study(tmp_path: Path) -> str:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    return str(tmp_path / "tiny.yaml")


def test_pace_is_that_of_the_latest_updates() -> None:
    seconds = iter([0.0, 0.0, *(10.0 * n for n in range(1, 200))])
    pace = Pace(lambda: next(seconds))
    pace.update(100)  # stored earlier, not computed by this run
    assert pace.rate is None
    for n in range(1, 100):
        pace.update(100 + 2 * n if n < 50 else 198 + 20 * (n - 49))
    assert pace.rate == 2.0
    assert pace.text(1198, 2198) == "2/s, ETA 0:08:20"
    assert pace.text(1198, None) == "2/s"
    assert Pace().text(0, 10) == ""


def test_quiet_ends_with_its_command(run: Callable) -> None:
    assert run("list", "chips", "--quiet").code == 0
    assert not _console._QUIET.get()


def test_a_step_without_parts_is_shown_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_console, "_SHORT_S", 0.05)
    monkeypatch.setattr(_console, "_SILENCE_S", 0.05)
    with working("brief"):
        pass
    assert capsys.readouterr().err == ""
    with working("slow"):
        time.sleep(0.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "slow ..."
    assert lines[1].startswith("slow: 0:00:0")
    with pytest.raises(ValueError, match="mine"), working("fails"):
        raise ValueError("mine")
    _console._QUIET.set(True)
    try:
        with working("quiet"):
            time.sleep(0.2)
    finally:
        _console._QUIET.set(False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("cost batmann_small_xnor rram_xnr", "rram_xnr"),
        ("cost batmann_small_xnor stt_mram", "no cost given"),
        ("map batmann_small_xnor rram_xnr", "rram_xnr"),
        ("evaluate batmann_small_xnor --chip rram_xnr", "rram_xnr"),
    ],
)
def test_a_wrong_chip_is_reported_before_the_work_starts(
    command: str, error: str, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_console, "_SHORT_S", 0.0)
    found = run(*command.split())
    assert found.code == 2
    assert error in found.err
    shown = [line for line in found.err.splitlines() if line.endswith(" ...")]
    assert [line.split()[0] for line in shown] == ["reading"]


def test_work_before_the_first_step_is_shown_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_console, "_SHORT_S", 0.05)
    with progress_bar("running x") as update:
        time.sleep(0.4)
        update(1, 1)
    with progress_bar("running y") as update:
        update(1, 1)
        time.sleep(0.2)
    assert capsys.readouterr().err.splitlines() == ["running x ...", "running x: 1/1", "running y: 1/1"]


def test_every_command_can_be_quiet() -> None:
    """Importing torch alone takes over two seconds on a slow disk, so every command may show progress."""
    root = typer.main.get_command(app)
    commands = [root]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
    leaves = [command for command in commands if not hasattr(command, "commands")]
    assert len(leaves) > 15
    for command in leaves:
        assert any("--quiet" in option.opts for option in command.params), command.name


def test_durations_are_written_in_readable_units() -> None:
    assert [duration(s) for s in (0, 59.6, 3600, 90061)] == ["0:00:00", "0:01:00", "1:00:00", "1 d 1:01:01"]


def test_a_log_gets_lines_without_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 0.5)
    monkeypatch.setattr(_console.time, "monotonic", lambda: next(clock))
    with progress_bar("running x") as update:
        for done in range(1001):
            update(done, 1000, {"failed": 3})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) in range(11, 40)
    assert re.fullmatch(r"running x: \d+/1000  [\d.]+/s, ETA 0:\d\d:\d\d  failed 3", lines[5])
    assert lines[-1].startswith("running x: 1000/1000  ")
    assert not any("\x1b" in line or "\r" in line for line in lines)


def test_a_terminal_shows_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("running x") as update:
        update(0, 10)
        time.sleep(0.05)
        update(5, 10)
    assert re.search(r"5/10.*\d+/s, ETA 0:00:0", terminal.getvalue())


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _console._be_quiet(True)
    try:
        with progress_bar("running x") as update:
            update(1, 1)
    finally:
        _console._be_quiet(False)
    assert capsys.readouterr().err == ""


def test_the_first_interrupt_finishes_the_work_and_the_second_stops(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with gentle_stop("the running trials") as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert "finishing the running trials" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_status_check_lists_damaged_rows_and_run_repairs_them(run: Callable, study: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    assert run("run", study, "--out", str(folder)).code == 0
    sound = run("status", str(folder), "--check")
    assert (sound.code, sound.out.splitlines()[1:]) == (0, ["all rows are sound", "same data"])
    trials = folder / "trials.jsonl"
    trials.write_bytes(trials.read_bytes().replace(b'"correct":', b'"correct":1', 1))
    damaged = run("status", str(folder), "--check")
    assert damaged.code == 1
    assert "line 1: a row that does not fit its checksum" in damaged.out
    assert run("report", str(folder)).code == 2
    again = run("run", study, "--out", str(folder))
    assert again.code == 0
    assert "1 damaged line was moved to trials.damaged.jsonl" in again.err
    assert run("status", str(folder), "--check").code == 0


def test_status_and_combine_read_results_folders(run: Callable, study: str, tmp_path: Path) -> None:
    ran = run("run", study, "--out", str(tmp_path / "x"), "--quiet", "--workers", "1", "--batch", "3")
    assert ran.code == 0
    assert ran.err == ""
    line = run("status", str(tmp_path / "x")).out
    assert re.fullmatch(r"tiny \(complete\): 9 done, 0 failed, 0 left, [\d.e+]+ trials/s\n", line)
    assert json.loads(run("status", str(tmp_path / "x"), "--json").out)["left"] == 0
    ran = run("report", str(tmp_path / "x"), str(tmp_path / "x"), "--out", str(tmp_path / "y"), "--trials", "csv")
    assert ran.out.splitlines() == [str(tmp_path / "y" / "trials.csv")]
    assert Results.load(tmp_path / "y").digest == Results.load(tmp_path / "x").digest
    ran = run("status", str(tmp_path))
    assert ran.code == 2
    assert "no study.resolved.yaml" in ran.err


def test_a_dry_run_writes_nothing(run: Callable, study: str, tmp_path: Path) -> None:
    ran = run("run", study, "--out", str(tmp_path / "x"), "--dry-run")
    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == ["case", "points", "trials", "time", "memory"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--device", "cuda:99"], "device: got cuda:99"),
        (["--device", "gpu"], "cpu, cuda, cuda:0"),
        (["--executor", "dusk"], "Did you mean 'dask'"),
        (["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"], "the cluster has its own"),
    ],
)
def test_a_run_that_cannot_start_leaves_no_folder(
    options: list[str], text: str, run: Callable, study: str, tmp_path: Path
) -> None:
    ran = run("run", study, "--out", str(tmp_path / "x"), *options)
    assert ran.code == 2
    assert text in ran.err
    assert not (tmp_path / "x").exists()


def _read(terminal: int, shown: bytearray) -> None:
    """Return all output of a terminal; a terminal that nobody reads blocks its writers."""
    with contextlib.suppress(OSError):  # raised once all writers have closed it
        while True:
            shown += os.read(terminal, 65536)


@pytest.mark.parametrize("executor", ["inline", "process", pytest.param("dask", marks=needs_dask)])
def test_ctrl_c_at_a_terminal(executor: str, study: str, tmp_path: Path) -> None:
    """The whole process group gets the signal, workers too; running trials are written, and resuming is explained."""
    folder = tmp_path / "x"
    trials = folder / "trials.jsonl"
    program = "import os, sys; os.setsid(); from imc_sim.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = ["run", study, "--out", str(folder), "--executor", executor]
    argv += ["--batch", "1", "--set", "chips.min=400", "--workers", "1"]
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    shown = bytearray()
    with started_python("-c", program, *argv, env=env, streams=2 * (os.ttyname(theirs),)) as process:
        assert process.pid is not None
        last_resort = threading.Timer(240, os.killpg, (process.pid, signal.SIGKILL))
        last_resort.start()
        reader = threading.Thread(target=_read, args=(ours, shown))
        reader.start()
        while not (trials.exists() and trials.read_bytes().count(b"\n") >= 3):
            assert process.is_alive()
            time.sleep(0.05)
        os.close(theirs)
        os.killpg(process.pid, signal.SIGINT)
        process.join()
        code = process.exitcode
    last_resort.cancel()
    reader.join()
    os.close(ours)
    assert code == 2
    text = shown.decode()
    assert "stopping: finishing the running trials" in text
    assert f"To go on: imc-sim run {study} --out {folder} --executor {executor}" in re.sub(r"\s+", " ", text)
    assert "Traceback" not in text
    data = trials.read_bytes()
    assert data.endswith(b"\n")
    assert all(json.loads(line)["state"] == "done" for line in data.splitlines())
