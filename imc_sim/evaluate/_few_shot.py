"""Few-shot accuracy of a network and a key memory, digital or on chips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._tensors import check_finite
from imc_sim.analog import AnalogModel, AssociativeMemory
from imc_sim.array import Chip
from imc_sim.config import Engine
from imc_sim.data import EpisodeShape, gather_images, load_pool, repeated_images, sample_episodes, unique_images
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._memory_keys import SIMILARITIES, KeyMaker, Keys
from imc_sim.evaluate._tasks import FewShotTask
from imc_sim.nn import Draws, draw_neurons, evaluating, inference_logits, neurons_of

#: episodes scored at once by a digital memory
_EPISODES = 50
Features = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class FewShotData:
    """The distinct images of all episodes and where each episode finds its own.

    images: [u, 1, H, W] normalised; support: [e, way, shot] and query: [e, way, queries] index them. classes: [e, way],
    of the pool; None where they are not known.
    """

    images: Tensor
    support: NDArray[np.int64]
    query: NDArray[np.int64]
    classes: NDArray[np.int64] | None = None

    @classmethod
    def load(cls, task: FewShotTask) -> FewShotData:
        """Sample the task's episodes and gather their images, each distinct one once."""
        pool = load_pool(task.dataset, task.split, task.size)
        classes = _at_most("classes", task.classes, pool.images.shape[0])
        instances = _at_most("instances", task.instances, pool.images.shape[1])
        shape = EpisodeShape(way=task.way, shot=task.shot, queries=task.queries)
        e = sample_episodes((classes, instances), shape, range(task.episodes), task.seed, rotations=task.rotations)
        unique = unique_images(e) if task.passes == "distinct" else repeated_images(e)
        images = torch.from_numpy(gather_images(pool, unique.triples, task.scaling))
        return cls(images, unique.support, unique.query, e.classes)


@torch.no_grad()
def features_of(network: Features, data: FewShotData, batch: int) -> Tensor:
    """Features of all images, [u, dim] or [chip, u, dim], `batch` images at a time; neurons draw from seed 0."""
    neurons = neurons_of(network) if isinstance(network, nn.Module) else []
    parts = []
    with evaluating(network):
        for start in range(0, len(data.images), batch):
            draw_neurons(neurons, Draws(first=start))
            parts.append(network(data.images[start : start + batch]))
    return torch.cat(parts, dim=parts[0].ndim - 2)


@torch.inference_mode(False)  # attacks need gradients
def few_shot_accuracy(model: nn.Module, task: FewShotTask, data: FewShotData | None = None) -> Accuracy:
    """Accuracy of the digital network with a digital memory."""
    data = data or FewShotData.load(task)
    features = features_of(model, data, task.batch)
    if task.attack is not None and not task.attack.harmless:
        from imc_sim.evaluate._attacked import Victim, attacked, with_queries

        with evaluating(model):
            data, _ = with_queries(data, attacked(data, task, Victim(model, features)))
        features = features_of(model, data, task.batch)
    return digital_read_out(features, task.read_out, data)


@torch.no_grad()
def digital_read_out(features: Tensor, task: FewShotTask, data: FewShotData) -> Accuracy:
    """Accuracy of features [u, dim] with a digital memory in the task's key form and similarity."""
    maker = KeyMaker(features, task, data.support, data.query)
    values = F.one_hot(maker.labels).to(features)
    compare = SIMILARITIES[task.similarity]
    hits = []
    for start in range(0, len(data.support), _EPISODES):
        keys, queries = maker.of(slice(start, start + _EPISODES))
        similarity = compare(queries, keys)
        hits.append(_hits(inference_logits(similarity, values, task.sharpening), task))
    return _accuracy(torch.cat(hits), task, data)


@torch.no_grad()
def crossbar_read_out(
    features: Tensor, task: FewShotTask, data: FewShotData, chip: Chip, chips: range, seed: int,
    engine: Engine | str | None = None, calibration: Keys | None = None,
) -> list[Accuracy]:  # fmt: skip
    """Accuracy per chip with keys on crossbars; features [u, dim], or [chip, u, dim] from an analog network.

    Each episode writes its keys anew, so each draws a programming spread of its own. calibration: keys and queries
    that set the ranges of DACs and converters, where there are any (see `calibration_keys`).
    """
    check_read_out(task, chip)
    maker = KeyMaker(features, task, data.support, data.query)
    memory = AssociativeMemory(chip, maker.features.shape[-1], chips, seed, form=task.keys, engine=engine)
    labels = maker.labels
    if calibration is not None:
        memory.calibrate(*calibration)
    hits = []
    for episode in range(len(data.support)):
        keys, queries = maker.one(episode)
        memory.write(keys, labels, page=episode)
        hits.append(_hits(memory.search(queries), task))
    per_chip = torch.stack(hits, dim=1)
    return [_accuracy(h, task, data) for h in per_chip]


def check_read_out(task: FewShotTask, chip: Chip) -> None:
    """Refuse queries in a form that word lines cannot be driven in."""
    on_crossbar = chip.policy.place("memory", "memory") == "crossbar"
    # Cells that hold magnitudes can be driven by any form; cells that hold signs only in their own.
    if on_crossbar and task.query_form not in (None, task.keys) and task.keys != "float":
        step = "Leave query_form out: word lines are driven in the form of the keys."
        raise InputError("task.query_form", task.query_form, f"{task.keys} on a crossbar", step)


def chip_accuracy(
    model: nn.Module | AnalogModel, features: Tensor, task: FewShotTask, data: FewShotData, chip: Chip, chips: range,
    seed: int, engine: Engine | str | None = None, calibration: Keys | None = None,
) -> list[Accuracy]:  # fmt: skip
    """Accuracy per chip for features already computed by `model`, with the memory where the policy puts it."""
    if chip.policy.place("memory", "memory") == "crossbar":
        return crossbar_read_out(features, task, data, chip, chips, seed, engine, calibration)
    each = features if isinstance(model, AnalogModel) else features[None].expand(len(chips), -1, -1)
    return [digital_read_out(f, task, data) for f in each]


def _at_most(what: str, asked: int | None, there: int) -> int:
    if asked is not None and asked > there:
        raise InputError(f"task.{what}", asked, f"{there} or fewer in this split", f"Ask for fewer {what}.")
    return asked or there


def _labels(way: int, each: int) -> Tensor:
    return torch.arange(way).repeat_interleave(each)


def _hits(logits: Tensor, task: FewShotTask) -> Tensor:
    """[*, way * queries, way] -> fraction of right answers [*]. Ties go to the class that comes first."""
    check_finite(logits, "answers of the key memory")
    right = logits.argmax(-1).cpu() == _labels(task.way, task.queries)
    return right.double().mean(-1)


def _accuracy(per_episode: Tensor, task: FewShotTask, data: FewShotData) -> Accuracy:
    total = per_episode.numel() * task.way * task.queries
    return Accuracy(per_episode.numpy(), total, "episodes", classes=data.classes)
