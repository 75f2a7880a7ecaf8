"""A digital network evaluated on more episodes than its chips has two digital trials, counted wherever trials are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imc_sim.runs import sound_rows
from imc_sim.study import Results, dry_run, status, trials_table
from imc_sim.study._trials_file import TRIALS, rules_of
from imc_sim.testing import stand_in_evaluator


def test_both_digital_trials_are_run_and_counted(
    small: dict[str, Any], go: Callable[..., Results], tmp_path: Path
) -> None:
    study = small | {"chip_task": {"episodes": 2}}
    results = go(tmp_path / "out", study)
    rows = sound_rows(tmp_path / "out" / TRIALS, rules_of())
    assert len(rows) == 2 * 2 + 2 * 3 * 6
    assert status(tmp_path / "out").complete
    done = {(row["point"], row["chip"]): row["correct"] / row["total"] for row in rows.values()}
    points = results.study["points"]
    own = [done[point["baseline"], -1] for point in points]
    np.testing.assert_array_equal(results.table["digital"], own)
    assert all(done[p["reference"], -1] != done[p["baseline"], -1] for p in points), "another task has another score"
    table = trials_table(tmp_path / "out")
    assert (table["chip"] == -1).tolist() == [True] * 4 + [False] * 36
    assert dry_run(study, evaluator=stand_in_evaluator).baselines == 4
    assert dry_run(small, evaluator=stand_in_evaluator).baselines == 2


def test_results_of_another_digital_task_belong_to_another_study(
    small: dict[str, Any], go: Callable[..., Results], tmp_path: Path
) -> None:
    """The trials of the chips would be the same; the digital accuracy in the table would not."""
    one, other = (
        go(
            tmp_path / str(episodes),
            small | {"task": {**small["task"], "episodes": episodes}, "chip_task": {"episodes": 2}},
        )
        for episodes in (5, 6)
    )
    assert one.study["digest"] != other.study["digest"]
    assert [p["id"] for p in one.study["points"]] == [p["id"] for p in other.study["points"]]
