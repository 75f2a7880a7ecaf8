"""REINFORCE: score-function estimate of the gradient with respect to the probabilities of stochastic neurons.

Reference: Williams, Machine Learning 8, 229 (1992), eq. 11, with a running mean of the loss as the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor


@final
@dataclass
class ScoreFunction:
    """Adds the term (L - baseline) log P to a loss L, with L constant in it: the gradient of the term is the estimate.

    Attributes:
        past: weight of the past in the running mean of the loss, from 0 to 1; 1 keeps the baseline at 0.
        mean: running mean, the baseline; None before the first loss.
    """

    past: float
    mean: float | None = None

    def added(self, losses: Tensor, score: Tensor | None) -> Tensor:
        """Return the mean loss with the score-function term, and update the baseline.

        Args:
            losses: loss of each image [batch], or one loss of a whole episode [].
            score: log-probability of the sampled states of each image [batch]; None without stochastic neurons.
        """
        loss = losses.mean()
        if score is None:
            return loss
        baseline = 0.0 if self.past == 1.0 else float(loss.detach()) if self.mean is None else self.mean
        term = ((losses.detach() - baseline) * score).mean()
        self.mean = self.past * baseline + (1.0 - self.past) * float(loss.detach())
        return loss + term
