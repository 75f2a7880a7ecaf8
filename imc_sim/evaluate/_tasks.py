"""Tasks: the data and the read-out that a model is evaluated with. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar, final

from pydantic import Field, model_validator

from imc_sim._arguments import checked
from imc_sim._errors import InputError, nearest
from imc_sim._quantities import type_of
from imc_sim.config import Spec, build, once
from imc_sim.data import AS_THEY_ARE, View, said_labels, stored_name
from imc_sim.evaluate._function_task import FunctionTask
from imc_sim.evaluate._identity import features_digest
from imc_sim.evaluate._read_outs import check_order
from imc_sim.evaluate.attacks import Attack, Fgsm

Form = Literal["float", "bipolar", "binary"]
Vote = Literal["hard", "logits", "softmax", "log_softmax"]
Statistics = Literal["running", "batch"]

#: keys added after results had been stored, at the values of those results: not part of the identity of a result
_LATER: dict[str, Any] = {
    "threshold": "zero", "prototypes": "none", "dim": None, "size": None, "scaling": "standard", "attack": None,
    "passes": "distinct",
}  # fmt: skip
#: such keys of one kind of task: few-shot tasks have always had `classes`
_LATER_OF: dict[str, dict[str, Any]] = {
    "classification": {**AS_THEY_ARE, "stage": None, "head": None, "statistics": None, "steps": None, "outputs": "all"},
}


#: most numbers in a comparison of an episode, 2 GB of float32
_COMPARED = 500_000_000


@final
class FewShotTask(Spec):
    """m-way n-shot classification over seeded episodes; keys and queries pass through a key memory.

    Args:
        dataset: name of a data set of characters.
        split: its split.
        way: classes per episode.
        shot: support images per class and episode.
        queries: query images per class and episode.
        episodes: number of episodes.
        classes: number of classes used, the first ones of the split; None: all.
        instances: number of images used per class, the first ones; None: all.
        seed: seed of the episodes and of the projection.
        rotations: sample one quarter turn per episode, as in the original.
        keys: form of the keys.
        query_form: form of the queries; None: that of the keys.
        similarity: similarity of a digital memory; a crossbar always computes the dot product.
        sharpening: sharpening of a digital memory.
        batch: images that go through the network together.
        threshold: subtracted from features: zero, or the mean of the episode's support features.
        prototypes: one key per class, the mean of its features or of their signs (majority; a tie is -1, or 0 in binary
            keys).
        dim: number of components that features are projected to before the sign.
        size: pixels per side; None: the size on the card of the model, else 32.
        scaling: `standard` uses mean and deviation of the data set, `unit` maps each image to [0, 1] with paper at 1.
        passes: batches of the distinct images of all episodes, or of one episode after the other (support, then
            queries), for networks whose features depend on the other images of a batch; batch then counts whole
            episodes.
        attack: attack on the queries, each in its episode; the keys stay clean (see docs/attacks.md).
    """

    kind: Literal["few_shot"] = "few_shot"
    dataset: str = "omniglot"
    split: str = "pooled_test"
    way: int = Field(default=5, ge=2)
    shot: int = Field(default=1, ge=1)
    queries: int = Field(default=4, ge=1, description="queries per class and episode")
    episodes: int = Field(default=1000, ge=1, le=1_000_000)
    classes: int | None = Field(default=None, ge=2, description="characters used, the first of the split; None: all")
    instances: int | None = Field(default=None, ge=2, description="images used per character, the first; None: all")
    seed: int = Field(default=0, ge=0)
    rotations: bool = True
    keys: Form = "bipolar"
    query_form: Form | None = None
    similarity: Literal["cosine", "dot", "l2"] = Field(default="dot", description="l2: minus squared distance")
    sharpening: Literal["softabs", "softabs_exp", "softmax", "none"] = "none"
    batch: int = Field(default=100, ge=1)
    threshold: Literal["zero", "support_mean"] = Field(default="zero", description="subtracted from every feature")
    prototypes: Literal["none", "mean", "majority"] = Field(default="none", description="how a class becomes one key")
    dim: int | None = Field(
        default=None, ge=1, le=65_536, description="width of keys; null: that of the features, not projected"
    )
    size: int | None = Field(default=None, ge=4, le=512, description="pixels a side; null: what the model takes")
    scaling: Literal["standard", "unit"] = Field(default="standard", description="of grey levels")
    passes: Literal["distinct", "episodes"] = Field(default="distinct", description="images that a batch is made of")
    attack: Attack | None = Field(default=None, description="on the queries; null: none")

    @model_validator(mode="after")
    def _compared_in_memory(self) -> Self:
        if self.way**2 * (self.shot + self.queries) > _COMPARED:
            raise ValueError(f"way x way x (shot + queries), the size of comparisons, of at most {_COMPARED:,}")
        return self

    @model_validator(mode="after")
    def _averaged_signs_are_signs(self) -> Self:
        if self.prototypes == "majority" and self.keys == "float":
            raise ValueError("keys bipolar or binary with prototypes majority, or prototypes mean")
        return self

    @model_validator(mode="after")
    def _sharpening_keeps_the_order(self) -> Self:
        read = self.read_out
        check_order(self.similarity, self.sharpening, float_forms="float" in (read.keys, read.query_form))
        return self

    @model_validator(mode="after")
    def _batches_are_whole_episodes(self) -> Self:
        images = self.way * (self.shot + self.queries)
        if self.passes == "episodes" and self.batch % images:
            raise ValueError(f"batch {images}, the images of an episode, or a multiple of it with passes episodes")
        return self

    @model_validator(mode="after")
    def _attacked_alone(self) -> Self:
        if self.attack is not None and self.passes == "episodes":
            raise ValueError("passes distinct with an attack, which sees each query alone")
        return self

    @property
    def read_out(self) -> FewShotTask:
        """Return the task of the read-out: the published attack compares formed queries with float keys."""
        if not isinstance(self.attack, Fgsm) or self.attack.space != "normalised":
            return self
        return self.model_copy(update={"keys": "float", "query_form": self.query_form or self.keys})

    @property
    def chance(self) -> float:
        """Return the accuracy of guessing."""
        return 1 / self.way


@final
class ClassificationTask(View):
    """Classification of images by networks with one output per class, alone or as an ensemble.

    Args:
        dataset: name of a data set.
        split: its split.
        images: number of images sampled from the split without replacement; None: all.
        seed: seed of the sample of images and of stochastic neurons.
        size: pixels per side; None: the size that the model takes.
        scaling: `standard` uses mean and deviation of the data set, `unit` maps grey levels to [0, 1], `whitened` is
            that of networks in networks (normalised image contrast, then ZCA of the training images).
        batch: images that go through the network together.
        vote: how the members of an ensemble vote; None: as on its card.
        members: number of members that vote, the first ones; None: all.
        steps: time steps of a spiking network at inference; None: as on its card.
        stage: task, from 1, after which a `ContinualNet` is evaluated; None: the last.
        head: task, from 1, whose norms it uses; None: the last that the stage has learned.
        statistics: statistics that norms normalise by; None: as on the card.
        outputs: outputs that compete for the answer: all of the network, or those of the task's labels.

    permutation, classes, labels, offset, pad and features transform images and labels, see `View`; with features, size
    and scaling are those of the images that they are computed from.
    """

    kind: Literal["classification"] = "classification"
    dataset: str = "mnist"
    split: str = "test"
    images: int | None = Field(default=None, ge=2, description="images sampled from the split; null: all")
    seed: int = Field(default=0, ge=0)
    size: int | None = Field(default=None, ge=4, le=512, description="pixels a side; null: what the model takes")
    scaling: Literal["standard", "unit", "whitened"] = Field(default="standard", description="of grey levels")
    batch: int = Field(default=100, ge=1)
    vote: Vote | None = Field(default=None, description="of an ensemble; null: as its card says")
    members: int | None = Field(default=None, ge=1, description="of an ensemble, the first; null: all")
    steps: int | None = Field(
        default=None, ge=1, le=10_000, description="time steps of a spiking network; null: its card's"
    )
    stage: int | None = Field(default=None, ge=1, description="of a network with its past: after that task; null: last")
    head: int | None = Field(default=None, ge=1, description="of a network with its past: norms of that task")
    statistics: Statistics | None = Field(default=None, description="of norms; null: as the card says")
    outputs: Literal["all", "task"] = Field(
        default="all", description="that compete: all of the network, or those of the task's labels"
    )

    @model_validator(mode="after")
    def _whitening_knows_where_pixels_are(self) -> Self:
        if self.scaling == "whitened" and self.moves_pixels:
            raise ValueError("scaling standard or unit with permutation or pad: whitened is fitted to whole images")
        return self

    @property
    def chance(self) -> float:
        """Return the accuracy of guessing."""
        from imc_sim.data import class_count

        return 1 / (class_count(self.dataset, self.split) if self.classes is None else len(self.classes))


#: tasks whose result is a share of right answers
Counted = FewShotTask | ClassificationTask
#: every kind of task; a study has one
Task = Counted | FunctionTask
AnyTask = TypeVar("AnyTask", FewShotTask, ClassificationTask, Counted)
_KINDS: dict[str, type[Task]] = {
    "few_shot": FewShotTask, "classification": ClassificationTask, "function": FunctionTask,
}  # fmt: skip


def task_identity(task: dict[str, Any]) -> dict[str, Any]:
    """Return everything of a resolved task that affects its result; keys of later versions only where they act.

    A model that provides features is identified by its content.

    Args:
        task: resolved task as plain data.
    """
    if task.get("kind") == "function":
        return build(FunctionTask, task, "task").identity()
    later = _LATER | _LATER_OF.get(task.get("kind", ""), {})
    said = said_labels(task)
    said = {key: value for key, value in said.items() if key == "labels" or key not in later or value != later[key]}
    said |= {"dataset": stored_name(said["dataset"])} if "dataset" in said else {}
    return said | {"features": features_digest(said["features"])} if "features" in said else said


@checked
def build_task(data: dict[str, Any], where: str) -> Task:
    """Build a task from plain data; without a kind it is a few-shot task.

    Args:
        data: kind and settings.
        where: names the source of the data in errors.

    Returns:
        The task.

    Raises:
        InputError: names the key that is not valid.
    """
    if not isinstance(data, Mapping):
        raise InputError(where, type_of(data), "settings of a task, such as {dataset: glyphs}", "Set the task.")
    kind = data.get("kind", "few_shot")
    if not isinstance(kind, str) or kind not in _KINDS:
        step = f"{nearest(str(kind), _KINDS)}Name a kind of task."
        raise InputError(f"{where}.kind", repr(kind), ", ".join(_KINDS), step)
    return once("task", repr(data), lambda: build(_KINDS[kind], data, where))


def with_size(task: AnyTask, size: object) -> AnyTask:
    """Return the task with this image size, if the task states none and the network states one.

    Args:
        task: any task.
        size: pixels per side, if it is a number.
    """
    return task if task.size or not isinstance(size, int) else task.model_copy(update={"size": size})


def counted(task: Task, what: str) -> Counted:
    """Return a task whose result is a share of right answers; raise for functions, for which `what` does not exist."""
    if isinstance(task, FunctionTask):
        step = "Name the task in a study: imc-sim run."
        raise InputError("task.kind", repr(task.kind), f"few_shot or classification, for {what}", step)
    return task


def few_shot(task: Task, what: str) -> FewShotTask:
    """Return a few-shot task; raise for other tasks, for which `what` does not exist."""
    if isinstance(task, FewShotTask):
        return task
    step = "Compute the accuracy instead: imc-sim evaluate or imc-sim run."
    raise InputError("task.kind", repr(task.kind), f"few_shot, for {what}", step)
