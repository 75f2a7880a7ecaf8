"""The work of a worker: specifications go out, counts come back, models stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from imc_sim._errors import CheckpointError
from imc_sim.config import as_engine, digest
from imc_sim.evaluate import ChipResult, arch_of, evaluate_chips, features_digest, holding, weights_digest
from imc_sim.study._point import Point, Trial

#: (model, chip, task, chip numbers, seed), and `engine` and `device` where they are not the default
Evaluator = Callable[..., list[ChipResult]]


@final
@dataclass(frozen=True)
class Batch:
    """Some chips of one point, picklable.

    options: keywords of the evaluator. features: identifies the model whose features the task uses; None: a task of
    images. data: the digests of what the task reads.
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
        """Return the batch of trials of one point."""
        p = trials[0].point
        options = _engine(p) if device == "cpu" else {**_engine(p), "device": device}
        chips, features = tuple(t.chip for t in trials), p.content["task"].get("features")
        return cls(evaluator, p.model, p.weights, p.chip, p.task, chips, p.seed, options, p.arch, features, p.own_data)


def evaluate_batch(batch: Batch) -> list[ChipResult]:
    """Evaluate a batch in a worker, which keeps its models and images between batches."""
    if batch.evaluator is evaluate_chips:
        _check_model(batch.model, "weights", weights_digest(batch.model), batch.weights)
        _check_model(batch.model, "architecture", digest(arch_of(batch.model)), digest(batch.arch))
        if batch.features is not None:
            features = batch.task["features"]
            _check_model(features, "weights and architecture", features_digest(features), batch.features)
        with holding(batch.data):
            return _evaluated(batch)
    return _evaluated(batch)


def _evaluated(batch: Batch) -> list[ChipResult]:
    return batch.evaluator(batch.model, batch.chip, batch.task, batch.chips, batch.seed, **batch.options)


def _check_model(model: str, what: str, found: str, expected: str) -> None:
    """Refuse weights that are not the study's; loading them checks that the file is what its card states."""
    if found != expected:
        step = "Give this worker the models of the machine that runs the study (IMC_SIM_PATH), and leave them alone."
        raise CheckpointError(f"model {model!r} on this worker", f"{what} {found[:12]}", expected[:12], step)


def _engine(point: Point) -> dict[str, Any]:
    if point.chip is None or point.engine == as_engine(point.chip["engine"]):
        return {}
    return {"engine": point.engine}
