"""Results folders are checked: every row, the files while a run continues, and what was requested."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imc_sim import ResultsError, ResultsWarning
from imc_sim.runs import RowRules, lines_of, read_rows, sealed, sound_rows
from imc_sim.study import Progress, Results, status
from imc_sim.study._trials_file import DAMAGED, RESCUED, STUDY, TRIALS

Go = Callable[..., Results]


@pytest.fixture
def copy(complete: Results, tmp_path: Path) -> Path:
    return shutil.copytree(complete.folder, tmp_path / "copy")


def with_line(folder: Path, number: int, line: bytes) -> None:
    lines = (folder / TRIALS).read_bytes().splitlines()
    (folder / TRIALS).write_bytes(b"\n".join([*lines[: number - 1], line, *lines[number:]]) + b"\n")


def row_of(folder: Path, number: int) -> dict[str, Any]:
    return json.loads((folder / TRIALS).read_bytes().splitlines()[number - 1])


#: each sealed again, so that the checksum is right and the content is not
FALSE = {
    "more right than there are": {"correct": 1001},
    "negative": {"correct": -1},
    "not whole": {"correct": 900.5},
    "true": {"correct": True},
    "none": {"correct": 0, "total": 0},
    "unknown state": {"state": "gone"},
    "another id": {"id": "0" * 64},
    "another chip": {"chip": 77},
    "a digital chip": {"chip": -1},
    "another point": {"point": "0" * 64},
    "another case": {"case": "b"},
    "another value": {"values": [0.4]},
}


@pytest.mark.parametrize("change", FALSE.values(), ids=FALSE.keys())
def test_an_impossible_row_is_named_set_aside_and_run_again(
    change: dict[str, Any], copy: Path, complete: Results, go: Go
) -> None:
    line = sealed(row_of(copy, 4) | change).encode().rstrip()
    with_line(copy, 4, line)
    with pytest.raises(ResultsError, match=r"trials\.jsonl, line 4: got .* Run the study into this folder again"):
        Results.load(copy)
    assert [each.split(":")[0] for each in status(copy).damaged] == ["line 4"]
    with pytest.warns(ResultsWarning, match=r"1 damaged line was moved to trials\.damaged\.jsonl.*line 4: "):
        assert go(copy).digest == complete.digest
    assert (copy / DAMAGED).read_bytes() == line + b"\n"
    assert status(copy).complete


def test_two_results_of_one_trial_are_both_rejected(copy: Path, complete: Results, go: Go) -> None:
    row = row_of(copy, 5)
    with (copy / TRIALS).open("ab") as file:
        file.write(sealed(row | {"correct": row["correct"] - 1}).encode())
    with pytest.raises(ResultsError, match=r"line 5: .*contradict each other \(lines 5, 39\)"):
        Results.load(copy)
    with pytest.warns(ResultsWarning, match="2 damaged lines"):
        assert go(copy).digest == complete.digest
    assert (copy / DAMAGED).read_bytes().count(b"\n") == 2


def test_single_flipped_bits_are_noticed(copy: Path, complete: Results) -> None:
    """`benchmarks/bit_flips.py` does 10,000; none of these 300 (fixed key) may change the table without an error."""
    data = (copy / TRIALS).read_bytes()
    random = np.random.Generator(np.random.Philox(1))
    newlines = [8 * i + b for i in (data.index(b"\n"), len(data) - 1) for b in range(8)]
    for bit in [*newlines, *random.integers(0, 8 * len(data), 300).tolist()]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (copy / TRIALS).write_bytes(flipped)
        try:
            found = Results.load(copy)
        except ResultsError:
            continue
        assert found.table.equals(complete.table), f"bit {bit}"


# -- files changed while a run continues -------------------------------------------------------------------------


TOUCHES: dict[str, tuple[Callable[[Path], object], str]] = {
    "replaced": (lambda f: shutil.copy(f / TRIALS, f / "n") and (f / "n").replace(f / TRIALS), "it was replaced"),
    "cut": (lambda f: os.truncate(f / TRIALS, 500), "500 bytes instead of"),
    "removed": (lambda f: (f / TRIALS).unlink(), "it was removed"),
    "study removed": (lambda f: (f / STUDY).unlink(), "it was removed"),
    "folder removed": (shutil.rmtree, "it was removed"),
}


@pytest.mark.parametrize("when", [12, 38], ids=["in between", "after the last row"])
@pytest.mark.parametrize(("touch", "message"), TOUCHES.values(), ids=TOUCHES.keys())
def test_a_run_whose_files_change_stops_and_loses_nothing(
    touch: Callable[[Path], object], message: str, when: int, complete: Results, go: Go, tmp_path: Path
) -> None:
    folder, known = tmp_path / "x", []

    def watch(progress: Progress) -> None:
        if progress.done >= when and not known:
            known.append(progress.done)
            touch(folder)

    with pytest.raises(ResultsError, match=rf"{message}.*safe in .*give the same command again"):
        go(folder, progress=watch)
    totals: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)
        results = go(folder, progress=lambda p: totals.append(p.total))
    assert results.digest == complete.digest
    assert totals[-1] <= 38 - known[0], "finished trials are not run again"
    assert not (folder / RESCUED).exists()


def test_a_folder_without_its_study_is_restored_for_that_study_alone(copy: Path, small: dict, go: Go) -> None:
    (copy / STUDY).unlink()
    with pytest.raises(ResultsError, match=r"trials\.jsonl without study\.resolved\.yaml"):
        go(copy, small | {"seed": 5})
    with pytest.warns(ResultsWarning, match="written again"):
        go(copy)
    assert (copy / STUDY).is_file()


# -- what is requested -------------------------------------------------------------------------------------------


def test_of_several_rows_of_one_trial_the_first_finished_or_the_last_failed_counts_in_the_order_of_those(
    tmp_path: Path,
) -> None:
    order = ["a failed 1", "b done 2", "c failed 3", "a done 4", "c failed 5", "a failed 6", "b done 2"]
    rows: list[dict[str, Any]] = [{"id": i, "state": s, "n": int(n)} for i, s, n in map(str.split, order)]
    (tmp_path / "rows").write_bytes(lines_of(rows))
    found = read_rows(tmp_path / "rows", RowRules(("n",)))
    assert not found.damaged
    assert [(row["id"], row["n"]) for row in found.rows.values()] == [("b", 2), ("a", 4), ("c", 5)]


def test_damage_is_listed_in_the_order_of_the_lines(tmp_path: Path) -> None:
    """Rows that contradict each other are found last, and listed by their line."""
    lines = lines_of([{"id": i, "state": "done", "n": n} for i, n in (("a", 1), ("b", 2), ("c", 3), ("a", 4))]).split(
        b"\n"
    )
    lines[1] = b"{}"
    (tmp_path / "rows").write_bytes(b"\n".join([*lines[:3], b"text", *lines[3:]]))
    found = read_rows(tmp_path / "rows", RowRules(("n",)))
    assert [damage.line for damage in found.damaged] == [1, 2, 4, 5]
    assert [damage.content for damage in found.damaged] == [lines[0], b"{}", b"text", lines[3]]
    with pytest.raises(ResultsError, match=r"rows, line 1: got one of several results .*damage in line 2, 4, 5\)"):
        sound_rows(tmp_path / "rows", RowRules(("n",)))


def test_fewer_chips_in_a_folder_of_more_equal_a_study_of_fewer(small: dict, go: Go, tmp_path: Path) -> None:
    go(tmp_path / "x")
    again, alone = (go(tmp_path / name, small | {"chips": {"min": 2}}) for name in "xy")
    assert set(again.table["chips"]) == {again.study["chips"]["min"]} == {2}
    assert again.digest == alone.digest
    assert again.table.equals(alone.table)


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "-x"])
def test_a_study_name_cannot_lead_to_another_folder(name: str, small: dict, go: Go, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name"):
        go(tmp_path / "x", small | {"name": name})


def test_every_rename_is_synced_with_its_folder(
    small: dict, go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is synced before it gets its name, and the folder after."""
    events: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.replace

    def noted_sync(handle: int) -> None:
        events.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        sync(handle)

    def noted_rename(self: Path, target: Path) -> Path:
        events.append(("rename", f"{self.name} to {target.name}"))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    go(tmp_path / "x", small | {"chips": {"min": 1}})
    renames = [n for n, (kind, _) in enumerate(events) if kind == "rename"]
    assert {events[n][1].split(" to ")[1] for n in renames} == {STUDY, "table.csv"}
    for n in renames:
        assert events[n - 1] == ("sync", events[n][1].split(" to ")[0])
        assert events[n + 1] == ("sync", "x")
    assert sum(event == ("sync", TRIALS) for event in events) >= 8, "one for each batch"
    assert ("sync", tmp_path.name) in events, "the folder is renamed too"
