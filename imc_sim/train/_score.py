"""REINFORCE: the score-function estimate of the gradient with respect to firing probabilities.

Reference: Williams, Machine Learning 8, 229 (1992), eq. 11, with a running mean of the loss as the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor


@final
@dataclass
class ScoreFunction:
    """Adds (L - baseline) log P to a loss, L being constant in it: its gradient is the estimate.

    past: weight of the past in the running mean; 1 leaves the baseline at 0. The mean starts at the first loss.
    """

    past: float
    mean: float | None = None

    def added(self, losses: Tensor, score: Tensor | None) -> Tensor:
        """Return the mean of `losses` (one for all or [batch]) with the score-function term of score [batch].

        One loss for all images of an episode is the reward of each of them.
        """
        loss = losses.mean()
        if score is None:
            return loss
        baseline = 0.0 if self.past == 1.0 else float(loss.detach()) if self.mean is None else self.mean
        term = ((losses.detach() - baseline) * score).mean()
        self.mean = self.past * baseline + (1.0 - self.past) * float(loss.detach())
        return loss + term
