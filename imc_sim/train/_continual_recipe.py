"""The recipe of continual learning: a sequence of tasks, and how those already learned are protected."""

from __future__ import annotations

from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.data import LabelledScaling, View, said_labels
from imc_sim.train._cells import Cells
from imc_sim.train._recipe import ClassifierTraining, check_vectors, known_features

Scenario = Literal["task", "domain"]
Method = Literal["none", "ewc", "random", "si"]


@final
class ContinualTask(View):
    """One task: a data set, or some of its classes, under a permutation of its pixels, or its features; see `View`.

    dataset, split, test_split, features: None for the recipe's. images: for training; None: as in the recipe.
    """

    dataset: str | None = None
    split: str | None = None
    test_split: str | None = None
    images: int | None = Field(default=None, ge=1, description="images trained on; null: as the recipe says")


@final
class ContinualRecipe(ClassifierTraining):
    """Training of one network on `tasks`, one after the other, each for `epochs` epochs; see `ClassifierTraining`.

    scenario: `task`, every task has its own norms, which are restored for its test (later tasks are tested with those
    of the last); `domain`, one set of norms for all. m: strength of the metaplasticity (`MetaplasticAdam`), one number
    or one per product layer; 0: plain Adam. method: a penalty that keeps the weights near those of earlier tasks, times
    `penalty` (lambda): `ewc` and `random` by the Fisher information of `fisher_images` images, in place or shuffled
    within each layer; `si` by the path integral of each weight. interleaved: all tasks together, as one set. subsets:
    each task is divided at random into that many equal parts, learned one after the other. fresh_optimizer: its means
    restart with every task (never with a part of one). cells: that store the latent weights during training, see
    `Cells`; None: numbers. features: of all tasks that name none; see `View`.

    test_split: of accuracies; None: the validation images. test_batch: images tested together, on which norms with
    statistics of the batch depend. keep: of every task or part. optimizer adam is `MetaplasticAdam`.

    References: Laborieux et al., Nat. Commun. 12:2549 (2021); EWC: Kirkpatrick et al., PNAS 114, 3521 (2017); SI:
    Zenke, Poole and Ganguli, ICML 2017.
    """

    kind: Literal["continual"] = "continual"
    tasks: tuple[ContinualTask, ...] = Field(min_length=1)
    scenario: Scenario = "task"
    m: float | tuple[float, ...] = 0.0
    method: Method = "none"
    penalty: float = Field(default=5000.0, gt=0, description="lambda of the method")
    fisher_images: int = Field(default=5000, ge=1, description="images that the Fisher information is a mean over")
    interleaved: bool = False
    subsets: int = Field(default=1, ge=1, description="parts of a task, learned one after the other")
    fresh_optimizer: bool = True
    cells: Cells | None = Field(default=None, description="that hold hidden weights in training; null: numbers")
    features: str | None = Field(default=None, description="model whose last hidden layer is learned from; null: none")
    test_split: str | None = "test"
    test_batch: int = Field(default=1000, ge=2, description="images tested at once")
    # As published.
    learning_rate: float = Field(default=5e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "constant"
    warm_up: int = Field(default=0, ge=0)
    batch: int = Field(default=100, ge=1)
    scaling: LabelledScaling = "unit"
    validation: int = Field(default=1000, ge=1, description="images of each task kept aside")
    keep: Literal["best", "last"] = "last"

    @model_validator(mode="after")
    def _strengths_are_positive(self) -> Self:
        if not self.strengths or min(self.strengths) < 0:
            raise ValueError("m of 0 or more")
        if max(self.strengths) > 0 and self.optimizer != "adam":
            raise ValueError("optimizer adam with m above 0, which sgd does not know")
        return self

    @model_validator(mode="after")
    def _whitening_knows_where_pixels_are(self) -> Self:
        if self.scaling == "whitened" and any(task.moves_pixels for task in self.tasks):
            raise ValueError("scaling standard or unit with permutation or pad: whitened is fitted to whole images")
        return self

    @model_validator(mode="after")
    def _interleaved_tasks_need_no_protection(self) -> Self:
        if self.interleaved and self.method != "none":
            raise ValueError("method none with interleaved: there is no task before")
        return self

    @model_validator(mode="after")
    def _features_stay_as_they_are(self) -> Self:
        if any(self.features_of(task) is not None for task in self.tasks):
            check_vectors(self)
        if self.features is not None and any(task.moves_pixels for task in self.tasks):
            raise ValueError("no permutation and no pad with features, which are numbers without places")
        return self

    def features_of(self, task: ContinualTask) -> str | None:
        """Return the model whose features a task uses, if any."""
        return task.features or self.features

    def _data(self) -> set[tuple[str, str]]:
        return {(task.dataset or self.dataset, task.split or self.split) for task in self.tasks}

    def _said(self) -> dict[str, Any]:
        said = super()._said()
        # Trainings that are older than the key have tasks without it.
        tasks = ({k: v for k, v in t.items() if k != "features" or v is not None} for t in said["tasks"])
        return said | {"tasks": [said_labels(known_features(task)) for task in tasks]}

    @property
    def strengths(self) -> tuple[float, ...]:
        """Return m, one number or one per layer."""
        return self.m if isinstance(self.m, tuple) else (self.m,)

    @property
    def phases(self) -> tuple[tuple[int, int], ...]:
        """Return (task, part) of each training in order, from 0; interleaved tasks are one."""
        tasks = 1 if self.interleaved else len(self.tasks)
        return tuple((task, part) for task in range(tasks) for part in range(self.subsets))
