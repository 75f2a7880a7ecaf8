"""Copy a network without what it keeps of past passes, and tell whether it has changed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from imc_sim.sites._arguments import leaves
from imc_sim.sites._records import digest


def own_copy(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network, in which tensors that a pass has computed have no gradient.

    Some modules keep such tensors (weight norm by hooks, tables of attention biases), and torch does not copy them.

    Args:
        network: any torch module.

    Returns:
        The copy.
    """
    kept = [x for module in network.modules() for x in leaves(vars(module)) if isinstance(x, Tensor) and not x.is_leaf]
    return copy.deepcopy(network, {id(x): x.detach().clone() for x in kept})


def content_of(network: nn.Module) -> dict[str, bytes]:
    """Return a digest of every parameter and buffer of a network by name.

    Args:
        network: any torch module.
    """
    held = [*network.named_parameters(), *network.named_buffers()]
    known = {name: x for name, x in held if not (x.is_meta or x.is_quantized or nn.parameter.is_lazy(x))}
    return {name: digest(x if x.layout is torch.strided else x.to_dense()) for name, x in known.items()}
