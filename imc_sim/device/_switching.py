"""Switching models: a state that voltage moves, and the conductance that follows from it.

A switching model is a frozen spec that is also the behaviour. It holds no cells: a state is a tensor of any shape, one
entry per cell, and every method is a pure function of it, so that a crossbar of cells is switched in one call. Voltages
are constant over each time step, over which the state equation is solved to 1e-3 of the conductance, however long the
step is. The state is moved first; current and conductance are those of the moved state.
"""

from __future__ import annotations

import abc
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import model_validator
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.config import Spec
from imc_sim.device._finite import check_finite
from imc_sim.device._travel import travel

WindowKind = Literal["none", "joglekar", "biolek"]

#: The limit of the current in the direction of resetting, in compliance currents.
RESET_FACTOR = 10.0
#: Conductances this far outside a model's range (relative) are rounding and are moved to its end.
_ROUNDING = 1e-6


class Trace(NamedTuple):
    """Output of `simulate`.

    Attributes:
        current_A: current [samples, *] in A.
        conductance_S: conductance [samples, *] in S at the read voltage.
        state: states [*] after the last sample.
    """

    current_A: Tensor
    conductance_S: Tensor
    state: Tensor


class Drive(NamedTuple):
    """A drive that takes a model's default cell through its range: a triangular sweep, and two pulse trains.

    compliance_A: of both, in the direction of setting; see `Limited`.
    """

    sweep_V: float
    period_s: float
    set_V: float
    reset_V: float
    width_s: float
    compliance_A: float = 100e-6


class Switching(Spec, abc.ABC):
    """State equation and current of one cell, for cells in a tensor of any shape. Leaves are final.

    States are in the unit of the model (m for a boundary or a gap, ohm for a resistance), voltages in V,
    float64 unless the state says otherwise. Voltages and durations may be tensors that broadcast to the state.
    """

    #: what suits the default parameters
    typical: ClassVar[Drive]
    #: fields of the lowest state, of the state of a fresh cell, and of the highest state
    states: ClassVar[tuple[str, str, str]]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        (low, high), (first, fresh, last) = self.bounds, self.states
        if not low <= self.start <= high or low == high:
            raise ValueError(f"{first} <= {fresh} <= {last}, and {first} below {last}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lowest and highest state; no step leaves them."""
        return getattr(self, self.states[0]), getattr(self, self.states[2])

    @property
    def start(self) -> float:
        """Return the state of a fresh cell."""
        return getattr(self, self.states[1])

    @abc.abstractmethod
    def conductance(self, state: Tensor) -> Tensor:
        """Return conductances in S at the read voltage, shaped as `state`.

        Args:
            state: states of the cells [*], in the unit of the model.
        """

    @abc.abstractmethod
    def current(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        """Return currents [*] in A.

        Args:
            state: states of the cells [*], in the unit of the model.
            v_V: voltage across the cells in V.
        """

    @abc.abstractmethod
    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        """Return d state / dt [*] in the unit of the state per second.

        Args:
            state: states of the cells [*], in the unit of the model.
            v_V: voltage across the cells in V.
        """

    @abc.abstractmethod
    def _invert(self, g_S: Tensor) -> Tensor:
        """Return the state of that conductance, which is within the range."""

    def _advance(self, state: Tensor, v_V: Tensor, dt_s: Tensor) -> Tensor:
        """Return the state after `dt_s` at a constant voltage, before it is limited to the bounds. Override with a
        closed form.
        """
        return travel(self, state, v_V, dt_s)

    def reach(self, state: Tensor, v_V: Tensor, current_A: Tensor) -> Tensor:
        """Return the size [*] in V of the voltage, of the sign of v_V, at which the cells carry a current of this size.

        Args:
            state: states of the cells [*], in the unit of the model.
            v_V: voltages [*] in V, of which only the sign is used.
            current_A: size of the current [*] in A.
        """
        return current_A / self.conductance(state)

    @property
    def range_S(self) -> tuple[float, float]:
        """Return the lowest and highest conductance."""
        low, high = self.conductance(torch.tensor(self.bounds, dtype=torch.float64)).tolist()
        return min(low, high), max(low, high)

    def initial(self, shape: tuple[int, ...] | torch.Size, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return states of fresh cells, in the unit of the model.

        Args:
            shape: shape of the result.
            dtype: type of the result.
        """
        return torch.full(tuple(shape), self.start, dtype=dtype)

    def erased(self) -> Tensor:
        """Return the state of one cell at the lowest conductance, a scalar."""
        return self.from_conductance(torch.tensor(self.range_S[0], dtype=torch.float64))

    def from_conductance(self, g_S: Tensor) -> Tensor:
        """Return states of cells with these conductances; the inverse of `conductance`.

        Args:
            g_S: conductances [*] in S at the read voltage.

        Raises:
            InputError: a conductance is outside `range_S` by more than rounding (1e-6, relative).
        """
        low, high = self.range_S
        if not bool(((g_S >= low * (1 - _ROUNDING)) & (g_S <= high * (1 + _ROUNDING))).all()):
            got = f"conductances from {float(g_S.min()):g} S to {float(g_S.max()):g} S"
            step = "Clip the targets, or change the model's parameters."
            raise InputError(f"{type(self).__name__}.from_conductance", got, f"{low:g} S to {high:g} S", step)
        return self._invert(g_S.clamp(low, high)).clamp(*self.bounds)

    def step(
        self, state: Tensor, v_V: Tensor | float, dt_s: Tensor | float, compliance_A: float | None = None
    ) -> Tensor:
        """Return states [*] after a time step at a constant voltage of the source.

        Args:
            state: states of the cells [*], in the unit of the model.
            v_V: voltage of the source in V, broadcastable to the cells.
            dt_s: duration of the step in s, broadcastable to the cells.
            compliance_A: limit of the source's current in A, see `Limited`; None: no limit.
        """
        v, dt = (torch.as_tensor(t, dtype=state.dtype).expand_as(state) for t in (v_V, dt_s))
        moved = self._advance(state, v, dt).clamp(*self.bounds)
        name = f"switching model {type(self).__name__}"
        check_finite(moved, name, "Reduce its voltages, exponents or speeds.")
        if compliance_A is None:
            return moved
        cell = Limited(self, compliance_A)
        # States move one way, and with them the current: below the limit at both ends, it is so in between.
        free = (cell.voltage(torch.stack([state, moved]), v) == v).all(0)
        if bool(free.all()):
            return moved
        return torch.where(free, moved, travel(cell, state, v, torch.where(free, 0.0, dt)).clamp(*self.bounds))

    def simulate(
        self, v_V: Tensor, dt_s: float, state: Tensor | None = None, compliance_A: float | None = None
    ) -> Trace:
        """Apply a sequence of voltages to cells.

        Args:
            v_V: voltages of the source [samples, *] in V, each constant for dt_s.
            dt_s: duration of one sample in s.
            state: states of the cells [*] at the start, in the unit of the model; None: fresh cells.
            compliance_A: limit of the source's current in A, see `Limited`; None: no limit.

        Returns:
            Currents and conductances after each sample acted, at the voltage of that sample, and the final states.
        """
        cell = self if compliance_A is None else Limited(self, compliance_A)
        state = self.initial(v_V.shape[1:]) if state is None else state
        current, conductance = [], []
        for v in v_V:
            state = self.step(state, v, dt_s, compliance_A)
            current.append(cell.current(state, v))
            conductance.append(self.conductance(state))
        return Trace(torch.stack(current), torch.stack(conductance), state)

    def pulses(
        self, state: Tensor, amplitude_V: Tensor | float, width_s: float, count: int, compliance_A: float | None = None
    ) -> Tensor:
        """Return conductances [count, *] in S after each of `count` equal rectangular pulses.

        Args:
            state: states of the cells [*] at the start, in the unit of the model.
            amplitude_V: voltage of the pulses in V, broadcastable to the cells.
            width_s: width of each pulse in s.
            count: number of pulses, at least 1.
            compliance_A: limit of the source's current in A, see `Limited`; None: no limit.
        """
        v = torch.as_tensor(amplitude_V, dtype=state.dtype).expand(count, *state.shape)
        return self.simulate(v, width_s, state, compliance_A).conductance_S


class Limited(NamedTuple):
    """A cell behind a source with a compliance current: the cell sees the voltage at which its current is the limit.

    The limit is compliance_A in the direction of setting, and ten times that in the direction of resetting: a reset has
    to pass more current than the set that it undoes, and instruments and transistors are opened for it.
    """

    model: Switching
    compliance_A: float

    @property
    def bounds(self) -> tuple[float, float]:
        return self.model.bounds

    def voltage(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        """Return the voltage across cells [*] when the source is set to v_V."""
        v = torch.as_tensor(v_V, dtype=state.dtype)
        limit = self.compliance_A * torch.where(v * self.model.typical.set_V > 0, 1.0, RESET_FACTOR).to(state.dtype)
        return torch.sign(v) * torch.minimum(v.abs(), self.model.reach(state, v, limit))

    def rate(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        """Return d state / dt per second."""
        return self.model.rate(state, self.voltage(state, v_V))

    def current(self, state: Tensor, v_V: Tensor | float) -> Tensor:
        """Return the current in A."""
        return self.model.current(state, self.voltage(state, v_V))


def window(kind: WindowKind, p: float, x: Tensor, rising: Tensor) -> Tensor | float:
    """Factor on the speed of a boundary at x in [0, 1] that stops it at the ends; `rising`: x grows.

    joglekar: 1 - (2x - 1)^(2p), zero at both ends, where a boundary then stays whatever the voltage (Joglekar
    and Wolf, Eur. J. Phys. 30, 2009). biolek: 1 - (x - [x falls])^(2p), zero only at the end that the boundary
    moves to (Biolek et al., Radioengineering 18, 2009).
    """
    if kind == "none":
        return 1.0
    if kind == "joglekar":
        return 1.0 - (2.0 * x - 1.0).square().pow(p)
    return 1.0 - torch.where(rising, x, 1.0 - x).square().pow(p)
