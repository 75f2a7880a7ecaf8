"""Train through time steps with the memory of one, by computing the steps again for the gradient.

No gradient passes from one step of our integrate-and-fire units to the next, and the loss depends on the sum of the
steps alone: the gradient is the sum of the gradients of the steps, each with the same upstream gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: constant input of the steps -> output [batch, classes] of the next step; a step function holds its units
Step = Callable[[Tensor], Tensor]


def summed(fresh: Callable[[], Step], current: Tensor, parameters: Sequence[Tensor], steps: int, skip: int) -> Tensor:
    """Return the sum of the outputs of steps `skip` + 1 to `steps` at the constant input `current`.

    fresh: returns a step function whose units are at rest, once for the value and once for the gradient. parameters:
    all tensors that need a gradient, besides `current`. The memory is that of one step for any `steps`; each step is
    computed twice.
    """
    needed = [p for p in parameters if p.requires_grad]
    return _Summed.apply(fresh, steps, skip, current, *needed)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, fresh: Callable[[], Step], steps: int, skip: int, current: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.fresh, ctx.steps, ctx.skip, ctx.dtype = fresh, steps, skip, _product_dtype(current)
        ctx.save_for_backward(current, *parameters)
        step = fresh()
        outputs = (step(current) for _ in range(steps))
        return sum(y for number, y in enumerate(outputs) if number >= skip)  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad: Tensor) -> Any:  # type: ignore[override]  # the decorator's own signature
        """Compute every step again and add up its gradients."""
        current, *parameters = ctx.saved_tensors
        leaves = [current.detach().requires_grad_(), *parameters]
        totals: list[Tensor | None] = [None] * len(leaves)
        step, half = ctx.fresh(), ctx.dtype != torch.float32
        for number in range(ctx.steps):
            precision = torch.autocast(current.device.type, ctx.dtype if half else torch.bfloat16, enabled=half)
            with torch.set_grad_enabled(number >= ctx.skip), precision:
                y = step(leaves[0])
            if number >= ctx.skip:
                found = torch.autograd.grad(y, leaves, grad[0], allow_unused=True)
                totals = [_plus(total, one) for total, one in zip(totals, found, strict=True)]
        return None, None, None, *totals


def _product_dtype(like: Tensor) -> torch.dtype:
    """Return the type of float32 products on the device of `like`, which autocast changes, in any version of torch."""
    one = torch.ones(1, 1, device=like.device)
    return (one @ one).dtype


def _plus(total: Tensor | None, one: Tensor | None) -> Tensor | None:
    if total is None or one is None:
        return one if total is None else total
    return total + one
