"""The base of binary and ternary encodings, whose cells are at HRS and LRS."""

from __future__ import annotations

import abc
from typing import ClassVar

import torch
from torch import Tensor

from imc_sim.array.encoding.base import Encoding, Targets

#: bit of a weight -> comparison of the weight with 0
_BITS = {"p": torch.gt, "m": torch.lt, "n": torch.ne, "z": torch.eq}


class Signs(Encoding, abc.ABC):
    """Hold one bit of a weight in each cell. `rows` and `columns` follow from `bits`."""

    #: bit of every cell, a string of rows for each column: p = [w = +1], m = [w = -1], n = [w != 0], z = [w = 0]
    bits: ClassVar[tuple[str, ...]] = ("p",)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.rows, cls.columns = len(cls.bits[0]), len(cls.bits)

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        self.check_weights(weights, where)
        columns = [torch.stack([_BITS[bit](weights, 0) for bit in column], dim=-1) for column in self.bits]
        cells = torch.stack(columns, dim=1)
        return Targets(cells[:, None].to(torch.int32), 1, 1.0, (1.0,), weights)

    def uses_levels(self, linear: bool, signs: bool) -> bool:
        return False
