"""Evaluate batches of trials in a worker, which keeps models and images between batches."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from imc_sim import evaluate
from imc_sim._errors import CheckpointError, InputError
from imc_sim.config import as_engine, digest, trusting
from imc_sim.evaluate import (
    ChipResult,
    arch_of,
    chip_costs,
    conductances_digest,
    evaluate_chips,
    features_digest,
    holding,
    task_identity,
    weights_digest,
)
from imc_sim.study._point import Point, Trial

#: called with (model, chip, task, chip numbers, seed), and with `engine`, `device` and `conductances` if they are not
#: the default
Evaluator = Callable[..., list[ChipResult]]
#: largest number of chips per call: small enough to show progress, and to lose little if a worker is lost
BATCH = 4


@final
@dataclass(frozen=True)
class Batch:
    """Some chips of one point, picklable.

    Attributes:
        evaluator: function that evaluates the chips, see `Evaluator`, or `chip_costs`.
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
        code: digest of the functions and files of a function task; None for other tasks.
        cells: SHA-256 of the file of measured conductances; None where cells are simulated.
    """

    evaluator: Callable[..., list[Any]]
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
    code: str | None = None
    cells: str | None = None

    @classmethod
    def of(cls, trials: list[Trial], evaluator: Callable[..., list[Any]], device: str) -> Batch:
        """Return the batch of some trials of one point."""
        p = trials[0].point
        options: dict[str, Any] = {} if device == "cpu" else {"device": device}
        if p.chip is not None and p.engine != as_engine(p.chip["engine"]):
            options["engine"] = p.engine
        if p.conductances is not None:
            options["conductances"] = p.conductances
        chips, features = tuple(t.chip for t in trials), p.content["task"].get("features")
        code = digest(p.content["task"]) if p.task["kind"] == "function" else None
        arguments = (evaluator, p.model, p.weights, p.chip, p.task, chips, p.seed, options, p.arch, features)
        return cls(*arguments, p.own_data, code, p.content.get("conductances"))


def evaluate_batch(batch: Batch) -> list[Any]:
    """Evaluate a batch in a worker, after checking that the worker has the models and data of the study."""
    if batch.evaluator in (evaluate_chips, chip_costs):
        _check_model(batch.model, "weights", weights_digest(batch.model), batch.weights)
        _check_model(batch.model, "architecture", digest(arch_of(batch.model)), digest(batch.arch))
        if batch.code is not None:
            _check_code(batch.task, batch.code)
        if batch.cells is not None:
            _check_cells(batch.options["conductances"], batch.cells)
        if batch.features is not None:
            features = batch.task["features"]
            _check_model(features, "weights and architecture", features_digest(features), batch.features)
        with holding(batch.data), trusting():  # the process that runs the study has checked the code
            return _evaluated(batch)
    return _evaluated(batch)


def _evaluated(batch: Batch) -> list[Any]:
    return batch.evaluator(batch.model, batch.chip, batch.task, batch.chips, batch.seed, **batch.options)


def _check_model(model: str, what: str, found: str, expected: str) -> None:
    """Reject a model that differs from that of the study; loading it compares the file with its card."""
    if found != expected:
        step = "Give this worker the models of the machine that runs the study (IMC_SIM_PATH), and do not change them."
        raise CheckpointError(f"model {model!r} on this worker", f"{what} {found[:12]}", expected[:12], step)


def _check_code(task: dict[str, Any], expected: str) -> None:
    """Reject functions and files of a task that differ from those of the study."""
    if digest(task_identity(task)) != expected:
        step = "Do not change them while a study runs, and give every worker the same files; then run the study again."
        raise InputError(f"task.call, {task['call']!r}", "other content", "the functions and files of the study", step)


def _check_cells(path: str, expected: str) -> None:
    """Reject measured conductances that differ from those of the study."""
    found = conductances_digest(path)
    if found != expected:
        step = "Do not change the file while a study runs, and give every worker the same; then run the study again."
        raise InputError(f"conductances, {path!r}", f"content {found[:12]}", expected[:12], step)


def evaluator_digest(evaluator: Evaluator) -> str | None:
    """Return the digest of the name and the file of a function that evaluates chips; None for the package's own.

    Raises:
        InputError: the function cannot be identified.
    """
    if evaluator is evaluate_chips:
        return None
    module, name = sys.modules.get(getattr(evaluator, "__module__", "")), getattr(evaluator, "__qualname__", "")
    file = getattr(module, "__file__", None)
    if file is None or getattr(module, name, None) is not evaluator:
        step = "Put it into a file, or use a task of kind function."
        raise InputError("run, evaluator", repr(evaluator), "a function at the top level of a Python file", step)
    return digest([name, hashlib.sha256(Path(file).read_bytes()).hexdigest()])


def batch_size(point: Point, evaluator: Evaluator, most: int, memory_limit: int) -> int:
    """Return the number of chips per batch: `most`, or fewer if the cells would take more than `memory_limit` bytes."""
    if point.chip is None or evaluator is not evaluate_chips:
        return most
    return min(most, evaluate.batch_chips(point.model, point.chip, memory_limit, point.task))
