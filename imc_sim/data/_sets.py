"""Loaded data sets: labelled images, and pools of classes for episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.data._registry import dataset_info, own_constants, own_kind

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with one class each. The arrays of a loaded data set are read-only.

    Attributes:
        name: name of the data set.
        split: name of the split.
        images: uint8 [n, H, W], or [n, H, W, 3] in colour, not normalised; or float32 [n, numbers], features that
            replace the images; or float32 [n, channels, H, W], images of the user as the network takes them.
        labels: int64 [n], indices into `class_names`, unless a `View` changed them.
        class_names: names of the classes of the data set.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CharacterPool:
    """Classes with the same number of images each, from which episodes are sampled.

    Attributes:
        name: name of the data set.
        split: name of the split.
        images: uint8 [classes, instances, H, W], or [classes, instances, H, W, 3] in colour, read-only. For characters,
            an instance is a drawer, ink is 0 and paper is 255. Or float32 [classes, instances, *], images of the user
            as the network takes them.
        class_names: names of the classes, "alphabet/character" for characters.
        mean: constant that normalisation subtracts from image / 255, of each channel.
        std: constant by which normalisation then divides, of each channel.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    class_names: tuple[str, ...]
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of classes, and of instances of each class."""
        return self.images.shape[0], self.images.shape[1]


@checked
def as_pool(data: LabelledImages, instances: int | None = None) -> CharacterPool:
    """Convert labelled images to a pool.

    Args:
        data: images with labels; a class without images is left out.
        instances: images of each class; the first ones of the split are used. None: the size of the smallest class.

    Returns:
        The pool, with images [classes, instances, *].

    Raises:
        InputError: a class has fewer images than `instances`, or `instances` is below 1.
    """
    present, labels = np.unique(data.labels, return_inverse=True)
    counts = np.bincount(labels)
    wanted = int(counts.min()) if instances is None else instances
    if not 1 <= wanted <= counts.min():
        allowed = f"1 to {counts.min()}, the size of the smallest class of {data.name!r} {data.split}"
        raise InputError("instances", wanted, allowed, "Ask for fewer images of each class.")
    order = np.argsort(labels, kind="stable")
    first = np.cumsum(counts) - counts
    images = data.images[order[first[:, None] + np.arange(wanted)]]
    images.setflags(write=False)
    names = tuple(data.class_names[label] for label in present)
    exact = images.dtype == np.float32  # as the network takes them
    constants = ((0.0,), (1.0,)) if exact else constants_of(data.name, images.shape[2:])
    return CharacterPool(data.name, data.split, images, names, *constants)


def constants_of(name: str, shape: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation by which uint8 images of a data set are normalised, of each channel.

    Args:
        name: of the data set.
        shape: of one image, [H, W] or [H, W, channels].
    """
    if own_kind(name) is not None:
        return own_constants(shape[2] if len(shape) == 3 else 1)
    info = dataset_info(name)
    return info.mean, info.std
