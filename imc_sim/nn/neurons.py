"""Binary activations {0, 1}: what fires, and by which estimate a gradient passes.

A pre-activation z fires with probability p = (clip(s z, -1, 1) + 1) / 2; the slope s belongs to training. Sources:
Bengio, Leonard and Courville, arXiv 1308.3432 (2013), for the estimators; Chung, Ahn and Bengio, ICLR 2017 (arXiv
1609.01704), for slope annealing; Williams, Machine Learning 8, 229 (1992), for REINFORCE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest
from imc_sim._rng import Stream, blocks

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
#: probabilities nearer to 0 or 1 than this give the score function no gradient: it would be as large as its inverse
_CERTAIN = 1e-3


def hard_sigmoid(z: Tensor) -> Tensor:
    """(clip(z, -1, 1) + 1) / 2, the probability to fire."""
    return (z.clamp(-1.0, 1.0) + 1.0) * 0.5


@final
@dataclass(frozen=True)
class Draws:
    """Where neurons draw from: a seed, a chip (-1: the digital network), and the number of the batch's first image."""

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
    """z [batch, …] -> {0, 1} of the same shape.

    stochastic: fires with probability p at inference; otherwise it fires where z > 0. estimator, of training:
    `straight_through` takes the binary step as the identity on p, so that dz = upstream s / 2 where |s z| < 1.
    `reinforce` draws, stochastic or not, and passes no gradient down: `score` then gives what the trainer multiplies
    with the loss (Williams 1992). `frozen` passes none either and has no score: what lies below stays as it was
    initialised, as in the published networks that were called REINFORCE.

    Draws are addressed by (seed, chip, layer, image): the same in any batch. See `draw_neurons`.
    comparator: what fires is decided by z > 0 even where stochastic, z being noisy itself (on a chip).
    """

    def __init__(self, estimator: Estimator = "straight_through", stochastic: bool = False) -> None:
        super().__init__()
        self.estimator: Estimator = _known(estimator)
        self.stochastic = stochastic
        self.slope = 1.0
        self.comparator = False
        self.name, self.draws = "", Draws()
        self._log_probability: Tensor | None = None

    def forward(self, z: Tensor) -> Tensor:
        slope = self.slope if self.training else 1.0
        drawn = self.stochastic or (self.training and self.estimator == "reinforce")
        if not drawn or self.comparator:
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
        """log P(what fired) of each image of the last training pass [batch], once; None unless `reinforce` drew."""
        score, self._log_probability = self._log_probability, None
        return score

    def _uniform(self, z: Tensor) -> Tensor:
        """Uniform numbers in (0, 1) of z's shape; those of an image lie at the place that its number gives."""
        each = z[0].numel()
        room = blocks(2 * each)
        stage = "neurons" if self.draws.chip >= 0 else "digital neurons"
        stream = Stream(self.draws.seed, self.name, stage)
        count = z.shape[0] * room * 8
        drawn = stream.uniform(count, max(self.draws.chip, 0), block=self.draws.first * room)
        rows = torch.from_numpy(drawn).reshape(z.shape[0], -1)[:, :each]
        return rows.reshape(z.shape).to(z)

    def extra_repr(self) -> str:
        return f"{self.estimator}, {'stochastic' if self.stochastic else 'deterministic'}"


@final
class HardSigmoid(nn.Module):
    """(clip(z, -1, 1) + 1) / 2: the activation that a binary one is the step of."""

    def forward(self, z: Tensor) -> Tensor:
        return hard_sigmoid(z)


def activation(
    block: int, binary: Iterable[int], estimator: Estimator, stochastic: bool, otherwise: type[nn.Module] = nn.ReLU
) -> nn.Module:
    """The activation of block number `block`: binary where `binary` names it, else a fresh `otherwise`."""
    return BinaryActivation(estimator, stochastic) if block in binary else otherwise()


def _known(estimator: str) -> Estimator:
    if estimator not in ESTIMATORS:
        step = f"{nearest(estimator, ESTIMATORS)}Choose one."
        raise InputError("arch.estimator", repr(estimator), ", ".join(ESTIMATORS), step)
    return cast("Estimator", estimator)


def check_blocks(binary: Iterable[int], blocks: int, estimator: str) -> tuple[int, ...]:
    """Numbers of the blocks that are binary, in order; InputError for one, or an estimator, that is not there."""
    _known(estimator)
    wanted = tuple(sorted(binary))
    if len(set(wanted)) < len(wanted) or any(not 1 <= b <= blocks for b in wanted):
        step = "Name each block that is to be binary once, for example binary=[1]."
        raise InputError("arch.binary", list(wanted), f"numbers of blocks, 1 to {blocks}", step)
    return wanted


def neurons_of(network: nn.Module) -> list[tuple[str, BinaryActivation]]:
    """The binary activations of a network by name, in its order."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, BinaryActivation)]


def draw_neurons(neurons: Iterable[tuple[str, BinaryActivation]], draws: Draws) -> None:
    """Let the neurons' next pass draw from `draws`."""
    for name, neuron in neurons:
        neuron.name, neuron.draws = name, draws


def set_slope(network: nn.Module, slope: float) -> None:
    """The slope that binary activations train with; inference always has slope 1."""
    for _, neuron in neurons_of(network):
        neuron.slope = slope


def take_score(neurons: Iterable[tuple[str, BinaryActivation]]) -> Tensor | None:
    """log P of all that the `reinforce` neurons drew in the last training pass, [batch]; None where there are none."""
    scores = [score for _, neuron in neurons if (score := neuron.take_score()) is not None]
    return torch.stack(scores).sum(0) if scores else None


def _log_probability(p: Tensor, fired: Tensor) -> Tensor:
    happened = torch.where(fired > 0, p, 1.0 - p)
    return happened.clamp(_CERTAIN, 1.0 - _CERTAIN).log().flatten(1).sum(1)
