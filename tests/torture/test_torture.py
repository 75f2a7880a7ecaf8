"""A part of `make torture`: the folder survives, and the simulated disk does lose what was not synced."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.torture import power
from tests.warm import run_python

NEW = [("make", "/a/log", "-", 0, b""), ("sync", "/a", "-", 0, b"")]
WRITTEN = [("write", "/a/log", "-", 0, b"one\n"), ("write", "/a/log", "-", 4, b"two\n")]
SYNC = ("sync", "/a/log", "-", 0, b"")
MARK = ("mark", "-", "-", 2, b"")


def contents(*calls: tuple[str, str, str, int, bytes]) -> set[tuple[tuple[str, bytes | None], ...]]:
    """Return the states after all calls."""
    disk = power.Disk("/a")
    for call in calls:
        disk.replay(power.Call(*call))
    return set(disk.states())


def test_what_is_not_synced_may_be_lost_torn_or_zero() -> None:
    found = {dict(state).get("/a/log") for state in contents(*NEW, *WRITTEN)}
    assert found == {b"one\ntwo\n", b"", b"one\n", bytes(8)}
    assert contents(*NEW, *WRITTEN, SYNC) == {(("/a/log", b"one\ntwo\n"),)}


def test_names_that_are_not_synced_may_be_old_or_new_and_the_content_missing() -> None:
    old = [*NEW, WRITTEN[0], SYNC]
    new = [
        ("make", "/a/part", "-", 0, b""),
        ("write", "/a/part", "-", 0, b"new"),
        ("rename", "/a/part", "/a/log", 0, b""),
    ]
    found = {dict(state)["/a/log"] for state in contents(*old, *new)}
    assert {b"one\n", b"new", b"", bytes(3)} <= found
    synced = [*new[:2], ("sync", "/a/part", "-", 0, b""), new[2]]
    assert {dict(state)["/a/log"] for state in contents(*old, *synced)} == {b"one\n", b"new"}
    assert contents(*old, *synced, ("sync", "/a", "-", 0, b"")) == {(("/a/log", b"new"),)}


def test_trials_that_are_reported_before_a_sync_are_lost_in_a_state() -> None:
    calls = [power.Call(*call) for call in (*NEW, *WRITTEN, MARK)]
    assert ((("/a/log", b""),), 2) in power.states_of(calls, "/a", 1)
    calls = [power.Call(*call) for call in (*NEW, *WRITTEN, SYNC, MARK)]
    assert [state for state, count in power.states_of(calls, "/a", 1) if count == 2] == [(("/a/log", b"one\ntwo\n"),)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")
def test_a_folder_survives_some_kills_power_cuts_and_full_disks() -> None:
    found = run_python("-m", "tests.torture.driver", "--short", cwd=Path(__file__).parents[2])
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.split()[-5:-1] == ["0"] * 4 for line in lines[1:])
