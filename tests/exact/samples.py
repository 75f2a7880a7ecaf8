"""Inputs that several test files use, sampled from a seed; the global generator is unchanged."""

from __future__ import annotations

import torch
from torch import Tensor


def sampled(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def signs(*shape: int, seed: int = 0) -> Tensor:
    """Return -1 and +1, equally likely."""
    return torch.where(torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5, 1.0, -1.0)
