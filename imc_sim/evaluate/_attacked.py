"""Episodes whose queries are attacked, through a digital network or through one on a chip.

Every query is attacked against the clean keys of its own episode. Queries do not see one another, so that those of
several episodes go through the network together.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._rng import Stream
from imc_sim.analog import AnalogModel, AssociativeMemory, instead, straight_through
from imc_sim.array import Chip
from imc_sim.config import Engine
from imc_sim.data import DATASETS
from imc_sim.evaluate._attack_specs import Fgsm, Pgd
from imc_sim.evaluate._attacks import Gradient, PixelSpace, fgsm, gradient_of, pgd
from imc_sim.evaluate._few_shot import Features, FewShotData
from imc_sim.evaluate._memory_keys import SIMILARITIES, KeyMaker, Keys
from imc_sim.evaluate._tasks import FewShotTask
from imc_sim.nn import cosine, inference_logits, key_form

#: (episode, queries [n, dim] in the form of the memory) -> what the chip's memory answers [n, way]
Search = Callable[[int, Tensor], Tensor]


@final
@dataclasses.dataclass(frozen=True)
class Victim:
    """What an attack is made through. network: images -> features, differentiable. keys: features [u, d] of all the
    supports' images. search: the memory, where it is one on a chip."""

    network: Features
    keys: Tensor
    search: Search | None = None


class _Part(NamedTuple):
    """Queries that go through the network at once: episodes `first` to `last`, places `start` to `stop` in each."""

    first: int
    last: int
    start: int
    stop: int


def pixel_space(task: FewShotTask) -> PixelSpace:
    """Where the task's images are pixels from 0 to 1; images of scaling `unit` are that themselves."""
    if task.scaling == "unit":
        return PixelSpace(0.0, 1.0, levels=0)
    info = DATASETS[task.dataset]
    return PixelSpace(info.mean[0], info.std[0])


def attacked(data: FewShotData, task: FewShotTask, victim: Victim) -> Tensor:
    """The attacked queries [e x way x queries, 1, H, W], normalised, in the order of `data.query`."""
    if task.attack is None or task.attack.harmless:
        return data.images[torch.from_numpy(data.query).flatten()]
    if isinstance(task.attack, Pgd):
        return _each(data, task, lambda part, images: _pgd(part, images, data, task, victim))
    return stepped(data, task, directions(data, task, victim))


def directions(data: FewShotData, task: FewShotTask, victim: Victim) -> Tensor:
    """Sign of the loss' gradient at every clean query, int8, in the order of `data.query`; epsilon plays no part."""
    return _each(
        data, task, lambda part, images: gradient_of(_loss(part, data, task, victim))(images).sign().to(torch.int8)
    )


def stepped(data: FewShotData, task: FewShotTask, direction: Tensor) -> Tensor:
    """FGSM along these directions, in the space that the attack names."""
    spec, space = task.attack, pixel_space(task)
    images = data.images[torch.from_numpy(data.query).flatten()]
    if isinstance(spec, Fgsm) and spec.space == "normalised":
        return fgsm(images, direction, spec.epsilon)
    return space.images(fgsm(space.pixels(images), direction, spec.epsilon if spec else 0.0))


def with_queries(data: FewShotData, queries: Tensor) -> tuple[FewShotData, Tensor]:
    """The same episodes with these query images, and the rows of `data.images` that are kept before them: supports."""
    kept, support = np.unique(data.support, return_inverse=True)
    rows = torch.from_numpy(kept)
    query = len(kept) + np.arange(data.query.size).reshape(data.query.shape)
    images = torch.cat([data.images[rows], queries])
    return FewShotData(images, support.reshape(data.support.shape), query, data.classes), rows


def chip_victim(
    analog: AnalogModel, data: FewShotData, task: FewShotTask, chip: Chip, seed: int, engine: Engine | str | None,
    calibration: Keys | None = None,
) -> Victim:  # fmt: skip
    """The first chip of `analog`; with loss `memory` its own memory, too, where that is on a crossbar.

    calibration: keys and queries that set the ranges of the memory.
    """
    supports, rows = with_queries(data, data.images[:0])
    found = torch.cat([analog(part)[0] for part in supports.images.split(task.batch)])
    keys = found.new_zeros(len(data.images), found.shape[-1])
    keys[rows] = found
    search = None
    if task.attack and task.attack.loss == "memory" and chip.policy.place("memory", "memory") == "crossbar":
        search = _search(keys, data, task, chip, analog.chips[:1], seed, engine, calibration)
    return Victim(lambda images: straight_through(analog, images), keys, search)


def _search(
    keys: Tensor, data: FewShotData, task: FewShotTask, chip: Chip, number: range, seed: int,
    engine: Engine | str | None, calibration: Keys | None,
) -> Search:  # fmt: skip
    """The chip's memory, written as in the evaluation. Every call reads anew, and no call as the evaluation will."""
    maker = KeyMaker(keys, task, data.support, data.query)
    first = AssociativeMemory(chip, maker.features.shape[-1], number, seed, form=task.keys, engine=engine)
    if calibration is not None:
        first.calibrate(*calibration)
    held: dict[int, AssociativeMemory] = {}

    def search(episode: int, queries: Tensor) -> Tensor:
        if episode not in held:
            if len(held) == _together(task):
                held.clear()  # these were the episodes of the part before
            memory = held[episode] = copy.copy(first)
            memory.write(maker.one(episode).keys, maker.labels, page=episode)
            memory.skip_reads(task.way * task.queries)
        return held[episode].search(queries)[0]

    return search


def _each(data: FewShotData, task: FewShotTask, of: Callable[[_Part, Tensor], Tensor]) -> Tensor:
    """`of` for every part of the queries, joined in their order."""
    query = torch.from_numpy(data.query).flatten(1)
    return torch.cat([of(p, data.images[query[p.first : p.last, p.start : p.stop].flatten()]) for p in _parts(task)])


def _parts(task: FewShotTask) -> Iterator[_Part]:
    """Whole episodes as long as they fit a batch, else parts of one."""
    each, several = task.way * task.queries, _together(task)
    for first in range(0, task.episodes, several):
        for start in range(0, each, task.batch):
            yield _Part(first, min(first + several, task.episodes), start, min(start + task.batch, each))


def _together(task: FewShotTask) -> int:
    """Episodes of one part."""
    return max(1, task.batch // (task.way * task.queries))


def _loss(part: _Part, data: FewShotData, task: FewShotTask, victim: Victim) -> Callable[[Tensor], Tensor]:
    """Cross-entropy of these queries, summed, as a function of their normalised images."""
    labels = torch.arange(task.way).repeat_interleave(task.queries)[part.start : part.stop]
    labels = labels.repeat(part.last - part.first).to(data.images.device)

    def loss(images: Tensor) -> Tensor:
        logits = _logits(part, victim.network(images), data, task, victim)
        return F.cross_entropy(logits.flatten(0, 1), labels, reduction="sum")

    return loss


def _logits(part: _Part, features: Tensor, data: FewShotData, task: FewShotTask, victim: Victim) -> Tensor:
    """Logits [e, n, way] of query features [e x n, d], differentiable in these."""
    cosines = task.attack is None or task.attack.loss == "cosine"
    keys, queries, labels = _presented(part, features, data, task, victim.keys, cosines)
    values = F.one_hot(labels, task.way).to(features)
    if cosines:
        return cosine(queries, keys) @ values
    formed = instead(queries, key_form(queries, task.query_form or task.keys))
    compare = SIMILARITIES[task.similarity]
    logits = inference_logits(compare(formed, keys), values, task.sharpening)
    if victim.search is None:
        return logits
    searched = [victim.search(part.first + k, q) for k, q in enumerate(formed.detach())]
    return instead(logits, torch.stack(searched))


def _presented(
    part: _Part, features: Tensor, data: FewShotData, task: FewShotTask, keys: Tensor, cosines: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys [e, n, dim] and queries as the memory gets them, these before they are brought into its form."""
    support = data.support[part.first : part.last]
    rows = torch.from_numpy(support).flatten()
    here = np.arange(support.size).reshape(support.shape)
    query = support.size + np.arange(len(features)).reshape(len(support), 1, -1)
    asked = task.model_copy(update={"query_form": "float", **({"keys": "float"} if cosines else {})})
    maker = KeyMaker(torch.cat([keys[rows].detach(), features]), asked, here, query)
    found: Keys = maker.of(slice(None))
    return found.keys, found.queries, maker.labels.to(features.device)


def _pgd(part: _Part, images: Tensor, data: FewShotData, task: FewShotTask, victim: Victim) -> Tensor:
    spec, space = task.attack, pixel_space(task)
    if not isinstance(spec, Pgd):  # pragma: no cover - the caller has looked
        return images
    loss = _loss(part, data, task, victim)
    gradient: Gradient = gradient_of(lambda pixels: loss(space.images(pixels)))
    start = _start(part, images, spec.seed) if spec.random_start else None
    return space.images(pgd(space.pixels(images), gradient, spec.epsilon, spec.steps, spec.step_size, start))


def _start(part: _Part, images: Tensor, seed: int) -> Tensor:
    """Uniform in [-1, 1] per pixel; the draws of an episode depend on its number alone."""
    stream, pixels = Stream(seed, "attack", "start"), images[0].numel()
    drawn = [stream.uniform(part.stop * pixels, chip=k)[part.start * pixels :] for k in range(part.first, part.last)]
    uniform = torch.from_numpy(np.concatenate(drawn)).double().reshape(images.shape)
    return (2 * uniform - 1).to(images.device)
