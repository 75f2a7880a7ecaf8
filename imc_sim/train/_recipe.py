"""Training recipes: everything that determines the trained weights of an architecture."""

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
    """A task to evaluate after training, and the published accuracy to compare with.

    Attributes:
        task: task.
        published: published accuracy, a fraction of 1.
        note: remark on the comparison.
    """

    task: FewShotTask | ClassificationTask = Field(discriminator="kind")
    published: float | None = None
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _few_shot_without_kind(cls, data: Any) -> Any:
        task = data.get("task") if isinstance(data, dict) else None
        return {**data, "task": {"kind": "few_shot", **task}} if isinstance(task, dict) else data


#: keys added to recipes later: at their defaults they are left out of digests, so that earlier digests stay valid
_LATER = (
    "cells",
    "rotations", "similarity", "optimizer", "momentum", "weight_decay", "schedule", "rotate_every", "variation",
    "read_out", "size", "scaling", "slope_growth", "slope_every", "baseline", "loss", "start_from", "augment",
    "memory", *AS_THEY_ARE,
)  # fmt: skip
_GROWTH = Field(
    default=1.0, gt=0, description="slope of binary activations in training: this to the power of the epoch, from 0"
)
_BASELINE = Field(
    default=0.9, ge=0, le=1, description="weight of the past in the mean loss that REINFORCE subtracts; 1: no baseline"
)
_SIZE = Field(default=None, ge=4, le=512, description="side of the images in pixels; null: that of the model")


class _Trained(OptimizerSettings):
    """Settings of every recipe.

    A model in `start_from` must have tensors of the same names and shapes, as a spiking network and its clamp network
    have. Binary weights, of which only signs are stored, start with the magnitudes of sampled ones.
    """

    seed: int = Field(default=806, ge=0, description="seed of initial weights, splits and order of the images")
    measure: tuple[Measurement, ...] = Field(default=(), description="accuracies to measure after training")
    start_from: str | None = Field(
        default=None, description="name or folder of a model whose weights training starts from; null: sampled weights"
    )

    def training_digest(self) -> str:
        """Return the SHA-256 of everything in the recipe that determines the weights.

        Published data sets are identified by name, other data and models by content.
        """
        found = self._identity()
        foreign = foreign_digests(digests_of(part for data in self._data() for part in data_parts(*data)))
        found |= {"data": foreign} if foreign else {}
        found = said_labels(found)
        unset = {k for k in _LATER if k in found and k != "labels" and found[k] == type(self).model_fields[k].default}
        return digest({k: v for k, v in found.items() if k != "measure" and k not in unset})

    @abstractmethod
    def _data(self) -> set[tuple[str, str]]:
        """Return the data sets and splits that determine the weights."""

    def _identity(self) -> dict[str, Any]:
        """Return the recipe with models identified by their content."""
        found = self.to_dict()
        return found if self.start_from is None else found | {"start_from": weights_digest(self.start_from)}


@final
class EpisodicRecipe(_Trained):
    """Episodic training of a few-shot controller: one step of the optimizer per episode.

    The loss is the cross-entropy of the queries; its gradient passes through both support and query features.

    References: `memory`, Karunaratne et al., Nat. Commun. 12:2468 (2021); `attention` (matching networks), Vinyals et
    al., NIPS 2016; `prototypes`, Snell et al., NIPS 2017.

    Attributes:
        dataset: name of the data set.
        split: split for training.
        validation_split: split for validation episodes.
        way: classes per episode.
        shot: support images per class.
        rotations_as_classes: whether each character turned by 0, 90, 180 and 270 degrees counts as four classes; if
            not, one turn is sampled per episode.
        episodes: number of episodes.
        sharpening: function that sharpens similarities, for `memory`.
        keys: form of the support features as keys.
        precision: precision of the network's products in training.
        read_out: logits of a query: `memory`, sharpened similarities; `attention`, softmax over all keys, summed per
            class; `prototypes`, similarity to the mean key of each class.
        size: side of the images in pixels; None: that of the model.
        slope_growth: binary activations train with the slope slope_growth^epoch; inference has slope 1.
        baseline: weight of the past in the mean loss that REINFORCE subtracts; 1: no baseline.
        validate_every: episodes between validations.
        validation_episodes: episodes per validation.
    """

    kind: Literal["episodic"] = "episodic"
    dataset: str = "omniglot"
    split: str = "pooled_fit"
    validation_split: str = "pooled_validation"
    way: int = Field(default=20, ge=2)
    shot: int = Field(default=1, ge=1)
    queries: int = Field(default=1, ge=1, description="queries per class and episode")
    rotations_as_classes: bool = True
    rotations: bool = Field(default=True, description="whether characters are turned; digits should not be")
    episodes: int = Field(default=6000, ge=1)
    sharpening: Sharpening = "softabs_exp"
    keys: KeyForm = "float"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    similarity: Literal["cosine", "dot", "l2"] = Field(
        default="cosine", description="dot: product over the dimension; l2: minus the squared distance, not for memory"
    )
    read_out: Literal["memory", "attention", "prototypes"] = "memory"
    size: int | None = _SIZE
    scaling: Scaling = Field(default="standard", description="scaling of grey levels")
    slope_growth: float = _GROWTH
    slope_every: int = Field(default=100, ge=1, description="episodes per epoch of slope_growth")
    baseline: float = _BASELINE
    rotate_every: int = Field(default=50, ge=1, description="episodes between updates of the rotations of an RBNN")
    variation: Variation | None = Field(default=None, description="chip whose device variation disturbs the weights")
    validate_every: int = Field(default=500, ge=1)
    validation_episodes: int = Field(default=200, ge=2)

    @model_validator(mode="after")
    def _sharpening_keeps_the_order(self) -> Self:
        if self.read_out == "memory":  # only this one sharpens; queries are always float
            check_order(self.similarity, self.sharpening, float_forms=True)
        return self

    def _data(self) -> set[tuple[str, str]]:
        return {(self.dataset, self.split), (self.dataset, self.validation_split)}


class ClassifierTraining(_Trained):
    """Training of a classifier in epochs over labelled images.

    Validation images are sampled from the split, training images from the rest of it.

    Attributes:
        dataset: name of the data set.
        split: split for training and validation.
        epochs: number of epochs.
        batch: images per step.
        keep: trained weights: those of the `best` epoch (smallest validation loss) or of the `last`.
        precision: precision of the network's products in training.
    """

    dataset: str = "mnist"
    split: str = "train"
    images: int | None = Field(
        default=None, ge=1, description="number of training images; null: all except validation images"
    )
    validation: int = Field(default=6000, ge=1, description="number of validation images")
    epochs: int = Field(default=10, ge=1)
    batch: int = Field(default=64, ge=1)
    size: int | None = _SIZE
    scaling: LabelledScaling = Field(default="standard", description="scaling of grey levels")
    slope_growth: float = _GROWTH
    baseline: float = _BASELINE
    keep: Literal["best", "last"] = "best"
    precision: Literal["float32", "bfloat16"] = "float32"
    loss: Literal["cross_entropy", "rate"] = Field(default="cross_entropy", description="rate: MSE of firing rates")
    augment: Literal["none", "flip_crop"] = Field(
        default="none", description="flip_crop: random mirror images and shifts by up to 4 pixels"
    )
    memory: Literal["images", "channels"] = Field(
        default="images", description="memory format; channels: channels last, faster for wide convolutions"
    )

    def _data(self) -> set[tuple[str, str]]:
        return {(self.dataset, self.split)}

    def _identity(self) -> dict[str, Any]:
        return with_feature_digest(super()._identity())


def with_feature_digest(view: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the model of `features`, if there is one, identified by its content."""
    return view | {"features": features_digest(view["features"])} if view.get("features") is not None else view


def check_images(recipe: ClassifierTraining, features: bool, moved: bool) -> None:
    """Raise ValueError for settings that need whole images, with features or with pixels that a view moves."""
    if features and (recipe.augment != "none" or recipe.memory != "images"):
        raise ValueError("augment none and memory images with features, which are not images")
    if moved and recipe.scaling == "whitened":
        raise ValueError("scaling standard or unit with permutation or pad: whitened is fitted to whole images")


class ViewTraining(ClassifierTraining, View):
    """Training on a labelled data set, or on a `View` of one."""

    @model_validator(mode="after")
    def _settings_fit_the_view(self) -> Self:
        check_images(self, self.features is not None, self.moves_pixels)
        return self


@final
class ClassificationRecipe(ViewTraining):
    """Training of one classifier on a labelled data set, or on a `View` of one; see `ClassifierTraining`."""

    kind: Literal["classification"] = "classification"


@final
class EnsembleRecipe(ViewTraining):
    """Training of an ensemble, one member after the other, each as a classifier; see `ClassifierTraining`.

    The optimizer restarts with every member; `keep` applies to the epochs of each member.

    Reference: Zhu, Dong and Su, Binary Ensemble Neural Network, CVPR 2019.

    Attributes:
        rule: `bagging`, a bootstrap sample per member; `A` to `D`, boosting: every epoch samples all images with
            replacement, in proportion to weights that depend on the mistakes of earlier members (see `boost`).
        start: `sequential`, a member starts from the weights of the one before; `independent`, from sampled weights.
    """

    kind: Literal["ensemble"] = "ensemble"
    rule: Literal["bagging", "A", "B", "C", "D"] = "bagging"
    start: Literal["sequential", "independent"] = "sequential"
