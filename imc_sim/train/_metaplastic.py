"""Metaplastic synapses: Adam whose updates towards zero fade as latent weights grow.

Reference: Laborieux, Ernoult, Hirtzlin and Querlioz, Nat. Commun. 12:2549 (2021), in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn import product_layers

#: numbers that go through all passes of a step at once: with what belongs to them they stay in a core's cache
_CHUNK = 2**15
Four = tuple[Tensor, Tensor, Tensor, Tensor]


def f_meta(w: Tensor, m: float) -> Tensor:
    """Return 1 - tanh^2(m |w|) in w's shape: 1 at w = 0, falling with |w|. m >= 0; 0 gives 1 everywhere."""
    return 1 - torch.tanh(m * w).square()


@final
class MetaplasticAdam(torch.optim.Optimizer):
    """Adam in which a step that brings a latent weight nearer to zero is multiplied by `f_meta`.

    That is, where sign(w) M > 0 (M: the running mean of the gradient), in matrices and kernels; steps away from zero,
    and all steps of vectors, are Adam's own. m: strength, one number or, per parameter group, its key `m`; 0 is plain
    Adam. eps is added before the bias correction, w <- w - lr sqrt(1 - b2^t) / (1 - b1^t) M / (sqrt(V) + eps), not
    after it as in torch's Adam. weight_decay adds its multiple of the latent weight to the gradient, so that its pull
    is damped like any other.

    params: parameters or groups of them, see `metaplastic_groups`.

    Raises:
        InputError: numbers out of range.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 5e-3, m: float = 0.0, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "m": m, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        for group in self.param_groups:
            _check(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient; closure: evaluates the loss again, with its gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._advance(p, group)
        return loss

    def _advance(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if "step" not in state:
            state["step"] = 0
            state["mean"], state["square"] = (torch.zeros_like(p) for _ in range(2))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        rate = group["lr"] * math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
        m = group["m"] if p.ndim > 1 else 0.0
        room: Tensor | None = None
        for parts in _chunks((p, p.grad, state["mean"], state["square"])):  # type: ignore[arg-type]
            if room is None or room.shape[1:] != parts[0].shape:
                room = torch.empty(3, *parts[0].shape, dtype=p.dtype, device=p.device)
            _move(parts, rate, m, group, room)


def metaplastic_groups(model: nn.Module, m: float | Sequence[float]) -> list[dict[str, Any]]:
    """Return parameter groups of `model`: one per product layer with its own m, and one of all other parameters.

    m: of all product layers, or one for each, in the order of the network.
    """
    layers = product_layers(model)
    strengths = [float(m)] * len(layers) if isinstance(m, int | float) else list(m)
    if len(strengths) != len(layers):
        allowed = f"one number, or {len(layers)}, one a layer"
        raise InputError("m", f"{len(strengths)} numbers", allowed, "Give as many as the network has product layers.")
    groups: list[dict[str, Any]] = [
        {"params": [layer.weight], "m": strength} for layer, strength in zip(layers, strengths, strict=True)
    ]
    taken = {id(layer.weight) for layer in layers}
    rest = [p for p in model.parameters() if id(p) not in taken]
    return [*groups, {"params": rest, "m": 0.0}] if rest else groups


def _chunks(tensors: Four) -> Iterator[Four]:
    """Return equal pieces of the four tensors as views; tensors with different memory layouts come whole."""
    if not all(t.is_contiguous() for t in tensors):
        return iter([tensors])
    pieces = [t.view(-1).split(_CHUNK) for t in tensors]
    return zip(*pieces, strict=True)


def _move(parts: Four, rate: float, m: float, group: dict[str, Any], room: Tensor) -> None:
    """Update a piece (weights, gradient, M, V) in place; room [3, …]: scratch buffer."""
    w, g, mean, square = parts
    a, b, c = room.unbind()
    beta1, beta2 = group["betas"]
    if group["weight_decay"]:
        g = torch.add(g, w, alpha=group["weight_decay"], out=b)
    mean.lerp_(g, 1 - beta1)
    square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    torch.sqrt(square, out=a)
    torch.div(mean, a.add_(group["eps"]), out=a)
    if m:
        # With t = tanh(m w), of w's sign, a t is positive exactly where the step a leads towards zero. There it becomes
        # a (1 - t^2), without a mask: three passes fewer.
        torch.tanh(torch.mul(w, m, out=b), out=b)
        torch.mul(a, b, out=c).clamp_min_(0.0)
        a.addcmul_(b, c, value=-1.0)
    w.add_(a, alpha=-rate)


def _check(group: dict[str, Any]) -> None:
    allowed = {
        "lr": group["lr"] >= 0, "m": group["m"] >= 0, "eps": group["eps"] > 0,
        "weight_decay": group["weight_decay"] >= 0, "betas": all(0 <= b < 1 for b in group["betas"]),
    }  # fmt: skip
    for name, fine in allowed.items():
        if not fine:
            what = {"eps": "above 0", "betas": "two numbers from 0 to below 1"}.get(name, "0 or more")
            raise InputError(f"MetaplasticAdam.{name}", group[name], what, "Change the value.")
