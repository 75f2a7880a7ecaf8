"""How far a programmed conductance lands from its target: the device-to-device spread.

Conductances are handled in units of the window: g = (G - G_HRS) / (G_LRS - G_HRS), so that HRS is 0, LRS is
1, and `floor` = G_HRS / (G_LRS - G_HRS) is what a cell in HRS still conducts. Zero conductance is -floor.
"""

from __future__ import annotations

import abc
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim.config import Siemens, Spec

Law = Literal["gaussian", "log_normal"]


class Programming(Spec, abc.ABC):
    """One draw per cell at programming time. A spread of zero leaves the target untouched, bit for bit."""

    @property
    @abc.abstractmethod
    def exact(self) -> bool:
        """Every cell lands on its target."""

    @abc.abstractmethod
    def apply(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        """Programmed g for targets g in [0, 1]; `normal` holds one standard normal number per cell.

        target: broadcastable to normal [chip, …]; window_S: G_LRS - G_HRS. Never below zero conductance.
        """


@final
class RelativeSpread(Programming):
    """Spread proportional to the conductance of the state, separately for LRS and HRS.

    sigma: relative spread of LRS; gaussian: standard deviation over target; log_normal: standard deviation
    of ln G, with the target as median. sigma_hrs: the same for HRS (None: as LRS). Levels in between take
    the linear mixture of both, and the law of the nearer state. Normal LRS and log-normal HRS is what
    HfO2 1T1R cells show over cycling.
    """

    kind: Literal["relative"] = "relative"
    sigma: float = Field(default=0.0, ge=0.0, description="relative spread of LRS")
    sigma_hrs: float | None = Field(default=None, ge=0.0, description="relative spread of HRS; None: sigma")
    law: Law = Field(default="gaussian", description="distribution of LRS")
    law_hrs: Law | None = Field(default=None, description="distribution of HRS; None: as LRS")

    @property
    def exact(self) -> bool:
        return self.sigma == 0.0 and not self.sigma_hrs

    def idle(self) -> frozenset[str]:
        return self.all_but("kind") if self.exact else frozenset()

    def apply(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        sigma_hrs = self.sigma if self.sigma_hrs is None else self.sigma_hrs
        sigma = sigma_hrs + (self.sigma - sigma_hrs) * target
        laws = (self.law_hrs or self.law, self.law)
        if laws == ("gaussian", "gaussian"):
            return _gaussian(target, sigma * (target + floor), normal, floor)
        log_normal = (target + floor) * torch.exp(sigma * normal) - floor
        if laws == ("log_normal", "log_normal"):
            return log_normal
        gaussian = _gaussian(target, sigma * (target + floor), normal, floor)
        low, high = (log_normal, gaussian) if laws[0] == "log_normal" else (gaussian, log_normal)
        return torch.where(target < 0.5, low, high)


@final
class PolynomialSpread(Programming):
    """Gaussian spread whose standard deviation is a polynomial of the target, as fitted to measured arrays.

    std = scale * sum_i coefficients_S[i] (G / g_max_S)^i, in siemens, never below zero.
    """

    kind: Literal["polynomial"] = "polynomial"
    coefficients_S: tuple[Siemens, ...] = Field(min_length=1, description="c0, c1, … of the standard deviation")
    g_max_S: Siemens = Field(gt=0.0, description="conductance at which the polynomial's argument is 1")
    scale: float = Field(default=1.0, ge=0.0, description="factor on the fitted spread")

    @property
    def exact(self) -> bool:
        return self.scale == 0.0 or not any(self.coefficients_S)

    def idle(self) -> frozenset[str]:
        return self.all_but("kind") if self.exact else frozenset()

    def apply(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        x = (target + floor) * (window_S / self.g_max_S)
        std = torch.zeros_like(x)
        for c in reversed(self.coefficients_S):
            std = std * x + c
        return _gaussian(target, std.clamp_min(0.0) * (self.scale / window_S), normal, floor)


def _gaussian(target: Tensor, std: Tensor, normal: Tensor, floor: float) -> Tensor:
    return torch.addcmul(target, std, normal).clamp_min_(-floor)
