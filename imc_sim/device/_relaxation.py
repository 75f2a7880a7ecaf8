"""Relaxation: within seconds, verified cells move away from their targets, independently of each other."""

from __future__ import annotations

import abc
import bisect
import itertools
import math
from typing import Annotated, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Seconds, Siemens, Spec
from imc_sim.device._programming import check_std
from imc_sim.device._state_law import States, between_states, check_states, polynomial

_Current = Annotated[Siemens, Field(ge=0.0, le=1.0)]
_Signed = Annotated[Siemens, Field(ge=-1.0, le=1.0)]
_Tail = Annotated[float, Field(ge=0.0, le=2.0)]


class Relaxation(Spec, abc.ABC):
    """A random displacement per cell that grows with time, in the same direction at all times. 0 at t = 0."""

    @property
    def has_tails(self) -> bool:
        """Tell whether displacements have heavier tails than a normal law; `widths` then scales their numbers."""
        return False

    def widths(self, normal: Tensor, target_S: Tensor) -> Tensor:
        """Return the factor on the standard deviation of each cell [*], with a mean square of 1.

        Args:
            normal: one standard normal number per cell [*], independent of that of the displacement.
            target_S: target conductances [*] in S.
        """
        return torch.ones_like(normal)

    @abc.abstractmethod
    def acts(self, t_s: float) -> bool:
        """Return True if some cell has moved at time t_s.

        Args:
            t_s: time since programming in s.
        """

    @abc.abstractmethod
    def apply(self, G: Tensor, t_s: float, normal: Tensor, target_S: Tensor) -> Tensor:
        """Return conductances [*] in S at a time at which cells have moved, not yet clipped at 0 S.

        Args:
            G: programmed conductances [*] in S, before they are clipped at 0 S.
            t_s: time since programming in s, at which `acts` is true.
            normal: one standard normal number per cell [*].
            target_S: target conductances [*] in S, of the levels that the cells were programmed to.
        """


@final
class LogRelaxation(Relaxation):
    """Mean shift_S ln(t / t0) and standard deviation sigma_S + growth_S ln(t / t0), equal for all states.

    Before t0 both are those at t0: the law's measurements start there.

    Source: the law of CMO/HfOx cells, Falcone et al., in the fit that aihwkit carries (ReRamCMO).
    """

    kind: Literal["logarithmic"] = "logarithmic"
    sigma_S: Siemens = Field(default=0.0, ge=0.0, le=1.0, description="standard deviation at t0")
    growth_S: Siemens = Field(default=0.0, ge=0.0, le=1.0, description="its growth while time grows by a factor e")
    shift_S: Siemens = Field(
        default=0.0, ge=-1.0, le=1.0, description="change of the mean while time grows by a factor e"
    )
    t0_s: Seconds = Field(default=1.0, ge=1e-12, le=1e12, description="time at which the standard deviation is sigma_S")

    def acts(self, t_s: float) -> bool:
        return t_s > 0.0 and bool(self.sigma_S or self.growth_S or self.shift_S)

    def idle(self) -> frozenset[str]:
        return frozenset() if self.growth_S or self.shift_S else frozenset({"t0_s"})

    def apply(self, G: Tensor, t_s: float, normal: Tensor, target_S: Tensor) -> Tensor:
        elapsed = max(math.log(t_s / self.t0_s), 0.0)
        return G + self.shift_S * elapsed + (self.sigma_S + self.growth_S * elapsed) * normal


@final
class MeasuredRelaxation(Relaxation):
    """Errors measured at several times: what their variance gained since the first time is added to each cell.

    At times_s[k] the standard deviation of a cell's error is the polynomial sum_i coefficients_S[k][i] x^i of
    x = target / g_max. Between two times it is interpolated linearly in ln t; before the first nothing is added,
    after the last it stays. The variation at the first time is that of the programming law.

    Source: Wan et al., Nature 608, 2022, whose errors at 1 s, 1 day and 2 days aihwkit fits in this form.
    """

    kind: Literal["measured"] = "measured"
    times_s: tuple[Annotated[Seconds, Field(ge=1e-12, le=1e12)], ...] = Field(
        min_length=2, description="times of the measurements, ascending"
    )
    coefficients_S: tuple[tuple[Annotated[Siemens, Field(ge=-1.0, le=1.0)], ...], ...] = Field(
        min_length=2, description="c0, c1, … for each time"
    )
    g_max_S: Siemens = Field(ge=1e-15, le=1.0, description="conductance at which x is 1")
    scale: float = Field(default=1.0, ge=0.0, le=100.0, description="factor on the added standard deviation")

    @model_validator(mode="after")
    def _match(self) -> Self:
        if len(self.times_s) != len(self.coefficients_S) or not all(self.coefficients_S):
            raise ValueError("one list of coefficients for each of the times_s")
        if self.times_s[0] <= 0.0 or any(b <= a for a, b in itertools.pairwise(self.times_s)):
            raise ValueError("times_s that rise from above 0")
        for coefficients in self.coefficients_S:
            check_std(coefficients, self.g_max_S)
        return self

    def acts(self, t_s: float) -> bool:
        return t_s > self.times_s[0] and self.scale > 0.0

    def idle(self) -> frozenset[str]:
        return self.all_but("kind") if self.scale == 0.0 else frozenset()

    def apply(self, G: Tensor, t_s: float, normal: Tensor, target_S: Tensor) -> Tensor:
        x = target_S / self.g_max_S
        gained = self.std(x, t_s).square() - polynomial(self.coefficients_S[0], x).clamp_min(0.0).square()
        return G + self.scale * gained.clamp_min(0.0).sqrt() * normal

    def std(self, x: Tensor, t_s: float) -> Tensor:
        """Return the standard deviation in S of the whole error at time t_s, shaped as x, without the factor `scale`.

        Args:
            x: target over g_max, any shape.
            t_s: time since programming in s.
        """
        k = min(max(bisect.bisect_right(self.times_s, t_s), 1), len(self.times_s) - 1)
        early, late = self.times_s[k - 1], self.times_s[k]
        share = min(max(math.log(t_s / early) / math.log(late / early), 0.0), 1.0)
        before, after = (polynomial(self.coefficients_S[i], x).clamp_min(0.0) for i in (k - 1, k))
        return torch.lerp(before, after, share).clamp_min(0.0)


@final
class StateRelaxation(Relaxation):
    """Shift, standard deviation and tails that depend on the state, in ln t.

    The mean is shift_S ln(t / t0), the standard deviation sigma_S + growth_S ln(t / t0), and before t0 both are those
    at t0. The displacement is normal with a variance that is log-normal from cell to cell: `tail` is the standard
    deviation of ln of a cell's own standard deviation, and sigma_S stays that of all cells. Its kurtosis is
    3 exp(4 tail^2): 3 for a normal law (tail 0), 5.7 for 0.4. Each of them is a number for all states, or one number
    for each of the states_S, linear in the target conductance between states and constant outside.

    Source: relaxation that depends on the state and grows with time, Wan et al., Nature 608, 2022. The scale mixture of
    normal laws for heavy tails is a fit, not a claim of that work.
    """

    kind: Literal["by_state"] = "by_state"
    states_S: States = Field(min_length=1, description="target conductances that the values are given for, ascending")
    sigma_S: _Current | tuple[_Current, ...] = Field(default=0.0, description="standard deviation at t0")
    growth_S: _Current | tuple[_Current, ...] = Field(
        default=0.0, description="its growth while time grows by a factor e"
    )
    shift_S: _Signed | tuple[_Signed, ...] = Field(
        default=0.0, description="change of the mean while time grows by a factor e"
    )
    tail: _Tail | tuple[_Tail, ...] = Field(default=0.0, description="standard deviation of ln(standard deviation)")
    t0_s: Seconds = Field(default=1.0, ge=1e-12, le=1e12, description="time at which the standard deviation is sigma_S")

    @model_validator(mode="after")
    def _match(self) -> Self:
        values = {name: getattr(self, name) for name in ("sigma_S", "growth_S", "shift_S", "tail")}
        check_states(self.states_S, **values)
        return self

    @property
    def _varies(self) -> bool:
        return _any(self.sigma_S) or _any(self.growth_S)

    @property
    def has_tails(self) -> bool:
        return self._varies and _any(self.tail)

    def acts(self, t_s: float) -> bool:
        grows = _any(self.growth_S) or _any(self.shift_S)
        return t_s > 0.0 and (_any(self.sigma_S) or (grows and t_s > self.t0_s))

    def idle(self) -> frozenset[str]:
        if not (self._varies or _any(self.shift_S)):
            return self.all_but("kind", "sigma_S", "growth_S", "shift_S")
        lists = any(isinstance(v, tuple) for v in (self.sigma_S, self.growth_S, self.shift_S, self.tail))
        acts = {
            "t0_s": _any(self.growth_S) or _any(self.shift_S),
            "tail": self._varies,
            "states_S": lists and len(self.states_S) > 1,
        }
        return frozenset(name for name, there in acts.items() if not there)

    def widths(self, normal: Tensor, target_S: Tensor) -> Tensor:
        tail = between_states(self.tail, self.states_S, target_S)
        return torch.exp(tail * normal - tail * tail)

    def apply(self, G: Tensor, t_s: float, normal: Tensor, target_S: Tensor) -> Tensor:
        elapsed = max(math.log(t_s / self.t0_s), 0.0)
        shift, sigma, growth = (
            between_states(values, self.states_S, target_S) for values in (self.shift_S, self.sigma_S, self.growth_S)
        )
        return G + shift * elapsed + (sigma + growth * elapsed) * normal


def _any(values: float | tuple[float, ...]) -> bool:
    """Tell whether a number, or one of several, is not 0."""
    return any(values) if isinstance(values, tuple) else bool(values)


AnyRelaxation = Annotated[LogRelaxation | MeasuredRelaxation | StateRelaxation, Field(discriminator="kind")]
