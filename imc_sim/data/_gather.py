"""From indices to normalised images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imc_sim.data._episodes import Episodes, Ints
from imc_sim.data._registry import dataset_info
from imc_sim.data._sets import CharacterPool, LabelledImages
from imc_sim.data._whitening import whitened

Images = NDArray[np.float32]
Scaling = Literal["standard", "unit"]
LabelledScaling = Literal["standard", "unit", "whitened"]


@dataclass(frozen=True, eq=False)
class UniqueImages:
    """The distinct images of some episodes, so that a network need see each only once.

    triples: int64 [u, 3], (class, instance, quarter turns). support: [e, way, shot] and query:
    [e, way, queries], rows of `triples`.
    """

    triples: Ints
    support: Ints
    query: Ints


def unique_images(episodes: Episodes) -> UniqueImages:
    """Each distinct rotated image once, and where each episode finds its own."""
    both = np.concatenate([episodes.support, episodes.query], axis=2)
    instances = int(both.max()) + 1
    code = (episodes.classes[:, :, None] * instances + both) * 4 + episodes.rotation[:, None, None]
    distinct, index = np.unique(code, return_inverse=True)
    index = index.reshape(code.shape).astype(np.int64)
    triples = np.stack([distinct // (4 * instances), distinct // 4 % instances, distinct % 4], 1)
    shot = episodes.support.shape[2]
    return UniqueImages(triples, index[:, :, :shot], index[:, :, shot:])


def repeated_images(episodes: Episodes) -> UniqueImages:
    """The images of one episode after the other, support before queries, class-major; none is shared."""
    parts = (episodes.support, episodes.query)
    triples, rows, start = [], [], 0
    for part in parts:
        places = [
            np.broadcast_to(x, part.shape) for x in (episodes.classes[:, :, None], episodes.rotation[:, None, None])
        ]
        triples.append(np.stack([places[0], part, places[1]], -1).reshape(len(part), -1, 3))
        rows.append(np.arange(start, start + part[0].size).reshape(part.shape[1:]))
        start += part[0].size
    first = np.arange(len(episodes.classes))[:, None, None] * start
    return UniqueImages(np.concatenate(triples, 1).reshape(-1, 3), first + rows[0], first + rows[1])


def gather_images(pool: CharacterPool, triples: Ints, scaling: Scaling = "standard") -> Images:
    """Images (class, instance, quarter turns) [u, 3] of a pool as [u, 1, H, W], normalised after the turn.

    The pool's images must be square where any is turned. scaling: `standard`, mean and deviation of the pool; `unit`,
    every image from its darkest pixel at 0 to its lightest at 1, as other projects' networks take them.
    """
    images = pool.images[triples[:, 0], triples[:, 1]]
    for turns in (1, 2, 3):
        rows = triples[:, 2] == turns
        images[rows] = np.rot90(images[rows], turns, axes=(1, 2))
    return (_unit(images) if scaling == "unit" else _levels(pool.mean, pool.std)[images])[:, None]


def gather_labelled(
    data: LabelledImages, rows: Ints | slice = slice(None), scaling: LabelledScaling = "standard"
) -> Images:
    """Rows of a labelled set as [n, channels, H, W], normalised; features in place of images as they are, [n, numbers].

    scaling: `standard` with the constants of the registry, `unit` to [0, 1], `whitened` as the original networks in
    network take CIFAR-10 (`imc_sim.data._whitening`).
    """
    images = data.images[rows]
    if images.dtype == np.float32:
        return images.astype(np.float32)
    info = dataset_info(data.name)
    if scaling == "whitened":
        return whitened(images, data.name)
    planes = images[..., None] if images.ndim == 3 else images
    constants = zip(info.mean, info.std, strict=True) if scaling == "standard" else [(0.0, 1.0)] * planes.shape[3]
    levels = [_levels(*each) for each in constants]
    return np.stack([level[planes[..., c]] for c, level in enumerate(levels)], axis=1)


def _unit(images: NDArray[np.uint8]) -> Images:
    """Each image [u, H, W] stretched to [0, 1]; one of a single grey level is 0 throughout."""
    low, high = (images.reshape(len(images), -1).astype(np.float32) for _ in range(2))
    low, high = low.min(1)[:, None, None], high.max(1)[:, None, None]
    return (images - low) / np.maximum(high - low, 1)


def _levels(mean: float, std: float) -> Images:
    """What each of the 256 grey levels becomes."""
    return ((np.arange(256) / 255 - mean) / std).astype(np.float32)
