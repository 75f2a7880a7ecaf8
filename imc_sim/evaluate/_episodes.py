"""Images of few-shot episodes, and their features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.data import EpisodeShape, gather_images, load_pool, repeated_images, sample_episodes, unique_images
from imc_sim.evaluate._tasks import FewShotTask
from imc_sim.evaluate._whole_numbers import in_whole_numbers
from imc_sim.nn import evaluating
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of

#: images -> their features
Encoder = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class FewShotData:
    """The distinct images of all episodes, and which of them each episode uses.

    Args:
        images: normalised images [u, 1, H, W].
        support: rows of the images, [e, way, shot].
        query: rows of the images, [e, way, queries].
        classes: classes of the pool, [e, way]; None if not known.
    """

    images: Tensor
    support: NDArray[np.int64]
    query: NDArray[np.int64]
    classes: NDArray[np.int64] | None = None

    @classmethod
    def load(cls, task: FewShotTask) -> FewShotData:
        """Sample the episodes of a task and gather their images, each distinct one once.

        Args:
            task: few-shot task.

        Returns:
            The images and episodes.
        """
        pool = load_pool(task.dataset, task.split, task.size)
        classes = _at_most("classes", task.classes, pool.images.shape[0])
        instances = _at_most("instances", task.instances, pool.images.shape[1])
        shape = EpisodeShape(way=task.way, shot=task.shot, queries=task.queries)
        e = sample_episodes((classes, instances), shape, range(task.episodes), task.seed, rotations=task.rotations)
        unique = unique_images(e) if task.passes == "distinct" else repeated_images(e)
        images = torch.from_numpy(gather_images(pool, unique.triples, task.scaling))
        return cls(images, unique.support, unique.query, e.classes)

    @property
    def supports(self) -> NDArray[np.int64]:
        """Return the rows of the images that are supports, ascending."""
        return np.unique(self.support)

    def some(self, most: int) -> Tensor:
        """Return at most `most` images of the first episode, supports and queries, evenly spaced.

        Args:
            most: largest number of images.
        """
        rows = np.concatenate([self.support[0].ravel(), self.query[0].ravel()])
        places = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)
        return self.images[torch.from_numpy(rows[places])]

    def with_queries(self, queries: Tensor) -> FewShotData:
        """Return the same episodes with other queries.

        The images of the supports come first, in the order of `supports`.

        Args:
            queries: [e x way x queries, 1, H, W].
        """
        kept, support = np.unique(self.support, return_inverse=True)
        query = len(kept) + np.arange(self.query.size).reshape(self.query.shape)
        images = torch.cat([self.images[torch.from_numpy(kept)], queries])
        return FewShotData(images, support.reshape(self.support.shape), query, self.classes)


@torch.no_grad()
def features_of(network: Encoder, images: Tensor, batch: int) -> Tensor:
    """Return features of images, [u, dim] or [chip, u, dim].

    Stochastic neurons sample from seed 0.

    Args:
        network: images -> features.
        images: [u, 1, H, W].
        batch: images that go through the network together.
    """
    neurons = neurons_of(network) if isinstance(network, nn.Module) else []
    parts = []
    with evaluating(network):
        forward = in_whole_numbers(network, len(images), batch)
        for start in range(0, len(images), batch):
            draw_neurons(neurons, Draws(first=start))
            parts.append(forward(images[start : start + batch]))
    return torch.cat(parts, dim=parts[0].ndim - 2)


def _at_most(what: str, wanted: int | None, available: int) -> int:
    if wanted is not None and wanted > available:
        raise InputError(f"task.{what}", wanted, f"{available} or fewer in this split", f"Use fewer {what}.")
    return wanted or available
