"""What one cell does: its levels, how it is programmed, its faults and how it is read."""

from __future__ import annotations

from typing import Self, final

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._rng import Stream
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

    def snap(self, target: Tensor) -> Tensor:
        """Targets g in [0, 1] moved to the nearest of the device's levels."""
        steps = self.levels - 1
        return torch.round(target * steps) / steps

    def program(self, target: Tensor, seed: int, layer: str, chip: int, page: int = 0) -> Tensor:
        """Programmed g of one chip's cells, shaped as `target` (levels g in [0, 1]).

        The draw of a cell is addressed by (seed, layer, chip, page) and its place in `target`; `page` tells
        successive programmings of the same cells apart.
        """
        if self.exact:
            return target
        target = self._stuck(target, seed, layer, chip, page)
        if self.programming.exact:
            return target
        draws = Stream(seed, layer, "programming").normal(target.numel(), chip, page)
        normal = torch.from_numpy(draws).reshape(target.shape).to(target.dtype)
        return self.programming.apply(target, normal, self.floor, self.window_S)

    def _stuck(self, target: Tensor, seed: int, layer: str, chip: int, page: int) -> Tensor:
        low, high = self.faults.stuck_lrs, self.faults.stuck_hrs
        if low == 0.0 and high == 0.0:
            return target
        # A defect belongs to the cell, not to one programming of it: the page is left out of its address.
        u = torch.from_numpy(Stream(seed, layer, "faults").uniform(target.numel(), chip)).reshape(target.shape)
        stuck = torch.where(u < low, 1.0, 0.0).to(target.dtype)
        return torch.where((u < low) | (u > np.float32(1.0 - high)), stuck, target)
