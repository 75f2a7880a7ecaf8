"""Pulse response: conductance against the number of equal pulses, saturating exponentially in both directions."""

from __future__ import annotations

from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Seconds, Siemens, Volt
from imc_sim.device._switching import Drive, Switching


@final
class PulseResponse(Switching):
    """Conductance that equal pulses move towards an end; its state is G in S. Positive voltage sets.

    After P set pulses from g_min, G = g_min + set_reach (1 - exp(-P / set_pulses)); after P reset pulses from g_max,
    G = g_max - reset_reach (1 - exp(-P / reset_pulses)). Only the sign of a voltage beyond its threshold counts. A
    pulse of another width counts as that part of a pulse.

    Source: the form G = B (1 - exp(-P / A)) + G_min of NeuroSim (Chen et al., IEDM 2017; IEEE TCAD 37, 2018).
    """

    typical: ClassVar[Drive] = Drive(
        sweep_V=1.0, period_s=4e-4, set_V=1.0, reset_V=-1.0, width_s=1e-6, compliance_A=1e-3
    )
    states = ("g_min_S", "g_initial_S", "g_max_S")

    kind: Literal["pulse_response"] = "pulse_response"
    g_min_S: Siemens = Field(default=1e-6, ge=1e-15, le=1.0, description="lowest conductance")
    g_max_S: Siemens = Field(default=5e-5, ge=1e-15, le=1.0, description="highest conductance")
    g_initial_S: Siemens = Field(default=1e-6, ge=1e-15, le=1.0, description="conductance of a fresh cell")
    set_pulses: float = Field(default=20.0, ge=0.01, le=1e9, description="A of set pulses")
    set_reach_S: Siemens = Field(default=6e-5, ge=1e-15, le=10.0, description="B of set pulses")
    reset_pulses: float = Field(default=20.0, ge=0.01, le=1e9, description="A of reset pulses")
    reset_reach_S: Siemens = Field(default=6e-5, ge=1e-15, le=10.0, description="B of reset pulses")
    width_s: Seconds = Field(default=1e-6, ge=1e-15, le=1e6, description="width of a pulse")
    v_set_V: Volt = Field(default=0.5, ge=0.0, le=10.0, description="voltage up to which nothing is set")
    v_reset_V: Volt = Field(default=-0.5, ge=-10.0, le=0.0, description="voltage down to which nothing is reset")

    @model_validator(mode="after")
    def _reaches(self) -> Self:
        if min(self.set_reach_S, self.reset_reach_S) < (self.g_max_S - self.g_min_S) * (1 - 1e-9):
            raise ValueError("set_reach_S and reset_reach_S of at least g_max_S - g_min_S")
        return self

    def conductance(self, state: Tensor) -> Tensor:
        return state.clone()

    def _invert(self, g_S: Tensor) -> Tensor:
        return g_S.clone()

    def current(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        return state * v_V

    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        end, pulses = self._towards(torch.as_tensor(v_V, dtype=state.dtype))
        return (end - state) / (pulses * self.width_s)

    def _towards(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end that pulses of this voltage move to, and their A; A is infinite below the thresholds."""
        sets, resets = v > self.v_set_V, v < self.v_reset_V
        end = torch.where(sets, self.g_min_S + self.set_reach_S, self.g_max_S - self.reset_reach_S).to(v.dtype)
        pulses = torch.where(sets, self.set_pulses, self.reset_pulses).to(v.dtype)
        return end, torch.where(sets | resets, pulses, torch.inf)

    def _advance(self, state: Tensor, v_V: Tensor, dt_s: Tensor) -> Tensor:
        end, pulses = self._towards(v_V)
        return state - (end - state) * torch.expm1(-dt_s / (pulses * self.width_s))
