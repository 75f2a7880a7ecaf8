"""Inputs of networks: real, finite numbers in the type of the weights, in eval mode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn

from imc_sim._tensors import real_values
from imc_sim.nn._checks import check_size


def checked_images(module: nn.Module, x: Tensor) -> Tensor:
    """Return images in the floating-point type of a network's weights.

    Args:
        module: The network.
        x: Images or vectors [batch, …].

    Raises:
        InputError: NaN and infinite values, tensors that are not dense real numbers, and images of another shape than
            a network of this package states by its `channels_in` and `size`.
    """
    weight = next((w for w in module.parameters() if w.is_floating_point()), None)
    if isinstance(x, Tensor) and x.is_meta and weight is not None and weight.is_meta:
        return x  # only shapes are computed
    x = real_values(x, "images")
    if type(module).__module__.startswith(f"{__package__}."):  # other networks may call something else `size`
        channels, size = (getattr(module, name, None) for name in ("channels_in", "size"))
        if isinstance(channels, int) and isinstance(size, int):
            check_size(x, channels, size)
    return x if weight is None else x.to(weight.dtype)


@contextlib.contextmanager
def evaluating(*models: object) -> Iterator[None]:
    """Set modules to eval mode, and restore the mode of every submodule at the end.

    Args:
        *models: Modules; other objects are ignored.

    Yields:
        Nothing, while the modules are in eval mode.
    """
    modes = [(m, m.training) for each in models if isinstance(each, nn.Module) for m in each.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
