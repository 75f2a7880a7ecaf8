"""Gather normalised images by their indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.data._episodes import Episodes, Ints
from imc_sim.data._sets import CharacterPool, LabelledImages, constants_of
from imc_sim.data._whitening import whitened

Images = NDArray[np.float32]
Scaling = Literal["standard", "unit"]
LabelledScaling = Literal["standard", "unit", "whitened"]


@dataclass(frozen=True, eq=False)
class UniqueImages:
    """Images of some episodes as one list, and the rows of that list that each episode uses.

    Attributes:
        triples: int64 [images, 3], (class, instance, quarter turns counter-clockwise) of each image.
        support: int64 [episodes, way, shot], rows of `triples`.
        query: int64 [episodes, way, queries], rows of `triples`.
    """

    triples: Ints
    support: Ints
    query: Ints


@checked
def unique_images(episodes: Episodes) -> UniqueImages:
    """List each distinct rotated image of some episodes once, so that a network evaluates it only once.

    Args:
        episodes: sampled episodes.

    Returns:
        The images, sorted by class, instance and quarter turns, and their rows for each episode.
    """
    both = np.concatenate([episodes.support, episodes.query], axis=2)
    instances = int(both.max()) + 1
    code = (episodes.classes[:, :, None] * instances + both) * 4 + episodes.rotation[:, None, None]
    distinct, index = np.unique(code, return_inverse=True)
    index = index.reshape(code.shape).astype(np.int64)
    triples = np.stack([distinct // (4 * instances), distinct // 4 % instances, distinct % 4], 1)
    shot = episodes.support.shape[2]
    return UniqueImages(triples, index[:, :, :shot], index[:, :, shot:])


def repeated_images(episodes: Episodes) -> UniqueImages:
    """List the images of each episode separately, also those that occur in several episodes.

    Args:
        episodes: sampled episodes.

    Returns:
        The images, one episode after the other, support before queries, and the instances of a class together.
    """
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


@checked
def gather_images(pool: CharacterPool, triples: Ints, scaling: Scaling = "standard") -> Images:
    """Gather images of a pool, turn them and normalise them.

    Args:
        pool: pool of the images; they must be square if any of them is turned. Floating-point numbers are not scaled.
        triples: int64 [n, 3], (class, instance, quarter turns counter-clockwise) of each image.
        scaling: "standard" subtracts the `mean` of the pool from image / 255 and divides by its `std`;
            "unit" maps the darkest pixel of each image to 0 and its lightest pixel to 1.

    Returns:
        The images, float32 [n, channels, H, W]; numbers of the user [n, *].

    Raises:
        InputError: images that are not square, or no images, are turned.
    """
    triples = _checked_triples(np.asarray(triples), pool)
    images = pool.images[triples[:, 0], triples[:, 1]]
    exact = images.dtype == np.float32
    axes = (2, 3) if exact else (1, 2)
    if bool(triples[:, 2].any()) and (images.ndim < 3 or images.shape[axes[0]] != images.shape[axes[1]]):
        step = "Set rotations: false in the task."
        raise InputError(
            "task.rotations", f"images of shape {images.shape[1:]} of {pool.name!r}", "square images", step
        )
    for turns in (1, 2, 3):
        rows = triples[:, 2] == turns
        images[rows] = np.rot90(images[rows], turns, axes=axes) if rows.any() else images[rows]
    if exact:
        return images.astype(np.float32, copy=False)
    if scaling == "standard":
        return _normalised(images, *(c if isinstance(c, tuple) else (c,) for c in (pool.mean, pool.std)))
    found = _unit(images)
    return found[:, None] if found.ndim == 3 else np.moveaxis(found, 3, 1)


def _checked_triples(triples: Ints, pool: CharacterPool) -> Ints:
    """Return triples if they are [n, 3] and name images of a pool."""
    allowed, step = "whole numbers [n, 3] of images of the pool", "Give (class, instance, quarter turns) of each image."
    if triples.ndim != 2 or triples.shape[1] != 3 or triples.dtype.kind not in "iu":
        got = f"{triples.dtype} of shape {triples.shape}"
        raise InputError("gather_images, triples", got, allowed, step)
    if len(triples) and not (triples.min() >= 0 and (triples[:, :2].max(0) < pool.images.shape[:2]).all()):
        got = f"numbers from {triples.min()} to {triples.max(0).tolist()} with images {pool.images.shape[:2]}"
        raise InputError("gather_images, triples", got, allowed, step)
    return triples


def gather_labelled(
    data: LabelledImages, rows: Ints | slice = slice(None), scaling: LabelledScaling = "standard"
) -> Images:
    """Gather images of a labelled set and normalise them; features are returned unchanged.

    Args:
        data: images, uint8 [m, H, W] or [m, H, W, channels], or features or images of the user, float32 [m, *].
        rows: int64 [n] or a slice, the images to gather.
        scaling: "standard" subtracts the `mean` of the data set from image / 255 and divides by its `std`, for each
            channel; "unit" divides by 255; "whitened" normalises each image and applies the ZCA matrix of
            the training images, the input of the original network-in-network models for CIFAR-10
            (`imc_sim.data._whitening`).

    Returns:
        The images, float32 [n, channels, H, W], or the features, float32 [n, numbers].

    Raises:
        InputError: scaling is "whitened" and the data set is not a labelled one.
    """
    images = data.images[rows]
    if images.dtype == np.float32:
        return images.astype(np.float32)
    if scaling == "whitened":
        return whitened(images, data.name)
    if scaling == "standard":
        return _normalised(images, *constants_of(data.name, images.shape[1:]))
    channels = images.shape[3] if images.ndim == 4 else 1
    return _normalised(images, (0.0,) * channels, (1.0,) * channels)


def _normalised(images: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> Images:
    """Return image / 255 minus the mean over the deviation of each channel, [n, channels, H, W]."""
    planes = images[..., None] if images.ndim == 3 else images
    levels = [_levels(*each) for each in zip(mean, std, strict=True)]
    return np.stack([level[planes[..., c]] for c, level in enumerate(levels)], axis=1)


def _unit(images: NDArray[np.uint8]) -> Images:
    """Scale each image [n, H, W] or [n, H, W, channels] to the range [0, 1]; an image of a single level becomes 0."""
    low, high = (images.reshape(len(images), -1).astype(np.float32) for _ in range(2))
    each = (len(images), *[1] * (images.ndim - 1))
    low, high = low.min(1).reshape(each), high.max(1).reshape(each)
    return (images - low) / np.maximum(high - low, 1)


def _levels(mean: float, std: float) -> Images:
    """Return the normalised value of each of the 256 grey levels, float32 [256]."""
    return ((np.arange(256) / 255 - mean) / std).astype(np.float32)
