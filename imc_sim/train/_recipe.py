"""Training recipes: everything that decides the trained weights, as a frozen spec."""

from __future__ import annotations

import math
from typing import Literal, final

from pydantic import Field

from imc_sim.config import Spec, digest
from imc_sim.evaluate import FewShotTask
from imc_sim.nn import KeyForm, Sharpening


@final
class Measurement(Spec):
    """A task to measure after training, with the published accuracy to set beside it."""

    task: FewShotTask
    published: float | None = None
    note: str = ""


@final
class EpisodicRecipe(Spec):
    """Episodic training of a few-shot controller: one gradient step per episode.

    The loss is the cross-entropy of the sharpened cosine similarities (Karunaratne et al. 2021), the
    gradient flows through support and query branches. rotations_as_classes: each character turned by 0,
    90, 180 and 270 degrees counts as four classes; otherwise one turn is drawn per episode.
    """

    kind: Literal["episodic"] = "episodic"
    dataset: str = "omniglot"
    split: str = "pooled_fit"
    validation_split: str = "pooled_validation"
    way: int = Field(default=20, ge=2)
    shot: int = Field(default=1, ge=1)
    queries: int = Field(default=1, ge=1, description="queries per class and episode")
    rotations_as_classes: bool = True
    episodes: int = Field(default=6000, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    warm_up: int = Field(default=50, ge=0, description="episodes of linear warm-up; cosine to zero follows")
    sharpening: Sharpening = "softabs_exp"
    keys: KeyForm = "float"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    seed: int = Field(default=806, ge=0)
    validate_every: int = Field(default=500, ge=1)
    validation_episodes: int = Field(default=200, ge=2)

    measure: tuple[Measurement, ...] = Field(default=(), description="what to measure on the trained weights")

    def training_digest(self) -> str:
        """SHA-256 of all that decides the weights; measurements do not."""
        return digest({k: v for k, v in self.to_dict().items() if k != "measure"})

    def rate(self, episode: int) -> float:
        """Learning rate of that episode: linear warm-up times a half cosine."""
        warm = min(1.0, (episode + 1) / self.warm_up) if self.warm_up else 1.0
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * episode / self.episodes))
