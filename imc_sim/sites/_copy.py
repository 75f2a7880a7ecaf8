"""Copy a network without what it keeps of past passes."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from imc_sim.sites._arguments import leaves


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
