"""Training recipes: everything that decides the trained weights, as a frozen spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config import Spec, digest
from imc_sim.data import (
    AS_THEY_ARE,
    LabelledScaling,
    Scaling,
    View,
    data_parts,
    digests_of,
    foreign_digests,
    said_labels,
)
from imc_sim.evaluate import ClassificationTask, FewShotTask, check_order, features_digest, weights_digest
from imc_sim.nn.similarity import KeyForm, Sharpening
from imc_sim.train._optimizer import OptimizerSettings
from imc_sim.train._variation import Variation


@final
class Measurement(Spec):
    """A task to evaluate after training, and the published accuracy to compare with."""

    task: FewShotTask | ClassificationTask
    published: float | None = None
    note: str = ""


#: keys that came after the first trainings: at their defaults they leave the digests of those as they were
_LATER = (
    "cells",
    "rotations", "similarity", "optimizer", "momentum", "weight_decay", "schedule", "rotate_every", "variation",
    "read_out", "size", "scaling", "slope_growth", "slope_every", "baseline", "loss", "start_from", "augment",
    "memory", *AS_THEY_ARE,
)  # fmt: skip
_GROWTH = Field(default=1.0, gt=0, description="factor of the slope of binary activations, per epoch")
_BASELINE = Field(
    default=0.9, ge=0, le=1, description="of REINFORCE: weight of the past in its running mean of the loss; 1: none"
)
_SIZE = Field(default=None, ge=4, le=512, description="pixels a side; null: what the model takes")


class _Trained(OptimizerSettings):
    """Settings of every recipe.

    start_from: a model, by name or folder, whose weights the training starts from instead of those sampled by `seed`:
    its tensors must have the names and shapes of this network's, as those of a spiking network and its clamp network
    do.
    """

    seed: int = Field(default=806, ge=0)
    measure: tuple[Measurement, ...] = Field(default=(), description="what to measure on the trained weights")
    start_from: str | None = Field(default=None, description="model whose weights training starts from; null: drawn")

    def training_digest(self) -> str:
        """Return the SHA-256 of all that decides the weights; measurements do not. Published data are identified by
        name.
        """
        said = self._said()
        foreign = foreign_digests(digests_of(part for data in self._data() for part in data_parts(*data)))
        said |= {"data": foreign} if foreign else {}
        said = said_labels(said)
        unsaid = {k for k in _LATER if k in said and k != "labels" and said[k] == type(self).model_fields[k].default}
        return digest({k: v for k, v in said.items() if k != "measure" and k not in unsaid})

    @abstractmethod
    def _data(self) -> set[tuple[str, str]]:
        """Return the data sets and splits that decide the weights."""

    def _said(self) -> dict[str, Any]:
        """Return the recipe with models identified by their content."""
        said = self.to_dict()
        return said if self.start_from is None else said | {"start_from": weights_digest(self.start_from)}


@final
class EpisodicRecipe(_Trained):
    """Episodic training of a few-shot controller: one gradient step per episode.

    The loss is the cross-entropy of the sharpened similarities (Karunaratne et al. 2021), the gradient flows through
    support and query branches. rotations_as_classes: each character turned by 0, 90, 180 and 270 degrees counts as four
    classes; otherwise one turn is sampled per episode if `rotations` says so.

    read_out: `memory` sharpens as above; `attention` is the softmax over all keys, summed per class (matching networks,
    Vinyals et al. 2016); `prototypes` compares with the mean key of each class (Snell et al. 2017). similarity: `l2` is
    minus the squared distance, for the latter two. warm_up, slope_every: in episodes.
    """

    kind: Literal["episodic"] = "episodic"
    dataset: str = "omniglot"
    split: str = "pooled_fit"
    validation_split: str = "pooled_validation"
    way: int = Field(default=20, ge=2)
    shot: int = Field(default=1, ge=1)
    queries: int = Field(default=1, ge=1, description="queries per class and episode")
    rotations_as_classes: bool = True
    rotations: bool = Field(default=True, description="turn characters at all; digits are not turned")
    episodes: int = Field(default=6000, ge=1)
    sharpening: Sharpening = "softabs_exp"
    keys: KeyForm = "float"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    similarity: Literal["cosine", "dot", "l2"] = Field(default="cosine", description="dot: over the dimension")
    read_out: Literal["memory", "attention", "prototypes"] = "memory"
    size: int | None = _SIZE
    scaling: Scaling = Field(default="standard", description="of grey levels")
    slope_growth: float = _GROWTH
    slope_every: int = Field(default=100, ge=1, description="episodes that count as an epoch for the slope")
    baseline: float = _BASELINE
    rotate_every: int = Field(default=50, ge=1, description="episodes between updates of an RBNN's rotations")
    variation: Variation | None = Field(default=None, description="a chip whose cells disturb the weights")
    validate_every: int = Field(default=500, ge=1)
    validation_episodes: int = Field(default=200, ge=2)

    @model_validator(mode="after")
    def _sharpening_keeps_the_order(self) -> Self:
        if self.read_out == "memory":  # the others do not sharpen; queries are always float
            check_order(self.similarity, self.sharpening, float_forms=True)
        return self

    def _data(self) -> set[tuple[str, str]]:
        return {(self.dataset, self.split), (self.dataset, self.validation_split)}

    def rate(self, episode: int) -> float:
        """Return the learning rate of that episode."""
        return self.rate_at(episode, self.episodes)


class ClassifierTraining(_Trained):
    """Training in epochs over a labelled set, by cross-entropy, or of firing rates by `rate_loss`.

    validation: number of validation images, sampled from the split by `seed`; images: number of training images of the
    others (None: all). keep: the weights of the `best` epoch (smallest validation loss) or of the `last`. slope_growth:
    binary activations train with the slope slope_growth^epoch (epoch from 0); inference has slope 1. warm_up: in steps.
    precision: of the network's products in training.

    augment: `flip_crop` mirrors an image with probability 1/2, pads it by 4 pixels of 0 (after scaling) and crops it at
    one of the 9 x 9 places, sampled for every epoch and place in it.
    """

    dataset: str = "mnist"
    split: str = "train"
    images: int | None = Field(default=None, ge=1, description="images trained on; null: all but the validation's")
    validation: int = Field(default=6000, ge=1, description="images of the split kept aside")
    epochs: int = Field(default=10, ge=1)
    batch: int = Field(default=64, ge=1)
    size: int | None = _SIZE
    scaling: LabelledScaling = Field(default="standard", description="of grey levels")
    slope_growth: float = _GROWTH
    baseline: float = _BASELINE
    keep: Literal["best", "last"] = "best"
    precision: Literal["float32", "bfloat16"] = "float32"
    loss: Literal["cross_entropy", "rate"] = Field(default="cross_entropy", description="rate: MSE of firing rates")
    augment: Literal["none", "flip_crop"] = Field(default="none", description="of the images trained on")
    memory: Literal["images", "channels"] = Field(
        default="images", description="order of values in training; channels: last, faster for wide convolutions"
    )

    def _data(self) -> set[tuple[str, str]]:
        return {(self.dataset, self.split)}

    def _said(self) -> dict[str, Any]:
        return known_features(super()._said())


def known_features(said: dict[str, Any]) -> dict[str, Any]:
    """The same with the model whose features are learned, where there is one, known by its content."""
    return said | {"features": features_digest(said["features"])} if said.get("features") is not None else said


def check_vectors(recipe: ClassifierTraining) -> None:
    """ValueError for what is done to images alone, in a recipe that learns features."""
    if recipe.augment != "none" or recipe.memory != "images":
        raise ValueError("augment none and memory images with features, which are no images")


class ViewTraining(ClassifierTraining, View):
    """Training on a labelled set, or on a `View` of one."""

    @model_validator(mode="after")
    def _features_stay_as_they_are(self) -> Self:
        if self.features is not None:
            check_vectors(self)
        return self

    @model_validator(mode="after")
    def _whitening_knows_where_pixels_are(self) -> Self:
        if self.scaling == "whitened" and self.moves_pixels:
            raise ValueError("scaling standard or unit with permutation or pad: whitened is fitted to whole images")
        return self


@final
class ClassificationRecipe(ViewTraining):
    """Training of a classifier in epochs over a labelled set, or a `View` of one; see `ClassifierTraining`."""

    kind: Literal["classification"] = "classification"


@final
class EnsembleRecipe(ViewTraining):
    """Training of an `ensemble`, one member after the other, each as a classifier on samples chosen by `rule`.

    rule: `bagging`, a bootstrap sample for each member; `A` to `D`, boosting: every epoch samples as many images as
    there are, with replacement and in proportion to weights that depend on what earlier members missed (see `boost`).
    start: `sequential` continues from the weights of the member before, `independent` samples new ones. The optimizer
    restarts with every member. keep: of each member's epochs.

    Reference: Zhu, Dong and Su, CVPR 2019.
    """

    kind: Literal["ensemble"] = "ensemble"
    rule: Literal["bagging", "A", "B", "C", "D"] = "bagging"
    start: Literal["sequential", "independent"] = "sequential"
