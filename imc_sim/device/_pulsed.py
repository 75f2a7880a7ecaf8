"""Cells programmed by pulses: what a switching model's closed loop leaves, and what it took."""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim.device._programming import PolynomialSpread, Programming, RelativeSpread
from imc_sim.device._pulses import AnySwitching, Programmed, PulseScheme, program_and_verify


@final
class PulsedProgramming(Programming):
    """Pulse and verify on a model of the switching itself, from HRS to the target, instead of a law of the outcome.

    cell: the switching model. scheme: the pulses (None: those typical of the model). tolerance: accepted error
    relative to the target; a cell that does not get there in `max_pulses` stays where it is. speed_spread: standard
    deviation of ln(speed) from cell to cell: a cell switches so many times faster than the model, as if each of its
    pulses were that much longer. Without it all cells of a level take the same pulses and end at the same error.

    Source: the models'; closed loop: `PulseScheme`; log-normal switching times at a given voltage: Medeiros-Ribeiro
    et al., Nanotechnology 22, 2011.
    """

    kind: Literal["pulses"] = "pulses"
    cell: AnySwitching
    scheme: PulseScheme | None = Field(default=None, description="pulses; None: those typical of the model")
    tolerance: float = Field(default=0.02, gt=0.0, le=1.0, description="accepted error relative to the target")
    speed_spread: float = Field(default=0.0, ge=0.0, le=5.0, description="standard deviation of ln(switching speed)")

    @property
    def exact(self) -> bool:
        return False

    def unclipped(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        return self.outcome(target, normal, floor, window_S).conductance_S / window_S - floor

    def outcome(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Programmed:
        """State, G in S, pulses and convergence of a cell per number in `normal`, which sets its speed."""
        goal = ((target + floor) * window_S + torch.zeros_like(normal)).double()
        low, high = self.cell.range_S
        erased = self.cell.from_conductance(torch.full_like(goal, floor * window_S).clamp(low, high))
        speed = torch.exp(self.speed_spread * normal).double()
        return program_and_verify(self.cell, goal, self.tolerance, self.scheme, erased, speed)

    @property
    def most(self) -> int:
        """Pulses after which a cell is given up."""
        return (self.scheme or PulseScheme.of(self.cell.typical)).max_pulses


AnyProgramming = Annotated[RelativeSpread | PolynomialSpread | PulsedProgramming, Field(discriminator="kind")]
