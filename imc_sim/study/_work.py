"""Evaluate batches of trials in a worker, which keeps models and images between batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from imc_sim import evaluate
from imc_sim._errors import CheckpointError
from imc_sim.config import as_engine, digest, trusting
from imc_sim.evaluate import ChipResult, arch_of, evaluate_chips, features_digest, holding, weights_digest
from imc_sim.study._point import Point, Trial

#: called with (model, chip, task, chip numbers, seed), and with `engine` and `device` if they are not the default
Evaluator = Callable[..., list[ChipResult]]
#: largest number of chips per call: small enough to show progress, and to lose little if a worker is lost
BATCH = 4


@final
@dataclass(frozen=True)
class Batch:
    """Some chips of one point, picklable.

    Attributes:
        evaluator: function that evaluates the chips; see `Evaluator`.
        model: name or path of the model.
        weights: SHA-256 of its weights on the machine that runs the study.
        chip: all settings of the chip; None for a digital network.
        task: all settings of the task.
        chips: numbers of the chips.
        seed: seed of the sampled chips.
        options: keyword arguments of the evaluator.
        arch: properties of the architecture on the machine that runs the study.
        features: digest of the model whose features the task uses; None for a task of images.
        data: digests of the data that the task reads.
    """

    evaluator: Evaluator
    model: str
    weights: str
    chip: dict[str, Any] | None
    task: dict[str, Any]
    chips: tuple[int, ...]
    seed: int
    options: dict[str, Any]
    arch: dict[str, Any] | None = None
    features: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: list[Trial], evaluator: Evaluator, device: str) -> Batch:
        """Return the batch of some trials of one point."""
        p = trials[0].point
        options: dict[str, Any] = {} if device == "cpu" else {"device": device}
        if p.chip is not None and p.engine != as_engine(p.chip["engine"]):
            options["engine"] = p.engine
        chips, features = tuple(t.chip for t in trials), p.content["task"].get("features")
        return cls(evaluator, p.model, p.weights, p.chip, p.task, chips, p.seed, options, p.arch, features, p.own_data)


def evaluate_batch(batch: Batch) -> list[ChipResult]:
    """Evaluate a batch in a worker, after checking that the worker has the models and data of the study."""
    if batch.evaluator is evaluate_chips:
        _check_model(batch.model, "weights", weights_digest(batch.model), batch.weights)
        _check_model(batch.model, "architecture", digest(arch_of(batch.model)), digest(batch.arch))
        if batch.features is not None:
            features = batch.task["features"]
            _check_model(features, "weights and architecture", features_digest(features), batch.features)
        with holding(batch.data), trusting():  # the process that runs the study has checked the code
            return _evaluated(batch)
    return _evaluated(batch)


def _evaluated(batch: Batch) -> list[ChipResult]:
    return batch.evaluator(batch.model, batch.chip, batch.task, batch.chips, batch.seed, **batch.options)


def _check_model(model: str, what: str, found: str, expected: str) -> None:
    """Reject a model that differs from that of the study; loading it compares the file with its card."""
    if found != expected:
        step = "Give this worker the models of the machine that runs the study (IMC_SIM_PATH), and do not change them."
        raise CheckpointError(f"model {model!r} on this worker", f"{what} {found[:12]}", expected[:12], step)


def batch_size(point: Point, evaluator: Evaluator, most: int, memory_limit: int) -> int:
    """Return the number of chips per batch: `most`, or fewer if the cells would take more than `memory_limit` bytes."""
    if point.chip is None or evaluator is not evaluate_chips:
        return most
    return min(most, evaluate.batch_chips(point.model, point.chip, memory_limit, point.task))
