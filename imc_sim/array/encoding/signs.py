"""The base of binary and ternary encodings, whose cells are at HRS and LRS."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from imc_sim.array.encoding.base import Encoding, Targets


class Signs(Encoding, abc.ABC):
    """Hold p = [w = +1] and m = [w = -1] in cells, or sums of them that are 0 or 1."""

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        self.check_weights(weights, where)
        p, m = (weights > 0).to(torch.int32), (weights < 0).to(torch.int32)
        return Targets(self._cells(p, m)[:, None], 1, 1.0, (1.0,), weights)

    def uses_levels(self, linear: bool, signs: bool) -> bool:
        return False

    @abc.abstractmethod
    def _cells(self, p: Tensor, m: Tensor) -> Tensor:
        """Return the cells [out, columns, in, rows] of p and m, both [out, in]."""


def column_pair(first: Tensor, second: Tensor) -> Tensor:
    """Return two cells per weight on one word line, [out, 2, in, 1].

    Args:
        first: cells of the first column [out, in].
        second: cells of the second column [out, in].
    """
    return torch.stack([first, second], dim=1)[..., None]


def block(p: Tensor, m: Tensor) -> Tensor:
    """Return 2 x 2 cells per weight, p m in the first row and m p in the second: [out, 2, in, 2].

    Args:
        p: [out, in], 1 for a weight of +1.
        m: [out, in], 1 for a weight of -1.
    """
    return torch.stack([torch.stack([p, m], dim=1), torch.stack([m, p], dim=1)], dim=-1)
