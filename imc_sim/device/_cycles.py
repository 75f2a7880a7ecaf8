"""Programming cycles: variation that belongs to the cell or to one programming, and wear by many cycles."""

from __future__ import annotations

import math
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr
from torch import Tensor

from imc_sim._quantiles import PARTS, TAIL, WIDTH
from imc_sim._rng import Stream
from imc_sim.config import Effect
from imc_sim.device._disturb import ReadDisturb

#: weight below which an earlier programming is left out of a correlated series
_LEAST = 1e-4


@final
class CycleToCycle(Effect):
    """How much of the device variation is sampled again when a cell is programmed again.

    The normal number z of a cell and programming is sqrt(1 - share) z_cell + sqrt(share) z_k, where z_cell belongs to
    the cell and z_k to programming k, with correlation z_k = c z_(k-1) + sqrt(1 - c^2) e_k. Every programming alone has
    the law `programming`. Default: share 1 and correlation 0, all of it is new each time.

    Source: split into cell-to-cell and cycle-to-cycle variation, as endurance data state it; correlation over tens of
    cycles in HfO2 cells, IEEE Electron Device Lett. 37, 2016 (10.1109/LED.2016.2553370).
    """

    share: float = Field(default=1.0, ge=0.0, le=1.0, description="part of the variance that each programming renews")
    correlation: float = Field(default=0.0, ge=0.0, le=0.95, description="of successive programmings of a cell")

    @property
    def is_ideal(self) -> bool:
        return self.share == 1.0 and self.correlation == 0.0

    def idle(self) -> frozenset[str]:
        return frozenset({"correlation"} if self.share == 0.0 else ())

    def columns(self, count: int, seed: int, layer: str, chip: int, epoch: int) -> NDArray[np.int32]:
        """Return columns of a quantile table, like `Stream.columns`, for one programming of `count` cells.

        Args:
            count: number of cells.
            seed, layer, chip: address of the random numbers of the cells.
            epoch: programming epoch, with the number of refreshes in its upper half.
        """
        refreshes, first = epoch >> 32, epoch & (2**32 - 1)
        # The programmings before this one: its refreshes, then the epochs before.
        before = ((first, r) for r in range(refreshes, -1, -1)) if refreshes else iter([(first, 0)])
        epochs = [*before, *((e, 0) for e in range(first - 1, -1, -1))] if self.correlation else [(first, refreshes)]
        cell, new = Stream(seed, layer, "cell to cell"), Stream(seed, layer, "cycle to cycle")
        z, weight, c = np.zeros(count), 1.0, self.correlation
        for k, (e, r) in enumerate(epochs):
            last = k == len(epochs) - 1 or weight * c < _LEAST
            z += weight * (1.0 if last else math.sqrt(1.0 - c * c)) * new.normal(count, chip, e + (r << 32))
            weight *= c
            if last:
                break
        own = cell.normal(count, chip) if self.share < 1.0 else np.zeros(count)
        return _columns(math.sqrt(1.0 - self.share) * own + math.sqrt(self.share) * z)


def _columns(z: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the column of a quantile table in whose part of the normal law each number is."""
    part = np.clip(ndtr(z) * PARTS, 0, PARTS - 1).astype(np.int32)
    tail = np.clip(ndtr(-np.abs(z)) * (PARTS * TAIL), 0, TAIL - 1).astype(np.int32)
    return np.where(part == 0, PARTS + tail, np.where(part == PARTS - 1, WIDTH - 1 - tail, part)).astype(np.int32)


@final
class Endurance(Effect):
    """Wear by the programming cycles that the cells have seen: the window closes, and cells fail for good.

    Beyond onset_cycles, G of a cell in LRS is multiplied by (cycles / onset)^lrs_exponent, of one in HRS by
    (cycles / onset)^hrs_exponent, and of levels in between by the power with the exponent mixed linearly in the target:
    ln G is linear in ln(cycles). A cell has failed with probability 1 - exp(-(cycles / life_cycles)^life_shape); it is
    then stuck at LRS or HRS, and stays so with more cycles. Wear acts after programming and verify.

    Source: lifetimes after Weibull, J. Appl. Mech. 18, 1951; power laws are a fit to endurance data.
    """

    cycles: float = Field(default=0.0, ge=0.0, le=1e15, description="programming cycles that the cells have seen")
    onset_cycles: float = Field(default=1.0, ge=1.0, le=1e15, description="cycles from which on the window closes")
    lrs_exponent: float = Field(default=0.0, ge=-2.0, le=2.0, description="d ln(G of LRS) / d ln(cycles)")
    hrs_exponent: float = Field(default=0.0, ge=-2.0, le=2.0, description="d ln(G of HRS) / d ln(cycles)")
    life_cycles: float | None = Field(
        default=None, ge=1.0, le=1e18, description="cycles after which 63 % of the cells have failed; None: none fails"
    )
    life_shape: float = Field(default=1.0, ge=0.05, le=50.0, description="shape of the lifetimes' Weibull law")
    failed_at: Literal["hrs", "lrs"] = Field(default="hrs", description="state that failed cells are stuck at")

    @property
    def closes(self) -> bool:
        """Tell whether conductances have changed."""
        return self.cycles > self.onset_cycles and bool(self.lrs_exponent or self.hrs_exponent)

    @property
    def failed(self) -> float:
        """Return the share of cells that have failed."""
        return 0.0 if self.life_cycles is None else -math.expm1(-((self.cycles / self.life_cycles) ** self.life_shape))

    @property
    def is_ideal(self) -> bool:
        return not (self.closes or self.failed > 0.0)

    def idle(self) -> frozenset[str]:
        names = set(super().idle())
        if not self.closes:
            names |= {"onset_cycles", "lrs_exponent", "hrs_exponent"}
        return frozenset(names if self.failed > 0.0 else names | {"life_cycles", "life_shape", "failed_at"})

    def factor(self, g: Tensor) -> Tensor:
        """Return the factor on the conductance of each cell [*].

        Args:
            g: target g in windows [*], 0 for HRS and 1 for LRS.
        """
        exponent = self.hrs_exponent + (self.lrs_exponent - self.hrs_exponent) * g.clamp(0.0, 1.0)
        return torch.exp(math.log(self.cycles / self.onset_cycles) * exponent)

    def levels(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int) -> Tensor:
        """Return the levels (int32) of cells of which some have failed; dead cells stay dead.

        Args:
            levels: levels after faults (int32), any shape.
            steps: number of the highest level, LRS.
            seed, layer, chip: address of the random numbers of the cells, whose lifetimes are the same in all epochs.
        """
        if self.failed == 0.0:
            return levels
        u = torch.from_numpy(Stream(seed, layer, "endurance").uniform(levels.numel(), chip)).reshape(levels.shape)
        return levels.masked_fill((u < self.failed) & (levels != steps + 1), steps if self.failed_at == "lrs" else 0)


def disturb_cycles(disturb: ReadDisturb, endurance: Endurance) -> int:
    """Return the programming cycles of cells before the first read: those of endurance where `disturb` has none.

    Raises:
        ValueError: both act, and their cycles differ.
    """
    if disturb.is_ideal or not disturb.cycles:
        return 0 if endurance.is_ideal else int(endurance.cycles)
    worn = endurance.model_copy(update={"cycles": max(float(disturb.cycles), endurance.cycles)})
    if disturb.cycles != int(endurance.cycles) and not worn.is_ideal:
        raise ValueError("disturb.cycles left out, so that endurance.cycles counts for both, or both equal")
    return disturb.cycles
