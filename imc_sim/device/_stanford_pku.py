"""Stanford-PKU: the gap between a filament's tip and the electrode, moved by field and heat."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Volt
from imc_sim.device._switching import Drive, Switching

#: Boltzmann constant over elementary charge in V/K, as rounded in the published Verilog-A model: 0.14 % above the
#: exact value, which would change switching rates by about 1 % under parameters that were fitted with this one.
_K_OVER_Q = 1.3806503e-23 / 1.6e-19


@final
class StanfordPKU(Switching):
    """Filamentary metal-oxide RRAM; its state is the gap g in m. Positive voltage sets.

    I = I_0 exp(-g / g_0) sinh(V / V_0);  dg/dt = -nu_0 exp(-E_a / kT) sinh(gamma a_0 q V / (t_ox k T));
    gamma = gamma_0 - beta (g / 1 nm)^3, and no movement while gamma |V| / t_ox is below f_min;
    T = T_0 + |V I| R_th. The model's random part is left out.

    Source: Guan et al., IEEE Electron Device Letters 33, 2012 (gap and current); Jiang et al., A compact model
    for metal-oxide resistive random access memory with experimental verification, IEEE TED 63, 2016 (field
    enhancement, temperature); the threshold field and the default parameters are those of the published
    Stanford-PKU Verilog-A model, version 1.0.
    """

    #: 100 uA would keep the field of every gap below the threshold
    typical: ClassVar[Drive] = Drive(1.6, period_s=1e-5, set_V=1.6, reset_V=-1.5, width_s=1e-9, compliance_A=1e-3)
    states = ("gap_min_m", "gap_initial_m", "gap_max_m")

    kind: Literal["stanford_pku"] = "stanford_pku"
    i_0_A: float = Field(default=1e-3, ge=1e-12, le=10.0, description="scale of the current")
    g_0_m: float = Field(default=0.25e-9, ge=1e-12, le=1e-6, description="decay length of the current")
    v_0_V: Volt = Field(default=0.25, ge=0.02, le=10.0, description="scale of the voltage in the current")
    gap_min_m: float = Field(default=0.2e-9, ge=1e-13, le=1e-6, description="smallest gap")
    gap_max_m: float = Field(default=1.7e-9, ge=1e-13, le=1e-6, description="largest gap")
    gap_initial_m: float = Field(default=0.2e-9, ge=1e-13, le=1e-6, description="gap of a fresh cell")
    nu_0_m_per_s: float = Field(default=10.0, ge=1e-9, le=1e12, description="attempt velocity")
    e_a_eV: float = Field(default=0.6, gt=0.0, le=10.0, description="activation energy")
    a_0_m: float = Field(default=0.25e-9, ge=1e-12, le=1e-8, description="hopping distance")
    t_ox_m: float = Field(default=12e-9, ge=1e-10, le=1e-6, description="thickness of the oxide")
    gamma_0: float = Field(default=16.0, gt=0.0, le=1e3, description="field enhancement without a gap")
    beta: float = Field(default=0.8, ge=0.0, le=1e3, description="loss of field enhancement per cubic nm of gap")
    f_min_V_per_m: float = Field(default=1.4e9, ge=0.0, le=1e12, description="enhanced field below which nothing moves")
    t_0_K: float = Field(default=298.0, ge=1.0, le=1000.0, description="ambient temperature")
    r_th_K_per_W: float = Field(default=2100.0, ge=0.0, le=1e9, description="thermal resistance")
    v_read_V: Volt = Field(default=0.1, ge=1e-3, le=10.0, description="voltage at which the conductance is defined")

    @model_validator(mode="after")
    def _current_does_not_vanish(self) -> Self:
        if self.gap_max_m > 100.0 * self.g_0_m:
            raise ValueError("gap_max_m of at most 100 g_0_m, where the current has fallen by e^100")
        return self

    @property
    def _unit_S(self) -> float:
        """Conductance at the read voltage for a gap of zero."""
        return self.i_0_A * math.sinh(self.v_read_V / self.v_0_V) / self.v_read_V

    def conductance(self, state: Tensor) -> Tensor:
        return self._unit_S * torch.exp(-state / self.g_0_m)

    def _invert(self, g_S: Tensor) -> Tensor:
        return -self.g_0_m * torch.log(g_S / self._unit_S)

    def current(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        v = torch.as_tensor(v_V, dtype=state.dtype)
        return self.i_0_A * torch.exp(-state / self.g_0_m) * torch.sinh(v / self.v_0_V)

    def reach(self, state: Tensor, v_V: Tensor, current_A: Tensor) -> Tensor:
        return self.v_0_V * torch.asinh(current_A / self.i_0_A * torch.exp(state / self.g_0_m))

    def temperature(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        """Return the temperature of the filament in K, shaped as `state`.

        Args:
            state: gaps [*] in m.
            v_V: voltage across the cells in V.
        """
        return self.t_0_K + (self.current(state, v_V) * v_V).abs() * self.r_th_K_per_W

    def velocity(self, state: Tensor, v_V: Tensor | float, temperature_K: Tensor) -> Tensor:
        """Return d gap / dt in m/s, shaped as `state`.

        Args:
            state: gaps [*] in m.
            v_V: voltage across the cells in V.
            temperature_K: temperature of each filament [*] in K.
        """
        v = torch.as_tensor(v_V, dtype=state.dtype)
        thermal_V = _K_OVER_Q * temperature_K
        gamma = self.gamma_0 - self.beta * (state / 1e-9).pow(3)
        gamma = torch.where(gamma * v.abs() / self.t_ox_m < self.f_min_V_per_m, 0.0, gamma)
        hop = torch.sinh(gamma * (self.a_0_m / self.t_ox_m) * v / thermal_V)
        return -self.nu_0_m_per_s * torch.exp(-self.e_a_eV / thermal_V) * hop

    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        return self.velocity(state, v_V, self.temperature(state, v_V))
