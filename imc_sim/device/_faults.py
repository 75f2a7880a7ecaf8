"""Stuck and dead cells, and failed programming."""

from __future__ import annotations

from typing import Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._quantiles import probabilities
from imc_sim._rng import Stream
from imc_sim.config import Siemens, Spec


@final
class Faults(Spec):
    """Defects of cells and failures of their programming. Probabilities per cell.

    stuck_lrs, stuck_hrs: cells that no pulse moves; a stuck cell still has the device variation of its state.
    cell_yield: fraction of working cells; the others conduct dead_S (0 S: never formed, open). These belong to the cell
    and persist through every programming.

    failure: probability that one programming of a cell fails, sampled each time. failure_state: its state then: `hrs`,
    the state it was erased to, or `undefined`, anywhere in the window with equal probability (groups at TU Delft report
    intermittent undefined states in up to 1.07 % of the switching cycles).
    """

    stuck_lrs: float = Field(default=0.0, ge=0.0, le=1.0, description="probability of a cell stuck at LRS")
    stuck_hrs: float = Field(default=0.0, ge=0.0, le=1.0, description="probability of a cell stuck at HRS")
    cell_yield: float = Field(default=1.0, ge=0.0, le=1.0, description="fraction of cells that answer to pulses")
    dead_S: Siemens = Field(default=0.0, ge=0.0, le=1.0, description="conductance of the other cells")
    failure: float = Field(default=0.0, ge=0.0, le=1.0, description="probability that one programming fails")
    failure_state: Literal["hrs", "undefined"] = Field(default="hrs", description="where a failed one leaves the cell")

    @model_validator(mode="after")
    def _all_fit(self) -> Self:
        if self.stuck_lrs + self.stuck_hrs > 1.0:
            raise ValueError("stuck_lrs + stuck_hrs of at most 1")
        if self.stuck_lrs + self.stuck_hrs + (1.0 - self.cell_yield) > 1.0 + 1e-12:
            raise ValueError("stuck_lrs + stuck_hrs of at most cell_yield: a dead cell is not stuck as well")
        return self

    @property
    def is_ideal(self) -> bool:
        """Tell whether there are no faults."""
        return not (self.stuck_lrs or self.stuck_hrs or self.failure) and self.cell_yield == 1.0

    def idle(self) -> frozenset[str]:
        dead = {"dead_S"} if self.cell_yield == 1.0 else set()
        return frozenset(dead | ({"failure_state"} if self.failure == 0.0 else set()))

    @property
    def undefined(self) -> bool:
        """Tell whether some programmings end anywhere in the window."""
        return self.failure > 0.0 and self.failure_state == "undefined"

    @property
    def extra(self) -> bool:
        """Tell whether cells may be in states that are not levels."""
        return self.cell_yield < 1.0 or self.undefined

    def rows(self, floor: float, window_S: float) -> Tensor:
        """Return g [2, WIDTH] in windows of dead cells (row 0) and of undefined cells (row 1).

        These rows follow those of the levels in the table of programmed conductances.

        Args:
            floor: G_HRS over the window.
            window_S: G_LRS - G_HRS in S.
        """
        anywhere = torch.from_numpy(probabilities())
        return torch.stack([torch.full_like(anywhere, self.dead_S / window_S - floor), anywhere])

    def levels(self, levels: Tensor, steps: int, seed: int, layer: str, chip: int, epoch: int) -> Tensor:
        """Return the levels (int32) that cells get: steps + 1 for a dead cell, steps + 2 for an undefined one.

        Args:
            levels: target levels 0 … steps (int32), any shape.
            steps: number of the highest level, LRS.
            seed, layer, chip: address of the random numbers of the cells.
            epoch: programming epoch; failures are sampled for each epoch, stuck and dead cells stay the same.
        """
        if self.is_ideal:
            return levels
        if self.failure > 0.0:
            u = self._uniform(levels, Stream(seed, layer, "failure"), chip, epoch)
            levels = levels.masked_fill(u < self.failure, steps + 2 if self.undefined else 0)
        low, high, dead = self.stuck_lrs, self.stuck_hrs, 1.0 - self.cell_yield
        if low == high == dead == 0.0:
            return levels
        # A defect belongs to the cell, not to one programming of it: the epoch is left out of its address.
        u = self._uniform(levels, Stream(seed, layer, "faults"), chip)
        levels = levels.masked_fill(u < low, steps).masked_fill(u > 1.0 - high, 0)
        return levels if dead == 0.0 else levels.masked_fill((u >= low) & (u < low + dead), steps + 1)

    @staticmethod
    def _uniform(like: Tensor, stream: Stream, chip: int, epoch: int = 0) -> Tensor:
        return torch.from_numpy(stream.uniform(like.numel(), chip, epoch)).reshape(like.shape)
