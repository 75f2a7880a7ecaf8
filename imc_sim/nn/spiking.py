"""Integrate-and-fire units with soft reset: spikes of 0 and 1 whose rate follows a clamped current.

Source of the dynamics: Reddy, Buddhi (2022), https://github.com/preddy5/Buddhi, in its code; there is no paper. The
gradient of its activation, bddi, was never published: the two here are substitutes of our own, and not bddi.
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest

__all__ = [
    "SPIKE_GRADIENTS",
    "IfUnit",
    "SpikeGradient",
    "integrate_and_fire",
    "project",
    "rate_loss",
]

SpikeGradient = Literal["accumulator", "window"]
#: gradient -> ds/dp of a spike s with respect to the current p of its step; both are ours, and not bddi
SPIKE_GRADIENTS: dict[SpikeGradient, str] = {
    "accumulator": "1, so that the gradient of the summed spikes is that of the summed currents",
    "window": "max(0, 1 - |c - 1|) with c the state before the reset",
}
_HALVES = (torch.bfloat16, torch.float16)


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, leak: float) -> Tensor:
        ctx.save_for_backward((z > 0.0) & (z < 1.0))
        ctx.leak = leak
        return z.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        (inside,) = ctx.saved_tensors
        return torch.where(inside, grad[0], grad[0] * ctx.leak), None


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, u: Tensor, window: bool) -> tuple[Tensor, Tensor]:
        c = u + p
        s = (c >= 1.0).to(c.dtype)
        if window:
            ctx.save_for_backward(c)
        after = c - s
        ctx.mark_non_differentiable(after)
        return s, after

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        if not ctx.saved_tensors:
            return grad[0], None, None
        (c,) = ctx.saved_tensors
        return grad[0] * (1.0 - (c - 1.0).abs()).clamp_min(0.0), None, None


def project(z: Tensor, leak: float = 0.0) -> Tensor:
    """clamp(z, 0, 1), any shape. Gradient, ours and not bddi: upstream where 0 < z < 1, else `leak` times that."""
    return _Projection.apply(z, leak)


def integrate_and_fire(p: Tensor, u: Tensor, gradient: SpikeGradient = "accumulator") -> tuple[Tensor, Tensor]:
    """One step of units of threshold 1: current p and state u, shaped alike -> (spikes s of 0 and 1, state after).

    c = u + p; s = 1 where c >= 1, else 0; the state after is c - s. With 0 <= p <= 1 and u from 0 the state stays in
    [0, 1), and the spikes of steps 1 to T add to floor(p_1 + … + p_T), exactly for numbers whose sums do not round.

    gradient, ours and not bddi: ds/dp as `SPIKE_GRADIENTS` says. States carry none, from step to step: were the
    subtracted spike detached and the state not, an early current would count once for every later step.
    """
    return _Fire.apply(p, u, gradient == "window")


@final
class IfUnit(nn.Module):
    """Input z and state u (None: 0), shaped alike -> (spikes, state after): z clamped to [0, 1], then integrated.

    gradient: `accumulator` or `window`, see `integrate_and_fire`. leak: factor of the gradient where z is outside
    (0, 1); above 0 it revives units that never fire, as nothing normalises z. Both are substitutes of our own for
    training, and not bddi, whose gradient is not public. States are float32 at least.
    """

    def __init__(self, gradient: SpikeGradient = "accumulator", leak: float = 0.1) -> None:
        super().__init__()
        if gradient not in SPIKE_GRADIENTS:
            step = f"{nearest(gradient, SPIKE_GRADIENTS)}Choose one."
            raise InputError("arch.gradient", repr(gradient), ", ".join(SPIKE_GRADIENTS), step)
        if not 0 <= leak <= 1:
            raise InputError("arch.leak", leak, "from 0 to 1", "Take 0.1, or 0 for none.")
        self.gradient: SpikeGradient = gradient
        self.leak = leak

    def forward(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        p = project(z.float() if z.dtype in _HALVES else z, self.leak)
        return integrate_and_fire(p, torch.zeros_like(p) if u is None else u, self.gradient)

    def extra_repr(self) -> str:
        return f"{self.gradient}, leak={self.leak:g}"


def rate_loss(rates: Tensor, labels: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """Mean squared error of firing rates [batch, classes] against one-hot labels [batch], as published.

    The unit of the true class is asked to fire in every step, the others never. reduction: a scalar, or with `none`
    the mean over classes of every image, [batch].
    """
    errors = F.mse_loss(rates, F.one_hot(labels, rates.shape[1]).to(rates.dtype), reduction="none")
    return errors.mean() if reduction == "mean" else errors.mean(1)
