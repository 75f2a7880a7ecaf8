"""One read of a cell: its voltage, its noise, and how its current bends with the voltage."""

from __future__ import annotations

import math
from typing import Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.config import Effect, Hertz, Seconds, Siemens, Spec, Volt
from imc_sim.device._state_law import StateLaw, check_pieces, evaluate, is_zero

#: Boltzmann's constant in J / K (exact, CODATA 2018).
BOLTZMANN_J = 1.380649e-23


@final
class Flicker(Effect):
    """1/f noise: standard deviation G Q sqrt(ln((t + t_read) / (2 t_read))) at time t after programming.

    Q: a number, or a law of x = G / g_max, G as programmed. The variance is that of all frequencies from 1 / t up
    to the read's own 1 / t_read. Every read is sampled again, without correlation between reads. No noise where
    the logarithm is not positive (t up to t_read).

    Source: Nandakumar et al., ICECS 2019, in the form that aihwkit carries.
    """

    q: StateLaw = Field(default=0.0, description="Q")
    t_read_s: Seconds = Field(default=250e-9, ge=1e-15, le=1e6, description="duration of a read")
    g_max_S: Siemens | None = Field(default=None, ge=1e-15, le=1.0, description="conductance at which x is 1")

    @model_validator(mode="after")
    def _law(self) -> Self:
        check_pieces(self.q, self.g_max_S, "q", 10.0)
        return self

    @property
    def is_ideal(self) -> bool:
        """Tell whether there is no 1/f noise."""
        return is_zero(self.q)

    def acts(self, t_s: float) -> bool:
        """Tell whether reads at a time have this noise.

        Args:
            t_s: time since programming in s.

        Returns:
            True if its variance is above 0.
        """
        return t_s > self.t_read_s and not self.is_ideal

    def relative_variance(self, programmed: Tensor, t_s: float) -> Tensor | float:
        """Return the variance of 1/f noise over G^2, shaped as `programmed`; a number where Q is one.

        Args:
            programmed: programmed conductances [*] in S.
            t_s: time since programming in s.
        """
        span = max(math.log((t_s + self.t_read_s) / (2.0 * self.t_read_s)), 0.0)
        q = evaluate(self.q, programmed / (self.g_max_S or 1.0))
        return q * q * span


@final
class Telegraph(Effect):
    """Random telegraph noise: a trap switches a cell between G + o dG and G - (1 - o) dG.

    The cell is in the low state for a share o of the time, the occupancy. A cell has a trap with the given probability,
    for good; dG / G is log-normal from cell to cell, with `amplitude` as median and `spread` as standard deviation of
    ln(dG / G), at most 1. From read to read the variance is o (1 - o) dG^2 and the mean is G. Reads are taken as
    further apart than the trap's time constants, so that they are independent. Of every column of a tile the 32 largest
    traps are sampled as two states; what the others add is taken as normal, with their variance.

    Source: log-normal amplitudes, Karpov and Niraula (SRC publication P091169); two-level variance, Machlup,
    J. Appl. Phys. 25, 1954.
    """

    probability: float = Field(default=0.0, ge=0.0, le=1.0, description="probability that a cell has a trap")
    amplitude: float = Field(default=0.0, ge=0.0, le=1.0, description="median of dG / G")
    spread: float = Field(default=0.0, ge=0.0, le=5.0, description="standard deviation of ln(dG / G)")
    occupancy: float = Field(default=0.5, gt=0.0, lt=1.0, description="share of the time in the low state")

    @property
    def is_ideal(self) -> bool:
        """Tell whether no cell has a trap."""
        return self.probability == 0.0 or self.amplitude == 0.0

    def traps(self, shape: tuple[int, ...], seed: int, layer: str, chip: int) -> Tensor:
        """Return dG / G of one chip's cells: float64, at most 1, and 0 for cells without a trap.

        Traps belong to the cells and stay the same when these are programmed again.

        Args:
            shape: shape of the result.
            seed, layer, chip: address of the random numbers of the cells.
        """
        count = math.prod(shape)
        there = torch.from_numpy(Stream(seed, layer, "trap").uniform(count, chip)) < self.probability
        normal = torch.from_numpy(Stream(seed, layer, "trap amplitude").normal(count, chip)).double()
        amplitude = (self.amplitude * torch.exp(self.spread * normal)).clamp_max(1.0)
        return torch.where(there, amplitude, 0.0).reshape(shape)


@final
class Read(Spec):
    """One read of a cell.

    Attributes:
        v_read_V: voltage of a driven word line in V.
        sigma: standard deviation of a cell's conductance from read to read, relative to it.
        bandwidth_Hz: bandwidth of the sense amplifier in Hz, for the thermal noise of the cell.
        flicker: 1/f noise.
        telegraph: random telegraph noise.
        nonlinearity_per_V: a in I(V) = G v_read sinh(a V) / sinh(a v_read), where G is the conductance at the read
            voltage. The current at v_read does not depend on a; 0 is Ohm's law.

    Source: Nyquist, Phys. Rev. 32, 1928 (thermal noise); sinh law of tunnelling between traps, Simmons,
    J. Appl. Phys. 34, 1963, as compact models of RRAM use it.
    """

    v_read_V: Volt = Field(default=0.2, ge=1e-3, le=10.0, description="voltage of a driven word line")
    sigma: float = Field(
        default=0.0, ge=0.0, le=3.0, description="standard deviation from read to read, relative to the conductance"
    )
    bandwidth_Hz: Hertz = Field(default=0.0, ge=0.0, le=1e12, description="bandwidth of thermal noise; 0: none")
    flicker: Flicker = Flicker()
    telegraph: Telegraph = Telegraph()
    nonlinearity_per_V: float = Field(default=0.0, ge=0.0, le=1e3, description="a of sinh(a V)")

    @property
    def noisy(self) -> bool:
        """Tell whether successive reads may differ."""
        return self.noisy_at(math.inf)

    def noisy_at(self, t_s: float) -> bool:
        """Tell whether successive reads at a time differ.

        Args:
            t_s: time since programming in s.

        Returns:
            True if any noise acts then.
        """
        return bool(self.sigma or self.bandwidth_Hz) or self.flicker.acts(t_s) or not self.telegraph.is_ideal

    def driven_variance(
        self, G_S: Tensor, t_s: float = 0.0, programmed_S: Tensor | None = None
    ) -> Tensor | None:  # fmt: skip
        """Return the part of the variance [*] in S^2 that scales with the square of the drive, without traps.

        It is (sigma G)^2 plus the variance of 1/f noise; None where both are off.

        Args:
            G_S: conductances [*] in S at the time of the read.
            t_s: time since programming in s.
            programmed_S: programmed conductances [*] in S, on which the strength of 1/f noise depends; None: G_S.
        """
        if self.sigma == 0.0 and self.flicker.is_ideal:
            return None
        G_S = G_S.clamp_min(0.0)  # rounding may leave a cell of 0 S a little below it
        relative: Tensor | float = self.sigma * self.sigma
        if not self.flicker.is_ideal:
            relative = relative + self.flicker.relative_variance(G_S if programmed_S is None else programmed_S, t_s)
        return G_S.square() * relative

    def thermal_variance(self, G_S: Tensor, temperature_K: float) -> Tensor | None:
        """Return 4 k T G B / v_read^2, the variance [*] in S^2 at any drive, also at 0 V; None if bandwidth_Hz is 0.

        Args:
            G_S: conductances [*] in S.
            temperature_K: temperature of the cells in K.
        """
        if self.bandwidth_Hz == 0.0:
            return None
        return G_S.clamp_min(0.0) * (4.0 * BOLTZMANN_J * temperature_K * self.bandwidth_Hz / self.v_read_V**2)

    def variance(
        self, G_S: Tensor, trap: Tensor | None = None, t_s: float = 0.0, temperature_K: float = 300.0,
        programmed_S: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the variance [*] in S^2 of conductances from read to read, at full drive.

        It is the sum of the driven variance, the thermal variance and o (1 - o) (trap G)^2. Cells are independent.

        Args:
            G_S: conductances [*] in S at the time of the read.
            trap: dG / G of each cell's trap [*], as `Telegraph.traps` samples them; only read if telegraph noise is on.
            t_s: time since programming in s.
            temperature_K: temperature of the cells in K.
            programmed_S: programmed conductances [*] in S, for 1/f noise; None: G_S.

        Raises:
            InputError: telegraph noise is on and `trap` is None.
        """
        parts = [self.driven_variance(G_S, t_s, programmed_S), self.thermal_variance(G_S, temperature_K)]
        if not self.telegraph.is_ideal:
            if trap is None:
                step = "Sample them once per chip with Device.traps."
                raise InputError("read.telegraph", "no traps", "a relative amplitude per cell", step)
            o = self.telegraph.occupancy
            parts.append(o * (1.0 - o) * (trap * G_S.clamp_min(0.0)).square())
        total = torch.zeros_like(G_S)
        for part in parts:
            total = total if part is None else total + part
        return total

    def drive(self, x: Tensor) -> Tensor:
        """Return the effective drive sinh(a v_read x) / sinh(a v_read), shaped as x; x itself for a = 0.

        -1, 0 and 1 are returned exactly. No overflow, however large a is.

        Args:
            x: voltages over v_read, any shape.
        """
        c = self.nonlinearity_per_V * self.v_read_V
        if c == 0.0:
            return x
        size = x.abs()
        value = x.sign() * torch.exp(c * (size - 1.0)) * torch.expm1(-2.0 * c * size) / math.expm1(-2.0 * c)
        return torch.where(size == 1.0, x, value)

    def current(self, G_S: Tensor, v_V: Tensor) -> Tensor:
        """Return currents in A through cells at any voltage.

        Args:
            G_S: conductances at the read voltage in S; broadcastable with v_V.
            v_V: voltages in V.
        """
        return G_S * self.v_read_V * self.drive(v_V / self.v_read_V)
