"""Feature vectors instead of images: the inputs of the last layer of a trained network, for training other networks.

Reference: Laborieux, Ernoult, Hirtzlin and Querlioz, Nat. Commun. 12:2549 (2021), in the authors' code; their features
are of a ResNet-18 trained on ImageNet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.data import (
    FolderImages,
    LabelledImages,
    LabelledScaling,
    View,
    cached_array,
    fingerprint,
    gather_labelled,
    load_classes,
    task_images,
)
from imc_sim.evaluate._identity import features_digest
from imc_sim.nn import evaluating, product_layers
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of
from imc_sim.nn.store import ModelCard, load_card, load_model

#: images in a batch of the network
_BATCH = 250


def viewed_images(
    dataset: str, split: str, size: int | None, view: View, scaling: LabelledScaling, where: str = "task"
) -> LabelledImages:
    """Return the images and labels of a split as transformed by `view`; feature vectors if it names a model.

    Args:
        dataset: name of a data set.
        split: its split.
        size: pixels per side of the images, before they become features.
        view: transformations.
        scaling: scaling of the grey levels of these images.
        where: names the source of the settings in errors.
    """
    if view.features is None:
        return task_images(load_classes(dataset, split, size), view, where)
    return task_images(feature_vectors(view.features, dataset, split, size, scaling, where), view, where)


def feature_vectors(
    model: str, dataset: str, split: str, size: int | None = None, scaling: LabelledScaling = "standard",
    where: str = "task",
) -> LabelledImages:  # fmt: skip
    """Return a labelled set with a vector for each unchanged image: float32 [n, numbers].

    A vector is the flattened input of the last product layer of the trained `model`, scaled by `normalised`. It is
    computed once for the weights, the architecture and the images, and cached with the decoded data sets.

    Args:
        model: name or path of a model.
        dataset: name of a data set.
        split: its split.
        size: pixels per side; None: the size that the model takes.
        scaling: scaling of grey levels, as in the training of the model.
        where: names the source of the settings in errors.

    Raises:
        InputError: a scaling other than that of the model's training.
    """
    card, _ = load_card(model)
    _check_scaling(card, scaling, where)
    network = load_model(model)
    own = getattr(network, "size", None)
    data = load_classes(dataset, split, size or (own if isinstance(own, int) else None))
    facts = (features_digest(model), data.name, scaling, data.images.shape, *_content(data.images))
    vectors = cached_array(f"features-{split}", fingerprint(facts), lambda: _computed(network, data, scaling, where))
    # The type of a set's images is that of most sets; `LabelledImages` says what these are.
    return LabelledImages(data.name, data.split, cast("NDArray[np.uint8]", vectors), data.labels, data.class_names)


def normalised(vectors: Tensor) -> Tensor:
    """Return each vector minus its mean, divided by its variance, in float64; zeros where all its numbers are equal.

    The division is by the variance, not by the standard deviation, as published; the variance is over the numbers of a
    vector, divided by their count.

    Args:
        vectors: [n, numbers].
    """
    x = vectors.double()
    centred = x - x.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return torch.where(variance > 0, centred / variance, torch.zeros_like(centred))


def last_hidden(network: nn.Module, images: Tensor) -> Tensor:
    """Return the inputs [batch, numbers] of the last product layer, without gradients.

    Args:
        network: digital network.
        images: [batch, channels, H, W].

    Raises:
        InputError: the network does not end in one product layer.
    """
    kept: list[Tensor] = []
    layers = product_layers(network)
    if layers:
        handle = layers[-1].register_forward_pre_hook(lambda _, args: kept.append(args[0]))
        try:
            with torch.no_grad(), evaluating(network):
                network(images)
        finally:
            handle.remove()
    if len(kept) != 1:
        got = f"a network whose last layer is passed {len(kept)} times"
        raise InputError("features", got, "a network that ends in a layer of imc_sim.nn", "Name another model.")
    return kept[0].flatten(1)


def _computed(network: nn.Module, data: LabelledImages, scaling: LabelledScaling, where: str) -> NDArray[np.float32]:
    channels = getattr(network, "channels_in", None)
    found = 1 if data.images.ndim == 3 else 3
    if channels not in (None, found):
        got, step = f"images of {found} channels", "Take a model that was trained on such images."
        raise InputError(f"{where}.features", got, f"{channels}, as the model takes", step)
    return np.concatenate(list(_in_batches(network, data, scaling)))


def _in_batches(network: nn.Module, data: LabelledImages, scaling: LabelledScaling) -> Iterator[NDArray[np.float32]]:
    neurons = neurons_of(network)
    for start in range(0, len(data.labels), _BATCH):
        images = torch.from_numpy(gather_labelled(data, slice(start, start + _BATCH), scaling))
        draw_neurons(neurons, Draws(0, first=start))
        yield normalised(last_hidden(network, images)).float().numpy()


def _content(images: NDArray[np.uint8] | FolderImages) -> list[object]:
    """Return what identifies these images: their bytes, or their files."""
    if isinstance(images, FolderImages):
        return [images.folder, *images.files, images.facts.tobytes()]
    return [hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()]


def _check_scaling(card: ModelCard, scaling: str, where: str) -> None:
    trained = card.recipe.get("scaling", scaling)
    if trained != scaling:
        step = f"Set scaling: {trained}."
        raise InputError(f"{where}.scaling", repr(scaling), f"{trained}, as {card.name!r} was trained", step)
