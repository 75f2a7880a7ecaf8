"""Cells programmed by pulses: what a switching model's closed loop leaves, and what it took."""

from __future__ import annotations

import math
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim.device._array_map import MapVariation
from imc_sim.device._measured import MeasuredVariation
from imc_sim.device._programming import PolynomialVariation, Programming, RelativeVariation
from imc_sim.device._pulses import AnySwitching, Programmed, PulseScheme, program_and_verify

#: Multiples of it, modulo 1, are the most even sequence of numbers between 0 and 1.
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@final
class PulsedProgramming(Programming):
    """Programming by pulse and verify on a switching model, from a sampled state to the target.

    Cells start anywhere between HRS and LRS, uniform in ln G, as earlier programming left them, so that every level has
    a device variation, HRS as well.

    Attributes:
        cell: the switching model.
        scheme: pulses; None: those typical of the model.
        tolerance: accepted error relative to the target; a cell that is not within it after `max_pulses` stays where it
            is.
        speed_spread: standard deviation of ln(speed) from cell to cell. The speed is the factor by which a cell
            switches faster than the model, as if each of its pulses were longer by this factor.

    Source: the models'; closed loop: `PulseScheme`; log-normal switching times at a given voltage: Medeiros-Ribeiro et
    al., Nanotechnology 22, 2011.
    """

    kind: Literal["pulses"] = "pulses"
    cell: AnySwitching
    scheme: PulseScheme | None = Field(default=None, description="pulses; None: those typical of the model")
    tolerance: float = Field(default=0.02, gt=0.0, le=1.0, description="accepted error relative to the target")
    speed_spread: float = Field(default=0.0, ge=0.0, le=5.0, description="standard deviation of ln(switching speed)")

    @property
    def is_ideal(self) -> bool:
        return False

    def unclipped(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        return self.outcome(target, normal, floor, window_S).conductance_S / window_S - floor

    def outcome(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Programmed:
        """Return state, G in S, pulses and convergence of one cell per number in `normal`, all [*, n].

        The start of cell k of n is independent of its speed: in ln G, the share {(k + 1/2) golden ratio} of the window.

        Args:
            target: target g in [0, 1], broadcastable to normal.
            normal: one standard normal number per cell [*, n], which sets its speed.
            floor: G_HRS over the window, above 0.
            window_S: G_LRS - G_HRS in S.
        """
        goal = ((target + floor) * window_S + torch.zeros_like(normal)).double()
        share = ((torch.arange(normal.shape[-1], dtype=torch.float64) + 0.5) * _GOLDEN) % 1.0
        start_S = (floor * window_S * (1.0 + 1.0 / floor) ** share).clamp(*self.cell.range_S)
        speed = torch.exp(self.speed_spread * normal).double()
        start = self.cell.from_conductance(start_S).expand_as(goal)
        return program_and_verify(self.cell, goal, self.tolerance, self.scheme, start, speed)

    @property
    def most(self) -> int:
        """Return the number of pulses after which a cell is given up."""
        return (self.scheme or PulseScheme.of(self.cell.typical)).max_pulses


AnyProgramming = Annotated[
    RelativeVariation | PolynomialVariation | MeasuredVariation | MapVariation | PulsedProgramming,
    Field(discriminator="kind"),
]
