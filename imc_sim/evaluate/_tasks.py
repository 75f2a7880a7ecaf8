"""Tasks: what a model is asked, on which data. Importing this loads no torch."""

from __future__ import annotations

from typing import Any, Literal, final

from pydantic import Field

from imc_sim.config import Spec, build

Form = Literal["float", "bipolar", "binary"]


@final
class FewShotTask(Spec):
    """m-way n-shot classification over seeded episodes; keys and queries pass through a key memory.

    keys, query_form: how keys and queries are held (None: queries as keys). similarity and sharpening: the
    read-out of a digital memory; a crossbar always computes the dot product. rotations: one quarter turn is
    drawn per episode, as the original does. batch: images that go through the network at once.
    """

    kind: Literal["few_shot"] = "few_shot"
    dataset: str = "omniglot"
    split: str = "pooled_test"
    way: int = Field(default=5, ge=2)
    shot: int = Field(default=1, ge=1)
    queries: int = Field(default=4, ge=1, description="queries per class and episode")
    episodes: int = Field(default=1000, ge=1)
    classes: int | None = Field(default=None, ge=2, description="characters used, the first of the split; None: all")
    instances: int | None = Field(default=None, ge=2, description="images used per character, the first; None: all")
    seed: int = Field(default=0, ge=0)
    rotations: bool = True
    keys: Form = "bipolar"
    query_form: Form | None = None
    similarity: Literal["cosine", "dot"] = "dot"
    sharpening: Literal["softabs", "softabs_exp", "softmax", "none"] = "none"
    batch: int = Field(default=100, ge=1)

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / self.way


#: every kind of task (few-shot so far); a study holds one
Task = FewShotTask


def build_task(data: dict[str, Any], where: str) -> Task:
    """A task from plain data, or an InputError that names the key."""
    return build(FewShotTask, data, where)
