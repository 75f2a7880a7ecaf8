"""What every network is given: images of real, finite numbers, in the type of its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn

from imc_sim._tensors import real_values


def checked_images(module: nn.Module, x: Tensor) -> Tensor:
    """Return images `x` in the floating-point type of the weights of `module`.

    Raises:
        InputError: for NaN and infinite values, and for tensors that are not dense real numbers.
    """
    weight = next((w for w in module.parameters() if w.is_floating_point()), None)
    if isinstance(x, Tensor) and x.is_meta and weight is not None and weight.is_meta:
        return x  # shapes alone: no values go in, and none come out
    x = real_values(x, "images")
    return x if weight is None else x.to(weight.dtype)


@contextlib.contextmanager
def evaluating(*models: object) -> Iterator[None]:
    """Put those of `models` that are modules into eval mode; restore the mode of every submodule at the end."""
    modes = [(m, m.training) for each in models if isinstance(each, nn.Module) for m in each.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
