"""Checks that architectures share, each with an error that names the argument."""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import Tensor

from imc_sim._errors import InputError, nearest


def check_choice(where: str, value: str | None, allowed: Collection[str]) -> None:
    """Raise unless `value` is one of the names in `allowed`."""
    if value not in allowed:
        step = f"{nearest(str(value), allowed)}Choose one of these."
        raise InputError(where, repr(value), ", ".join(allowed), step)


def check_counts(**counts: int) -> None:
    """Raise unless every argument of the architecture is 1 or more."""
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"arch.{name}", value, "1 or more", "Use what the network and its images have.")


def check_size(images: Tensor, channels_in: int, size: int) -> None:
    """Raise unless images are [batch, channels_in, size, size]."""
    if images.shape[1:] != (channels_in, size, size):
        step = f"Set task.size: {size}, or arch.args.size and arch.args.channels_in."
        allowed = f"[batch, {channels_in}, {size}, {size}] (channels, pixels)"
        raise InputError("images", f"shape {tuple(images.shape)}", allowed, step)


def scaled(counts: tuple[int, ...], width: float, least: int = 1) -> list[int]:
    """Return counts of channels or units times `width`, rounded; InputError for a width that is not positive."""
    if not 0 < width < math.inf:
        raise InputError("arch.width", width, "a factor above 0", "Use 1 for the published width.")
    return [max(least, math.floor(count * width + 0.5)) for count in counts]
