"""Recipe of continual learning: a sequence of tasks, and the protection of tasks already learned."""

from __future__ import annotations

from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.data import LabelledScaling, View, said_labels
from imc_sim.train._cells import Cells
from imc_sim.train._recipe import ClassifierTraining, check_images, with_feature_digest

Scenario = Literal["task", "domain"]
Method = Literal["none", "ewc", "random", "si"]


@final
class ContinualTask(View):
    """One task of continual learning: a data set, some of its classes, permuted pixels or features; see `View`."""

    dataset: str | None = Field(default=None, description="name of the data set; null: that of the recipe")
    split: str | None = Field(default=None, description="split for training; null: that of the recipe")
    test_split: str | None = Field(default=None, description="split for accuracies; null: that of the recipe")
    images: int | None = Field(default=None, ge=1, description="number of training images; null: that of the recipe")


@final
class ContinualRecipe(ClassifierTraining):
    """Training of one network on several tasks, one after the other, each for `epochs` epochs.

    The other fields are those of `ClassifierTraining`; `keep` applies to every task or part of one, and the optimizer
    `adam` is `MetaplasticAdam`. Defaults follow the publication.

    References: Laborieux et al., Nat. Commun. 12:2549 (2021); EWC: Kirkpatrick et al., PNAS 114, 3521 (2017); SI:
    Zenke, Poole and Ganguli, ICML 2017.

    Attributes:
        tasks: tasks in the order of training.
        scenario: `task`, every task has its own norms, which are used for its test (tasks not yet learned are tested
            with those of the latest task); `domain`, all tasks share one set of norms.
        m: strength of the metaplasticity, one number or one per product layer; 0: standard Adam.
        method: penalty that keeps the weights near those of earlier tasks, see `Hold`: `ewc`, `random` or `si`.
        interleaved: whether all tasks are trained together as one set.
        fresh_optimizer: whether the moments of the optimizer restart with every task (not with a part of one).
        test_split: split for accuracies; None: the validation images.
        learning_rate: largest learning rate.
        schedule: schedule of the learning rate after the warm-up.
        warm_up: number of steps of linear warm-up.
        batch: images per step.
        scaling: scaling of grey levels.
        keep: weights at the end of a task: those of its `best` or `last` epoch.
    """

    kind: Literal["continual"] = "continual"
    tasks: tuple[ContinualTask, ...] = Field(min_length=1)
    scenario: Scenario = "task"
    m: float | tuple[float, ...] = 0.0
    method: Method = "none"
    penalty: float = Field(default=5000.0, gt=0, description="strength lambda of the penalty of method")
    fisher_images: int = Field(default=5000, ge=1, description="number of images for the Fisher information")
    interleaved: bool = False
    subsets: int = Field(default=1, ge=1, description="random equal parts of a task, trained one after the other")
    fresh_optimizer: bool = True
    cells: Cells | None = Field(default=None, description="cells that store latent weights in training; null: none")
    features: str | None = Field(
        default=None, description="model whose last hidden layer replaces the images of all tasks; null: none"
    )
    test_split: str | None = "test"
    test_batch: int = Field(default=1000, ge=2, description="images tested together, with batch statistics in norms")
    learning_rate: float = Field(default=5e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "constant"
    warm_up: int = Field(default=0, ge=0)
    batch: int = Field(default=100, ge=1)
    scaling: LabelledScaling = "unit"
    validation: int = Field(default=1000, ge=1, description="number of validation images of each task")
    keep: Literal["best", "last"] = "last"

    @model_validator(mode="after")
    def _strengths_are_positive(self) -> Self:
        if not self.strengths or min(self.strengths) < 0:
            raise ValueError("m of 0 or more")
        if max(self.strengths) > 0 and self.optimizer != "adam":
            raise ValueError("optimizer adam with m above 0, which sgd does not support")
        return self

    @model_validator(mode="after")
    def _interleaved_tasks_need_no_protection(self) -> Self:
        if self.interleaved and self.method != "none":
            raise ValueError("method none with interleaved, which has no earlier task")
        return self

    @model_validator(mode="after")
    def _settings_fit_the_tasks(self) -> Self:
        moved = any(task.moves_pixels for task in self.tasks)
        check_images(self, any(self.features_of(task) is not None for task in self.tasks), moved)
        if self.features is not None and moved:
            raise ValueError("no permutation and no pad with features, which have no pixel positions")
        return self

    def features_of(self, task: ContinualTask) -> str | None:
        """Return the model whose features a task uses, or None.

        Args:
            task: task of this recipe.
        """
        return task.features or self.features

    def _data(self) -> set[tuple[str, str]]:
        return {(task.dataset or self.dataset, task.split or self.split) for task in self.tasks}

    def _identity(self) -> dict[str, Any]:
        found = super()._identity()
        # Digests of tasks without features stay those from before the key was added.
        tasks = ({k: v for k, v in t.items() if k != "features" or v is not None} for t in found["tasks"])
        return found | {"tasks": [said_labels(with_feature_digest(task)) for task in tasks]}

    @property
    def strengths(self) -> tuple[float, ...]:
        """Return m as a tuple, of one number or one per product layer."""
        return self.m if isinstance(self.m, tuple) else (self.m,)

    @property
    def phases(self) -> tuple[tuple[int, int], ...]:
        """Return (task, part) of each training phase in order, from 0; interleaved tasks count as one."""
        tasks = 1 if self.interleaved else len(self.tasks)
        return tuple((task, part) for task in range(tasks) for part in range(self.subsets))
