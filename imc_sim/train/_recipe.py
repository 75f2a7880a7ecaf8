"""Training recipes: everything that decides the trained weights, as a frozen spec."""

from __future__ import annotations

import math
from typing import Literal, final

from pydantic import Field

from imc_sim.config import Spec, digest
from imc_sim.evaluate import FewShotTask
from imc_sim.nn import KeyForm, Sharpening
from imc_sim.train._variation import Variation


@final
class Measurement(Spec):
    """A task to measure after training, with the published accuracy to set beside it."""

    task: FewShotTask
    published: float | None = None
    note: str = ""


#: keys that came after the first trainings: at their defaults they leave the digests of those as they were
_LATER = ("rotations", "similarity", "optimizer", "momentum", "weight_decay", "schedule", "rotate_every", "variation")


@final
class EpisodicRecipe(Spec):
    """Episodic training of a few-shot controller: one gradient step per episode.

    The loss is the cross-entropy of the sharpened similarities (Karunaratne et al. 2021), the gradient flows
    through support and query branches. rotations_as_classes: each character turned by 0, 90, 180 and 270 degrees
    counts as four classes; otherwise one turn is drawn per episode where `rotations` says so.
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
    learning_rate: float = Field(default=5e-4, gt=0)
    warm_up: int = Field(default=50, ge=0, description="episodes of linear warm-up; cosine to zero follows")
    sharpening: Sharpening = "softabs_exp"
    keys: KeyForm = "float"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    similarity: Literal["cosine", "dot"] = Field(default="cosine", description="dot: over the dimension, as published")
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="of the rate after the warm-up")
    rotate_every: int = Field(default=50, ge=1, description="episodes between updates of an RBNN's rotations")
    variation: Variation | None = Field(default=None, description="a chip whose cells disturb the weights")
    seed: int = Field(default=806, ge=0)
    validate_every: int = Field(default=500, ge=1)
    validation_episodes: int = Field(default=200, ge=2)

    measure: tuple[Measurement, ...] = Field(default=(), description="what to measure on the trained weights")

    def training_digest(self) -> str:
        """SHA-256 of all that decides the weights; measurements do not."""
        said = self.to_dict()
        unsaid = {k for k in _LATER if said[k] == type(self).model_fields[k].default}
        return digest({k: v for k, v in said.items() if k != "measure" and k not in unsaid})

    def rate(self, episode: int) -> float:
        """Learning rate of that episode: linear warm-up times a half cosine, or constant after it."""
        warm = min(1.0, (episode + 1) / self.warm_up) if self.warm_up else 1.0
        if self.schedule == "constant":
            return self.learning_rate * warm
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * episode / self.episodes))
