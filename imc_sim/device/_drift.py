"""Structural drift: conductances fall as a power of time."""

from __future__ import annotations

from typing import Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Seconds, Siemens, Spec
from imc_sim.device._state_law import StateLaw, check_pieces, evaluate, is_zero


@final
class Drift(Spec):
    """G(t) = G (t / t0)^-nu for t > t0; the programmed conductance is that of time t0.

    Every cell has its own exponent, normal with mean nu and standard deviation nu_std, never below 0: both are
    numbers or laws of x = G / g_max, G as programmed.

    Source: power law, Karpov et al., J. Appl. Phys. 102, 2007; its distribution over states, Nandakumar et al.,
    ICECS 2019, in the form that aihwkit carries.
    """

    nu: StateLaw = Field(default=0.0, description="mean exponent")
    nu_std: StateLaw = Field(default=0.0, description="standard deviation of the exponent from cell to cell")
    t0_s: Seconds = Field(
        default=1.0, ge=1e-12, le=1e12, description="time after programming that conductances refer to"
    )
    g_max_S: Siemens | None = Field(default=None, ge=1e-15, le=1.0, description="conductance at which x is 1")

    @model_validator(mode="after")
    def _laws(self) -> Self:
        if isinstance(self.nu, float) and self.nu < 0.0:
            raise ValueError(f"nu of at least 0 (got {self.nu:g}): exponents below 0 count as 0")
        check_pieces(self.nu, self.g_max_S, "nu", 2.0)
        check_pieces(self.nu_std, self.g_max_S, "nu_std", 2.0)
        return self

    def acts(self, t_s: float) -> bool:
        """Return True if conductances at time t_s differ from the programmed ones.

        Args:
            t_s: time since programming in s.
        """
        return t_s > self.t0_s and not (is_zero(self.nu) and is_zero(self.nu_std))

    def idle(self) -> frozenset[str]:
        return self.all_but() if is_zero(self.nu) and is_zero(self.nu_std) else frozenset()

    def exponents(self, G: Tensor, normal: Tensor) -> Tensor:
        """Return the drift exponent nu of each cell [*], at least 0.

        Args:
            G: programmed conductances [*] in S.
            normal: one standard normal number per cell [*].
        """
        x = G / (self.g_max_S or 1.0)
        return (evaluate(self.nu, x) + evaluate(self.nu_std, x) * normal).clamp_min(0.0)

    def apply(self, G: Tensor, t_s: float, normal: Tensor) -> Tensor:
        """Return conductances [*] in S at time t_s; up to t0 they equal the programmed ones.

        Args:
            G: programmed conductances [*] in S.
            t_s: time since programming in s.
            normal: one standard normal number per cell [*], which sets its exponent.
        """
        factor: Tensor = torch.pow(max(t_s / self.t0_s, 1.0), -self.exponents(G, normal))
        return G * factor
