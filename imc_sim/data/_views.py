"""Views of a labelled set for a task: selected classes, other labels, padding, permuted pixels, or features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._rng import Stream
from imc_sim.config import Spec
from imc_sim.data._sets import LabelledImages

#: pixels of an image at most
_MOST_PIXELS = 10**8


class View(Spec):
    """Changes that a task makes to the images and labels of a labelled set; the defaults change nothing.

    Attributes:
        permutation: seed of one fixed permutation of the pixels, the same in all channels; None: no permutation.
        classes: classes of the data set that the task uses; None: all.
        labels: labels of these classes; "own": their numbers in the data set; "renumbered": 0, 1, … in the order of
            `classes`.
        offset: number that is added to every label.
        pad: pixels per side of the black frame in which smaller images are centred; None: no padding.
        features: name of a trained model; the input of its last layer replaces each image, see
            `imc_sim.evaluate.feature_vectors`. None: images.
    """

    permutation: int | None = Field(default=None, ge=0, description="seed of a permutation of the pixels; null: none")
    classes: tuple[int, ...] | None = Field(default=None, min_length=1, description="of the set; null: all")
    labels: Literal["own", "renumbered"] = Field(
        default="own", description="of classes: as the set numbers them, or 0, 1, … in their order"
    )
    offset: int = Field(default=0, ge=0, description="added to the labels")
    pad: int | None = Field(default=None, ge=1, le=512, description="pixels a side; null: unchanged")
    features: str | None = Field(
        default=None, description="model whose last hidden layer stands for an image; null: none"
    )

    @model_validator(mode="after")
    def _features_have_no_pixels(self) -> Self:
        if self.features is not None and self.moves_pixels:
            raise ValueError("no permutation and no pad with features, which are numbers without places")
        return self

    @model_validator(mode="after")
    def _renumbered_classes_are_named(self) -> Self:
        if self.labels == "renumbered" and self.classes is None:
            raise ValueError("classes with labels renumbered, or labels own")
        return self

    def labels_of(self, count: int) -> tuple[int, ...]:
        """Return the label of each class of the task.

        Args:
            count: classes of the data set.

        Returns:
            The labels in the order of `classes`, or of the data set if all classes are used.
        """
        classes = range(count) if self.classes is None else self.classes
        own = classes if self.labels == "own" else range(len(classes))
        return tuple(label + self.offset for label in own)

    @property
    def moves_pixels(self) -> bool:
        """True if pixels are permuted or padded, so that their positions differ from those in the data set."""
        return self.permutation is not None or self.pad is not None


#: the keys of a `View`, at values that change nothing
AS_THEY_ARE: Final = View().to_dict()


def said_labels(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a view without a redundant `labels`, for digests.

    Earlier versions always renumbered the classes and had no key `labels`. The key is therefore removed if the labels
    are renumbered, or if both settings result in the same labels, so that digests of earlier versions remain valid.

    Args:
        view: settings of a `View` by name; it is not changed.

    Returns:
        A copy of the settings, with or without `labels`.
    """
    classes = view.get("classes")
    kept = view.get("labels", "renumbered") == "own" and list(classes or ()) != list(range(len(classes or ())))
    return {key: value for key, value in view.items() if key != "labels" or kept}


def check_labels(view: View, count: int, outputs: int, where: str = "task") -> None:
    """Check that a network has an output for each label of a task.

    Args:
        view: view of the task.
        count: classes of the data set.
        outputs: outputs of the network.
        where: place of the view for error messages.

    Raises:
        InputError: the highest label is `outputs` or more.
    """
    labels = view.labels_of(count)
    top = max(labels)
    if top < outputs:
        return
    room = outputs - 1 - (top - view.offset)
    if view.offset and room >= 0:
        step = "Change it" if view.classes is None else "Change it, or number the classes from 0 (labels: renumbered)"
        allowed = f"{f'0 to {room}' if room else '0'}, for {outputs} outputs of the network"
        raise InputError(f"{where}.offset", view.offset, allowed, f"{step}.")
    key = "dataset" if view.classes is None else "classes"
    step = f"Leave {where}.offset out. " if view.offset else ""
    step += "Name other classes, renumber them (labels: renumbered), or choose another network."
    raise InputError(f"{where}.{key}", f"labels up to {top}", f"0 to {outputs - 1}, the outputs of the network", step)


def task_images(data: LabelledImages, view: View, where: str = "task") -> LabelledImages:
    """Apply a view to images and labels: select and label classes, then pad, then permute the pixels.

    Args:
        data: images and labels; if the view names a model for features, the features of that model.
        view: view of the task.
        where: place of the view for error messages.

    Returns:
        The images uint8 [n, H, W] or [n, H, W, channels], or the features, with the labels of the view; `data` itself
        if the view changes nothing. `class_names` are those of the data set.

    Raises:
        InputError: a class is named twice or is not in the data set, the padding is smaller than the images, or the
            view needs features and `data` has images.
    """
    if view.features is not None and data.images.dtype == np.uint8:
        step = "Take them from imc_sim.evaluate.feature_vectors."
        raise InputError(f"{where}.features", f"images of {data.name}", "feature vectors in place of images", step)
    if all(getattr(view, key) == value for key, value in AS_THEY_ARE.items()):
        return data
    images, labels = data.images, data.labels
    if view.classes is not None:
        place = np.full(len(data.class_names), -1)
        _check_classes(view.classes, len(place), where)
        place[list(view.classes)] = view.labels_of(len(place))
        kept = place[labels] >= 0
        images, labels = images[kept], place[labels[kept]]
    else:
        labels = labels + view.offset
    if view.pad is not None:
        images = _padded(images, view.pad, where)
    if view.permutation is not None:
        pixels = images[:].reshape(len(images), images.shape[1] * images.shape[2], -1)
        images = pixels[:, pixel_order(pixels.shape[1], view.permutation)].reshape(images.shape)
    return LabelledImages(data.name, data.split, images, labels, data.class_names)


@checked
def pixel_order(count: int, seed: int) -> NDArray[np.int64]:
    """Return a fixed random permutation of the pixels of an image.

    Args:
        count: pixels of the image, H * W.
        seed: seed of the permutation.

    Returns:
        The order, int64 [count]: pixel i of the permuted image is pixel order[i] of the image.
    """
    check_whole(count, "pixel_order, count", most=_MOST_PIXELS)
    return Stream(seed, "pixels", "permutation").order(count)


def _padded(images: NDArray[np.uint8], side: int, where: str) -> NDArray[np.uint8]:
    rest = [side - size for size in images.shape[1:3]]
    if min(rest) < 0:
        got = f"{side} for images of {images.shape[1]} x {images.shape[2]} pixels"
        raise InputError(f"{where}.pad", got, "their size or more", "Pad to more, or leave it out.")
    around = [(0, 0), *((each // 2, each - each // 2) for each in rest)]
    return np.pad(images[:], around + [(0, 0)] * (images.ndim - 3))


def _check_classes(wanted: tuple[int, ...], count: int, where: str) -> None:
    if len(set(wanted)) < len(wanted) or not all(0 <= each < count for each in wanted):
        raise InputError(f"{where}.classes", list(wanted), f"numbers from 0 to {count - 1}", "Name each class once.")
