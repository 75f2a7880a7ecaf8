"""Loaded data sets: labelled images, and pools of classes for episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.data._registry import dataset_info

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with one class each. The arrays of a loaded data set are read-only.

    Attributes:
        name: name of the data set.
        split: name of the split.
        images: uint8 [n, H, W], or [n, H, W, 3] in colour, not normalised; or float32 [n, numbers], features that
            replace the images.
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
        images: uint8 [classes, instances, H, W], read-only. For characters, an instance is a drawer, ink is 0 and paper
            is 255.
        class_names: names of the classes, "alphabet/character" for characters.
        mean: constant that normalisation subtracts from image / 255.
        std: constant by which normalisation then divides.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    class_names: tuple[str, ...]
    mean: float
    std: float

    @property
    def shape(self) -> tuple[int, int]:
        """Number of classes, and of instances of each class."""
        return self.images.shape[0], self.images.shape[1]


def as_pool(data: LabelledImages, instances: int | None = None) -> CharacterPool:
    """Convert grey labelled images to a pool.

    Args:
        data: grey images of a labelled data set.
        instances: images of each class; the first ones of the split are used. None: the size of the smallest class.

    Returns:
        The pool, with images uint8 [classes, instances, H, W].

    Raises:
        InputError: a class has fewer images than `instances`, `instances` is below 1, or the images are in colour.
    """
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    wanted = int(counts.min()) if instances is None else instances
    if not 1 <= wanted <= counts.min():
        allowed = f"1 to {counts.min()}, the size of the smallest class of {data.name!r} {data.split}"
        raise InputError("instances", wanted, allowed, "Ask for fewer images of each class.")
    if data.images.ndim != 3:
        raise InputError("as_pool", f"colour images of {data.name!r}", "grey images", "Choose a grey set.")
    order = np.argsort(data.labels, kind="stable")
    first = np.cumsum(counts) - counts
    images = data.images[order[first[:, None] + np.arange(wanted)]]
    images.setflags(write=False)
    info = dataset_info(data.name)
    return CharacterPool(data.name, data.split, images, data.class_names, info.mean[0], info.std[0])
