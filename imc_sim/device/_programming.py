"""Programming laws: the device variation of programmed conductances around their targets.

Conductances are handled in units of the window: g = (G - G_HRS) / (G_LRS - G_HRS), so that HRS is 0, LRS is
1, and `floor` = G_HRS / (G_LRS - G_HRS) is what a cell in HRS still conducts. Zero conductance is -floor.
"""

from __future__ import annotations

import abc
from typing import Annotated, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Effect, Siemens
from imc_sim.device._state_law import polynomial

Law = Literal["gaussian", "log_normal"]


def check_std(coefficients_S: tuple[float, ...], g_max_S: float) -> None:
    """Raise ValueError where a standard deviation, a polynomial of x = G / g_max in [0, 1], is above 3 g_max."""
    most = max(sum(c * x**k for k, c in enumerate(coefficients_S)) for x in (0.0, 0.25, 0.5, 0.75, 1.0))
    if most > _MOST_SIGMA * g_max_S:
        raise ValueError(f"coefficients_S of a standard deviation up to {_MOST_SIGMA:g} g_max_S (here {most:.3g} S)")


#: the largest relative variation: 300 %, above which a percentage was probably typed as a fraction
_MOST_SIGMA = 3.0


class Programming(Effect, abc.ABC):
    """A law of programmed conductances, with one normal number per cell. Without variation, targets are exact."""

    @property
    def by_position(self) -> bool:
        """Tell whether cells have the deviations of the measured ones at their positions."""
        return False

    @abc.abstractmethod
    def unclipped(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        """Return programmed g in windows before it is clipped at 0 S, which normal laws may pass.

        Args:
            target: target g in [0, 1], broadcastable to normal.
            normal: one standard normal number per cell [*].
            floor: G_HRS over the window.
            window_S: G_LRS - G_HRS in S.
        """

    def apply(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        """Return programmed g in windows, at least -floor, which is 0 S.

        Args:
            target: target g in [0, 1], broadcastable to normal.
            normal: one standard normal number per cell [*].
            floor: G_HRS over the window.
            window_S: G_LRS - G_HRS in S.
        """
        return self.unclipped(target, normal, floor, window_S).clamp_min(-floor)


@final
class RelativeVariation(Programming):
    """Device variation proportional to the target, separately for LRS and HRS.

    gaussian: normal with mean G and standard deviation sigma G, clipped at 0 S. Clipping raises the mean and lowers the
    coefficient of variation (std / mean): sigma 0.3 leaves both unchanged within 2e-4; 0.5 gives 1.004 G and 0.49,
    1.0 gives 1.083 G and 0.80.

    log_normal: with `sigma_of: ln_g`, sigma is the standard deviation s of ln G; with `cv`, it is the coefficient of
    variation, s^2 = ln(1 + sigma^2). With `target_is: median`, the target is the median, and the mean is exp(s^2 / 2)
    times the target; with `mean`, the target is the mean. Defaults are those of fits to ln G: at sigma 1 the mean is
    1.65 targets and the coefficient of variation 1.31, so that equal sigmas are not the same relative variation in a
    normal LRS and a log-normal HRS. `sigma_of: cv` with `target_is: mean` compares them on equal terms.

    Levels in between have the linear mixture of both sigmas, and the law of the nearer state; the middle has that of
    LRS. Normal LRS and log-normal HRS is what HfO2 1T1R cells show over cycling.
    """

    kind: Literal["relative"] = "relative"
    sigma: float = Field(default=0.0, ge=0.0, le=_MOST_SIGMA, description="relative variation of LRS, 0.1 for 10 %")
    sigma_hrs: float | None = Field(
        default=None, ge=0.0, le=_MOST_SIGMA, description="relative variation of HRS, 0.1 for 10 %; None: sigma"
    )
    law: Law = Field(default="gaussian", description="distribution of LRS")
    law_hrs: Law | None = Field(default=None, description="distribution of HRS; None: as LRS")
    sigma_of: Literal["ln_g", "cv"] = Field(
        default="ln_g", description="log-normal: sigma is the standard deviation of ln G, or that of G over its mean"
    )
    target_is: Literal["median", "mean"] = Field(default="median", description="log-normal: what the target is")

    @property
    def is_ideal(self) -> bool:
        return self.sigma == 0.0 and not self.sigma_hrs

    def idle(self) -> frozenset[str]:
        if self.is_ideal:
            return self.all_but("kind")
        normal = "log_normal" not in (self.law, self.law_hrs or self.law)
        return frozenset({"sigma_of", "target_is"}) if normal else frozenset()

    def unclipped(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        sigma_hrs = self.sigma if self.sigma_hrs is None else self.sigma_hrs
        sigma = sigma_hrs + (self.sigma - sigma_hrs) * target
        laws = (self.law_hrs or self.law, self.law)
        if laws == ("gaussian", "gaussian"):
            return torch.addcmul(target, sigma * (target + floor), normal)
        log_normal = self._log_normal(target + floor, sigma, normal) - floor
        if laws == ("log_normal", "log_normal"):
            return log_normal
        gaussian = torch.addcmul(target, sigma * (target + floor), normal)
        low, high = (log_normal, gaussian) if laws[0] == "log_normal" else (gaussian, log_normal)
        return torch.where(target < 0.5, low, high)

    def _log_normal(self, G: Tensor, sigma: Tensor, normal: Tensor) -> Tensor:
        """Return log-normal conductances for targets G, in the unit of G."""
        s = torch.log1p(sigma.square()).sqrt() if self.sigma_of == "cv" else sigma
        exponent = s * normal
        return G * torch.exp(exponent if self.target_is == "median" else exponent - s.square() / 2)


@final
class PolynomialVariation(Programming):
    """Gaussian variation whose standard deviation is a polynomial of the target, as fitted to measured arrays.

    std = scale * sum_i coefficients_S[i] (G / g_max_S)^i, in siemens, never below zero.
    """

    kind: Literal["polynomial"] = "polynomial"
    coefficients_S: tuple[Annotated[Siemens, Field(ge=-1.0, le=1.0)], ...] = Field(
        min_length=1, description="c0, c1, … of the standard deviation"
    )
    g_max_S: Siemens = Field(ge=1e-15, le=1.0, description="conductance at which the polynomial's argument is 1")
    scale: float = Field(default=1.0, ge=0.0, le=100.0, description="factor on the fitted standard deviation")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        check_std(self.coefficients_S, self.g_max_S)
        return self

    @property
    def is_ideal(self) -> bool:
        return self.scale == 0.0 or not any(self.coefficients_S)

    def unclipped(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        x = (target + floor) * (window_S / self.g_max_S)
        std = polynomial(self.coefficients_S, x).clamp_min(0.0)
        return torch.addcmul(target, std * (self.scale / window_S), normal)
