"""The data-driven model: a resistance and the speed at which voltage moves it, fitted to measured pulse trains."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim.device._switching import Drive, Switching


@final
class DataDriven(Switching):
    """Analogue TiOx cell; its state is the static resistance R in ohm. Positive voltage resets.

    dR/dt = s(v) f(R, v) with s = A (exp(t |v|) - 1), f = exp(k |r(v) - R|) - 1 while R is on the near side of
    r(v) = r_0 + r_1 v, and zero beyond it; every letter has a positive and a negative branch, by the sign of v.
    I = a sinh(b v) / R. At constant voltage the distance D = |r(v) - R| has a closed form, which `step` uses:
    D(t) = -ln(1 + (exp(-k D(0)) - 1) exp(-k |s| t)) / k.

    Source: Messaris et al., A data-driven Verilog-A ReRAM model, IEEE TCAD 37, 2018, equations 1 to 8. The
    default parameters are those of MemTorch 1.1.6.
    """

    typical: ClassVar[Drive] = Drive(sweep_V=1.2, period_s=1e-1, set_V=-1.2, reset_V=1.0, width_s=1e-4)
    states = ("r_on_ohm", "r_initial_ohm", "r_off_ohm")

    kind: Literal["data_driven"] = "data_driven"
    r_on_ohm: float = Field(default=1280.0, ge=1e-3, le=1e15, description="lowest resistance")
    r_off_ohm: float = Field(default=17000.0, ge=1e-3, le=1e15, description="highest resistance")
    r_initial_ohm: float = Field(default=17000.0, ge=1e-3, le=1e15, description="resistance of a fresh cell")
    A_p_ohm_per_s: float = Field(default=743.47, ge=1e-15, le=1e15, description="speed at positive voltage")
    A_n_ohm_per_s: float = Field(default=-68012.28374, ge=-1e15, le=-1e-15, description="speed at negative voltage")
    t_p_per_V: float = Field(default=6.51, ge=1e-3, le=50.0, description="voltage exponent of the speed, positive")
    t_n_per_V: float = Field(default=0.31645, ge=1e-3, le=50.0, description="voltage exponent of the speed, negative")
    k_p_per_ohm: float = Field(
        default=5.11e-4, ge=1e-15, le=10.0, description="resistance exponent of the speed, positive"
    )
    k_n_per_ohm: float = Field(
        default=1.17e-3, ge=1e-15, le=10.0, description="resistance exponent of the speed, negative"
    )
    r_p0_ohm: float = Field(
        default=16719.0, ge=-1e15, le=1e15, description="resistance that vanishing positive voltage leads to"
    )
    r_p1_ohm_per_V: float = Field(default=0.0, ge=-1e15, le=1e15, description="its growth with the voltage")
    r_n0_ohm: float = Field(
        default=29304.82557, ge=-1e15, le=1e15, description="resistance that vanishing negative voltage leads to"
    )
    r_n1_ohm_per_V: float = Field(default=23692.77225, ge=-1e15, le=1e15, description="its growth with the voltage")
    a_p_V: float = Field(default=0.24, ge=1e-9, le=1e3, description="scale of the current, positive")
    a_n_V: float = Field(default=0.24, ge=1e-9, le=1e3, description="scale of the current, negative")
    b_p_per_V: float = Field(default=3.0, ge=1e-3, le=50.0, description="voltage exponent of the current, positive")
    b_n_per_V: float = Field(default=3.0, ge=1e-3, le=50.0, description="voltage exponent of the current, negative")

    def conductance(self, state: Tensor) -> Tensor:
        return 1.0 / state

    def _invert(self, g_S: Tensor) -> Tensor:
        return 1.0 / g_S

    def current(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        v = torch.as_tensor(v_V, dtype=state.dtype)
        a, b = self._current_branch(v)
        return a * torch.sinh(b * v) / state

    def reach(self, state: Tensor, v_V: Tensor, current_A: Tensor) -> Tensor:
        a, b = self._current_branch(v_V)
        return torch.asinh(current_A * state / a) / b

    def _current_branch(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return (a, b) of the current's branch for the sign of v."""
        return torch.where(v > 0, self.a_p_V, self.a_n_V), torch.where(v > 0, self.b_p_per_V, self.b_n_per_V)

    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        v = torch.as_tensor(v_V, dtype=state.dtype)
        _, distance, speed, k = self._branch(state, v)
        return torch.sign(v) * speed * torch.expm1(k * distance)

    def _branch(self, state: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (r(v), distance to it, 0 beyond it; |s(v)|; k) of the branch for the sign of v."""
        up = v > 0
        end = torch.where(up, self.r_p0_ohm + self.r_p1_ohm_per_V * v, self.r_n0_ohm + self.r_n1_ohm_per_V * v)
        distance = torch.where(up, end - state, state - end).clamp_min(0.0)
        positive = self.A_p_ohm_per_s * torch.expm1(self.t_p_per_V * v.abs())
        negative = -self.A_n_ohm_per_s * torch.expm1(self.t_n_per_V * v.abs())
        k = torch.where(up, self.k_p_per_ohm, self.k_n_per_ohm).to(state.dtype)
        return end, distance, torch.where(up, positive, negative), k

    def _advance(self, state: Tensor, v_V: Tensor, dt_s: Tensor) -> Tensor:
        v = v_V
        end, distance, speed, k = self._branch(state, v)
        left = -torch.log1p(torch.expm1(-k * distance) * torch.exp(-k * speed * dt_s)) / k
        return torch.where(distance > 0, end - torch.sign(v) * left, state)
