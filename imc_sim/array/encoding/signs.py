"""What the binary and the ternary mappings share: weights of one sign or the other on cells at HRS and LRS."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from imc_sim.array.encoding.base import Encoding, Targets


class Signs(Encoding, abc.ABC):
    """Cells hold p = [w = +1] and m = [w = -1], or whole numbers of 0 and 1 made of both."""

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        self.check_weights(weights, where)
        p, m = (weights > 0).to(torch.int32), (weights < 0).to(torch.int32)
        return Targets(self._cells(p, m)[:, None], 1, 1.0, (1.0,), weights)

    @abc.abstractmethod
    def _cells(self, p: Tensor, m: Tensor) -> Tensor:
        """[out, columns, in, rows] from p and m, both [out, in]."""


def column_pair(first: Tensor, second: Tensor) -> Tensor:
    """Two cells of [out, in] side by side on one word line -> [out, 2, in, 1]."""
    return torch.stack([first, second], dim=1)[..., None]


def block(p: Tensor, m: Tensor) -> Tensor:
    """2 x 2 cells, p m above m p -> [out, 2, in, 2]."""
    return torch.stack([torch.stack([p, m], dim=1), torch.stack([m, p], dim=1)], dim=-1)
