"""One read of a cell: its voltage, its noise, and how its current bends with the voltage."""

from __future__ import annotations

import math
from typing import Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.config import Hertz, Seconds, Siemens, Spec, Volt
from imc_sim.device._state_law import StateLaw, check_pieces, evaluate, vanishes

#: Boltzmann's constant in J / K (exact, CODATA 2018).
BOLTZMANN_J = 1.380649e-23


@final
class Flicker(Spec):
    """1/f noise: standard deviation G Q sqrt(ln((t + t_read) / (2 t_read))) at time t after programming.

    Q: a number, or a law of x = G / g_max, G as programmed. The variance is that of all frequencies from 1 / t up
    to the read's own 1 / t_read. Every read draws anew: correlation from read to read is left out. No noise where
    the logarithm is not positive (t up to t_read).

    Source: Nandakumar et al., ICECS 2019, in the form that aihwkit carries.
    """

    q: StateLaw = Field(default=0.0, description="Q")
    t_read_s: Seconds = Field(default=250e-9, gt=0.0, description="duration of a read")
    g_max_S: Siemens | None = Field(default=None, gt=0.0, description="conductance at which x is 1")

    @model_validator(mode="after")
    def _law(self) -> Self:
        check_pieces(self.q, self.g_max_S, "q")
        return self

    @property
    def on(self) -> bool:
        return not vanishes(self.q)

    def relative_variance(self, programmed: Tensor, t_s: float) -> Tensor | float:
        """Variance over G^2 at time t_s for cells programmed to that many S."""
        span = max(math.log((t_s + self.t_read_s) / (2.0 * self.t_read_s)), 0.0)
        q = evaluate(self.q, programmed / (self.g_max_S or 1.0))
        return q * q * span


@final
class Telegraph(Spec):
    """Random telegraph noise: a trap switches a cell between G + (1 - o) dG and G - o dG, o being its occupancy.

    A cell has a trap with the given probability, for good; dG / G is log-normal from cell to cell, with `amplitude`
    as median and `spread` as standard deviation of ln(dG / G), at most 1. From read to read the variance is
    o (1 - o) dG^2 and the mean is G. Reads are taken as further apart than the trap's time constants, so that they
    are independent.

    Source: log-normal amplitudes, Karpov and Niraula (SRC publication P091169); two-level variance, Machlup,
    J. Appl. Phys. 25, 1954.
    """

    probability: float = Field(default=0.0, ge=0.0, le=1.0, description="probability that a cell has a trap")
    amplitude: float = Field(default=0.0, ge=0.0, le=1.0, description="median of dG / G")
    spread: float = Field(default=0.0, ge=0.0, description="standard deviation of ln(dG / G)")
    occupancy: float = Field(default=0.5, gt=0.0, lt=1.0, description="share of the time in the low state")

    @property
    def on(self) -> bool:
        return self.probability > 0.0 and self.amplitude > 0.0

    def traps(self, shape: tuple[int, ...], seed: int, layer: str, chip: int) -> Tensor:
        """dG / G of one chip's cells (float64, 0 without a trap). A trap belongs to the cell, however programmed."""
        count = math.prod(shape)
        there = torch.from_numpy(Stream(seed, layer, "trap").uniform(count, chip)) < self.probability
        normal = torch.from_numpy(Stream(seed, layer, "trap amplitude").normal(count, chip)).double()
        amplitude = (self.amplitude * torch.exp(self.spread * normal)).clamp_max(1.0)
        return torch.where(there, amplitude, 0.0).reshape(shape)


@final
class Read(Spec):
    """One read of a cell.

    sigma: cycle-to-cycle spread of a cell's conductance, relative to it. bandwidth_Hz: of the sense amplifier, for
    the thermal noise of the cell. nonlinearity_per_V: a in I(V) = G v_read sinh(a V) / sinh(a v_read), so that G is
    the conductance at the read voltage and full drive is unchanged; 0 is Ohm's law.

    Source: Nyquist, Phys. Rev. 32, 1928 (thermal noise); sinh law of tunnelling between traps, Simmons,
    J. Appl. Phys. 34, 1963, as compact models of RRAM use it.
    """

    v_read_V: Volt = Field(default=0.2, gt=0.0, description="voltage of a driven word line")
    sigma: float = Field(default=0.0, ge=0.0, description="read-to-read spread relative to the conductance")
    bandwidth_Hz: Hertz = Field(default=0.0, ge=0.0, description="bandwidth of thermal noise; 0: none")
    flicker: Flicker = Flicker()
    telegraph: Telegraph = Telegraph()
    nonlinearity_per_V: float = Field(default=0.0, ge=0.0, description="a of sinh(a V)")

    @property
    def noisy(self) -> bool:
        """Successive reads may differ."""
        return self.sigma > 0.0 or self.bandwidth_Hz > 0.0 or self.flicker.on or self.telegraph.on

    def variance(
        self, G_S: Tensor, trap: Tensor | None = None, t_s: float = 0.0, temperature_K: float = 300.0,
        programmed_S: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Variance in S^2 of conductances G_S [*] from read to read, at full drive; independent from cell to cell.

        (sigma G)^2 + 4 k T G B / v_read^2 + (1/f noise at time t_s) + o (1 - o) (trap G)^2. trap [*]: dG / G of
        each cell's trap, as `traps` draws them. programmed_S [*]: what the cells were programmed to, on which the
        strength of 1/f noise depends (None: G_S). Thermal noise of the current does not shrink with the drive as
        the other parts do: this is its value at v_read.
        """
        G_S = G_S.clamp_min(0.0)  # rounding may leave a cell of 0 S a little below it
        relative: Tensor | float = self.sigma * self.sigma
        if self.flicker.on:
            relative = relative + self.flicker.relative_variance(G_S if programmed_S is None else programmed_S, t_s)
        if self.telegraph.on:
            if trap is None:
                step = "Draw them once per chip with Device.traps."
                raise InputError("read.telegraph", "no traps", "a relative amplitude per cell", step)
            o = self.telegraph.occupancy
            relative = relative + o * (1.0 - o) * trap.square()
        thermal = 4.0 * BOLTZMANN_J * temperature_K * self.bandwidth_Hz / self.v_read_V**2
        return G_S.square() * relative + G_S * thermal

    def drive(self, x: Tensor) -> Tensor:
        """What drives x (voltage over v_read) count for: sinh(a v_read x) / sinh(a v_read); x itself for a = 0.

        -1, 0 and 1 stay what they are, to the bit. No overflow, however large a is.
        """
        c = self.nonlinearity_per_V * self.v_read_V
        if c == 0.0:
            return x
        size = x.abs()
        value = x.sign() * torch.exp(c * (size - 1.0)) * torch.expm1(-2.0 * c * size) / math.expm1(-2.0 * c)
        return torch.where(size == 1.0, x, value)

    def current(self, G_S: Tensor, v_V: Tensor) -> Tensor:
        """I in A through conductances G_S (at the read voltage) at any voltage v_V; the two broadcast."""
        return G_S * self.v_read_V * self.drive(v_V / self.v_read_V)
