"""Tasks, and the evaluation of models on them, digital and on chips. Importing this loads no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from imc_sim.evaluate._card import CardRow, evaluate_card
from imc_sim.evaluate._device import check_device
from imc_sim.evaluate._firing import Firing, LayerFiring, StepAccuracy, measure_firing
from imc_sim.evaluate._function_task import FunctionTask
from imc_sim.evaluate._held_data import holding
from imc_sim.evaluate._identity import (
    arch_identity,
    arch_of,
    chips_vary,
    data_of_task,
    features_digest,
    network_key,
    weights_digest,
)
from imc_sim.evaluate._measured_cells import check_measured_chips, conductances_digest, measured_chips
from imc_sim.evaluate._read_outs import check_order
from imc_sim.evaluate._results import ChipCost, ChipResult
from imc_sim.evaluate._run import chip_costs, digital_accuracy, evaluate_chips
from imc_sim.evaluate._sensitivity import LayerAccuracy, layer_sensitivity
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask, Task, build_task, task_identity, with_size
from imc_sim.evaluate.attacks import Attack, Fgsm, Pgd

if TYPE_CHECKING:
    from imc_sim.evaluate._accuracy import Accuracy
    from imc_sim.evaluate._card_cost import cost_for_card
    from imc_sim.evaluate._checks import (
        acting_settings,
        batch_chips,
        check_images,
        check_mapping,
        check_task,
        idle_in_task,
    )
    from imc_sim.evaluate._classification import chip_class_accuracy, class_accuracy, configured, output_count
    from imc_sim.evaluate._confusion import Confusion, confusion
    from imc_sim.evaluate._converter_inputs import ConverterInputs, converter_inputs
    from imc_sim.evaluate._embedding import Embedding, EmbeddingPanel, embedding, embedding_grid
    from imc_sim.evaluate._episodes import FewShotData, features_of
    from imc_sim.evaluate._features import feature_vectors, last_hidden, normalised, viewed_images
    from imc_sim.evaluate._few_shot import digital_accuracy_of, few_shot_accuracy
    from imc_sim.evaluate._labelled import ClassificationData, drawn_rows
    from imc_sim.evaluate._mapped_card import calibrate_for_card, map_for_card
    from imc_sim.evaluate._memory_keys import SIMILARITIES
    from imc_sim.evaluate._memory_use import memory_use
    from imc_sim.evaluate._object_digests import object_digest
    from imc_sim.evaluate._session import Session, features_key

#: names that need torch, and the module that has them
_NEED_TORCH = {
    "Accuracy": "_accuracy",
    "ClassificationData": "_labelled",
    "Confusion": "_confusion",
    "ConverterInputs": "_converter_inputs",
    "Embedding": "_embedding",
    "EmbeddingPanel": "_embedding",
    "FewShotData": "_episodes",
    "SIMILARITIES": "_memory_keys",
    "Session": "_session",
    "acting_settings": "_checks",
    "batch_chips": "_checks",
    "calibrate_for_card": "_mapped_card",
    "check_images": "_checks",
    "check_mapping": "_checks",
    "check_task": "_checks",
    "chip_class_accuracy": "_classification",
    "class_accuracy": "_classification",
    "configured": "_classification",
    "confusion": "_confusion",
    "converter_inputs": "_converter_inputs",
    "cost_for_card": "_card_cost",
    "digital_accuracy_of": "_few_shot",
    "drawn_rows": "_labelled",
    "embedding": "_embedding",
    "embedding_grid": "_embedding",
    "feature_vectors": "_features",
    "features_key": "_session",
    "features_of": "_episodes",
    "few_shot_accuracy": "_few_shot",
    "idle_in_task": "_checks",
    "last_hidden": "_features",
    "map_for_card": "_mapped_card",
    "memory_use": "_memory_use",
    "normalised": "_features",
    "object_digest": "_object_digests",
    "output_count": "_classification",
    "viewed_images": "_features",
}

__all__ = [
    "SIMILARITIES",
    "Accuracy",
    "Attack",
    "CardRow",
    "ChipCost",
    "ChipResult",
    "ClassificationData",
    "ClassificationTask",
    "Confusion",
    "ConverterInputs",
    "Embedding",
    "EmbeddingPanel",
    "FewShotData",
    "FewShotTask",
    "Fgsm",
    "Firing",
    "FunctionTask",
    "LayerAccuracy",
    "LayerFiring",
    "Pgd",
    "Session",
    "StepAccuracy",
    "Task",
    "acting_settings",
    "arch_identity",
    "arch_of",
    "batch_chips",
    "build_task",
    "calibrate_for_card",
    "check_device",
    "check_images",
    "check_mapping",
    "check_measured_chips",
    "check_order",
    "check_task",
    "chip_class_accuracy",
    "chip_costs",
    "chips_vary",
    "class_accuracy",
    "conductances_digest",
    "configured",
    "confusion",
    "converter_inputs",
    "cost_for_card",
    "data_of_task",
    "digital_accuracy",
    "digital_accuracy_of",
    "drawn_rows",
    "embedding",
    "embedding_grid",
    "evaluate_card",
    "evaluate_chips",
    "feature_vectors",
    "features_digest",
    "features_key",
    "features_of",
    "few_shot_accuracy",
    "holding",
    "idle_in_task",
    "last_hidden",
    "layer_sensitivity",
    "map_for_card",
    "measure_firing",
    "measured_chips",
    "memory_use",
    "network_key",
    "normalised",
    "object_digest",
    "output_count",
    "task_identity",
    "viewed_images",
    "weights_digest",
    "with_size",
]


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        return getattr(importlib.import_module(f"imc_sim.evaluate.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
