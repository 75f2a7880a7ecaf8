"""Weights that are never negative, in one cell each."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array.encoding.base import SIGNED, Encoding, Targets, Term


@final
class Unipolar(Encoding):
    """Hold one cell per weight, from HRS for 0 to LRS for max w, with voltages proportional to x: u = sum x g, y = q.

    The current of HRS, H sum x, is subtracted before the ADC, exactly for cells without device variation. It is meant
    for {0, 1} keys, whose sums are never negative: the ADC clips a sum below zero.

    Reference:
        Binary keys in one device per component: Karunaratne et al., Nat. Commun. 12:2468 (2021).
    """

    kind: Literal["unipolar"] = "unipolar"
    signed = False
    operands = "real"
    drives = ((SIGNED,),)
    terms = (Term(0, (1.0,), gain=1.0, sum_x=-1.0),)

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        low, top = float(weights.min()), float(weights.max())
        if low < 0.0:
            step = "Use keys: binary, or `bnn_iii`, which holds a bipolar weight in one cell and reads it twice."
            raise InputError(f"{where}, encoding unipolar", f"weights down to {low:g}", "weights of 0 or more", step)
        scale, steps = top if top > 0.0 else 1.0, levels - 1
        units = torch.round(weights * (steps / scale))
        return Targets(units.to(torch.int32)[:, None, None, :, None], steps, scale / steps, (1.0,), units)
