"""A digital network that guesses, or is far below its card, is named in the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pandas import DataFrame

from imc_sim.evaluate import ChipResult
from imc_sim.report import conclusion
from imc_sim.report._baseline import _at_chance
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

STUDY: dict[str, Any] = {
    "name": "baseline", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r", "chips": {"min": 3},
    "task": {"dataset": "glyphs", "split": "test"},
    "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.2]}],
}  # fmt: skip


def guessing(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
) -> list[ChipResult]:
    """Evaluate with one query in five right."""
    found = stand_in_evaluator(model, chip, task, chips, seed)
    return [dataclasses.replace(r, correct=r.total // 5 + 1) for r in found]


def halfway(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
) -> list[ChipResult]:
    """Evaluate with half of the queries right."""
    found = stand_in_evaluator(model, chip, task, chips, seed)
    return [dataclasses.replace(r, correct=r.total // 2) for r in found]


def ran(folder: Path, evaluator: Any, **changes: Any) -> Results:
    return run(STUDY | changes, folder / "out", evaluator=evaluator)


def test_a_baseline_at_chance_is_named(tmp_path: Path) -> None:
    sentence = conclusion(ran(tmp_path, guessing))
    assert "The digital network itself is at or near chance (20.1 %; guessing gives 20.0 %)" in sentence
    assert "far below the accuracy on its model's card (20.1 %, against 78.4 % on this data set)" in sentence


@pytest.mark.parametrize(("chance", "limit"), [(0.0, 10.0), (20.0, 28.0), (50.0, 55.0)])
def test_near_chance_is_a_tenth_of_the_way_from_chance_to_all_right(chance: float, limit: float) -> None:
    for digital, near in ((chance - 1, True), (limit - 0.1, True), (limit, True), (limit + 0.1, False)):
        data = DataFrame({"digital": [100.0, digital]})
        data.attrs = {"chance": chance}
        assert (" in 1 of 2 rows" in _at_chance(data)) is near


def test_a_baseline_far_below_its_card_is_named(tmp_path: Path) -> None:
    sentence = conclusion(ran(tmp_path, halfway))
    assert "near chance" not in sentence
    assert "far below the accuracy on its model's card (50.0 %, against 78.4 % on this data set)" in sentence


@pytest.mark.parametrize("task", [{"way": 4}, {"shot": 5}])
def test_a_task_other_than_that_of_the_card_is_not_compared(tmp_path: Path, task: dict[str, Any]) -> None:
    sentence = conclusion(ran(tmp_path, halfway, task=STUDY["task"] | task))
    assert "card" not in sentence
    assert "digital network itself" not in conclusion(ran(tmp_path / "other", stand_in_evaluator))
