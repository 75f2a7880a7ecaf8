"""Weights that are never negative: one cell each, and nothing beside it."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array.encoding.base import SIGNED, Encoding, Targets, Term


@final
class Unipolar(Encoding):
    """One cell a weight, from HRS for 0 to LRS for max w; word lines at x times the read voltage: u = sum x g, y = q.

    What HRS conducts is taken off before the converter (H sum x), exactly for cells without spread. For {0, 1} keys,
    whose sums are never negative; a sum below zero would be lost in the converter.
    Source: binary keys on one device a component, Karunaratne et al., Nat. Commun. 12:2468 (2021).
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
