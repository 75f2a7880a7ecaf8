"""Read disturb: reads eventually move cells in LRS; and two policies of refreshing them."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from imc_sim._errors import InputError
from imc_sim.config import Effect, Seconds, Spec

#: Boltzmann's constant in eV / K as CODATA gave it in 2014, with which the model's constants were evaluated.
_BOLTZMANN_EV = 1.38064852e-23 / 1.602176634e-19


class Law(NamedTuple):
    """Power law of read disturb at one voltage and temperature: G = L (t / t_star)^-p for t >= t_star.

    Attributes:
        t_star_s: transition time in s for each number of programming cycles [*].
        p: exponent, the same for all numbers of cycles.
    """

    t_star_s: NDArray[np.float64]
    p: float

    def factor(self, t_s: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return G / L [*] after t_s seconds of reading.

        Args:
            t_s: time of reading in s since the last programming; broadcasts to t_star_s.
        """
        with np.errstate(over="ignore"):
            return np.maximum(t_s / self.t_star_s, 1.0) ** -self.p


class Refresh(Spec, abc.ABC):
    """When disturbed cells are rewritten. The state is checked after every read."""

    @abc.abstractmethod
    def reads(self, law: Law, t_read_s: float) -> NDArray[np.float64]:
        """Return the number of reads after which cells are rewritten, for every entry of law.t_star_s [*].

        Args:
            law: read-disturb law of the cells.
            t_read_s: duration of one read in s.
        """


@final
class NoRefresh(Refresh):
    """Cells are never rewritten."""

    kind: Literal["none"] = "none"

    def reads(self, law: Law, t_read_s: float) -> NDArray[np.float64]:
        return np.full_like(law.t_star_s, np.inf)


@final
class ArrayRefresh(Refresh):
    """The whole array is rewritten when the time of reading t reaches f t*: no cell has to be measured."""

    kind: Literal["array"] = "array"
    f: float = Field(default=1.0, ge=1.0, le=1e12, description="limit of the time of reading, in transition times t*")

    def reads(self, law: Law, t_read_s: float) -> NDArray[np.float64]:
        limit = self.f * law.t_star_s
        return _first(np.ceil(limit / t_read_s), lambda n: n * t_read_s >= limit)


@final
class CellRefresh(Refresh):
    """Every cell in LRS whose conductance has left (1 +- tolerance) of its programmed value is rewritten.

    Compared with the cell's own programmed value: its device variation neither triggers a refresh nor is lost by one.
    """

    kind: Literal["cells"] = "cells"
    tolerance: float = Field(default=0.1, ge=0.0, lt=1.0, description="change that is let pass, relative")

    def reads(self, law: Law, t_read_s: float) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            limit = law.t_star_s * np.float64(1.0 - self.tolerance) ** (-1.0 / law.p)
        return _first(np.floor(limit / t_read_s) + 1.0, lambda n: law.factor(n * t_read_s) < 1.0 - self.tolerance)


AnyRefresh = Annotated[NoRefresh | ArrayRefresh | CellRefresh, Field(discriminator="kind")]


class Wear(NamedTuple):
    """State of a cell in LRS after a number of reads.

    Attributes:
        refreshes: number of times that the policy rewrote the cell.
        cycles: programming cycles, including those before the first read.
        since: reads since the cell was last written.
        factor: conductance after these reads over the programmed conductance.
    """

    refreshes: int
    cycles: int
    since: int
    factor: float

    def rewritten(self, lrs_cells: int) -> int:
        """Return the programming cycles that the policy spent on an array; cells in HRS need none.

        Args:
            lrs_cells: number of cells of the array that are in LRS.
        """
        return self.refreshes * lrs_cells


@final
class ReadDisturb(Effect):
    """Loss of LRS under reads: G = L (t / t*)^-p for t = reads x t_read >= t*; G = L before t*. Off at 0 reads.

    p = c1 exp(a |V| / kT) and t* = t0 (base (1 - k N^m))^(1/p), where N is the number of programming cycles of the
    cell: t* falls with N. The model ends at k N^m = 1, which is 1.42e6 cycles with its own constants.

    Attributes:
        refresh: policy that rewrites disturbed cells: none, the whole array, or single cells.

    Source: Jiang et al., IEEE Electron Device Lett. 42, 2021; constants as in analog-cim-sim (arXiv 2505.14303).
    """

    reads: int = Field(default=0, ge=0, le=10**18, description="reads of the array since it was programmed")
    t_read_s: Seconds = Field(default=1e-7, ge=1e-15, le=1e6, description="duration of one read")
    cycles: int = Field(default=0, ge=0, le=10**15, description="programming cycles of the cells before the first read")
    refresh: AnyRefresh = NoRefresh()
    t0_s: Seconds = Field(default=15.5e-9, ge=1e-15, le=1e6, description="t0")
    base: float = Field(default=1.43339, gt=0.0, le=1e6, description="base of the transition time")
    c1: float = Field(default=0.0068, ge=1e-9, le=10.0, description="p at vanishing voltage")
    a: float = Field(default=0.11, ge=0.0, le=10.0, description="fraction of the voltage that lowers the barrier")
    k: float = Field(default=0.003, ge=0.0, le=1.0, description="wear by programming cycles")
    m: float = Field(default=0.41, ge=0.01, le=10.0, description="exponent of the programming cycles")

    @property
    def is_ideal(self) -> bool:
        """Tell whether no reads are counted."""
        return self.reads == 0

    def law(self, cycles: NDArray[np.int64], v_read_V: float, temperature_K: float) -> Law:
        """Return t* [*] in s and p of cells after these numbers of programming cycles.

        Args:
            cycles: programming cycles [*] (int64), all below the limit of the model.
            v_read_V: read voltage in V; only its magnitude counts.
            temperature_K: temperature of the cells in K.

        Raises:
            InputError: a |V| / kT is above 600, or k N^m reaches 1 for some number of cycles.
        """
        exponent = self.a * abs(v_read_V) / (_BOLTZMANN_EV * temperature_K)
        if exponent > 600.0:
            got, step = f"a |V| / kT of {exponent:.4g}", "Raise temperature_K, or lower v_read_V or disturb.a."
            raise InputError("device.disturb", got, "600 or less", step)
        p = self.c1 * math.exp(exponent)
        left = 1.0 - self.k * cycles.astype(np.float64) ** self.m
        if bool((left <= 0.0).any()):
            raise self._worn(int(cycles.max()))
        with np.errstate(over="ignore"):  # a transition time beyond all numbers is never reached
            return Law(np.maximum(self.t0_s * (self.base * left) ** (1.0 / p), 1e-300), p)

    def wear(self, v_read_V: float, temperature_K: float, cycles: int | None = None) -> Wear:
        """Return the state of a cell in LRS after `reads` reads, including the refreshes of the policy.

        Args:
            v_read_V: read voltage in V; only its magnitude counts.
            temperature_K: temperature of the cells in K.
            cycles: programming cycles before the first read; None: those of the settings.

        Raises:
            InputError: the law does not hold, see `law`.
        """
        refreshes, since, first = 0, self.reads, self.cycles if cycles is None else cycles
        while not isinstance(self.refresh, NoRefresh):
            # Intervals between refreshes follow from the cycles alone: compute thousands in one call.
            ahead = self._next(first + refreshes)
            intervals = self.refresh.reads(self.law(ahead, v_read_V, temperature_K), self.t_read_s)
            ends = np.cumsum(np.minimum(intervals, since + 1.0).astype(np.int64))
            done = int(np.searchsorted(ends, since, side="right"))
            refreshes, since = refreshes + done, since - (int(ends[done - 1]) if done else 0)
            if done < len(ahead):
                break
        last = self.law(np.array([first + refreshes]), v_read_V, temperature_K)
        return Wear(refreshes, first + refreshes, since, float(last.factor(since * self.t_read_s)[0]))

    def _next(self, first: int, count: int = 4096) -> NDArray[np.int64]:
        """Return cycle counts from `first` on, up to the model's limit."""
        cycles = np.arange(first, first + count)
        known = cycles[1.0 - self.k * cycles.astype(np.float64) ** self.m > 0.0]
        if len(known) == 0:
            raise self._worn(first)
        return known

    def _worn(self, cycles: int) -> InputError:
        most = (1.0 / self.k) ** (1.0 / self.m)
        step = "Read less, refresh less often, or lower the read voltage."
        return InputError("disturb, programming cycles", cycles, f"fewer than {most:.3g}, where the model ends", step)


def _first(
    guess: NDArray[np.float64], reached: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Return the smallest integer number of reads, at least 1, at which `reached` holds; `guess` may be one off."""
    with np.errstate(invalid="ignore"):  # a limit beyond all numbers is never reached
        n = np.maximum(guess, 1.0)
        n = np.where((n > 1.0) & reached(n - 1.0), n - 1.0, n)
        return np.where(reached(n), n, n + 1.0)
