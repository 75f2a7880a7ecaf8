"""Results on disk and numbers computed from them: synced, counted in full, identified by all that acts."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imc_sim._errors import ResultsError
from imc_sim._files import write_file
from imc_sim.evaluate import evaluate_chips
from imc_sim.runs import LOCK, FolderLock, is_locked, lines_of, rate_of, sound_rows, table_of
from imc_sim.study import Results, Status, _work, combine, load_study, status, trials_table
from imc_sim.study._combine import _agree
from imc_sim.study._conditions import Derived
from imc_sim.study._points import points_of, resolved
from imc_sim.study._results import _environment
from imc_sim.study._spec import Chips
from imc_sim.study._stopping import stopping_count, wanted_chips, without_gap
from imc_sim.study._store import ResultStore, read_study, results_digest
from imc_sim.study._trials_file import STUDY, TRIALS, rules_of
from imc_sim.study._work import Batch, batch_size
from imc_sim.testing import stand_in_evaluator


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the inodes that were synced, in order."""
    inodes: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (inodes.append(os.fstat(file).st_ino), sync(file))[1])
    return inodes


# -- on disk -----------------------------------------------------------------------------------------------


def test_a_file_is_synced_before_it_is_renamed(
    synced: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[list[int]] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: (before.append(list(synced)), replace(path, target))[1])
    write_file(tmp_path / "study.yaml", "name: x\n")
    assert (tmp_path / "study.yaml").stat().st_ino in before[0]


def test_rows_are_synced_before_they_count(synced: list[int], small: dict[str, Any], tmp_path: Path) -> None:
    study = load_study(small)
    with ResultStore(tmp_path / "x", resolved(study, points_of(study))) as store:
        inode = (tmp_path / "x" / TRIALS).stat().st_ino
        for number in range(3):
            synced.clear()
            store.add([{"id": str(number) * 64, "state": "failed", "error": "none"}])
            assert inode in synced


# -- counts ------------------------------------------------------------------------------------------------


def stored(*correct: int) -> list[float]:
    return [c / 100 if c >= 0 else float("nan") for c in correct]


@pytest.mark.parametrize(
    ("correct", "count"),
    [
        ((50, 50), 2),  # two chips that agree are enough for a rule of two
        ((50, 90), None),  # they differ too much, and the third is missing
        ((50, -1), None),  # one finished chip is not enough
        ((50, 90, 50), None),
        ((50, 90, 50, 90, 50), 5),  # the most that the rule allows
    ],
)
def test_a_point_stops_where_its_mean_is_known(correct: tuple[int, ...], count: int | None) -> None:
    assert stopping_count(Chips(min=2, max=5, half_width=0.01), stored(*correct)) == count


@pytest.mark.parametrize(
    ("correct", "chips", "open_"),
    [
        ((), 2, True),  # the first chips of the rule, not the most
        ((50,), 2, True),
        ((50, 90), 3, True),
        ((50, 50, 90), 2, False),  # of an earlier run of more chips; two were enough
        ((50, 90, 50, 90, 50), 5, False),
    ],
)
def test_wanted_trials_are_those_up_to_the_next_checkpoint_of_the_rule(
    correct: tuple[int, ...], chips: int, open_: bool
) -> None:
    study = {
        "chips": {"min": 2, "max": 5, "half_width": 0.01},
        "points": [{"id": "p", "baseline": "b", "reference": "r"}],
    }
    rows = [
        {"id": str(n), "point": "p", "chip": n, "state": "done", "correct": c, "total": 100}
        for n, c in enumerate(correct)
    ]
    expected = {"b": range(-1, 0), "r": range(-1, 0), "p": range(chips)}
    assert wanted_chips(study, table_of(rows, rules_of())) == (expected, open_)


@pytest.mark.parametrize(
    ("chips", "kept"),
    [
        ([], []),
        ([0, 1, 2], [0, 1, 2]),
        ([-1, -1, 0, 1], [2, 3]),  # digital networks are no chips
        ([0, 0, 1], [1, 2]),  # of several rows of a chip, the last
        ([-1, 0, 1, 1, 1], [1, 4]),
        ([0, 0, 2], [1]),
        ([1, 2], []),
    ],
)
def test_a_rule_takes_the_last_row_of_each_chip_up_to_the_first_that_is_missing(
    chips: list[int], kept: list[int]
) -> None:
    assert without_gap(np.array(chips, np.int64), np.arange(len(chips), dtype=np.float64)).tolist() == kept


def test_failed_trials_are_not_complete() -> None:
    done = Status("s", 3, 0, 0, False, None, None, None)
    assert done.complete
    for change in ({"failed": 1}, {"left": 1}, {"damaged": ("line 1",)}):
        assert not dataclasses.replace(done, **change).complete


def test_the_rate_counts_trials_from_the_start_of_the_run() -> None:
    rows = [
        {"meta": {"run": "old", "elapsed": 100.0}},
        *({"meta": {"run": "new", "elapsed": 2.0 * n}} for n in (1, 2, 3)),
    ]
    assert rate_of(rows) == pytest.approx(0.5)
    many = [{"meta": {"run": "new", "elapsed": 0.25 * n}} for n in range(1, 501)]
    assert rate_of(many) == pytest.approx(4.0)
    latest = [{"meta": {"run": "new", "elapsed": n + 100.0 * (n > 100)}} for n in range(1, 301)]
    assert rate_of(latest) == pytest.approx(200 / 300), "200 rows, from the end of the previous one"
    assert rate_of([]) is None


def test_seconds_are_the_sum_over_all_trials() -> None:
    rows = [
        {"id": str(s), "state": "done", "meta": {"seconds": s, "time": f"t{s}", "versions": {}}}
        for s in (1.0, 5.0, 2.0)
    ]
    found = _environment(table_of(rows, rules_of()))
    assert found["seconds"] == pytest.approx(8.0)
    assert found["finished"] == "t2.0"


def test_a_merged_folder_states_the_most_chips_of_any(
    complete: Results, small: dict[str, Any], go: Callable[..., Results], tmp_path: Path
) -> None:
    go(tmp_path / "few", small | {"chips": {"min": 2}})
    for order in (0, 1):
        folders = [complete.folder, tmp_path / "few"][:: 1 - 2 * order]
        out = tmp_path / f"out{order}"
        combine(folders, out, ["csv"])
        assert read_study(out)["chips"]["min"] == 6


@pytest.mark.parametrize("key", ["correct", "total"])
def test_folders_that_differ_in_a_count_are_not_merged(complete: Results, tmp_path: Path, key: str) -> None:
    other = shutil.copytree(complete.folder, tmp_path / "other")
    first, *rows = complete.rows.values()
    (other / TRIALS).write_bytes(lines_of([first | {key: first[key] + (1 if key == "total" else -1)}, *rows]))
    with pytest.raises(ResultsError, match="one result per trial"):
        combine([complete.folder, other], tmp_path / "out", ["csv"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"score": 0.5, "scores": {"rms": 0.5, "worst": 2.0}}, False),
        ({"scores": {"rms": 1.0, "worst": 3.0}}, False),  # of which the study does not use the one that differs
        ({"state": "failed", "error": "e"}, True),
        ({"id": "c" * 64, "scores": {"rms": 1.0, "worst": 3.0}}, True),
    ],
)
def test_scores_of_a_trial_agree_between_folders(change: dict[str, Any], same: bool) -> None:
    row = {"id": "b" * 64, "point": "p", "chip": 0, "state": "done", "score": 1.0, "scores": {"rms": 1.0, "worst": 2.0}}
    first = {**row, "id": "a" * 64}
    tables = [table_of(rows, rules_of()) for rows in ([first, row], [first, {**row, **change}])]
    if same:
        _agree([Path("x"), Path("y")], tables)
        return
    with pytest.raises(
        ResultsError, match=r"trial b{12}: got \{'rms': 1.0, 'worst': 2.0\} in x, .* in y; allowed: one"
    ):
        _agree([Path("x"), Path("y")], tables)


def test_the_first_of_several_trials_that_differ_is_named(complete: Results, tmp_path: Path) -> None:
    other = shutil.copytree(complete.folder, tmp_path / "other")
    rows = sorted(complete.rows.values(), key=lambda row: row["id"], reverse=True)
    (other / TRIALS).write_bytes(lines_of([row | {"total": row["total"] + 1} for row in rows]))
    with pytest.raises(ResultsError, match=f"trial {rows[0]['id'][:12]}"):
        combine([complete.folder, other], tmp_path / "out", ["csv"])


def test_without_a_writer_no_end_is_estimated(complete: Results, tmp_path: Path) -> None:
    shutil.copy(complete.folder / STUDY, tmp_path)
    (tmp_path / TRIALS).write_bytes(lines_of(list(complete.rows.values())[:20]))
    found = status(tmp_path)
    assert found.left > 0
    assert found.rate_per_s
    assert found.eta_s is None
    lock = FolderLock(tmp_path)
    lock.take()
    assert status(tmp_path).eta_s == pytest.approx(found.left / found.rate_per_s)
    lock.release()


def test_the_most_chips_are_those_that_a_rule_allows(
    small: dict[str, Any], go: Callable[..., Results], tmp_path: Path
) -> None:
    rules = ({"min": 2, "max": 4}, {"min": 3})
    for number, chips in enumerate(rules):
        go(tmp_path / str(number), small | {"chips": chips, "cases": [{"name": "a"}]})
    combine([tmp_path / "0", tmp_path / "1"], tmp_path / "out", ["csv"])
    assert Results.load(tmp_path / "out").table["chips"].tolist() == [4, 4, 4]


def test_every_trial_of_a_table_has_its_digital_baseline(complete: Results) -> None:
    table = trials_table(complete.folder)
    baselines = table[table["chip"] == -1].set_index("case")["accuracy"]
    assert len(baselines) == 2
    assert table["digital"].tolist() == [baselines[case] for case in table["case"]]


def test_a_later_row_replaces_that_of_a_failed_trial(complete: Results, tmp_path: Path) -> None:
    """Of two failed rows the last counts; a finished one stays, whatever follows it."""
    done = next(row for row in complete.rows.values() if row["chip"] == 0)
    failed = {**{k: v for k, v in done.items() if k not in ("correct", "total")}, "state": "failed", "error": "first"}
    for rows, kept in (
        ((failed, failed | {"error": "second"}), failed | {"error": "second"}),
        ((failed, done), done),
        ((done, failed), done),
    ):
        (tmp_path / TRIALS).write_bytes(lines_of(rows))
        (found,) = sound_rows(tmp_path / TRIALS, rules_of(complete.study)).values()
        assert {k: found.get(k) for k in ("state", "error", "correct")} == {
            k: kept.get(k) for k in ("state", "error", "correct")
        }


def test_accuracies_are_in_the_order_of_the_chips(complete: Results, tmp_path: Path) -> None:
    """The mean and the output of `--json` do not depend on the order in which chips finish."""
    rows = sorted(complete.rows.values(), key=lambda row: -row["chip"])
    shutil.copy(complete.folder / STUDY, tmp_path)
    (tmp_path / TRIALS).write_bytes(lines_of(rows))
    assert Results.load(tmp_path).accuracies == complete.accuracies
    assert any(list(each) != sorted(each) for each in complete.accuracies)


def test_the_digest_of_results_covers_every_row_and_every_count(complete: Results, tmp_path: Path) -> None:
    rows = sound_rows(shutil.copytree(complete.folder, tmp_path / "copy") / TRIALS, rules_of())
    digests = {results_digest(rows)}
    assert digests == {complete.digest}
    for identity, row in rows.items():
        changed = dict(rows) | {identity: row | {"correct": row["correct"] - 1}}
        digests.add(results_digest(changed))
    assert len(digests) == len(rows) + 1
    assert results_digest(dict(reversed(list(rows.items())))) == complete.digest


# -- points ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "value", "wanted"),
    [
        ({"times": 0.1}, 3, 0.3),
        ({"times": 0.1, "plus": 0.2}, 1, 0.3),
        ({"times": 2, "plus": 1}, 4, 9),
        ({"times": 0.5}, 3, 1.5),
        ({}, 0.1, 0.1),
        ({}, "word", "word"),
    ],
)
def test_derived_values_are_rounded_to_readable_numbers(rule: dict[str, float], value: Any, wanted: Any) -> None:
    found = Derived(path="chip.tile.cols", **rule).of(value, "here")
    assert found == wanted
    assert type(found) is type(wanted)


def test_trials_compute_on_the_named_device(small: dict[str, Any]) -> None:
    point = points_of(load_study(small))[0]
    for device, options in (("cpu", {}), ("cuda", {"device": "cuda"})):
        assert Batch.of([point.trial(0)], stand_in_evaluator, device).options == options
        assert Batch.of([point.baseline().trial(-1)], stand_in_evaluator, device).options == options


def test_points_without_a_chip_are_identified_by_the_architecture_too(small: dict[str, Any]) -> None:
    point = dataclasses.replace(points_of(load_study(small))[0], arch={"name": "x"})
    other = dataclasses.replace(point, arch={"name": "y"})
    for one, two in zip(point.digital(), other.digital(), strict=True):
        assert one.arch == {"name": "x"}
        assert one.id != two.id


def test_a_batch_fits_into_memory_and_the_given_limit(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(small | {"memory_limit": 1234})
    point = points_of(study)[0]
    calls: list[tuple[Any, ...]] = []

    def fits(chips: int) -> None:
        monkeypatch.setattr(_work.evaluate, "batch_chips", lambda *a: (calls.append(a), chips)[1])

    def size(evaluator: Any, batch: int, at: Any = point) -> int:
        return batch_size(at, evaluator, batch, study.memory_limit)

    fits(3)
    assert (size(evaluate_chips, 8), size(evaluate_chips, 2)) == (3, 2)
    assert calls[0] == (point.model, point.chip, 1234, point.task)
    assert size(stand_in_evaluator, 8) == size(evaluate_chips, 8, point.baseline()) == 8


def test_readers_do_not_lock_the_folder(tmp_path: Path) -> None:
    """Two processes that ask at the same time for the status of a run do not take each other for the runner."""
    with (tmp_path / LOCK).open("w", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_locked(tmp_path)
        fcntl.flock(other, fcntl.LOCK_EX)
        assert is_locked(tmp_path)
