"""Signs of numbers in one compiled pass, which also checks that the numbers are finite."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imc_sim._rng import compiled
from imc_sim._threads import parallel_for
from imc_sim.array._compiled._product import BYTE_S, SLACK

#: numbers from which the compiled pass is faster than torch
_MANY = 2**15


def signs(x: Tensor, codes: bool = False) -> tuple[Tensor, Tensor] | None:
    """Return +1 where x > 0, else -1, and these plus 1 as bytes, in one pass that also checks x.

    Args:
        x: numbers of any shape.
        codes: whether the bytes are needed; without, the second tensor is empty.

    Returns:
        The signs and their bytes; None where torch is as fast, and for NaN and infinite values.
    """
    if (
        x.dtype != torch.float32
        or x.device.type != "cpu"
        or x.numel() < _MANY
        or not (x.is_contiguous() and compiled())
    ):
        return None
    from imc_sim.array._compiled._packing import to_signs, to_signs_in_pool

    out, data = torch.empty_like(x), torch.empty((x.numel() + SLACK) * codes, dtype=torch.uint8)
    wrong = np.zeros(1, np.bool_)
    arguments = (x.detach().view(-1).numpy(), out.view(-1).numpy(), data.numpy(), wrong)
    parallel_for(to_signs, to_signs_in_pool, arguments, x.numel(), x.numel() * BYTE_S)
    return None if wrong[0] else (out, data)
