"""Dry runs: what they count, measure and estimate, compared with known costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imc_sim import InputError
from imc_sim.evaluate import ChipResult
from imc_sim.study import _dry_run, _probe, dry_run, load_study, points_of, run
from imc_sim.study._dry_run import shown_bytes, shown_seconds
from imc_sim.study._probe import Cost
from imc_sim.testing import stand_in_evaluator

SIGMA, ROWS, BITS = "chip.device.programming.sigma", "chip.tile.rows", "chip.converter.bits"
STUDY: dict[str, Any] = {
    "name": "small",
    "model": "batmann_5w1s_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
    "axes": [{"path": SIGMA, "values": [0, 0.2, 0.4]}],
    "chips": {"min": 10},
}


@dataclass
class Clock:
    """An evaluator whose chips take a given time on its own clock."""

    now: float = 0.0
    calls: list[tuple[dict[str, Any] | None, tuple[int, ...]]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def evaluate(
        self, model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
    ) -> list[ChipResult]:
        self.calls.append((chip, tuple(chips)))
        self.now += len(chips) * cost(chip, task)
        return [ChipResult(n, 1, 2, 0.0) for n in chips]


def cost(chip: dict[str, Any] | None, task: dict[str, Any]) -> float:
    """Return seconds per chip: variation costs one, each bit one, and the sum grows with the task."""
    if chip is None:
        return 0.5
    return (1 + (chip["device"]["programming"]["sigma"] > 0) + chip["converter"]["bits"]) * task["episodes"] / 100


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (_dry_run, _probe):
        monkeypatch.setattr(module, "perf_counter", made)
    return made


def test_every_kind_of_point_is_measured_once_and_counted_as_often_as_it_occurs(clock: Clock) -> None:
    cases = [{"name": "a"}, {"name": "b", "set": {"task.episodes": 50}}]
    found = dry_run(STUDY | {"cases": cases}, evaluator=clock.evaluate)
    assert (found.points, found.chips, found.kinds, found.probed) == (6, (60, 60), 4, 4)
    a, b = found.cases
    assert (a.case, a.points, a.chips) == ("a", 3, (30, 30))
    assert a.seconds == pytest.approx([10 * (9 + 10 + 10) * 0.05] * 2)
    assert b.seconds == pytest.approx([10 * (9 + 10 + 10) * 0.5] * 2)
    assert found.baseline_seconds == pytest.approx(2 * 0.5)
    assert found.seconds == pytest.approx([a.seconds[0] + b.seconds[0] + 1.0] * 2)
    # The fast ones in a whole batch, those of 5 s a chip alone: 4 kinds and 2 baselines.
    assert sorted(len(chips) for _, chips in clock.calls) == [1] * 6 + [4] * 2


def test_the_ends_of_a_sweep_represent_the_points_between(clock: Clock) -> None:
    axes = [{"path": BITS, "values": [2, 3, 4, 5, 6, 7, 8]}]
    study = STUDY | {"axes": axes, "cases": [{"name": "a", "set": {"chip.converter.kind": "auto"}}]}
    found = dry_run(study, evaluator=clock.evaluate, probes=2)
    assert (found.kinds, found.probed) == (7, 2)
    assert {chip["converter"]["bits"] for chip, _ in clock.calls if chip} == {2, 8}
    assert found.cases[0].seconds[0] == pytest.approx(10 * sum(2 + bits for bits in range(2, 9)) * 0.05)
    assert "2 of 7 kinds" in found.note


def test_of_several_that_are_as_similar_the_mean_time_and_the_largest_memory_count() -> None:
    axes = [{"path": BITS, "values": [2, 4, 8]}]
    study = STUDY | {"axes": axes, "cases": [{"name": "a", "set": {"chip.converter.kind": "auto"}}]}
    two, four, eight = (_dry_run.traits_of(point) for point in points_of(load_study(study)))
    far = two | {".model": "another"}
    measured = [(two, Cost(1.0, 300)), (eight, Cost(3.0, 100)), (far, Cost(50.0, 900))]
    assert _dry_run._estimated(points_of(load_study(study))[1], measured) == Cost(2.0, 300)
    assert four not in (two, eight)


def test_probes_are_limited_in_number_and_time(clock: Clock) -> None:
    axes = [{"path": f"chip.{name}", "values": [4, 5, 6]} for name in ("tile.cols", "tile.rows", "device.levels")]
    seen: list[tuple[int, int]] = []
    study = STUDY | {"axes": axes, "set": {"chip.device.correlated.gradient": 0.1}}  # so that the size of tiles acts
    found = dry_run(study, evaluator=clock.evaluate, probes=1, progress=lambda *at: seen.append(at))
    assert (found.kinds, found.probed, seen) == (27, 1, [(1, 1)])
    found = dry_run(STUDY, evaluator=clock.evaluate, budget_s=0.0)
    assert (found.kinds, found.probed) == (2, 1)


def test_the_stopping_rule_gives_a_range(clock: Clock) -> None:
    found = dry_run(STUDY | {"chips": {"min": 10, "max": 40, "half_width": 0.01}}, evaluator=clock.evaluate)
    assert found.chips == (30, 120)
    least, most = found.cases[0].seconds
    assert most == pytest.approx(4 * least)
    assert found.rows()[0]["trials"] == "30 to 120"


def test_points_shared_by_two_cases_are_counted_once(clock: Clock, tmp_path: Path) -> None:
    # at 0 equal to the chips of case a
    stuck = {"name": "b", "set": {SIGMA: 0.0}, "sweep": ["chip.device.faults.stuck_lrs"]}
    study = STUDY | {"cases": [{"name": "a"}, stuck], "chips": {"min": 2}}
    found = dry_run(study, evaluator=clock.evaluate)
    assert (found.points, found.chips) == (6, (10, 10))
    assert found.cases[1].seconds == pytest.approx([2 * 2 * 9 * 0.05] * 2)
    results = run(study, tmp_path / "out", evaluator=stand_in_evaluator)
    rows = (results.folder / "trials.jsonl").read_text().splitlines()
    assert len(rows) == found.chips[0] + found.baselines


def test_conditions_reduce_the_count(clock: Clock) -> None:
    found = dry_run(STUDY | {"skip": [{SIGMA: 0.2}]}, evaluator=clock.evaluate)
    assert (found.points, found.skipped, found.chips) == (2, 1, (20, 20))
    assert "1 point skipped" in found.note


def test_workers_share_the_time_and_each_needs_its_memory(clock: Clock) -> None:
    before, threads = torch.get_num_threads(), []

    def evaluate(*args: Any) -> list[ChipResult]:
        threads.append(torch.get_num_threads())
        return clock.evaluate(*args)

    torch.set_num_threads(2)
    try:
        one, four = (dry_run(STUDY, evaluator=evaluate, workers=n) for n in (1, 4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads[: len(threads) // 2]) == {2}
    assert set(threads[len(threads) // 2 :]) == {1}
    assert four.seconds[0] == pytest.approx(one.seconds[0] / 4)
    assert four.memory_bytes == 4 * four.cases[0].memory_bytes


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs a system that can forget the peak")
def test_memory_is_the_peak_of_the_probe_alone() -> None:
    def evaluate(*args: Any) -> list[ChipResult]:
        much = np.ones(400_000_000 if args[1] and args[1]["tile"]["rows"] == 64 else 8, np.uint8)
        return [ChipResult(n, int(much[0]), 2, 0.0) for n in args[3]]

    cases = [{"name": "much", "set": {ROWS: 64, "chip.converter.kind": "auto"}}, {"name": "little"}]
    much, little = dry_run(STUDY | {"cases": cases}, evaluator=evaluate).cases
    assert 3e8 < much.memory_bytes - little.memory_bytes < 5e8


def test_the_table_adds_up(clock: Clock) -> None:
    found = dry_run(
        STUDY | {"cases": [{"name": "a"}, {"name": "b", "set": {BITS: 4, "chip.converter.kind": "auto"}}]},
        evaluator=clock.evaluate,
    )
    rows = found.rows()
    assert [row["case"] for row in rows] == ["a", "b", "digital baselines", "all"]
    assert [row.get("points", "") for row in rows] == ["3", "3", "", "6"]
    assert [row["trials"] for row in rows] == ["30", "30", "1", "60"]
    assert rows[-1]["time"] == shown_seconds(found.seconds[0])
    assert rows[-1]["memory"] == shown_bytes(found.memory_bytes)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.02, "0.02 s"), (7.234, "7.2 s"), (99, "99 s"), (150, "2.5 min"), (9000, "2.5 h"), (864000, "10 days")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert shown_seconds(seconds) == text


def test_a_real_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = STUDY | {"model": "batmann_small_xnor", "axes": [{"path": SIGMA, "values": [0.1, 0.2]}]}
    found = dry_run(small)
    assert list(tmp_path.iterdir()) == []
    assert (found.points, found.chips, found.probed) == (2, (20, 20), 1)
    assert 0.01 < found.seconds[0] < 600
    assert 1e8 < found.memory_bytes < 1e10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "batmann_5w1s_float"}, "no place for them"),
        ({"task": {"dataset": "glyphs", "split": "tset"}}, "Did you mean 'test'"),
        ({"axes": [{"path": SIGMA, "values": [-1]}]}, "greater than or equal to 0"),
        ({"axes": [{"path": "chip.encoding_multibit.kind", "values": ["sliced", "offset"]}]}, "changes no result"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dry_run(STUDY | change)
