"""Binary activations {0, 1} and the estimators of their gradient.

A pre-activation z fires with probability p = (clip(s z, -1, 1) + 1) / 2, with a slope s in training. Sources:
Bengio, Leonard and Courville, arXiv 1308.3432 (2013), for the estimators; Chung, Ahn and Bengio, ICLR 2017 (arXiv
1609.01704), for slope annealing; Williams, Machine Learning 8, 229 (1992), for REINFORCE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._rng import Stream, blocks
from imc_sim.nn._checks import check_choice

__all__ = [
    "ESTIMATORS",
    "BinaryActivation",
    "Draws",
    "Estimator",
    "HardSigmoid",
    "activation",
    "check_blocks",
    "draw_neurons",
    "hard_sigmoid",
    "neurons_of",
    "set_slope",
    "take_score",
]

Estimator = Literal["straight_through", "reinforce", "frozen"]
ESTIMATORS: tuple[Estimator, ...] = ("straight_through", "reinforce", "frozen")
#: closer to 0 or 1 than this a probability has no gradient of its logarithm, which would be as large as its inverse
_CERTAIN = 1e-3


def hard_sigmoid(z: Tensor) -> Tensor:
    """Return the probability to fire, (clip(z, -1, 1) + 1) / 2.

    Args:
        z: Pre-activations of any shape.
    """
    return (z.clamp(-1.0, 1.0) + 1.0) * 0.5


@final
@dataclass(frozen=True)
class Draws:
    """Address the random numbers of neurons.

    Attributes:
        seed: The seed.
        chip: Number of the chip, -1 for the digital network.
        first: Number of the first image of the batch.
    """

    seed: int = 0
    chip: int = -1
    first: int = 0


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, fired: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward((z * slope).abs() < 1.0)
        ctx.slope = slope
        return fired

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        (inside,) = ctx.saved_tensors
        return grad[0] * inside * (ctx.slope / 2), None, None


@final
class BinaryActivation(nn.Module):
    """Binarize pre-activations z [batch, …] to {0, 1} of the same shape.

    Random numbers are addressed by (seed, chip, layer, image), equal in any batch; see `draw_neurons`.

    Args:
        estimator: Gradient in training. `straight_through`: of the identity on p, upstream s / 2 where |s z| < 1.
            `reinforce`: none, but neurons are sampled, and `take_score` returns the factor of the loss (Williams
            1992). `frozen`: none and no score, so that layers below keep their initial weights, as in the published
            networks that were called REINFORCE.
        stochastic: At inference fire with probability p, else where z > 0.

    Attributes:
        comparator: Fire where z > 0 even if stochastic, since z is noisy on a chip.
    """

    def __init__(self, estimator: Estimator = "straight_through", stochastic: bool = False) -> None:
        super().__init__()
        check_choice("arch.estimator", estimator, ESTIMATORS)
        self.estimator: Estimator = estimator
        self.stochastic = stochastic
        self.slope = 1.0
        self.comparator = False
        self.name, self.draws = "", Draws()
        self._log_probability: Tensor | None = None

    def forward(self, z: Tensor) -> Tensor:
        slope = self.slope if self.training else 1.0
        sampled = self.stochastic or (self.training and self.estimator == "reinforce")
        if not sampled or self.comparator:
            fired = (z > 0).to(z.dtype)
        else:
            p = hard_sigmoid(z * slope)
            fired = (self._uniform(z) < p).to(z.dtype)
            if self.training and self.estimator == "reinforce" and torch.is_grad_enabled():
                self._log_probability = _log_probability(p, fired)
        if self.estimator == "straight_through":
            return _StraightThrough.apply(z, fired, slope)
        return fired.detach()

    def take_score(self) -> Tensor | None:
        """Return log P of the last training pass per image, [batch], and forget it; None unless `reinforce` sampled."""
        score, self._log_probability = self._log_probability, None
        return score

    def _uniform(self, z: Tensor) -> Tensor:
        """Return uniform numbers in (0, 1) of z's shape, those of an image from the blocks of its number."""
        each = z[0].numel()
        per_image = blocks(2 * each)
        stage = "neurons" if self.draws.chip >= 0 else "digital neurons"
        stream = Stream(self.draws.seed, self.name, stage)
        count = z.shape[0] * per_image * 8
        numbers = stream.uniform(count, max(self.draws.chip, 0), block=self.draws.first * per_image)
        rows = torch.from_numpy(numbers).reshape(z.shape[0], -1)[:, :each]
        return rows.reshape(z.shape).to(z)

    def extra_repr(self) -> str:
        return f"{self.estimator}, {'stochastic' if self.stochastic else 'deterministic'}"


@final
class HardSigmoid(nn.Module):
    """Activate with (clip(z, -1, 1) + 1) / 2, whose binary step is `BinaryActivation`."""

    def forward(self, z: Tensor) -> Tensor:
        return hard_sigmoid(z)


def activation(
    block: int, binary: Iterable[int], estimator: Estimator, stochastic: bool, otherwise: type[nn.Module] = nn.ReLU
) -> nn.Module:
    """Return the activation of a block: binary where `binary` names it, else a new `otherwise`.

    Args:
        block: Number of the block.
        binary: Numbers of the blocks with a binary activation.
        estimator: Its estimator.
        stochastic: Sample it at inference.
        otherwise: Class of the other activations.
    """
    return BinaryActivation(estimator, stochastic) if block in binary else otherwise()


def check_blocks(binary: Iterable[int], blocks: int, estimator: str) -> tuple[int, ...]:
    """Return the numbers of the binary blocks in order.

    Args:
        binary: Numbers of the blocks, from 1.
        blocks: Number of blocks of the network.
        estimator: The estimator, which is checked too.

    Raises:
        InputError: A block, or the estimator, does not exist.
    """
    check_choice("arch.estimator", estimator, ESTIMATORS)
    wanted = tuple(sorted(binary))
    if len(set(wanted)) < len(wanted) or any(not 1 <= b <= blocks for b in wanted):
        step = "Name each binary block once, for example binary=[1]."
        raise InputError("arch.binary", list(wanted), f"numbers of blocks, 1 to {blocks}", step)
    return wanted


def neurons_of(network: nn.Module) -> list[tuple[str, BinaryActivation]]:
    """Return the binary activations of a network with their names, in its order.

    Args:
        network: The network.
    """
    return [(name, module) for name, module in network.named_modules() if isinstance(module, BinaryActivation)]


def draw_neurons(neurons: Iterable[tuple[str, BinaryActivation]], draws: Draws) -> None:
    """Set the address of the random numbers of the next pass.

    Args:
        neurons: Names and neurons, see `neurons_of`.
        draws: The address.
    """
    for name, neuron in neurons:
        neuron.name, neuron.draws = name, draws


def set_slope(network: nn.Module, slope: float) -> None:
    """Set the slope that binary activations train with; inference always has slope 1.

    Args:
        network: The network.
        slope: The slope s.
    """
    for _, neuron in neurons_of(network):
        neuron.slope = slope


def take_score(neurons: Iterable[tuple[str, BinaryActivation]]) -> Tensor | None:
    """Return log P of all samples of `reinforce` neurons in the last training pass, [batch]; None without any.

    Args:
        neurons: Names and neurons, see `neurons_of`.
    """
    scores = [score for _, neuron in neurons if (score := neuron.take_score()) is not None]
    return torch.stack(scores).sum(0) if scores else None


def _log_probability(p: Tensor, fired: Tensor) -> Tensor:
    happened = torch.where(fired > 0, p, 1.0 - p)
    return happened.clamp(_CERTAIN, 1.0 - _CERTAIN).log().flatten(1).sum(1)
