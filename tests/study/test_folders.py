"""Results folders: status, lock, checks of rows, and what is left where opening or writing fails."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import inspect
from pathlib import Path
from typing import Any

import pytest

from imc_sim import ResultsError
from imc_sim._errors import ResultsWarning
from imc_sim.runs import Status, _row_store, is_locked, read_rows
from imc_sim.runs import _rows_file as rows_file
from tests.study.test_rows import PLAIN, row, store


def ended(i: str, seconds: float, state: str = "done") -> dict[str, Any]:
    return row(i, state, meta={"run": "r", "elapsed": seconds, "seconds": 1.0})


def test_a_status_states_the_rest_of_a_run(tmp_path: Path) -> None:
    path, wanted = tmp_path / "r.jsonl", list("abcde")
    path.write_bytes(rows_file.lines_of([ended("a", 2.0), ended("b", 4.0)]))
    (tmp_path / ".lock").write_text('{"process": 1, "host": "h"}')
    found = read_rows(path, PLAIN)
    now = Status.of("s", tmp_path, True, found, wanted, True, ("o",), ("x",))
    assert now.to_dict() == {
        "study": "s", "done": 2, "failed": 0, "left": 3, "at_least": True, "writer": "process 1 on h",
        "rate_per_s": 0.5, "eta_s": 6.0, "damaged": (), "other_data": ("o",), "absent_data": ("x",),
    }  # fmt: skip
    then = Status.of("s", tmp_path, False, found, wanted)
    assert (then.rate_per_s, then.eta_s, then.writer, then.at_least, then.complete) == (0.5, None, None, False, False)


def test_a_run_is_complete_once_all_rows_are_done_and_sound(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for more, states, complete in (
        (b"", ("done", "done"), True), (b"no\n", ("done", "done"), False), (b"", ("done", "failed"), False),
        (b"", ("done",), False),
    ):  # fmt: skip
        path.write_bytes(rows_file.lines_of(map(row, "ab", states)) + more)
        found = Status.of("s", tmp_path, False, read_rows(path, PLAIN), ["a", "b"])
        assert found.complete is complete
        assert found.damaged == (("line 3: something that is no JSON",) if more else ())


def test_only_a_writer_locks_a_folder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path), "no lock file"
    assert not (tmp_path / ".lock").exists()
    with (tmp_path / ".lock").open("w") as held:
        for how, locked in ((fcntl.LOCK_SH, False), (fcntl.LOCK_EX, True), (fcntl.LOCK_UN, False)):
            fcntl.flock(held, how)
            assert is_locked(tmp_path) is locked


def test_rows_of_earlier_versions_are_completed_after_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(rows_file.lines_of([{"id": "a", "x": 1}, {"id": "b", "x": 0}, row("c", x=1)]))
    rules = dataclasses.replace(PLAIN, sealed=True, fault=lambda row: None if row["x"] else "no x")
    found = read_rows(path, rules)
    assert [(d.line, d.reason) for d in found.damaged] == [(1, "JSON that is no row"), (2, "JSON that is no row")]
    found = read_rows(path, dataclasses.replace(rules, complete=lambda row: {"state": "done"} | row))
    assert [(d.line, d.reason) for d in found.damaged] == [(2, "no x")]
    assert [(key, each["state"]) for key, each in found.rows.items()] == [("a", "done"), ("c", "done")]
    path.write_bytes(path.read_bytes().replace(b'"x":1', b'"x":2', 1))
    with pytest.raises(ResultsError, match=r"r\.jsonl, line 1: got a row that does not fit its checksum \(and damage"):
        rows_file.sound_rows(path, dataclasses.replace(rules, complete=lambda row: {"state": "done"} | row))


def opened(folder: Path, admit: Any = lambda _: False) -> None:
    with store(folder, admit):
        pass


def test_a_folder_that_is_not_admitted_is_unchanged(tmp_path: Path) -> None:
    def refuse(_: Path) -> bool:
        if next(calls):
            raise ResultsError("x", "another study", "this one", "Choose another folder.")
        return False

    calls = iter([True])
    with pytest.raises(ResultsError, match="another study"):
        opened(tmp_path / "new", refuse)
    assert not (tmp_path / "new").exists()
    calls = iter([False, True])
    with pytest.raises(ResultsError, match="another study"):
        opened(tmp_path / "new", refuse)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"], "another run began there since"
    assert not is_locked(tmp_path / "new")


def test_an_error_in_a_run_releases_the_folder(tmp_path: Path) -> None:
    def broken() -> None:
        with store(tmp_path) as held:
            held.add([row("a", x=1)])
            (tmp_path / "about.yaml").unlink()
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        broken()
    assert not is_locked(tmp_path)
    assert not (tmp_path / "rows.rescued.jsonl").exists()


def test_rows_that_cannot_be_rescued_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    def touched() -> None:
        with store(tmp_path) as held:
            held.add([row("a", x=1)])
            (tmp_path / "rows.jsonl").unlink()
            monkeypatch.setattr(_row_store, "write_file", full)
            held.add([row("b", x=2), row("c", x=3)])

    with pytest.raises(ResultsError, match=r"The 2 latest things are lost \(.*disk full\)"):
        touched()


def test_a_new_file_and_a_removed_one_are_synced_with_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(_row_store, "sync_folder", synced.append)
    _row_store.heal(tmp_path / "rows.jsonl")
    assert synced == [tmp_path]
    _row_store.heal(tmp_path / "rows.jsonl")
    assert synced == [tmp_path], "nothing is new"
    (tmp_path / "rows.rescued.jsonl").write_bytes(rows_file.lines_of([row("a", x=1)]))
    opened(tmp_path)
    assert synced == [tmp_path] * 2


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 damaged line was moved"), (10, "10 damaged lines were .*line 10: .* JSON$")]
)
def test_a_remark_about_damage_points_to_the_caller_of_the_run(count: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"no\n" * count)
    frame: Any = inspect.currentframe()
    line = frame.f_lineno + 2
    with pytest.warns(ResultsWarning, match=text) as record:
        opened(tmp_path)
    assert (record[0].filename, record[0].lineno) == (__file__, line)
