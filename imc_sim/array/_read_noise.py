"""Normal read noise of columns: its variance for given voltages, and the samples of every read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim._rng import Stream, blocks


@final
@dataclass(frozen=True)
class ReadPower:
    """Hold the variance of one read of u / gain_in, independent from column to column; None where it is zero.

    Attributes:
        square: per x^2 [columns, inputs].
        linear: per x [columns, inputs].
        constant: of a whole tile [tiles, columns].
    """

    square: Tensor | None = None
    linear: Tensor | None = None
    constant: Tensor | None = None

    @property
    def steady(self) -> bool:
        """Tell whether the variance is the same for all inputs."""
        return self.square is None and self.linear is None

    def to(self, device: torch.device) -> ReadPower:
        """Return the variances on a torch device."""
        return ReadPower(*(None if p is None else p.to(device) for p in (self.square, self.linear, self.constant)))

    def add_to(
        self, u: Tensor, x: Tensor, tile: int, rows: slice, stream: Stream, address: tuple[int, int, int], per_read: int
    ) -> None:
        """Add one normal number per vector and column to u [vectors, columns] of one tile.

        x: word-line voltages [vectors, inputs of the tile]. rows: those inputs. address: chip, epoch and number of the
        first read. per_read: vectors of one read.
        """
        if not x.shape[0] or (self.steady and self.constant is None):
            return
        variance = u.new_zeros(1, dtype=torch.float64) if self.constant is None else self.constant[tile]
        if self.square is not None:
            variance = variance + x.double().square() @ self.square[:, rows].mT
        if self.linear is not None:
            variance = variance + x.double() @ self.linear[:, rows].mT
        chip, epoch, first = address
        reads = x.shape[0] // per_read
        count = u.numel() // reads
        stride = blocks(count)
        sampled = stream.normal(stride * 16 * reads, chip, epoch, first * stride)
        normal = torch.from_numpy(sampled).reshape(reads, -1)[:, :count].reshape(u.shape)
        u.addcmul_(deviation(variance, u.dtype).expand_as(u), normal.to(u))


def deviation(variance: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the standard deviation of a variance that rounding can leave a little below 0."""
    return variance.clamp_min(0.0).sqrt().to(dtype)
