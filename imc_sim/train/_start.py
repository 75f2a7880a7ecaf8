"""Weights that training starts from: those of a stored model, with magnitudes for weights stored as signs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imc_sim.nn import ProductLayer
from imc_sim.nn.store import load_model, load_state
from imc_sim.train._layers import named_layers


@torch.no_grad()
def start_from(model: nn.Module, name: str) -> None:
    """Load the weights of a stored model into a freshly sampled one of the same tensors.

    A file stores only the signs of binary weights. The optimizer takes small steps, so that no weight of +-1 would ever
    change its sign: such weights get the magnitudes of the sampled ones, and training continues from a network of the
    same outputs.

    Args:
        model: freshly sampled network, which is changed.
        name: name or folder of the stored model.

    Raises:
        CheckpointError: a tensor is missing or has another shape.
    """
    sampled = {at: layer.weight.abs() for at, layer in named_layers(model).items()}
    load_state(model, load_model(name).state_dict(), {}, f"recipe.start_from {name!r}")
    for at, layer in named_layers(model).items():
        if layer.binary and bool((layer.weight.abs() == 1).all()):
            layer.weight.copy_(_hidden(layer, sampled[at]))


def _hidden(layer: ProductLayer, magnitudes: Tensor) -> Tensor:
    """Return hidden weights with the signs of the layer, of mean 0 wherever their kind takes the mean out.

    Positive and negative ones are scaled apart, so that no sign changes with the mean. None is so small that rounding
    of the mean could change its sign.
    """
    magnitudes = magnitudes.clamp_min(1e-3 * float(magnitudes.mean()))
    dims = (1,) if layer.policy == "sign" else tuple(range(1, layer.weight.ndim))
    up, down = (magnitudes * (layer.weight == sign) for sign in (1, -1))
    total, higher, lower = (each.sum(dims, keepdim=True) for each in (magnitudes, up, down))
    both = (higher > 0) & (lower > 0)
    hidden = torch.where(both, total / 2 * (up / higher - down / lower), up - down)
    if layer.policy != "sign":
        return hidden
    scale = layer.alpha.flatten() / hidden.abs().flatten(1).mean(1)  # the scale of a filter is its mean magnitude
    return hidden * scale.reshape(-1, *[1] * (hidden.ndim - 1))
