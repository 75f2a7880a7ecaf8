"""Features in the plane (t-SNE), as the digital network and as a chip gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array import Chip, load_chip
from imc_sim.data import gather_images, load_pool
from imc_sim.evaluate._memory_keys import centred_forms
from imc_sim.evaluate._tasks import FewShotTask, build_task

Floats = NDArray[np.float64]

#: images beyond which an exact t-SNE takes minutes
_MOST = 1000


@final
@dataclass(frozen=True)
class Embedding:
    """One panel: points [n, 2] in the plane, the class of each [n], and `nearest`.

    nearest: share of the images whose nearest other image, in the space of the features, is of their own class;
    distances in the plane say little by themselves.
    """

    panel: str
    points: Floats
    classes: NDArray[np.int64]
    nearest: float


def embedding(
    model: str, chip: Chip | str | dict[str, Any], task: dict[str, Any], classes: int = 10, instances: int = 20,
    number: int = 0, seed: int = 0, perplexity: float = 15.0,
) -> list[Embedding]:  # fmt: skip
    """The digital features of the first classes of the task's split, then those of chip `number`.

    Features are in the form that keys have in the memory. The second panel starts from the first one's points and is
    turned onto them at the end, so that classes stay where they are as far as the chip leaves them there.
    Source: van der Maaten and Hinton, JMLR 9 (2008), computed exactly, with a fixed seed.
    """
    from imc_sim.evaluate._run import sized

    asked = sized(build_task(task, "task"), model)
    images, labels = _images(asked, classes, instances)
    if len(labels) > _MOST or len(labels) <= 3 * perplexity:
        allowed = f"more than {3 * perplexity:g} (three times the perplexity) and at most {_MOST}"
        raise InputError("t-SNE, images", len(labels), allowed, "Change classes, instances or perplexity.")
    spec = load_chip(chip)
    digital, analog = _features(model, spec, images, number, seed)
    first, second = (centred_forms(features, asked).double().numpy() for features in (digital, analog))
    start = tsne(first, perplexity, seed)
    moved = turned(tsne(second, perplexity, seed, start=start), start)
    name = f"{spec.name}, chip {number}"
    return [
        Embedding("digital", start, labels, _nearest(first, labels)),
        Embedding(name, moved, labels, _nearest(second, labels)),
    ]


def tsne(features: Floats, perplexity: float, seed: int, start: Floats | None = None) -> Floats:
    """Points [n, 2] for features [n, d]; start: points to begin at, brought to t-SNE's usual small scale."""
    from sklearn.manifold import TSNE

    init: Any = "pca" if start is None else (1e-4 * start / start.std()).astype(np.float32)
    plane = TSNE(2, perplexity=perplexity, init=init, method="exact", random_state=seed, learning_rate="auto")
    return plane.fit_transform(features).astype(np.float64)


def turned(points: Floats, onto: Floats) -> Floats:
    """Points rotated or mirrored to lie as near to the others as they can; distances, all that t-SNE knows, stay.

    Source: Schoenemann, Psychometrika 31 (1966).
    """
    u, _, vt = np.linalg.svd(points.T @ onto)
    return points @ (u @ vt)


def _images(asked: FewShotTask, classes: int, instances: int) -> tuple[Tensor, NDArray[np.int64]]:
    pool = load_pool(asked.dataset, asked.split, asked.size or 32)
    classes = min(classes, asked.classes or len(pool.images), len(pool.images))
    instances = min(instances, asked.instances or pool.images.shape[1], pool.images.shape[1])
    labels = np.repeat(np.arange(classes), instances)
    triples = np.stack([labels, np.tile(np.arange(instances), classes), np.zeros_like(labels)], 1)
    return torch.from_numpy(gather_images(pool, triples, asked.scaling)), labels


@torch.no_grad()
def _features(model: str, chip: Chip, images: Tensor, number: int, seed: int) -> tuple[Tensor, Tensor]:
    from imc_sim.evaluate._run import _model
    from imc_sim.mapping import map_model

    network = _model(model)
    analog = map_model(network, chip, range(number, number + 1), seed)
    if chip.calibrates and analog.analog_layers:
        analog.calibrate(images)
    return network(images), analog(images)[0]


def _nearest(features: Floats, classes: NDArray[np.int64]) -> float:
    square = (features**2).sum(1)
    distance = square[:, None] + square - 2 * features @ features.T
    np.fill_diagonal(distance, np.inf)
    return float((classes[distance.argmin(1)] == classes).mean())
