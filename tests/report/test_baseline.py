"""A digital network that guesses, or is far below its card, is named in the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imc_sim.evaluate import ChipResult
from imc_sim.report import conclusion
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
    """The stand-in with one query in five right."""
    found = stand_in_evaluator(model, chip, task, chips, seed)
    return [dataclasses.replace(r, correct=r.total // 5 + 1) for r in found]


def halfway(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int
) -> list[ChipResult]:
    """The stand-in with half of the queries right."""
    found = stand_in_evaluator(model, chip, task, chips, seed)
    return [dataclasses.replace(r, correct=r.total // 2) for r in found]


def ran(folder: Path, evaluator: Any, **changes: Any) -> Results:
    return run(STUDY | changes, folder / "out", evaluator=evaluator)


def test_a_baseline_at_chance_is_named(tmp_path: Path) -> None:
    said = conclusion(ran(tmp_path, guessing))
    assert "The digital network itself is at or near chance (20.1 %; guessing gives 20.0 %)" in said
    assert "far below the accuracy on its model's card (20.1 %, against 78.4 % on this data set)" in said


def test_a_baseline_far_below_its_card_is_named(tmp_path: Path) -> None:
    said = conclusion(ran(tmp_path, halfway))
    assert "near chance" not in said
    assert "far below the accuracy on its model's card (50.0 %, against 78.4 % on this data set)" in said


@pytest.mark.parametrize("task", [{"way": 4}, {"shot": 5}])
def test_another_question_than_the_cards_is_not_compared(tmp_path: Path, task: dict[str, Any]) -> None:
    said = conclusion(ran(tmp_path, halfway, task=STUDY["task"] | task))
    assert "card" not in said
    assert "digital network itself" not in conclusion(ran(tmp_path / "other", stand_in_evaluator))
