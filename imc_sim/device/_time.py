"""Ageing of programmed cells: relaxation, drift, loss of the state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._rng import Stream
from imc_sim.config import ElectronVolt, Hertz, Kelvin, Seconds, Siemens, Spec
from imc_sim.device._drift import Drift
from imc_sim.device._relaxation import AnyRelaxation, LogRelaxation
from imc_sim.device._state_law import States, between_states, check_states

#: Boltzmann's constant in eV / K (exact, CODATA 2018).
BOLTZMANN_EV = 8.617333262145179e-5
#: rewritings that can be told apart
_MOST = 2**31
_End = Annotated[Siemens, Field(ge=0.0, le=1.0)]


@final
class Retention(Spec):
    """Thermally activated loss: G(t) = G_end + (G - G_end) exp(-(r(T) t)^beta), off while rate_Hz is 0.

    r(T) = rate_Hz exp(-(E_a / k) (1 / T - 1 / T_ref)), the law of Arrhenius: rate_Hz is the rate at T_ref. G_end is
    end_S, or HRS; with states_S, end_S lists the end of each of these target conductances, and that of a target in
    between is interpolated, and a state with null loses nothing. beta below 1 stretches the decay over decades, as
    cells with unequal barriers do together.

    Source: stretched exponential, Kohlrausch 1854 (Phillips, Rep. Prog. Phys. 59, 1996); thermal activation of the
    loss of LRS in HfO2 cells, as in 10.1016/j.mee.2017.04.032. No preset claims figures for it.
    """

    rate_Hz: Hertz = Field(default=0.0, ge=0.0, le=1e12, description="rate of the loss at reference_K")
    activation_eV: ElectronVolt = Field(default=0.0, ge=0.0, le=5.0, description="activation energy")
    reference_K: Kelvin = Field(
        default=300.0, ge=1.0, le=1000.0, description="temperature at which the rate is rate_Hz"
    )
    beta: float = Field(default=1.0, gt=0.0, le=1.0, description="stretching exponent")
    end_S: _End | tuple[_End | None, ...] | None = Field(
        default=None, description="conductance in the end, for all or each of states_S; None: HRS, in a list: no loss"
    )
    states_S: States | None = Field(default=None, min_length=1, description="targets that end_S is given for")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if isinstance(self.end_S, tuple) != (self.states_S is not None):
            raise ValueError("states_S together with an end_S that lists the end of each state")
        check_states(self.states_S or (), end_S=self.end_S)
        return self

    def _by_state(self, target_S: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return the end in S and the part of the loss that acts, from 0 to 1, for each target."""
        states, listed = self.states_S or (), self.end_S if isinstance(self.end_S, tuple) else ()
        ends = tuple(s if e is None else e for s, e in zip(states, listed, strict=True))
        loses = tuple(float(e is not None) for e in listed)
        return between_states(ends, states, target_S), between_states(loses, states, target_S)

    def idle(self) -> frozenset[str]:
        return self.all_but() if self.rate_Hz == 0.0 else frozenset()

    def rate(self, temperature_K: float) -> float:
        """Return the rate r(T) in 1/s, limited to e^600 times rate_Hz, at which no state is left.

        Args:
            temperature_K: temperature of the cells in K.
        """
        barrier = self.activation_eV / BOLTZMANN_EV
        return self.rate_Hz * math.exp(min(-barrier * (1.0 / temperature_K - 1.0 / self.reference_K), 600.0))

    def apply(
        self, G: Tensor, t_s: float, temperature_K: float, g_hrs_S: float, target_S: Tensor | None = None
    ) -> Tensor:
        """Return conductances [*] in S after t_s at a constant temperature.

        Args:
            G: conductances [*] in S before the loss.
            t_s: time since programming in s.
            temperature_K: temperature of the cells in K.
            g_hrs_S: conductance of HRS in S, the end of the decay where end_S is None.
            target_S: target conductances [*] in S, for an end_S of each state; None: G.
        """
        kept = math.exp(-((self.rate(temperature_K) * t_s) ** self.beta))
        if isinstance(self.end_S, tuple):
            end, loses = self._by_state(G if target_S is None else target_S)
            return G + (end - G) * ((1.0 - kept) * loses)
        end = g_hrs_S if self.end_S is None else self.end_S
        return end + (G - end) * kept


@final
class Time(Spec):
    """Time of the reads, and ageing of the cells until then: relaxation first, then drift, then retention.

    At t_s = 0, immediately after programming, every cell is exactly as programmed. The random numbers of a cell do not
    depend on t_s: sweeping it ages one chip.

    Attributes:
        t_s: time of the reads after programming in s.
        relaxation: displacement of cells soon after programming.
        drift: fall of conductances as a power of time.
        retention: thermally activated loss of the state.
        compensation: multiply the analog results of each crossbar (layer) of a chip by the factor that its conductances
            lost together, before digital corrections are added (global drift compensation, Joshi et al., Nat. Commun.
            11:2473, 2020). An analog correction, which models the current of HRS cells, is divided by this factor.
        refresh_s: time in s after which every cell is written again, repeatedly. A refresh is sampled like any
            programming, and the age of the cells starts again at 0; reads at a multiple of refresh_s are those just
            before the refresh.
    """

    t_s: Seconds = Field(default=0.0, ge=0.0, le=1e12, description="time of the reads after programming")
    relaxation: AnyRelaxation = LogRelaxation()
    drift: Drift = Drift()
    retention: Retention = Retention()
    compensation: bool = Field(default=False, description="undo the common loss of conductance digitally")
    refresh_s: Seconds | None = Field(
        default=None, ge=1e-12, le=1e12, description="time after which cells are written again"
    )

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.refreshes >= _MOST:
            raise ValueError(f"t_s below {_MOST:g} times refresh_s")
        return self

    def idle(self) -> frozenset[str]:
        t = self.age_s
        acts = {
            "relaxation": t > 0.0 and self.relaxation.acts(t),
            "drift": self.drift.acts(t),
            "retention": t > 0.0 and self.retention.rate_Hz > 0.0,
            "refresh_s": self.refreshes > 0,
        }
        return frozenset(path for path, there in acts.items() if not there)

    @property
    def refreshes(self) -> int:
        """Return how often every cell has been rewritten until t_s, without the first programming."""
        return 0 if self.refresh_s is None else max(0, math.ceil(self.t_s / self.refresh_s * (1.0 - 1e-12)) - 1)

    @property
    def age_s(self) -> float:
        """Return the time since the cells were last written."""
        return self.t_s if self.refresh_s is None else self.t_s - self.refreshes * self.refresh_s

    def last_epoch(self, epoch: int) -> int:
        """Return the programming epoch of the last refresh, a distinct number for each refresh.

        Args:
            epoch: programming epoch in which the cells were first written.
        """
        return epoch + (self.refreshes << 32)

    @property
    def is_ideal(self) -> bool:
        """Tell whether cells keep their programmed values."""
        t = self.age_s
        return t <= 0.0 or not (self.relaxation.acts(t) or self.drift.acts(t) or self.retention.rate_Hz > 0.0)

    @property
    def by_state(self) -> bool:
        """Tell whether ageing depends on the level that a cell was programmed to."""
        lost = "retention" not in self.idle() and isinstance(self.retention.end_S, tuple)
        return self.relaxes or lost

    @property
    def relaxes(self) -> bool:
        """Tell whether relaxation acts: programmed values are clipped at 0 S after it."""
        return self.age_s > 0.0 and self.relaxation.acts(self.age_s)

    def stages(
        self, G: Tensor, target_S: Tensor, temperature_K: float, g_hrs_S: float, seed: int, layer: str, chip: int,
        epoch: int,
    ) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
        """Yield the name of each effect that acts, and conductances [*] in S of one chip's cells after it, at time t_s.

        Args:
            G: programmed conductances [*] in S; not clipped at 0 S where relaxation acts, so that the normal
                displacements of programming and relaxation are clipped once, after both.
            target_S: target conductances [*] in S, of the levels that the cells were programmed to.
            temperature_K: temperature of the cells in K.
            g_hrs_S: conductance of HRS in S.
            seed, layer, chip, epoch: address of the random numbers of the cells; epoch is that of the last refresh.
        """
        t = self.age_s
        if self.relaxes:
            normal = _normal(G, Stream(seed, layer, "relaxation"), chip, epoch)
            if self.relaxation.has_tails:
                tails = _normal(G, Stream(seed, layer, "relaxation tails"), chip, epoch)
                normal = normal * self.relaxation.widths(tails, target_S)
            G = self.relaxation.apply(G, t, normal, target_S).clamp_min(0.0)
            yield "relaxation", G
        if self.drift.acts(t):
            G = self.drift.apply(G, t, _normal(G, Stream(seed, layer, "drift"), chip, epoch))
            yield "drift", G
        if self.retention.rate_Hz > 0.0:
            yield "retention", self.retention.apply(G, t, temperature_K, g_hrs_S, target_S)


def _normal(like: Tensor, stream: Stream, chip: int, epoch: int) -> Tensor:
    return torch.from_numpy(stream.normal(like.numel(), chip, epoch)).double().reshape(like.shape)
