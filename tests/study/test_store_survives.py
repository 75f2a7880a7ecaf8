"""A results folder survives kills, second runners, full and read-only disks, clocks that jump, newer versions."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imc_sim import ResultsError
from imc_sim.runs import LOCK, FolderLock, heal, is_locked, sound_rows
from imc_sim.runs import _row_meta as rows_module
from imc_sim.study import Results, ResultStore, combine, run, status
from imc_sim.study._store import read_study
from imc_sim.study._trials_file import STUDY, TRIALS, rules_of
from imc_sim.testing import stand_in_evaluator
from imc_sim.testing._stand_in import SLOW

RUNNER = (
    "import json, sys\n"
    "from imc_sim.study import run\n"
    "from imc_sim.testing import stand_in_evaluator\n"
    "if __name__ == '__main__':\n"
    "    run(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), evaluator=stand_in_evaluator)\n"
)


@pytest.fixture
def copy(complete: Results, tmp_path: Path) -> Path:
    """Return a copy of the folder of a complete run."""
    return shutil.copytree(complete.folder, tmp_path / "copy")


@contextlib.contextmanager
def runner(study: dict, folder: Path, executor: str = "inline", workers: int = 1) -> Iterator[subprocess.Popen]:
    """Return a slow run in a separate process, past its first rows."""
    script = folder.parent / "runner.py"
    script.write_text(RUNNER)
    env = os.environ | {SLOW: "0.2"}
    argv = [sys.executable, str(script), json.dumps(study), str(folder), executor, str(workers)]
    with subprocess.Popen(argv, env=env) as process:
        try:
            wait_for(lambda: (folder / TRIALS).exists() and (folder / TRIALS).stat().st_size > 0)
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.02)


# -- kill -9 at any moment ---------------------------------------------------------------------------------------


def test_a_file_cut_at_every_byte_keeps_its_whole_lines(complete: Results, tmp_path: Path) -> None:
    data = b"\n".join((complete.folder / TRIALS).read_bytes().split(b"\n")[:3]) + b"\n"
    path = tmp_path / TRIALS
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        heal(path)
        kept = path.read_bytes()
        whole = data[:cut].count(b"\n") + (data[cut : cut + 1] == b"\n")  # a line that lacks only its end is complete
        assert kept == b"".join(data.splitlines(keepends=True)[:whole])
        assert len(sound_rows(path, rules_of())) == whole


def test_a_run_continues_from_any_cut_to_the_same_results(
    small: dict, go: Callable[..., Results], tmp_path: Path
) -> None:
    study = small | {"cases": [{"name": "a"}], "chips": {"min": 2}}
    first = go(tmp_path / "x", study)
    data = (tmp_path / "x" / TRIALS).read_bytes()
    for cut in [*range(0, len(data), 97), len(data) - 1]:
        (tmp_path / "x" / TRIALS).write_bytes(data[:cut])
        assert go(tmp_path / "x", study).digest == first.digest
        assert (tmp_path / "x" / TRIALS).read_bytes().count(b"\n") == data.count(b"\n")


@pytest.mark.parametrize("left", [(), (LOCK,), (LOCK, TRIALS), (LOCK, TRIALS, STUDY + ".part")])
def test_a_kill_while_the_folder_is_created_is_recovered(
    left: tuple[str, ...], complete: Results, go: Callable[..., Results], tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    for name in left:
        (tmp_path / "x" / name).touch()
    assert go(tmp_path / "x").digest == complete.digest


def test_zeros_at_the_end_are_a_torn_line(copy: Path, complete: Results) -> None:
    """Some file systems leave zeros after a power cut."""
    with (copy / TRIALS).open("ab") as file:
        file.write(b"\0" * 100)
    heal(copy / TRIALS)
    assert (copy / TRIALS).read_bytes() == (complete.folder / TRIALS).read_bytes()


# -- two runners on one folder -----------------------------------------------------------------------------------


def test_a_second_runner_is_refused_until_the_first_is_killed(
    small: dict, complete: Results, go: Callable[..., Results], tmp_path: Path
) -> None:
    """The workers of the killed one neither keep the folder locked nor stay alive."""
    folder = tmp_path / "x"
    with runner(small, folder, "process", 2) as first:
        with pytest.raises(ResultsError, match=rf"another run that is writing here \(process {first.pid} on"):
            go(folder)
        found = status(folder)
        assert found.writer is not None
        assert str(first.pid) in found.writer
        tasks = Path(f"/proc/{first.pid}/task").glob("*/children")
        workers = [int(pid) for task in tasks for pid in task.read_text().split()]
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert status(folder).writer is None
    assert go(folder).digest == complete.digest
    assert len(workers) >= 2
    wait_for(lambda: not any(running(pid) for pid in workers))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_reading_the_status_does_not_turn_a_runner_away(copy: Path) -> None:
    with (copy / LOCK).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.08, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        lock = FolderLock(copy)
        lock.take()
        assert is_locked(copy)
        lock.release()
    assert not is_locked(copy)


def test_a_disk_without_locks_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(ResultsError, match="a file system without locks"):
        FolderLock(copy).take()


# -- disks and clocks --------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(complete: Results) -> Iterator[Path]:
    """Return a copy of a complete run, read by a user who may not write there."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = shutil.copytree(complete.folder, Path(parent, "x"))
        folder.chmod(0o555)
        for file in folder.iterdir():
            file.chmod(0o444)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_read_only_folder_is_read_and_not_written(read_only: Path, go: Callable[..., Results]) -> None:
    assert status(read_only).complete
    assert Results.load(read_only).failed == 0
    with pytest.raises(ResultsError, match=r"Permission denied.*allowed: a folder that can be written\. .*--out"):
        go(read_only)
    with pytest.raises(ResultsError, match="Permission denied"):
        go(read_only / "new")


def test_a_full_disk_stops_the_run_and_keeps_what_is_stored(
    complete: Results, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imc_sim import _files

    written: list[int] = []
    write = _files.write_all

    def some(file, data: bytes) -> None:
        written.append(len(data))
        if len(written) > 5:
            file.write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, data)

    monkeypatch.setattr(_files, "write_all", some)
    with pytest.raises(OSError, match="No space left") as caught:
        go(tmp_path / "x")
    assert caught.value.filename == str(tmp_path / "x" / TRIALS)
    assert (tmp_path / "x" / TRIALS).stat().st_size == sum(written[:5])
    monkeypatch.undo()
    assert go(tmp_path / "x").digest == complete.digest


def test_a_clock_that_jumps_changes_only_dates(
    small: dict, complete: Results, go: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    years = iter(range(2100, 1900, -1))

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return dt.datetime(next(years), 1, 1, tzinfo=tz)

    monkeypatch.setattr(rows_module.dt, "datetime", Clock)
    results = go(tmp_path / "x", batch=1)
    assert results.digest == complete.digest
    assert results.environment["finished"].startswith(str(2100 - 37))
    rate = status(tmp_path / "x").rate_per_s
    assert rate is not None
    assert rate > 0


# -- other versions ----------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_with_the_reason(copy: Path, go: Callable[..., Results]) -> None:
    text = (copy / STUDY).read_text()
    (copy / STUDY).write_text(text.replace("schema: 2", "schema: 3", 1))
    before = {p.name: p.read_bytes() for p in copy.iterdir()}
    for use in (go, Results.load, status, read_study, lambda folder: combine([folder])):
        with pytest.raises(ResultsError, match=r"got results of schema 3; allowed: schema 2 or older\. Use a newer"):
            use(copy)
    assert before == {p.name: p.read_bytes() for p in copy.iterdir()}


def test_a_folder_of_version_1_is_read_and_checked_but_not_continued(
    tmp_path: Path, go: Callable[..., Results]
) -> None:
    """Its numbers and those of this version must not be in one table; it has no checksums."""
    folder = shutil.copytree(Path(__file__).parent / "version_1", tmp_path / "old")
    results = Results.load(folder)
    assert results.digest == "ce90f3f0f4eadffa5ded7e297176bc40c163243b44444804a16bd46195c7c5d8"
    assert results.table["chips"].tolist() == [3] * 4
    assert status(folder).complete
    assert combine([folder], formats=["csv"])[0].exists()
    before = (folder / TRIALS).read_bytes()
    with pytest.raises(
        ResultsError, match=r"results of version 1, made by an earlier imc_sim; allowed.* version 2.*--out"
    ):
        go(
            folder,
            {
                k: v
                for k, v in read_study(folder).items()
                if k not in ("schema", "digest", "weights", "trained", "points")
            },
        )
    assert (folder / TRIALS).read_bytes() == before
    for old, new in (
        (b'"correct":877', b'"correct":1877'),
        (b'"chip":2', b'"chip":1'),
        (b'"state":"done"', b'"state":"gone"'),
    ):
        (folder / TRIALS).write_bytes(before.replace(old, new, 1))
        with pytest.raises(ResultsError, match="line "):
            Results.load(folder)


def test_trials_from_before_a_run_are_rescued_if_others_write_over_them(
    small: dict, complete: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imc_sim.runs._rows_file._BLOCK", 256)  # the file is not held in memory
    folder = shutil.copytree(complete.folder, tmp_path / "x")
    path = folder / TRIALS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))

    def write_over(_: object) -> None:
        with path.open("r+b") as file:
            file.write(b"?" * (path.stat().st_size + 1))

    with pytest.raises(ResultsError, match=r"All 2\d trials that this run knows are safe in .*trials\.rescued\.jsonl"):
        run(small, folder, evaluator=stand_in_evaluator, progress=write_over)


# -- Ctrl-C ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"executor": "process", "workers": 2}], ids=["inline", "process"])
def test_an_interrupted_run_finishes_its_running_trials(
    options: dict, small: dict, complete: Results, go: Callable[..., Results], tmp_path: Path
) -> None:
    counts: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(
            small, tmp_path / "x", evaluator=stand_in_evaluator, progress=lambda p: counts.append(p.done),
            stop=lambda: bool(counts) and counts[-1] >= 5, **options,
        )  # fmt: skip
    stored = len(sound_rows(tmp_path / "x" / TRIALS, rules_of()))
    assert 5 <= counts[-1] == stored <= 5 + 4 * 4
    with ResultStore(tmp_path / "x", read_study(tmp_path / "x")):
        pass  # the folder is no longer locked
    assert go(tmp_path / "x").digest == complete.digest
