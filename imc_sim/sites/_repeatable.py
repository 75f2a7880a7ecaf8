"""Refuse networks whose passes cannot be watched or repeated, as on one chip after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._quantities import type_of
from imc_sim.sites._arguments import leaves
from imc_sim.sites._values import nearly_equal


def check_watchable(network: nn.Module) -> None:
    """Check that no module of a network is scripted or compiled.

    Args:
        network: any torch module.

    Raises:
        InputError: a module is scripted, compiled or exported.
    """
    for name, module in network.named_modules():
        exported = isinstance(module, torch.fx.GraphModule) and "eval" in vars(module)
        if exported or isinstance(module, torch.jit.ScriptModule) or type(module).__name__ == "OptimizedModule":
            kind = "an exported module" if exported else type_of(module)
            where, step = f"network, module {name!r}" if name else "network", "Give the module that it was made from."
            raise InputError(where, kind, "a module that runs eagerly", step)


def check_output(network: nn.Module, output: Any, unchanged: bool) -> None:
    """Check that a pass returned numbers and left its inputs unchanged.

    Args:
        network: any torch module.
        output: of the pass.
        unchanged: whether the inputs are as before.

    Raises:
        InputError: the output holds NaN, or the inputs were changed.
    """
    where = f"network {type(network).__name__}"
    if not unchanged:
        step = "Write its first operation so that it returns a new tensor (x = x * 2, inplace=False)."
        raise InputError(where, "a pass that changes its inputs in place", "inputs that stay for the next chip", step)
    if any(has_nan(leaf) for leaf in leaves(output) if isinstance(leaf, Tensor)):
        step = "Run network(inputs) alone, and check its weights and these inputs."
        raise InputError(where, "NaN in its output for these inputs", "numbers", step)


def check_repeated(network: nn.Module, once: Any, first: Any, again: Callable[[], Any]) -> None:
    """Check that a network returns the same for the same inputs.

    A network may still change its weights in its first pass. It then has to repeat what it returns later.

    Args:
        network: any torch module.
        once: output of its first pass.
        first: output of the next one.
        again: returns the output of a pass.

    Raises:
        InputError: two passes differ.
    """
    if not (_equal(once, first) or _equal(again(), again())):
        step = "Use no random numbers but of a generator that forward seeds, and reset its state in forward."
        got = "other outputs for the same inputs in every pass"
        raise InputError(f"network {type(network).__name__}", got, "the same ones, so that chips can be compared", step)


def has_nan(x: Tensor) -> bool:
    """Return whether a tensor holds NaN.

    Args:
        x: any tensor.
    """
    return (x.is_floating_point() or x.is_complex()) and not x.is_quantized and bool(x.isnan().any())


def _equal(one: Any, other: Any) -> bool:
    """Return whether the tensors of two outputs are equal to rounding."""
    a, b = ([leaf for leaf in leaves(each) if isinstance(leaf, Tensor)] for each in (one, other))
    return [x.shape for x in a] == [x.shape for x in b] and all(map(_near, a, b))


def _near(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or (a.is_floating_point() and nearly_equal(a, b))
