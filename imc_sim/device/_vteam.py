"""VTEAM: a boundary that moves beyond two voltage thresholds."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Volt
from imc_sim.device._switching import Drive, Switching, WindowKind, window


@final
class VTEAM(Switching):
    """Voltage-controlled threshold-adaptive memristor; its state is the boundary w in m. Positive voltage resets.

    dw/dt = k_off (v / v_off - 1)^alpha_off f(w) above v_off, k_on (v / v_on - 1)^alpha_on f(w) below v_on, and
    zero between. R = R_on + (R_off - R_on) x with x = (w - w_on) / (w_off - w_on), or R_on (R_off / R_on)^x.

    Source: Kvatinsky et al., VTEAM: a general model for voltage-controlled memristors, IEEE TCAS-II 62, 2015,
    equations 2 to 5. Windows: see `window`. The default parameters are those of MemTorch 1.1.6.
    """

    #: 100 uA through 1,000 ohm would stay below the threshold of setting
    typical: ClassVar[Drive] = Drive(
        sweep_V=1.0, period_s=400e-9, set_V=-0.25, reset_V=1.0, width_s=2e-9, compliance_A=1e-3
    )
    states = ("w_on_m", "w_initial_m", "w_off_m")

    kind: Literal["vteam"] = "vteam"
    r_on_ohm: float = Field(default=50.0, ge=1e-3, le=1e15, description="resistance at w_on")
    r_off_ohm: float = Field(default=1000.0, ge=1e-3, le=1e15, description="resistance at w_off")
    k_on_m_per_s: float = Field(default=-10.0, ge=-1e9, le=-1e-15, description="speed of setting")
    k_off_m_per_s: float = Field(default=5e-4, ge=1e-15, le=1e9, description="speed of resetting")
    alpha_on: float = Field(default=3.0, ge=0.01, le=50.0, description="exponent of setting")
    alpha_off: float = Field(default=1.0, ge=0.01, le=50.0, description="exponent of resetting")
    v_on_V: Volt = Field(default=-0.2, ge=-10.0, le=-1e-3, description="threshold of setting")
    v_off_V: Volt = Field(default=0.02, ge=1e-3, le=10.0, description="threshold of resetting")
    w_on_m: float = Field(default=0.0, ge=-1e-3, le=1e-3, description="boundary of the low-resistance state")
    w_off_m: float = Field(default=3e-9, ge=-1e-3, le=1e-3, description="boundary of the high-resistance state")
    w_initial_m: float = Field(default=0.0, ge=-1e-3, le=1e-3, description="boundary of a fresh cell")
    iv: Literal["linear", "exponential"] = Field(default="linear", description="resistance against the boundary")
    window: WindowKind = Field(default="none", description="slows the boundary at its ends")
    window_p: float = Field(default=1.0, ge=0.01, le=100.0, description="exponent of the window")

    @model_validator(mode="after")
    def _resistances_differ(self) -> Self:
        if self.r_on_ohm >= self.r_off_ohm:
            raise ValueError("r_off_ohm above r_on_ohm")
        return self

    def conductance(self, state: Tensor) -> Tensor:
        x = (state - self.w_on_m) / (self.w_off_m - self.w_on_m)
        if self.iv == "exponential":
            return torch.exp(-math.log(self.r_off_ohm / self.r_on_ohm) * x) / self.r_on_ohm
        return 1.0 / (self.r_on_ohm + (self.r_off_ohm - self.r_on_ohm) * x)

    def _invert(self, g_S: Tensor) -> Tensor:
        if self.iv == "exponential":
            x = -torch.log(g_S * self.r_on_ohm) / math.log(self.r_off_ohm / self.r_on_ohm)
        else:
            x = (1.0 / g_S - self.r_on_ohm) / (self.r_off_ohm - self.r_on_ohm)
        return self.w_on_m + x * (self.w_off_m - self.w_on_m)

    def current(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        return self.conductance(state) * v_V

    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        v = torch.as_tensor(v_V, dtype=state.dtype)
        off = self.k_off_m_per_s * (v / self.v_off_V - 1.0).clamp_min(0.0).pow(self.alpha_off)
        on = self.k_on_m_per_s * (v / self.v_on_V - 1.0).clamp_min(0.0).pow(self.alpha_on)
        x = (state - self.w_on_m) / (self.w_off_m - self.w_on_m)
        return (off + on) * window(self.window, self.window_p, x, rising=v > 0) + torch.zeros_like(state)

    def _advance(self, state: Tensor, v_V: Tensor, dt_s: Tensor) -> Tensor:
        if self.window == "none":  # a constant speed
            return state + self.rate(state, v_V) * dt_s
        return super()._advance(state, v_V, dt_s)
