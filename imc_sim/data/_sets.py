"""What a loaded data set is."""

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
    """Images with a class each; arrays are read-only.

    images: uint8 [n, H, W], or [n, H, W, 3] in colour, as the set has them; or float32 [n, numbers], features in their
    place. labels: int64 [n], indices into `class_names`.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CharacterPool:
    """Equally many images of each class, to draw episodes from; the array is read-only.

    images: uint8 [classes, instances, H, W]. In characters an instance is a drawer, ink is 0 and paper 255.
    mean, std: constants that normalise image / 255.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    class_names: tuple[str, ...]
    mean: float
    std: float

    @property
    def shape(self) -> tuple[int, int]:
        """(classes, instances)."""
        return self.images.shape[0], self.images.shape[1]


def as_pool(data: LabelledImages, instances: int | None = None) -> CharacterPool:
    """Grey labelled images as a pool: the first `instances` of each class, in the order of the file.

    None takes as many as the smallest class has.
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
