"""Product layers of a network by name, as training addresses their random numbers and states."""

from __future__ import annotations

from torch import nn

from imc_sim._errors import InputError
from imc_sim.nn import ProductLayer


def named_layers(model: nn.Module) -> dict[str, ProductLayer]:
    """Return the product layers of a network by name, in its order."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, ProductLayer)}


def latent_layers(model: nn.Module, where: str, step: str) -> dict[str, ProductLayer]:
    """Return the product layers by name; raise InputError for one whose weights are neither latent nor float."""
    layers = named_layers(model)
    for name, layer in layers.items():
        if not layer.kind.plain_gradient:
            raise InputError(f"{where}, layer {name!r}", f"policy {layer.policy!r}", "latent or float", step)
    return layers
