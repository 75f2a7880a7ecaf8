"""Few-shot episodes with attacked queries, through a digital network or through one on a chip.

Every query is attacked against the clean keys of its episode. Queries do not affect one another, so that queries of
several episodes go through the network together. Of attacks through a digital network the session keeps the directions
of FGSM and the queries of PGD.
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
from imc_sim.data import DATASETS
from imc_sim.evaluate._episodes import Encoder, FewShotData, features_of
from imc_sim.evaluate._identity import features_digest
from imc_sim.evaluate._memory_keys import SIMILARITIES, KeyMaker, Keys
from imc_sim.evaluate._read_out import memory_of
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import FewShotTask
from imc_sim.evaluate.attacks import Fgsm, Pgd
from imc_sim.evaluate.attacks.steps import Gradient, PixelSpace, fgsm, gradient_of, pgd
from imc_sim.nn.similarity import cosine, inference_logits, key_form

#: (episode, queries [n, dim] in the form of the memory) -> similarities [n, way] from the chip's memory
Search = Callable[[int, Tensor], Tensor]
#: settings of a task that do not change the gradient of the cosine similarity
_UNFELT = {"keys": "bipolar", "query_form": None, "similarity": "dot", "sharpening": "none"}


@final
@dataclasses.dataclass(frozen=True)
class Target:
    """The target model of an attack.

    Args:
        network: images -> features, differentiable.
        keys: features [u, d] of all images that are supports.
        search: the memory, if it is one on a chip.
    """

    network: Encoder
    keys: Tensor
    search: Search | None = None


class _Part(NamedTuple):
    """Queries that go through the network together: episodes `first` to `last`, places `start` to `stop` in each."""

    first: int
    last: int
    start: int
    stop: int


def attacked_episodes(session: Session, model: str, task: FewShotTask) -> FewShotData:
    """Return the task's episodes with queries attacked through the digital network, even for attacks on chips.

    Without an attack, or with one that changes nothing, these are the clean episodes.
    """
    if task.attack is None or task.attack.is_ideal:
        return session.episodes(task)
    made = _through_digital(task)
    data, target = session.episodes(made), Target(session.model(model), session.features(model, made))
    if isinstance(made.attack, Fgsm):
        # Its attacks of every strength share their directions.
        unit = made.model_copy(update={"attack": made.attack.model_copy(update={"epsilon": 0.0, "space": "pixels"})})
        key = features_digest(model), unit
        queries = stepped(data, made, session.once("directions", key, lambda: directions(data, unit, target)))
    else:
        key = features_digest(model), made
        queries = session.once("attacked queries", key, lambda: attack_queries(data, made, target))
    return data.with_queries(queries)


def attacked_features(session: Session, model: str, task: FewShotTask) -> Tensor:
    """Return the digital network's features [u, d] of the images of `attacked_episodes`."""
    if task.attack is None or task.attack.is_ideal:
        return session.features(model, task)
    made = _through_digital(task)

    def found() -> Tensor:
        supports = session.episodes(made).supports
        queries = attacked_episodes(session, model, made).images[len(supports) :]
        clean = session.features(model, made)[torch.from_numpy(supports)]
        return torch.cat([clean, features_of(session.model(model), queries, made.batch)])

    return session.once("attacked features", (features_digest(model), made), found)


def _through_digital(task: FewShotTask) -> FewShotTask:
    """Return the task reduced to what decides the images of an attack through the digital network."""
    if task.attack is None:
        return task
    attack = task.attack.model_copy(update={"through": "digital", "transfer": "none"})
    return task.model_copy(update={"attack": attack, **(_UNFELT if attack.loss == "cosine" else {})})


def pixel_space(task: FewShotTask) -> PixelSpace:
    """Return the map between the task's images and pixels from 0 to 1; with scaling `unit` images are pixels."""
    if task.scaling == "unit":
        return PixelSpace(0.0, 1.0, levels=0)
    info = DATASETS[task.dataset]
    return PixelSpace(info.mean[0], info.std[0])


def attack_queries(data: FewShotData, task: FewShotTask, target: Target) -> Tensor:
    """Return the attacked queries [e x way x queries, 1, H, W], normalised, in the order of `data.query`."""
    if task.attack is None or task.attack.is_ideal:
        return data.images[torch.from_numpy(data.query).flatten()]
    if isinstance(task.attack, Pgd):
        return _each(data, task, lambda part, images: _pgd(part, images, data, task, target))
    return stepped(data, task, directions(data, task, target))


def directions(data: FewShotData, task: FewShotTask, target: Target) -> Tensor:
    """Return the sign of the loss' gradient at every clean query, int8, in the order of `data.query`."""
    return _each(
        data, task, lambda part, images: gradient_of(_loss(part, data, task, target))(images).sign().to(torch.int8)
    )


def stepped(data: FewShotData, task: FewShotTask, direction: Tensor) -> Tensor:
    """Step along these directions by FGSM, in the space that the attack names."""
    spec, space = task.attack, pixel_space(task)
    images = data.images[torch.from_numpy(data.query).flatten()]
    if isinstance(spec, Fgsm) and spec.space == "normalised":
        return fgsm(images, direction, spec.epsilon)
    return space.images(fgsm(space.pixels(images), direction, spec.epsilon if spec else 0.0))


def chip_target(
    analog: AnalogModel, data: FewShotData, task: FewShotTask, chips: SampledChips, calibration: Keys | None = None
) -> Target:
    """Return the first chip of `analog` as a target, with loss `memory` together with its memory on crossbars, if any.

    calibration: keys and queries that set the ranges of the memory.
    """
    rows = torch.from_numpy(data.supports)
    found = torch.cat([analog(part)[0] for part in data.images[rows].split(task.batch)])
    keys = found.new_zeros(len(data.images), found.shape[-1])
    keys[rows] = found
    search = None
    if task.attack and task.attack.loss == "memory" and chips.searches:
        search = _search(keys, data, task, chips.alone(analog.chips[0]), calibration)
    return Target(lambda images: straight_through(analog, images), keys, search)


def _search(keys: Tensor, data: FewShotData, task: FewShotTask, chip: SampledChips, calibration: Keys | None) -> Search:
    """Return the search of the chip's memory, written as in the evaluation.

    Every call samples read noise again, and no call samples that of the evaluation.
    """
    maker = KeyMaker(keys, task, data.support, data.query)
    first = memory_of(maker, chip, calibration)
    held: dict[int, AssociativeMemory] = {}

    def search(episode: int, queries: Tensor) -> Tensor:
        if episode not in held:
            if len(held) == _together(task):
                held.clear()  # remove the episodes of the previous part
            memory = held[episode] = copy.copy(first)
            memory.write(maker.one(episode).keys, maker.labels, epoch=episode)
            memory.skip_reads(task.way * task.queries)
        return held[episode].search(queries)[0]

    return search


def _each(data: FewShotData, task: FewShotTask, of: Callable[[_Part, Tensor], Tensor]) -> Tensor:
    """Apply `of` to every part of the queries, and join the results in their order."""
    query = torch.from_numpy(data.query).flatten(1)
    return torch.cat([of(p, data.images[query[p.first : p.last, p.start : p.stop].flatten()]) for p in _parts(task)])


def _parts(task: FewShotTask) -> Iterator[_Part]:
    """Yield whole episodes as long as they fit a batch, else parts of one episode."""
    each, several = task.way * task.queries, _together(task)
    for first in range(0, task.episodes, several):
        for start in range(0, each, task.batch):
            yield _Part(first, min(first + several, task.episodes), start, min(start + task.batch, each))


def _together(task: FewShotTask) -> int:
    """Return the number of episodes of one part."""
    return max(1, task.batch // (task.way * task.queries))


def _loss(part: _Part, data: FewShotData, task: FewShotTask, target: Target) -> Callable[[Tensor], Tensor]:
    """Return the summed cross-entropy of these queries as a function of their normalised images."""
    labels = torch.arange(task.way).repeat_interleave(task.queries)[part.start : part.stop]
    labels = labels.repeat(part.last - part.first).to(data.images.device)

    def loss(images: Tensor) -> Tensor:
        logits = _logits(part, target.network(images), data, task, target)
        return F.cross_entropy(logits.flatten(0, 1), labels, reduction="sum")

    return loss


def _logits(part: _Part, features: Tensor, data: FewShotData, task: FewShotTask, target: Target) -> Tensor:
    """Return logits [e, n, way] of query features [e x n, d], differentiable in these."""
    cosines = task.attack is None or task.attack.loss == "cosine"
    keys, queries, labels = _presented(part, features, data, task, target.keys, cosines)
    values = F.one_hot(labels, task.way).to(features)
    if cosines:
        return cosine(queries, keys) @ values
    formed = instead(queries, key_form(queries, task.query_form or task.keys))
    compare = SIMILARITIES[task.similarity]
    logits = inference_logits(compare(formed, keys), values, task.sharpening)
    if target.search is None:
        return logits
    searched = [target.search(part.first + k, q) for k, q in enumerate(formed.detach())]
    return instead(logits, torch.stack(searched))


def _presented(
    part: _Part, features: Tensor, data: FewShotData, task: FewShotTask, keys: Tensor, cosines: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return keys [e, n, dim] and queries as the memory receives them, before the queries are brought into its form."""
    support = data.support[part.first : part.last]
    rows = torch.from_numpy(support).flatten()
    here = np.arange(support.size).reshape(support.shape)
    query = support.size + np.arange(len(features)).reshape(len(support), 1, -1)
    unformed = task.model_copy(update={"query_form": "float", **({"keys": "float"} if cosines else {})})
    maker = KeyMaker(torch.cat([keys[rows].detach(), features]), unformed, here, query)
    found: Keys = maker.of(slice(None))
    return found.keys, found.queries, maker.labels.to(features.device)


def _pgd(part: _Part, images: Tensor, data: FewShotData, task: FewShotTask, target: Target) -> Tensor:
    spec, space = task.attack, pixel_space(task)
    if not isinstance(spec, Pgd):  # pragma: no cover - the caller has checked
        return images
    loss = _loss(part, data, task, target)
    gradient: Gradient = gradient_of(lambda pixels: loss(space.images(pixels)))
    start = _start(part, images, spec.seed) if spec.random_start else None
    return space.images(pgd(space.pixels(images), gradient, spec.epsilon, spec.steps, spec.step_size, start))


def _start(part: _Part, images: Tensor, seed: int) -> Tensor:
    """Return uniform numbers in [-1, 1] per pixel; those of an episode depend only on its number."""
    stream, pixels = Stream(seed, "attack", "start"), images[0].numel()
    drawn = [stream.uniform(part.stop * pixels, chip=k)[part.start * pixels :] for k in range(part.first, part.last)]
    uniform = torch.from_numpy(np.concatenate(drawn)).double().reshape(images.shape)
    return (2 * uniform - 1).to(images.device)
