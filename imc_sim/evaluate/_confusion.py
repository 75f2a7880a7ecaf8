"""Which class is taken for which, digital or on chips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array import Chip, load_chip
from imc_sim.data import EpisodeShape, load_pool, sample_episodes
from imc_sim.evaluate._calibration import calibrate, calibration_keys
from imc_sim.evaluate._few_shot import FewShotData, check_read_out, features_of
from imc_sim.evaluate._memory_keys import SIMILARITIES, KeyMaker, Keys
from imc_sim.evaluate._tasks import FewShotTask, build_task, few_shot
from imc_sim.nn import inference_logits

Counts = NDArray[np.int64]

#: classes that still make a matrix one can read
_READABLE = 40
#: chips whose features are held at once
_TOGETHER = 4


@final
@dataclass(frozen=True)
class Confusion:
    """Answers to queries, summed over episodes and chips.

    counts: [true, answered]. asked: [true, answered], queries of the true class for which the other one was there to
    choose. what: a class of the data set, or (where those are too many) the place of a class in its episode.
    """

    counts: Counts
    asked: Counts
    what: str
    chips: int

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.counts) / self.counts.sum())


def confusion(
    model: str, chip: Chip | str | dict[str, Any] | None, task: dict[str, Any], chips: int = 8, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Confusion:  # fmt: skip
    """The confusion matrix of a few-shot evaluation; chip None: of the digital network.

    progress: called with (chips done, chips in all).
    """
    spec = few_shot(build_task(task, "task"), "a confusion matrix")
    answers = answers_of(model, None if chip is None else load_chip(chip), spec, range(chips), seed, progress)
    classes = _classes(spec)
    what, size = "class", int(classes.max()) + 1
    if size > _READABLE:
        what, size = "place in the episode", spec.way
        classes = np.broadcast_to(np.arange(spec.way), classes.shape)
    counts, asked = np.zeros((size, size), np.int64), np.zeros((size, size), np.int64)
    true = np.repeat(classes, spec.queries, axis=1)  # [e, way * queries]
    for chosen in answers:
        np.add.at(counts, (true, np.take_along_axis(classes, chosen, axis=1)), 1)
        np.add.at(asked, (true[:, :, None], classes[:, None, :]), 1)
    return Confusion(counts, asked, what, 0 if chip is None else chips)


@torch.no_grad()
def answers_of(
    model: str, chip: Chip | None, task: FewShotTask, chips: range, seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Counts:  # fmt: skip
    """Answers [chip, episode, way * queries] as places in the episode; without a chip the digital ones, [1, …]."""
    from imc_sim.evaluate._attack_run import attacked_data, attacked_features
    from imc_sim.evaluate._run import _model, sized
    from imc_sim.mapping import map_model

    task = sized(task, model)
    _refuse_attack_through_chips(task, chip)
    data, shared = (
        attacked_data(model, task, "cpu"),
        attacked_features(model, task, "cpu"),
    )
    asked, task = task, task.read_out
    if chip is None:
        return _digital(shared, task, data)[None]
    known = calibration_keys(model, chip, asked)
    parts = []
    for start in range(0, len(chips), _TOGETHER):
        some = chips[start : start + _TOGETHER]
        analog = map_model(_model(model), chip, some, seed)
        if not analog.analog_layers:
            features = shared.expand(len(some), -1, -1)
        else:
            calibrate(analog, chip, asked)
            features = features_of(analog, data, task.batch)
        parts.append(_on_chips(features, not analog.analog_layers, task, data, chip, some, seed, known))
        if progress is not None:
            progress(start + len(some), len(chips))
    return np.concatenate(parts)


def _refuse_attack_through_chips(task: FewShotTask, chip: Chip | None) -> None:
    if chip is not None and task.attack is not None and task.attack.made_on_chips:
        step = "Leave `through` out, or ask for the accuracy of chips under it: imc-sim run."
        raise InputError("task.attack.through", "analog", "digital, for the answers of chips", step)


def _on_chips(
    features: Tensor, shared: bool, task: FewShotTask, data: FewShotData, chip: Chip, chips: range, seed: int,
    calibration: Keys | None,
) -> Counts:  # fmt: skip
    if chip.policy.place("memory", "memory") != "crossbar":
        return np.stack([_digital(f, task, data) for f in features])
    return _searched(features[0] if shared else features, task, data, chip, chips, seed, calibration)


def _searched(
    features: Tensor, task: FewShotTask, data: FewShotData, chip: Chip, chips: range, seed: int,
    calibration: Keys | None,
) -> Counts:  # fmt: skip  # the same writings and searches as in `crossbar_read_out`, which keeps only the hits
    from imc_sim.analog import AssociativeMemory

    check_read_out(task, chip)
    maker = KeyMaker(features, task, data.support, data.query)
    memory = AssociativeMemory(chip, maker.features.shape[-1], chips, seed, form=task.keys)
    if calibration is not None:
        memory.calibrate(*calibration)
    chosen = []
    for episode in range(len(data.support)):
        keys, queries = maker.one(episode)
        memory.write(keys, maker.labels, page=episode)
        chosen.append(memory.search(queries).argmax(-1))
    return torch.stack(chosen, dim=1).numpy()


def _digital(features: Tensor, task: FewShotTask, data: FewShotData) -> Counts:
    maker = KeyMaker(features, task, data.support, data.query)
    values = F.one_hot(maker.labels).to(features.dtype)
    compare = SIMILARITIES[task.similarity]
    chosen = []
    for episode in range(len(data.support)):
        keys, queries = maker.one(episode)
        chosen.append(inference_logits(compare(queries, keys), values, task.sharpening).argmax(-1))
    return torch.stack(chosen).numpy()


def _classes(task: FewShotTask) -> Counts:
    """The data set's class at every place of every episode, [e, way]; the draws of `FewShotData.load`."""
    pool = load_pool(task.dataset, task.split)
    shape = (task.classes or pool.images.shape[0], task.instances or pool.images.shape[1])
    asked = EpisodeShape(way=task.way, shot=task.shot, queries=task.queries)
    return sample_episodes(shape, asked, range(task.episodes), task.seed, rotations=task.rotations).classes
