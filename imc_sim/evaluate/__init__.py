"""Tasks and how a model fares on them, digital and on chips. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imc_sim.evaluate._card import CardRow, evaluate_card
from imc_sim.evaluate._run import (
    ChipResult,
    batch_chips,
    check_mapping,
    check_task,
    digital_accuracy,
    evaluate_chips,
    weights_digest,
)
from imc_sim.evaluate._tasks import FewShotTask, Task, build_task

if TYPE_CHECKING:
    from imc_sim.evaluate._few_shot import Accuracy, FewShotData, chip_accuracy, features_of, few_shot_accuracy

_NEED_TORCH = ("Accuracy", "FewShotData", "chip_accuracy", "features_of", "few_shot_accuracy")

__all__ = [
    "Accuracy",
    "CardRow",
    "ChipResult",
    "FewShotData",
    "FewShotTask",
    "Task",
    "batch_chips",
    "build_task",
    "check_mapping",
    "check_task",
    "chip_accuracy",
    "digital_accuracy",
    "evaluate_card",
    "evaluate_chips",
    "features_of",
    "few_shot_accuracy",
    "weights_digest",
]


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        from imc_sim.evaluate import _few_shot

        return getattr(_few_shot, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
