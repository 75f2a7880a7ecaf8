"""Programmed weights as whole numbers, without a float32 copy until one is needed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, final, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@final
class WholeTiles(Sequence[Tensor]):
    """Hold the weights of rows of tiles as whole numbers; as a sequence, the float32 weights [out, inputs] of each.

    Args:
        whole: [out, in] of 16 or 32 bits.
        unit: value of 1 in window / steps, a power of two.
        step: whole numbers are rounded to multiples of this power of two, halves to even ones.
        largest: largest magnitude of the whole numbers.
        rows: inputs of each row of tiles.
    """

    def __init__(
        self, whole: NDArray[Any], unit: float, step: int, largest: int, rows: Sequence[slice]
    ) -> None:  # fmt: skip
        self.whole, self.step, self.largest, self.rows = whole, step, largest, rows
        self._unit = unit

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        return self._floats[index]

    @functools.cached_property
    def _floats(self) -> tuple[Tensor, ...]:
        found = torch.from_numpy(self.whole.astype(np.float32))
        found = found.mul_(1.0 / self.step).round_().mul_(self._unit * self.step)
        return tuple(found[:, rows].contiguous() for rows in self.rows)
