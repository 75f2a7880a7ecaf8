"""Labelled images of a classification task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.data import LabelledImages, LabelledScaling, gather_labelled
from imc_sim.evaluate._features import viewed_images
from imc_sim.evaluate._tasks import ClassificationTask


@final
@dataclass(frozen=True)
class ClassificationData:
    """The images of a classification task, stored as bytes until they are needed.

    Args:
        source: labelled set.
        rows: rows of the source, ascending.
        scaling: scaling of grey levels.
        device: device of the tensors.
    """

    source: LabelledImages
    rows: np.ndarray
    scaling: LabelledScaling
    device: str = "cpu"

    @classmethod
    def load(cls, task: ClassificationTask) -> ClassificationData:
        """Sample the images of a task.

        Args:
            task: classification task.

        Returns:
            The images.
        """
        source = viewed_images(task.dataset, task.split, task.size, task, task.scaling)
        return cls(source, drawn_rows(len(source.labels), task.images, task.seed), task.scaling)

    @property
    def labels(self) -> Tensor:
        """Return the labels [n]."""
        return torch.from_numpy(self.source.labels[self.rows])

    def images(self, start: int, stop: int) -> Tensor:
        """Return images `start` to `stop`, [b, channels, H, W].

        Args:
            start: index of the first image.
            stop: index after the last one.
        """
        return torch.from_numpy(gather_labelled(self.source, self.rows[start:stop], self.scaling)).to(self.device)

    def some(self, most: int, seed: int) -> Tensor:
        """Return a sample of at most `most` images, the same for every number of images that `seed` has sampled.

        Args:
            most: largest number of images.
            seed: seed of the task.
        """
        rows = drawn_rows(len(self.source.labels), min(most, len(self.rows)), seed)
        return dataclasses.replace(self, rows=rows).images(0, most)

    def batches(self, size: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (index of the first image, images) batch by batch.

        Args:
            size: images per batch.
        """
        for start in range(0, len(self.rows), size):
            yield start, self.images(start, start + size)


def drawn_rows(count: int, wanted: int | None, seed: int) -> np.ndarray:
    """Sample rows without replacement.

    Args:
        count: number of rows.
        wanted: number of rows to sample; None: all.
        seed: seed of the sample.

    Returns:
        The rows, ascending.

    Raises:
        InputError: there are fewer rows.
    """
    if wanted is None:
        return np.arange(count)
    if wanted > count:
        raise InputError("task.images", wanted, f"{count} or fewer in this split", "Set fewer images.")
    keys = Stream(seed, "images", "draw").words(4 * count, chip=0).view(np.uint64)
    return np.sort(np.argsort(keys, kind="stable")[:wanted])
