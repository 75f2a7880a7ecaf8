"""Networks that several test files use: initialised from a seed, as if trained, with weights on a grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from imc_sim.nn import constrain_weights

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def seeded(make: Callable[..., AnyNetwork], *args: Any, seed: int = 0, **more: Any) -> AnyNetwork:
    """Make a network with weights sampled from a seed; the global generator is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*args, **more)


@torch.no_grad()
def as_if_trained(model: AnyNetwork) -> AnyNetwork:
    """Return the model with scales, biases, constrained weights and batch statistics as after training."""
    for name, value in model.named_parameters():
        if name.endswith("norm.weight"):
            value.uniform_(0.5, 2.0)
        elif name.endswith("bias"):
            value.normal_(0.0, 0.2)
    constrain_weights(model)
    for _ in range(20):
        model(torch.randn(8, model.channels_in, model.size, model.size).to(next(model.parameters())))  # type: ignore[arg-type]
    return model.eval()


@torch.no_grad()
def on_grid(module: AnyNetwork) -> AnyNetwork:
    """Return the module in eval mode with weights that are multiples of 1/8, which 16 bits hold exactly."""
    for weight in module.parameters():
        weight.copy_((8 * weight).round() / 8)
    return module.eval()


def equal(one: nn.Module, other: nn.Module) -> bool:
    """Tell if two networks have the same tensors to the bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Distances(nn.Module):
    """A linear layer, and distances between its outputs and learned places: a product that cannot be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.places = nn.Linear(4, 3), nn.Parameter(torch.randn(5, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(self.inner(x), self.places)


class Products(nn.Module):
    """Any function of the inputs and of one weight."""

    def __init__(self, weight: Tensor, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(weight), function

    def forward(self, x: Tensor) -> Any:
        return self.function(x, self.weight)


class Function(nn.Module):
    """A function of the inputs and of weights."""

    def __init__(self, function: Callable[..., Any], *weights: Tensor) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(weight) for weight in weights])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, *self.weights, **kwargs)
