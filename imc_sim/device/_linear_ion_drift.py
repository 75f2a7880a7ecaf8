"""Linear ion drift: a doped region that grows with the charge passed, the memristor of HP Labs."""

from __future__ import annotations

from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Volt
from imc_sim.device._switching import Drive, Switching, WindowKind, window


@final
class LinearIonDrift(Switching):
    """Doped region of width w (m, the state) in a film of thickness d. Positive voltage sets.

    R = R_on x + R_off (1 - x) with x = w / d;  dw/dt = mu R_on i / d * f(x), for voltages beyond the thresholds
    (the paper has none: 0 V). Without a window R^2 falls in proportion to the flux, the time integral of the
    voltage: R(t)^2 = R(0)^2 - 2 (R_off - R_on) mu R_on / d^2 * flux.

    Source: Strukov et al., The missing memristor found, Nature 453, 2008, equations 5 and 6. Windows: see
    `window`. Defaults: R_on 100 ohm, R_off / R_on = 160, d = 10 nm, mu = 1e-14 m^2/(V s), as in the paper's
    figures.
    """

    typical: ClassVar[Drive] = Drive(sweep_V=1.0, period_s=2.4, set_V=1.0, reset_V=-1.0, width_s=0.015)

    kind: Literal["linear_ion_drift"] = "linear_ion_drift"
    r_on_ohm: float = Field(default=100.0, ge=1e-3, le=1e15, description="resistance of the doped film")
    r_off_ohm: float = Field(default=16000.0, ge=1e-3, le=1e15, description="resistance of the undoped film")
    d_m: float = Field(default=10e-9, ge=1e-10, le=1e-3, description="thickness of the film")
    mobility_m2_per_Vs: float = Field(default=1e-14, ge=1e-24, le=1e-3, description="mobility of the dopants")
    w_initial_m: float = Field(default=1e-9, ge=0.0, le=1e-3, description="doped width of a fresh cell")
    v_set_V: Volt = Field(default=0.0, ge=0.0, le=10.0, description="voltage up to which nothing is set")
    v_reset_V: Volt = Field(default=0.0, ge=-10.0, le=0.0, description="voltage down to which nothing is reset")
    window: WindowKind = Field(default="none", description="slows the boundary at its ends")
    window_p: float = Field(default=1.0, ge=0.01, le=100.0, description="exponent of the window")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.w_initial_m > self.d_m:
            raise ValueError("w_initial_m of at most d_m")
        if self.r_on_ohm >= self.r_off_ohm:
            raise ValueError("r_off_ohm above r_on_ohm")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, self.d_m

    @property
    def start(self) -> float:
        return self.w_initial_m

    def conductance(self, state: Tensor) -> Tensor:
        x = state / self.d_m
        return 1.0 / (self.r_on_ohm * x + self.r_off_ohm * (1.0 - x))

    def _invert(self, g_S: Tensor) -> Tensor:
        return self.d_m * (self.r_off_ohm - 1.0 / g_S) / (self.r_off_ohm - self.r_on_ohm)

    def current(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        return self.conductance(state) * v_V

    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        v = self._beyond(torch.as_tensor(v_V, dtype=state.dtype))
        free = self.mobility_m2_per_Vs * self.r_on_ohm / self.d_m * self.current(state, v)
        return free * window(self.window, self.window_p, state / self.d_m, rising=v > 0)

    def _beyond(self, v: Tensor) -> Tensor:
        """Voltages beyond the thresholds, 0 V for others."""
        return torch.where((v > self.v_set_V) | (v < self.v_reset_V), v, 0.0)

    def _advance(self, state: Tensor, v_V: Tensor, dt_s: Tensor) -> Tensor:
        if self.window != "none":
            return super()._advance(state, v_V, dt_s)
        fall = self.r_off_ohm - self.r_on_ohm
        lost = 2.0 * fall * self.mobility_m2_per_Vs * self.r_on_ohm / self.d_m**2 * self._beyond(v_V) * dt_s
        r = self.r_off_ohm - fall * (state / self.d_m)
        # R - sqrt(R^2 - lost), without the difference of like numbers
        return state + self.d_m / fall * lost / (r + (r.square() - lost).clamp_min(0.0).sqrt())
