"""Optimizers of recipes and their learning rates."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from imc_sim._errors import CheckpointError, SlowPrecisionWarning
from imc_sim.config import Spec


class OptimizerSettings(Spec):
    """The optimizer of a recipe and the schedule of its learning rate."""

    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="optimizer")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(default=0.0, ge=0, description="multiple of the weights added to their gradient")
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="learning rate after the warm-up")
    learning_rate: float = Field(default=5e-4, gt=0, description="largest learning rate")
    warm_up: int = Field(default=50, ge=0, description="steps (episodes) of linear warm-up")

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step: linear warm-up times a half cosine, or times a constant.

        Args:
            step: number of the step, from 0.
            steps: total number of steps.
        """
        warm = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        if self.schedule == "constant":
            return self.learning_rate * warm
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def optimizer_of(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Create the optimizer of all parameters of a network."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=settings.momentum, weight_decay=decay)


def update(optimizer: torch.optim.Optimizer, loss: Tensor, where: str) -> None:
    """Take a step of the optimizer; raise CheckpointError for a loss that is not finite."""
    if not torch.isfinite(loss):
        step = "Use a smaller learning rate or, in few-shot training, a bounded similarity (cosine)."
        raise CheckpointError(where, f"a loss of {float(loss.detach()):g}", "a finite loss", step)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def mixed_precision(device: str, precision: Literal["float32", "bfloat16"]) -> torch.autocast:
    """Return the context of a recipe's precision, for the forward pass; warn once where the processor lacks it."""
    half = precision == "bfloat16"
    if half and device == "cpu":
        _warn_without_units()
    return torch.autocast(device, torch.bfloat16, enabled=half)


@functools.cache
def _warn_without_units() -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        text = (
            "recipe.precision is bfloat16, for which this processor has no instructions: steps take 4 to 11 times as "
            "long as in float32. Set recipe.precision to float32; the weights then differ by rounding."
        )
        warnings.warn(text, SlowPrecisionWarning, stacklevel=3)
