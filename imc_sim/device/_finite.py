"""Overflow is an error that names where it happened; no answer is computed from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from imc_sim._errors import InputError


def check_finite(
    values: Tensor, effect: str, step: str, layer: str | None = None, tile: Tensor | int | None = None
) -> None:
    """Raise InputError where a value is infinite or NaN; tensors on the meta device pass.

    Args:
        values: tensor of any shape, read once.
        effect: origin of the values in the error, such as `device.time.drift`.
        step: what the user can do, a sentence.
        layer: name of the layer, for the error.
        tile: index of the tile, or one index per value, broadcasting to the values.

    Raises:
        InputError: at least one value is not finite; the error counts them and names the first one's tile.
    """
    # A NaN or an infinity passes on to the sum; a sum of finite values may overflow too.
    if values.is_meta or math.isfinite(float(values.detach().sum())):
        return
    bad = ~torch.isfinite(values)
    if not bool(bad.any()):
        return
    places = [] if layer is None else [f"layer {layer!r}"]
    if tile is not None:
        places.append(f"tile {int(torch.as_tensor(tile).expand(values.shape)[bad.cpu()][0])}")
    got = f"an overflow in {int(bad.sum())} of {values.numel()} values"
    raise InputError(", ".join([*places, effect]), got, "finite values", step)
