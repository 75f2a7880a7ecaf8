"""Evaluation by name: what a study's worker calls. Specs travel, models do not.

A worker keeps its models, its episodes and the features of digital networks between calls.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, final

from imc_sim._errors import InputError
from imc_sim._rng import check_seed
from imc_sim._stats import Sample
from imc_sim.config import Engine, as_engine, build, canonical_json, find_content, read_yaml
from imc_sim.evaluate._device import prepare_device
from imc_sim.evaluate._identity import weights_digest
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask, Task, build_task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from imc_sim.evaluate._accuracy import Accuracy
    from imc_sim.evaluate._calibration import Calibration
    from imc_sim.evaluate._classify import ClassificationData
    from imc_sim.evaluate._few_shot import FewShotData

#: chips whose features are held at once
_CHIPS = 8

AnyTask = TypeVar("AnyTask", FewShotTask, ClassificationTask, Task)
P = ParamSpec("P")
R = TypeVar("R")
EngineLike = Engine | str | dict[str, Any]


@final
@dataclass(frozen=True)
class ChipResult:
    """Hits of one chip (-1: the digital baseline), the seconds that it took, and what calibration found.

    ranges: per layer the limits of the converters' inputs in windows, where they are calibrated. rows_on: per layer the
    share of rows that inputs switch on, of every row of tiles and pass, where wires depend on it.
    sample: of the digital network, what its accuracy is a mean over; chips are compared with one another. loss: mean
    negative log-likelihood of the digital network, where classes have one.
    """

    chip: int
    correct: int
    total: int
    seconds: float
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    sample: Sample | None = None
    loss: float | None = None
    rows_on: dict[str, list[list[float]]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


def _with_gradients(evaluate: Callable[P, R]) -> Callable[P, R]:
    """Run `evaluate` outside torch's inference mode, which attacks need."""

    @functools.wraps(evaluate)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import torch

        with torch.inference_mode(False):
            return evaluate(*args, **kwargs)

    return run


@_with_gradients
def evaluate_chips(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int,
    engine: EngineLike | None = None, device: str = "cpu",
) -> list[ChipResult]:  # fmt: skip
    """Accuracy of `model` on each of these chip numbers, in their order; chip None: the digital baseline.

    A chip's result depends on its number and the seed, not on which others are asked for. engine: who computes the
    products of crossbars; None: the chip's own. device: where, cpu or cuda; cells and noise are drawn alike.
    """
    from imc_sim.evaluate._calibration import Calibration

    started = time.perf_counter()
    check_seed(seed, "evaluate")
    spec = sized(build_task(task, "task"), model)
    prepare_device(device)
    if chip is not None and (not chips or min(chips) < 0):
        raise InputError("evaluate, chips", list(chips), "1 or more numbers of 0 or more", "Set the chips.")
    if chip is None:
        accuracies, numbers, found = [digital_accuracy(model, task, device)], [-1], Calibration()
    else:
        accuracies, numbers, found = [], list(chips), Calibration()
        for run in _runs(numbers, 1 if _attacks_chips(spec) else _CHIPS):
            used = None if engine is None else as_engine(engine)
            each, found = _on_chips(model, chip, spec, run, seed, used, device)
            accuracies += each
    seconds = (time.perf_counter() - started) / max(1, len(numbers))
    return [
        ChipResult(
            n, a.correct, a.total, seconds, found.ranges, a.sample if chip is None else None, a.loss, found.rows_on
        )
        for n, a in zip(numbers, accuracies, strict=True)
    ]


@_with_gradients
def digital_accuracy(model: str, task: dict[str, Any], device: str = "cpu") -> Accuracy:
    """Accuracy of the digital network: of few-shot tasks with a digital memory, per episode."""
    from imc_sim.evaluate._few_shot import digital_read_out

    spec = sized(build_task(task, "task"), model)
    if isinstance(spec, ClassificationTask):
        from imc_sim.evaluate._classify import class_accuracy

        return class_accuracy(asked(_model_on(model, device), spec), spec, _images(_images_key(spec), device))
    data = _data(_data_key(spec))
    if spec.attack is not None:
        from imc_sim.evaluate._attack_run import attacked_data

        data = attacked_data(model, spec, device)
    return digital_read_out(_shared_features(model, spec, device), spec.read_out, data)


def batch_chips(model: str, chip: dict[str, Any], memory_limit_bytes: int) -> int:
    """Chips to evaluate at once so that their conductances stay under the limit (1 at least)."""
    from imc_sim.array import load_chip
    from imc_sim.mapping import bytes_per_chip

    return max(1, memory_limit_bytes // max(1, bytes_per_chip(_model(model), load_chip(chip))))


def check_mapping(model: str, chip: dict[str, Any], engine: EngineLike | None = None) -> None:
    """Raise what mapping this model onto this chip would raise, before anything long starts."""
    from imc_sim.analog import check_engine
    from imc_sim.array import load_chip
    from imc_sim.mapping import map_model

    spec = load_chip(chip)
    quiet = map_model(_model(model), spec.without_effects(), engine="native")
    check_engine(spec.engine if engine is None else as_engine(engine), spec, quiet.analog_layers.values())


def acting_settings(model: str, chip: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the chip that change what this model answers in this task."""
    from imc_sim.array import load_chip
    from imc_sim.mapping import acting_settings

    return acting_settings(_model(model), load_chip(chip), not isinstance(build_task(task, "task"), ClassificationTask))


def check_task(task: dict[str, Any], chip: dict[str, Any] | None = None) -> None:
    """Raise what this task would raise (a missing data set, episodes that no class fills), before anything starts."""
    from imc_sim.array import load_chip
    from imc_sim.evaluate._calibration import calibration_task
    from imc_sim.evaluate._few_shot import FewShotData, check_read_out

    spec = build_task(task, "task")
    if chip is not None and load_chip(chip).calibrates:
        check_task(calibration_task(spec).to_dict())
    if isinstance(spec, ClassificationTask):
        from imc_sim.evaluate._classify import ClassificationData

        ClassificationData.load(spec)
        return
    FewShotData.load(spec.model_copy(update={"episodes": 1}))
    if chip is not None:
        check_read_out(spec.read_out, load_chip(chip))


def _runs(numbers: list[int], longest: int) -> list[range]:
    """Chip numbers as runs of successive ones."""
    runs: list[range] = []
    for n in numbers:
        if runs and runs[-1].stop == n and len(runs[-1]) < longest:
            runs[-1] = range(runs[-1].start, n + 1)
        else:
            runs.append(range(n, n + 1))
    return runs


def _attacks_chips(task: Task) -> bool:
    """Every chip is attacked through itself."""
    return isinstance(task, FewShotTask) and task.attack is not None and task.attack.made_on_chips


Found = tuple[list["Accuracy"], "Calibration"]


def _on_chips(
    model: str, chip: dict[str, Any], task: Task, chips: range, seed: int, engine: Engine | None, device: str
) -> Found:
    """Accuracy per chip, and what calibration found of its layers."""
    if isinstance(task, ClassificationTask):
        return _classified(model, chip, task, chips, seed, engine, device)
    return _searched(model, chip, task, chips, seed, engine, device)


def _classified(
    model: str, chip: dict[str, Any], task: ClassificationTask, chips: range, seed: int, engine: Engine | None,
    device: str,
) -> Found:  # fmt: skip
    """Of a classifier; one with no layer on a crossbar is the same on every chip."""
    from imc_sim.array import load_chip
    from imc_sim.evaluate._calibration import Calibration, calibrate
    from imc_sim.evaluate._classify import chip_class_accuracy, class_accuracy
    from imc_sim.mapping import map_model

    spec, data, network = load_chip(chip), _images(_images_key(task), device), asked(_model_on(model, device), task)
    analog = map_model(network, spec, chips, seed, engine=engine)
    if not analog.analog_layers:
        return [class_accuracy(network, task, data)] * len(chips), Calibration()
    found = calibrate(analog, spec, task, device)
    return chip_class_accuracy(analog, task, data), found


def _searched(
    model: str, chip: dict[str, Any], task: FewShotTask, chips: range, seed: int, engine: Engine | None, device: str
) -> Found:
    """Of an encoder with a key memory."""
    from imc_sim.array import load_chip
    from imc_sim.evaluate._calibration import Calibration, calibrate, calibration_keys
    from imc_sim.evaluate._few_shot import chip_accuracy, features_of
    from imc_sim.mapping import map_model

    spec, clean, network = load_chip(chip), _data_on(_data_key(task), device), _model_on(model, device)
    data, read = clean, task.read_out
    if task.attack is not None:
        from imc_sim.evaluate import _attack_run

        if task.attack.made_on_chips:
            accuracy, found = _attack_run.chip_under_attack(model, spec, task, chips[0], seed, engine, device)
            return [accuracy], found
        data = _attack_run.attacked_data(model, task, device)
    analog, known = map_model(network, spec, chips, seed, engine=engine), calibration_keys(model, spec, task, device)
    if not analog.analog_layers:
        features = _shared_features(model, task, device)
        return chip_accuracy(network, features, read, data, spec, chips, seed, engine, known), Calibration()
    found = calibrate(analog, spec, task, device)
    features = features_of(analog, data, task.batch)
    return chip_accuracy(analog, features, read, data, spec, chips, seed, engine, known), found


def _shared_features(model: str, task: FewShotTask, device: str) -> Tensor:
    """The digital network's features of the task's images, as they are attacked through it if they are."""
    if task.attack is None:
        return _digital_features(model, _feature_key(task), device)
    from imc_sim.evaluate._attack_run import attacked_features

    return attacked_features(model, task, device)


def _data_key(task: FewShotTask) -> str:
    """What decides the images and episodes; the read-out does not."""
    reset = {"keys": "bipolar", "query_form": None, "similarity": "dot", "sharpening": "none"}
    reset |= {"threshold": "zero", "prototypes": "none", "dim": None, "attack": None}
    reset["batch"] = 1 if task.passes == "distinct" else task.batch
    return canonical_json(task.to_dict() | reset)


def _feature_key(task: FewShotTask) -> str:
    return canonical_json(json.loads(_data_key(task)) | {"batch": task.batch})


def _images_key(task: ClassificationTask) -> str:
    """What decides the images; how they are classified does not."""
    asked_of = ("vote", "members", "stage", "head", "statistics", "steps")
    return canonical_json(task.to_dict() | {"batch": 1, "outputs": "all"} | dict.fromkeys(asked_of))


@functools.lru_cache(maxsize=4)
def _images(images_key: str, device: str) -> ClassificationData:
    from imc_sim.evaluate._classify import ClassificationData

    task = build(ClassificationTask, json.loads(images_key), "task")
    return dataclasses.replace(ClassificationData.load(task), device=device)


def asked(network: nn.Module, task: ClassificationTask) -> nn.Module:
    """The network as the task wants it: its members' vote, its stage and head, its time steps; itself where not."""
    network = _staged(_voting(network, task), task)
    return network if task.steps is None else _stepping(network, task.steps)


def _stepping(network: nn.Module, steps: int) -> nn.Module:
    from imc_sim.nn import BitNet

    if not isinstance(network, BitNet) or network.activation != "spikes":
        got, step = getattr(network, "activation", type(network).__name__), "Leave task.steps out."
        raise InputError("task.steps", f"a number of steps for {got}", "a spiking network", step)
    return network.with_steps(steps)


def _voting(network: nn.Module, task: ClassificationTask) -> nn.Module:
    if task.vote is None and task.members is None:
        return network
    from imc_sim.nn import Ensemble

    if not isinstance(network, Ensemble):
        got, step = type(network).__name__, "Leave task.vote and task.members out."
        raise InputError("task.vote", got, "an ensemble", step)
    return network.reduced(task.members, task.vote)


def _staged(network: nn.Module, task: ClassificationTask) -> nn.Module:
    from imc_sim.nn import ContinualNet, with_statistics

    if isinstance(network, ContinualNet):
        return network.at(task.stage, task.head, task.statistics)
    if task.stage is not None or task.head is not None:
        got, step = type(network).__name__, "Leave task.stage and task.head out."
        raise InputError("task.stage", got, "a network of architecture continual", step)
    return network if task.statistics is None else with_statistics(network, task.statistics)


def sized(task: AnyTask, model: str) -> AnyTask:
    """The task with the size of image that the model takes, where the task names none."""
    return task if task.size else resized(task, getattr(_model(model), "size", None))


def resized(task: AnyTask, size: object) -> AnyTask:
    """The task with that size of image, where it names none and the network states one."""
    return task if task.size or not isinstance(size, int) else task.model_copy(update={"size": size})


@functools.lru_cache(maxsize=8)
def _model(name: str) -> nn.Module:
    from imc_sim.nn import load_model

    return load_model(name)


def _model_on(name: str, device: str) -> nn.Module:
    return _model(name) if device == "cpu" else _moved_model(name, device)


@functools.lru_cache(maxsize=8)
def _moved_model(name: str, device: str) -> nn.Module:
    return copy.deepcopy(_model(name)).to(device)


def _data_on(data_key: str, device: str) -> FewShotData:
    return _data(data_key) if device == "cpu" else _moved_data(data_key, device)


@functools.lru_cache(maxsize=4)
def _moved_data(data_key: str, device: str) -> FewShotData:
    data = _data(data_key)
    return dataclasses.replace(data, images=data.images.to(device))


@functools.lru_cache(maxsize=4)
def _data(data_key: str) -> FewShotData:
    from imc_sim.evaluate._few_shot import FewShotData

    return FewShotData.load(build(FewShotTask, json.loads(data_key), "task"))


@final
@dataclass(frozen=True)
class _Network:
    """A model by name, equal to every other that has its weights in its architecture."""

    name: str = field(compare=False)
    weights: str
    arch: str


@functools.lru_cache(maxsize=64)
def _network(name: str) -> _Network:
    path = find_content("model", name)
    arch = read_yaml(path).get("arch", {})
    own = str(path.parent) if str(arch.get("name", "")).startswith(".") else ""  # its code lies beside the card
    return _Network(name, weights_digest(name), canonical_json([arch, own]))


def _digital_features(model: str, feature_key: str, device: str = "cpu") -> Tensor:
    """Features of all images of a task; settings that share their weights share them."""
    return _features_by(_network(model), feature_key, device)


@functools.lru_cache(maxsize=8)
def _features_by(network: _Network, feature_key: str, device: str) -> Tensor:
    from imc_sim.evaluate._few_shot import features_of

    task = build(FewShotTask, json.loads(feature_key), "task")
    return features_of(_model_on(network.name, device), _data_on(_data_key(task), device), task.batch)


#: what is kept of images
OF_DATA = (_images, _moved_data, _data, _features_by)
