"""Integrate-and-fire units with soft reset: spikes of 0 and 1 whose rate follows a clamped current.

Source of the dynamics: Reddy, Buddhi (2022), https://github.com/preddy5/Buddhi, in its code; there is no paper. The
gradient of its activation, bddi, was never published: the two here are our substitutes.
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._checks import check_choice

__all__ = [
    "SPIKE_GRADIENTS",
    "IfUnit",
    "SpikeGradient",
    "integrate_and_fire",
    "project",
    "rate_loss",
]

SpikeGradient = Literal["accumulator", "window"]
#: gradient -> ds/dp of a spike s with respect to the current p of its step; both are our substitutes for bddi
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
    """Return clamp(z, 0, 1). Gradient, our substitute for bddi: upstream where 0 < z < 1, else `leak` times that.

    Args:
        z: Pre-activations of any shape.
        leak: Factor of the gradient outside (0, 1).
    """
    return _Projection.apply(z, leak)


def integrate_and_fire(p: Tensor, u: Tensor, gradient: SpikeGradient = "accumulator") -> tuple[Tensor, Tensor]:
    """Compute one step of units with threshold 1: c = u + p, spikes s = 1 where c >= 1 else 0, next state c - s.

    With 0 <= p <= 1 and u from 0 the state stays in [0, 1), and the spikes of steps 1 to T add to floor(p_1 + … + p_T),
    exactly where sums do not round. States have no gradient from step to step: if the subtracted spike had none and
    the state had one, an early current would count once for every later step.

    Args:
        p: Currents of any shape.
        u: States, shaped as p.
        gradient: ds/dp, see `SPIKE_GRADIENTS`; our substitutes for bddi.

    Returns:
        Spikes of 0 and 1, and the next states.
    """
    return _Fire.apply(p, u, gradient == "window")


@final
class IfUnit(nn.Module):
    """Clamp inputs to [0, 1], integrate them and fire: input z and state u (None for 0) to spikes and next state.

    States are float32 at least. Both arguments are our substitutes for the gradient of bddi, which is not public.

    Args:
        gradient: `accumulator` or `window`, see `integrate_and_fire`.
        leak: Factor of the gradient where z is outside (0, 1); above 0 it revives units that never fire.
    """

    def __init__(self, gradient: SpikeGradient = "accumulator", leak: float = 0.1) -> None:
        super().__init__()
        check_choice("arch.gradient", gradient, SPIKE_GRADIENTS)
        if not 0 <= leak <= 1:
            raise InputError("arch.leak", leak, "from 0 to 1", "Use 0.1, or 0 for none.")
        self.gradient: SpikeGradient = gradient
        self.leak = leak

    def forward(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        p = project(z.float() if z.dtype in _HALVES else z, self.leak)
        return integrate_and_fire(p, torch.zeros_like(p) if u is None else u, self.gradient)

    def extra_repr(self) -> str:
        return f"{self.gradient}, leak={self.leak:g}"


def rate_loss(rates: Tensor, labels: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """Return the mean squared error of firing rates against one-hot labels, as published.

    The unit of the true class should fire in every step, the others never.

    Args:
        rates: Firing rates [batch, classes].
        labels: Classes [batch].
        reduction: `mean` for a scalar, `none` for the mean over classes of every image, [batch].
    """
    errors = F.mse_loss(rates, F.one_hot(labels, rates.shape[1]).to(rates.dtype), reduction="none")
    return errors.mean() if reduction == "mean" else errors.mean(1)
