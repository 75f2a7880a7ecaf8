"""Images that a model does not take are found before anything runs, for every kind of task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.evaluate import digital_accuracy, evaluate_card, evaluate_chips
from imc_sim.study import dry_run, run

TASK: dict[str, Any] = {"dataset": "glyphs", "split": "test", "episodes": 2, "size": 28}
FEW_SHOT: dict[str, Any] = {"name": "fit", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r", "task": TASK}


@pytest.mark.parametrize("changes", [{}, {"task": TASK | {"size": 32}, "chip_task": {"size": 28}}])
def test_a_size_that_a_model_does_not_take_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    study = FEW_SHOT | changes
    for start in (lambda: run(study, tmp_path / "out"), lambda: dry_run(study)):
        with pytest.raises(InputError, match=r"images of 1 x 28 x 28 for model .*; allowed: 32 pixels a side"):
            start()
    assert not (tmp_path / "out").exists()


def test_a_card_and_a_call_are_checked_too() -> None:
    model, chip = "batmann_small_xnor", load_chip("ideal").to_dict()
    for start in (
        lambda: evaluate_card(model, changes=TASK),
        lambda: digital_accuracy(model, TASK),
        lambda: evaluate_chips(model, chip, TASK, range(1), seed=0),
    ):
        with pytest.raises(InputError, match="allowed: 32 pixels a side"):
            start()


def test_colours_for_a_network_of_grey_images_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "val"):
        for label in "ab":
            file = tmp_path / "set" / split / label / "1.png"
            file.parent.mkdir(parents=True)
            Image.new("RGB", (28, 28)).save(file)
    task = {"kind": "classification", "dataset": f"folder:{tmp_path / 'set'}", "images": 2}
    with pytest.raises(InputError, match="images of 3 x 28 x 28"):
        run(FEW_SHOT | {"model": "bitnet_digits_clamp", "task": task | {"size": 28}}, tmp_path / "out")
