"""Rows on disk, their store, lock, metadata and batches, each alone."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections import deque
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imc_sim import InputError, ResultsError
from imc_sim._errors import ResultsWarning
from imc_sim.runs import FolderKind, FolderLock, RowRules, RowStore, RunClock, Status, failure, is_locked, read_rows
from imc_sim.runs import _row_meta as row_meta
from imc_sim.runs import _rows_file as rows_file
from imc_sim.runs._batches import finished_rows
from imc_sim.runs._executors import InlineExecutor, _check_guard, make_executor
from imc_sim.runs._lock import holder
from imc_sim.runs._lost_workers import UNGUARDED_EXIT, LostExecutorError, UnguardedMainError
from imc_sim.runs._row_store import heal

PLAIN = RowRules(("x",), sealed=False)


# -- rows on disk -------------------------------------------------------------------------------------------


def row(i: str, state: str = "done", **more: Any) -> dict[str, Any]:
    return {"id": i, "state": state} | more


def test_lines_of_a_file_are_accepted_or_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    good = rows_file.lines_of([row("a", "failed", x=1), row("b", x=2), row("a", "failed", x=3), row("b", x=2, t=9)])
    path.write_bytes(good + b"\n[]\n{}\nno\n" + b'{"id": "z"}\n' + good[:20])
    found = read_rows(path, PLAIN)
    assert [(d.line, d.reason) for d in found.damaged] == [
        (5, "an empty line"),
        (6, "JSON that is no row"),
        (7, "JSON that is no row"),
        (8, "something that is no JSON"),
        (9, "JSON that is no row"),
    ]
    assert found.torn
    assert list(found.rows) == ["b", "a"], "in the order of the rows that count"
    assert (found.rows["a"]["x"], "t" in found.rows["b"]) == (3, False), "the last failed one, the first finished one"
    assert len(found.columns) == 4
    path.write_bytes(good + b'{"id": "b", "state": "done", "x": 5}\n')
    assert [d.line for d in read_rows(path, PLAIN).damaged] == [2, 4, 5], "none of the contradicting rows is accepted"
    assert [d.reason for d in read_rows(path, dataclasses.replace(PLAIN, sealed=True)).damaged] == [
        "a row without a checksum"
    ]
    text = good.replace(b'"x":2', b'"x":4', 1)
    path.write_bytes(text)
    assert [d.reason for d in read_rows(path, PLAIN).damaged] == ["a row that does not fit its checksum"]
    path.write_bytes(b'{"id": "b", "state": "done", "x": NaN, "checksum": "0"}\n' + b"[" * 100_000 + b"\n")
    assert len(read_rows(path, PLAIN).damaged) == 2
    seal = json.loads(rows_file.sealed(row("a")))["checksum"]
    assert len(seal) == 16
    assert rows_file.sealed(row("a", checksum="old")) == rows_file.sealed(row("a"))


@pytest.mark.parametrize(("states", "counts"), [("f", 0), ("ff", 1), ("fff", 2), ("fdf", 1), ("ffdd", 2), ("dff", 0)])
def test_of_the_rows_of_one_id_the_first_finished_one_counts_else_the_last(
    states: str, counts: int, tmp_path: Path
) -> None:
    rows = [row("a", {"f": "failed", "d": "done"}[state], x=1, time=n) for n, state in enumerate(states)]
    for others in ([], [row("b", "failed", x=2)], [row("b", x=2)]):
        (tmp_path / "r.jsonl").write_bytes(rows_file.lines_of([*rows, *others]))
        assert read_rows(tmp_path / "r.jsonl", PLAIN).rows["a"]["time"] == counts


def test_lines_as_runs_write_them_need_no_canonical_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their checksum is that of their bytes, which is found much faster; only other lines are written again for it."""
    path, rules = tmp_path / "r.jsonl", dataclasses.replace(PLAIN, sealed=True)
    rows = [row("a", x=1, meta={"seconds": 1.5, "host": "h"}), row("b", z="\u00fc", x={"checksum": "0" * 16})]
    lines = rows_file.lines_of(rows)
    spaced = b"".join(json.dumps(json.loads(line)).encode() + b"\n" for line in lines.splitlines())
    written: list[Any] = []
    digest = rows_file.digest
    monkeypatch.setattr(rows_file, "digest", lambda content: written.append(content) or digest(content))
    for content, count in ((lines, 0), (spaced, 2), (lines.replace(b'"x":1', b'"x":3'), 1)):
        path.write_bytes(content)
        written.clear()
        found = read_rows(path, rules)
        assert len(written) == count
        assert len(found.damaged) == (count == 1)
        assert [found.rows[key]["x"] for key in found.rows] == [each["x"] for each in rows[count == 1 :]]


def test_one_result_has_one_row_id(tmp_path: Path) -> None:
    """Rows of one identity contradict each other if they differ in their id or in any key of the payload."""
    path, rules = tmp_path / "r.jsonl", dataclasses.replace(PLAIN, payload=("x", "y"), identity=lambda row: row["of"])
    first = row("a", of="p", x=1, y=2)
    for other, damaged in (
        (first, []), (row("b", of="p", x=1, y=2), [1, 2]), (row("a", of="p", x=1, y=3), [1, 2]),
        (row("a", of="p", x=1), [1, 2]), (row("b", of="q", x=5, y=2), []), (row("b", "failed", of="p", x=5), []),
    ):  # fmt: skip
        path.write_bytes(rows_file.lines_of([first, other]))
        assert [d.line for d in read_rows(path, rules).damaged] == damaged


def test_many_damaged_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for count, text in ((2, r"no JSON \(and damage in line 2\)"), (9, r"in line 2, 3, 4, 5, 6 and 3 more\)")):
        path.write_bytes(b"no\n" * count)
        with pytest.raises(ResultsError, match=text):
            rows_file.sound_rows(path, PLAIN)


def test_ends_of_files_are_healed(tmp_path: Path) -> None:
    path, line = tmp_path / "r.jsonl", rows_file.sealed(row("a")).encode()
    for before, after in (
        (line, line),
        (line[:-1], line),
        (line + line[:9], line),
        (b"", b""),
        (line[:-1] + b"x", line[:-1] + b"x\n"),
    ):
        path.write_bytes(before)
        heal(path)
        assert path.read_bytes() == after
    heal(tmp_path / "new.jsonl")
    assert (tmp_path / "new.jsonl").read_bytes() == b""


def store(folder: Path, admit: Any = lambda _: False, heading: str = "h") -> RowStore:
    return RowStore(folder, FolderKind("things", "about.yaml", "rows.jsonl", lambda: heading, PLAIN, admit))


def test_a_store_keeps_what_it_wrote(tmp_path: Path) -> None:
    with store(tmp_path) as held:
        held.add([row("a", x=1), row("b", "failed", error="e")])
        held.add([row("a", x=1, t=2)])
        assert (held.done("a") or {}).get("x") == 1
        assert held.done("b") is None
        assert [held.is_missing(*at) for at in (("a", True), ("b", True), ("b", False), ("c", False))] == [
            False,
            True,
            False,
            True,
        ]
        held.add([row("a", "failed")])  # a later failure changes nothing
        with pytest.raises(ResultsError, match=r"thing a: got x 1 and 2"):
            held.add([row("a", x=2)])
        assert is_locked(tmp_path)
        assert holder(tmp_path) == f"process {os.getpid()} on {os.uname().nodename}"
    assert not is_locked(tmp_path)
    assert (tmp_path / "rows.jsonl").read_bytes().count(b"\n") == 2
    assert (tmp_path / "about.yaml").read_text() == "h"


@pytest.mark.parametrize("name", ["rows.jsonl", "about.yaml"])
@pytest.mark.parametrize("how", ["replaced", "extended", "removed"])
def test_a_file_that_others_touch_ends_the_run(name: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / name

    def touched() -> None:
        with store(tmp_path) as held:
            held.add([row("a", x=1)])
            if how == "replaced":
                (tmp_path / "copy").write_bytes(path.read_bytes())
                (tmp_path / "copy").replace(path)
            elif how == "extended":
                path.write_bytes(path.read_bytes() + b"\n")
            else:
                path.unlink()
            held.add([row("b", x=2)])

    with pytest.raises(ResultsError, match="this run left it") as raised:
        touched()
    words = {"replaced": "another file", "extended": "bytes instead of", "removed": "nothing"}
    assert words[how] in str(raised.value)
    rescued = read_rows(tmp_path / "rows.rescued.jsonl", PLAIN).rows
    assert list(rescued) == ["a", "b"]
    path.unlink(missing_ok=True)
    with store(tmp_path) as held:
        assert set(held.rows) == {"a", "b"}
    assert not (tmp_path / "rows.rescued.jsonl").exists()


@pytest.mark.parametrize("how", ["overwritten", "replaced"])
def test_rows_are_read_as_they_were(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a private copy; from the file that was opened if it was replaced before there was a copy."""
    monkeypatch.setattr(rows_file, "_BLOCK", 16)
    path = tmp_path / "rows.jsonl"
    with store(tmp_path) as held:
        held.add([row("a", x=1), row("b", x=2)])

    def changed() -> None:
        with store(tmp_path) as held:
            if how == "overwritten":
                held.protect()
                with path.open("r+b") as file:
                    file.write(b"?" * 50)
            else:
                (tmp_path / "other").write_bytes(b"?" * path.stat().st_size)
                (tmp_path / "other").replace(path)
                held.protect()
            assert [held.rows[key]["x"] for key in held.rows] == [1, 2]
            assert (held.done("b") or {})["x"] == 2
            held.add([row("c", x=3)])

    if how == "overwritten":
        changed()
    else:
        with pytest.raises(ResultsError, match="All 3 things that this run knows are safe"):
            changed()


def test_a_heading_that_is_lost_at_the_end_loses_no_row(tmp_path: Path) -> None:
    def lost() -> None:
        with store(tmp_path) as held:
            held.add([row("a", x=1)])
            (tmp_path / "about.yaml").unlink()

    with pytest.raises(ResultsError, match="All finished things are safe in rows.jsonl"):
        lost()
    with pytest.warns(ResultsWarning, match="was missing and was written again"), store(tmp_path, lambda _: True):
        pass


def test_damaged_lines_are_added_to_those_of_before(tmp_path: Path) -> None:
    for number in (1, 2):
        with (tmp_path / "rows.jsonl").open("ab") as file:
            file.write(b"no\n" * 11)
        with pytest.warns(ResultsWarning, match=r"11 damaged lines were moved .*; …$"), store(tmp_path):
            pass
        assert (tmp_path / "rows.damaged.jsonl").read_bytes() == b"no\n" * 11 * number


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_written_is_named(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, "no", str(tmp_path))

    monkeypatch.setattr("imc_sim.runs._row_store.make_folder", refuse)
    with pytest.raises(ResultsError, match="can be written"), store(tmp_path):
        pass


def test_a_lock_has_one_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imc_sim.runs._lock._PAUSE_S", 0.0)
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.take()
    with pytest.raises(ResultsError, match=f"process {os.getpid()}"):
        second.take()
    first.release()
    second.take()
    assert (tmp_path / ".lock").read_text().count("\n") == 1, "the name of the present holder only"
    second.release()
    for text in ("no", "[1]", "{}"):
        (tmp_path / ".lock").write_text(text)
        assert holder(tmp_path) == ""
    calls = iter([OSError(errno.EAGAIN, "")] * 4)
    import fcntl

    own = fcntl.flock

    def busy(*a: Any) -> Any:
        error = next(calls, None)
        if error:
            raise error
        return own(*a)

    monkeypatch.setattr("imc_sim.runs._lock.fcntl.flock", busy)
    first.take()  # the fifth try succeeds: a reader holds the lock for a moment only
    first.release()

    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("imc_sim.runs._lock.fcntl.flock", none)
    with pytest.raises(ResultsError, match="without locks"):
        second.take()


def test_a_lock_is_waited_for_a_fifth_of_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By those who want to write; a reader of the status does not wait."""
    pauses: list[float] = []
    monkeypatch.setattr("imc_sim.runs._lock.time.sleep", pauses.append)
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.take()
    assert not pauses
    with pytest.raises(ResultsError, match="one writer"):
        second.take()
    assert (len(pauses), sum(pauses)) == (4, pytest.approx(0.2))
    assert is_locked(tmp_path)
    assert len(pauses) == 4
    first.release()


def test_metadata_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RunClock("cuda", started=row_meta.time.monotonic() - 5)
    meta = clock.meta(0.123456)
    assert (meta["seconds"], meta["device"], meta["run"]) == (0.1235, "cuda", clock.run)
    assert 5 <= meta["elapsed"] < 60
    assert meta["time"].endswith("+00:00")
    assert {"python", "imc-sim", "torch", "numpy"} == set(meta["versions"])
    assert failure(ValueError("\ud800"))["error"] == "?"
    ends = [{"meta": {"run": r, "elapsed": e}} for r, e in (("a", 9.0), ("b", 2.0), ("b", 4.0))]
    assert row_meta.rate_of(ends) == 0.5
    assert (
        row_meta.rate_of([{}])
        is row_meta.rate_of([])
        is row_meta.rate_of([{"meta": {"run": "b", "elapsed": 0.0}}])
        is None
    )
    many = [{"meta": {"run": "b", "elapsed": float(min(n, 100) + 10 * max(0, n - 100))}} for n in range(1, 301)]
    assert row_meta.rate_of(many) == 0.1, "over the latest 200"


def test_a_status_counts_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(rows_file.lines_of([row("a"), row("b", "failed"), row("c")]))
    found = Status.of("s", tmp_path, True, read_rows(path, PLAIN), ["a", "b", "", ""])
    assert (found.done, found.failed, found.left, found.writer, found.eta_s) == (1, 1, 2, "another process", None)
    assert not found.complete
    whole = Status.of("s", tmp_path, False, read_rows(path, PLAIN), ["a", "c"])
    assert (whole.complete, whole.writer) == (True, None)


def test_rows_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most as many run as the executor is wide; a stop cancels what has not begun; some errors end the run."""
    running: list[Future[Any]] = []

    class Wide:
        width = 2

    def start(items: list[int]) -> Future[Any]:
        future: Future[Any] = Future()
        running.append(future)
        if len(running) == 2:
            running[0].set_result("x")
            running[1].set_result("y")
        elif len(running) > 2:
            future.set_result("z")
        return future

    done = lambda items, result: [{"items": items, "result": result}]  # noqa: E731
    found = list(finished_rows(deque([[1], [2], [3]]), Wide(), start, done, lambda *_: {}))  # type: ignore[arg-type]
    assert sorted(r["items"][0] for rows in found for r in rows) == [1, 2, 3]
    for error in (OSError("full"), LostExecutorError("e", "lost", "x", "y"), CancelledError()):
        executor = InlineExecutor()

        def broken(items: Any, error: BaseException = error) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

        with pytest.raises(type(error)):
            list(finished_rows(deque([[1]]), executor, broken, done, lambda *_: {}))
    stopped = iter([False, True, True, True, True])
    calls: list[Any] = []
    rows = finished_rows(
        deque([[1], [2]]),
        InlineExecutor(),
        lambda items: (calls.append(items), InlineExecutor().submit(str, items))[1],
        done,
        lambda *_: {},
        lambda: next(stopped, True),
    )
    assert next(rows)[0]["items"] == [1]
    with pytest.raises(KeyboardInterrupt):
        next(rows)
    assert calls == [[1]]


def test_workers_need_a_guarded_main_program(monkeypatch: pytest.MonkeyPatch) -> None:
    current = SimpleNamespace(_inheriting=True, name="imc_sim worker-1")
    monkeypatch.setattr("imc_sim.runs._executors.process.current_process", lambda: current)
    for name in ("imc_sim worker-1", "Dask Worker process"):
        current.name = name
        with pytest.raises(SystemExit) as stopped:
            make_executor("inline")
        assert stopped.value.code == UNGUARDED_EXIT
    current.name = "other"
    with pytest.raises(UnguardedMainError, match="__main__"):
        _check_guard()
    current._inheriting = False
    assert isinstance(make_executor("inline", 1), InlineExecutor)
    with pytest.raises(InputError, match="1 with executor inline"):
        make_executor("inline", 2)
