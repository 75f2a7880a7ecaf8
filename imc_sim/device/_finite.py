"""Overflow is an error that names where it happened; no answer is computed from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from imc_sim._errors import InputError


def check_finite(
    values: Tensor, effect: str, step: str, layer: str | None = None, tile: Tensor | int | None = None
) -> None:
    """Raise InputError where a value is infinite or NaN. Reads the values once.

    effect: what the values come from, such as `device.time.drift`; step: what to do. layer and tile say where: tile is
    a number, or one for every value, broadcasting to them.
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
