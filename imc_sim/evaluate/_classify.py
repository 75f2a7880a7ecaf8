"""Accuracy of classifiers, digital or on chips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim._tensors import check_finite
from imc_sim.analog import AnalogModel
from imc_sim.data import LabelledImages, LabelledScaling, check_labels, gather_labelled
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._features import viewed_images
from imc_sim.evaluate._tasks import ClassificationTask
from imc_sim.nn import Draws, draw_neurons, evaluating, neurons_of


@final
@dataclass(frozen=True)
class ClassificationData:
    """The images asked for, as bytes until they are needed. rows: which of the set, ascending; labels: [n]."""

    source: LabelledImages
    rows: np.ndarray
    scaling: LabelledScaling
    device: str = "cpu"

    @classmethod
    def load(cls, task: ClassificationTask) -> ClassificationData:
        """Draw the task's images."""
        source = viewed_images(task.dataset, task.split, task.size, task, task.scaling)
        return cls(source, drawn_rows(len(source.labels), task.images, task.seed), task.scaling)

    @property
    def labels(self) -> Tensor:
        return torch.from_numpy(self.source.labels[self.rows])

    def images(self, start: int, stop: int) -> Tensor:
        """Images `start` to `stop` of these, [b, channels, H, W]."""
        return torch.from_numpy(gather_labelled(self.source, self.rows[start:stop], self.scaling)).to(self.device)

    def batches(self, size: int) -> Iterator[tuple[int, Tensor]]:
        """(number of the first image, images) of one batch after the other."""
        for start in range(0, len(self.rows), size):
            yield start, self.images(start, start + size)


def drawn_rows(count: int, wanted: int | None, seed: int) -> np.ndarray:
    """`wanted` of `count` rows, without replacement, ascending; None: all."""
    if wanted is None:
        return np.arange(count)
    if wanted > count:
        raise InputError("task.images", wanted, f"{count} or fewer in this split", "Ask for fewer images.")
    keys = Stream(seed, "images", "draw").words(4 * count, chip=0).view(np.uint64)
    return np.sort(np.argsort(keys, kind="stable")[:wanted])


@torch.no_grad()
def class_accuracy(model: nn.Module, task: ClassificationTask, data: ClassificationData | None = None) -> Accuracy:
    """Accuracy and loss of the digital network."""
    data = data or ClassificationData.load(task)
    neurons, parts = neurons_of(model), []
    with evaluating(model):
        for start, images in data.batches(task.batch):
            draw_neurons(neurons, Draws(task.seed, first=start))
            parts.append(competing(model(images), task, data).float().cpu())
    logits = torch.cat(parts)
    return _accuracy(logits.argmax(1), data.labels, float(F.cross_entropy(logits.double(), data.labels)))


@torch.no_grad()
def chip_class_accuracy(analog: AnalogModel, task: ClassificationTask, data: ClassificationData) -> list[Accuracy]:
    """Accuracy of each chip."""
    found = (competing(analog(images), task, data) for _, images in data.batches(task.batch))
    answers = torch.cat([outputs.argmax(-1).cpu() for outputs in found], dim=1)
    return [_accuracy(each, data.labels) for each in answers]


@torch.no_grad()
def output_count(network: nn.Module, images: Tensor) -> int:
    """Return how many outputs the network has for each of these images."""
    draw_neurons(neurons_of(network), Draws(seed=0))
    with evaluating(network):
        return network(images).shape[-1]


def competing(outputs: Tensor, task: ClassificationTask, data: ClassificationData) -> Tensor:
    """Return the outputs [..., classes], those that do not compete as minus infinity.

    Raises:
        InputError: labels that the network does not have.
        NumericsError: outputs that are not finite.
    """
    count = len(data.source.class_names)
    check_labels(task, count, outputs.shape[-1])
    check_finite(outputs, "outputs of the network")
    if task.outputs == "all":
        return outputs
    others = torch.ones(outputs.shape[-1], dtype=torch.bool, device=outputs.device)
    others[list(task.labels_of(count))] = False
    return outputs.masked_fill(others, -torch.inf)


def _accuracy(answers: Tensor, labels: Tensor, loss: float | None = None) -> Accuracy:
    """Ties go to the class that comes first."""
    return Accuracy((answers == labels).double().numpy(), len(labels), "images", loss)
