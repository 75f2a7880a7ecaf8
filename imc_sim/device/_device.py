"""What one cell does: its levels, how it is programmed, its faults and how it is read."""

from __future__ import annotations

import functools
from typing import Self, final

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._rng import Stream, normal_quantiles
from imc_sim.config import Siemens, Spec, Volt
from imc_sim.device._programming import AnyProgramming, RelativeSpread


@final
class Faults(Spec):
    """Cells that no pulse moves. Probabilities per cell; a stuck cell still has the spread of its state."""

    stuck_lrs: float = Field(default=0.0, ge=0.0, le=1.0, description="probability of a cell stuck at LRS")
    stuck_hrs: float = Field(default=0.0, ge=0.0, le=1.0, description="probability of a cell stuck at HRS")

    @model_validator(mode="after")
    def _both_fit(self) -> Self:
        if self.stuck_lrs + self.stuck_hrs > 1.0:
            raise ValueError("stuck_lrs + stuck_hrs of at most 1")
        return self


@final
class Read(Spec):
    """One read of a cell: the voltage of a driven word line and the cycle-to-cycle noise.

    sigma: standard deviation of a cell's conductance from read to read, relative to that conductance.
    """

    v_read_V: Volt = Field(default=0.2, gt=0.0, description="voltage of a driven word line")
    sigma: float = Field(default=0.0, ge=0.0, description="read-to-read spread relative to the conductance")


@final
class Device(Spec):
    """A two-terminal memory cell with `levels` states equally spaced in conductance from HRS to LRS."""

    g_lrs_S: Siemens = Field(gt=0.0, description="conductance of the low-resistance state")
    g_hrs_S: Siemens = Field(ge=0.0, description="conductance of the high-resistance state")
    levels: int = Field(default=2, ge=2, description="states, equally spaced in conductance")
    programming: AnyProgramming = RelativeSpread()
    faults: Faults = Faults()
    read: Read = Read()

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.g_lrs_S <= self.g_hrs_S:
            raise ValueError(f"g_lrs_S above g_hrs_S (here {self.g_lrs_S:g} S is not above {self.g_hrs_S:g} S)")
        return self

    @property
    def window_S(self) -> float:
        """G_LRS - G_HRS."""
        return self.g_lrs_S - self.g_hrs_S

    @property
    def floor(self) -> float:
        """G_HRS in units of the window: what a cell in HRS still conducts."""
        return self.g_hrs_S / self.window_S

    @property
    def exact(self) -> bool:
        """No effect at programming time is on."""
        return self.programming.exact and self.faults.stuck_lrs == 0.0 and self.faults.stuck_hrs == 0.0

    def table(self, steps: int) -> Tensor:
        """Programmed g for every level k / steps (rows, k = 0 … steps) and every 16-bit draw: [steps + 1, 65536].

        float64. The whole of programming is a look-up in it: 65,536 mid-point quantiles of each level's law,
        within 1.6e-5 of the law itself in the sense of Kolmogorov and Smirnov.
        """
        return _table(self, steps)  # type: ignore[arg-type]  # frozen specs are hashable

    def draw(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int, page: int = 0) -> Tensor:
        """Indices (int32, shaped as `levels`) into the flattened `table(steps)` for one chip's cells.

        levels: whole numbers 0 … steps (int32). The draw of a cell is addressed by (seed, layer, chip, page)
        and its place; `page` tells successive programmings of the same cells apart.
        """
        levels = self._stuck(levels, steps, seed, layer, chip)
        base = levels << 16
        if self.programming.exact:
            return base
        words = Stream(seed, layer, "programming").words(levels.numel(), chip, page)
        return torch.from_numpy(np.add(base.numpy().reshape(-1), words, dtype=np.int32)).reshape(levels.shape)

    def program(self, target: Tensor, seed: int, layer: str = "cells", chip: int = 0, page: int = 0) -> Tensor:
        """Programmed g of one chip's cells, shaped as `target` (g in [0, 1], moved to the nearest level)."""
        steps = self.levels - 1
        levels = torch.round(target * steps).to(torch.int32)
        return look_up(self.table(steps), self.draw(levels, steps, seed, layer, chip, page)).to(target.dtype)

    def _stuck(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int) -> Tensor:
        low, high = self.faults.stuck_lrs, self.faults.stuck_hrs
        if low == 0.0 and high == 0.0:
            return levels
        # A defect belongs to the cell, not to one programming of it: the page is left out of its address.
        u = torch.from_numpy(Stream(seed, layer, "faults").uniform(levels.numel(), chip)).reshape(levels.shape)
        at_lrs, at_hrs = u < low, u > 1.0 - high
        return levels.masked_fill(at_lrs, steps).masked_fill(at_hrs, 0)


def look_up(table: Tensor, indices: Tensor) -> Tensor:
    """Entries of the flattened table at int32 `indices`, in their shape."""
    return torch.index_select(table.reshape(-1), 0, indices.reshape(-1)).reshape(indices.shape)


@functools.lru_cache(maxsize=16)
def _table(device: Device, steps: int) -> Tensor:
    level = torch.arange(steps + 1, dtype=torch.float64)[:, None] / steps
    if device.programming.exact:
        return level.expand(-1, 65536).contiguous()
    normal = torch.from_numpy(normal_quantiles().astype(np.float64))
    return device.programming.apply(level, normal[None].expand(steps + 1, -1), device.floor, device.window_S)
