"""Metaplastic synapses: Adam whose updates towards zero become smaller as latent weights grow.

Reference: Laborieux, Ernoult, Hirtzlin and Querlioz, Nat. Commun. 12:2549 (2021), and the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.nn import product_layers

#: weights updated together, few enough that they and their moments stay in the cache of a core
_CHUNK = 2**15
Four = tuple[Tensor, Tensor, Tensor, Tensor]


@checked
def f_meta(w: Tensor, m: float) -> Tensor:
    """Return the factor 1 - tanh^2(m |w|) of steps towards zero, in the shape of `w`: 1 at w = 0, falling with |w|.

    Args:
        w: latent weights.
        m: strength of the metaplasticity, 0 or more; 0 gives 1 everywhere.

    Reference: Laborieux et al., Nat. Commun. 12:2549 (2021).
    """
    return 1 - torch.tanh(m * w).square()


@final
class MetaplasticAdam(torch.optim.Optimizer):
    """Adam in which steps of latent weights towards zero are multiplied by `f_meta`.

    The step of a weight w leads towards zero if sign(w) M > 0, with M the running mean of its gradient. Steps away from
    zero, and all steps of vectors such as biases, are those of Adam: w <- w - lr sqrt(1 - b2^t) / (1 - b1^t) M /
    (sqrt(V) + eps). As published, eps is added before the bias correction; torch's Adam adds it afterwards.

    Args:
        params: parameters, or groups of them as from `metaplastic_groups`.
        lr: learning rate.
        m: strength of the metaplasticity of groups without a key `m`; 0: standard Adam.
        betas: decay rates b1 of M and b2 of V, the running mean of the squared gradient.
        eps: number added to sqrt(V).
        weight_decay: multiple of the weights that is added to the gradient, before M and `f_meta`.

    Raises:
        InputError: a number is out of range.
    """

    @checked
    def __init__(
        self, params: Iterable[Any], lr: float = 5e-3, m: float = 0.0, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "m": m, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        for group in self.param_groups:
            _check(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: evaluates the loss again and computes its gradients.

        Returns:
            The loss of `closure`, if it is given.
        """
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
        """Update one parameter."""
        state = self.state[p]
        if "step" not in state:
            state["step"] = 0
            state["mean"], state["square"] = (torch.zeros_like(p) for _ in range(2))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        rate = group["lr"] * math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
        m = group["m"] if p.ndim > 1 else 0.0
        scratch: Tensor | None = None
        for parts in _chunks((p, p.grad, state["mean"], state["square"])):  # type: ignore[arg-type]
            if scratch is None or scratch.shape[1:] != parts[0].shape:
                scratch = torch.empty(3, *parts[0].shape, dtype=p.dtype, device=p.device)
            _move(parts, rate, m, group, scratch)


def metaplastic_groups(model: nn.Module, m: float | Sequence[float]) -> list[dict[str, Any]]:
    """Return parameter groups for `MetaplasticAdam`: one per product layer, and one of all other parameters.

    Args:
        model: network.
        m: strength of the metaplasticity of all product layers, or one per layer in the order of the network.

    Raises:
        InputError: `m` has neither one number nor one per product layer.
    """
    layers = product_layers(model)
    strengths = [float(m)] * len(layers) if isinstance(m, int | float) else list(m)
    if len(strengths) != len(layers):
        allowed = f"one number, or {len(layers)}, one per product layer"
        raise InputError("m", f"{len(strengths)} numbers", allowed, "Give one number per product layer.")
    groups: list[dict[str, Any]] = [
        {"params": [layer.weight], "m": strength} for layer, strength in zip(layers, strengths, strict=True)
    ]
    taken = {id(layer.weight) for layer in layers}
    rest = [p for p in model.parameters() if id(p) not in taken]
    return [*groups, {"params": rest, "m": 0.0}] if rest else groups


def _chunks(tensors: Four) -> Iterator[Four]:
    """Yield views of equal pieces of four tensors, or the whole tensors if they are not contiguous."""
    if not all(t.is_contiguous() for t in tensors):
        return iter([tensors])
    pieces = [t.view(-1).split(_CHUNK) for t in tensors]
    return zip(*pieces, strict=True)


def _move(parts: Four, rate: float, m: float, group: dict[str, Any], scratch: Tensor) -> None:
    """Update a piece (weights, gradient, M, V) in place, with a scratch buffer [3, …]."""
    w, g, mean, square = parts
    a, b, c = scratch.unbind()
    beta1, beta2 = group["betas"]
    if group["weight_decay"]:
        g = torch.add(g, w, alpha=group["weight_decay"], out=b)
    mean.lerp_(g, 1 - beta1)
    square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    torch.sqrt(square, out=a)
    torch.div(mean, a.add_(group["eps"]), out=a)
    if m:
        # t = tanh(m w) has the sign of w: a t > 0 exactly where step a leads towards zero. There a becomes a (1 - t^2);
        # without a mask this takes three passes fewer.
        torch.tanh(torch.mul(w, m, out=b), out=b)
        torch.mul(a, b, out=c).clamp_min_(0.0)
        a.addcmul_(b, c, value=-1.0)
    w.add_(a, alpha=-rate)


def _check(group: dict[str, Any]) -> None:
    """Reject settings of a parameter group that are out of range."""
    allowed = {
        "lr": group["lr"] >= 0, "m": group["m"] >= 0, "eps": group["eps"] > 0,
        "weight_decay": group["weight_decay"] >= 0, "betas": all(0 <= b < 1 for b in group["betas"]),
    }  # fmt: skip
    for name, fine in allowed.items():
        if not fine:
            what = {"eps": "above 0", "betas": "two numbers of at least 0 and below 1"}.get(name, "0 or more")
            raise InputError(f"MetaplasticAdam.{name}", group[name], what, "Change the value.")
