"""Programming by pulses: the models by name, sweeps, and the closed loop of pulse and verify."""

from __future__ import annotations

from typing import Annotated, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_positive, check_whole, nearest
from imc_sim._tensors import check_usual
from imc_sim.config import Ampere, Seconds, Spec, Volt
from imc_sim.device._data_driven import DataDriven
from imc_sim.device._linear_ion_drift import LinearIonDrift
from imc_sim.device._pulse_response import PulseResponse
from imc_sim.device._stanford_pku import StanfordPKU
from imc_sim.device._switching import Drive, Switching, Trace
from imc_sim.device._vteam import VTEAM

#: samples of a voltage sweep at most
_MOST_SAMPLES = 10**8

AnySwitching = Annotated[VTEAM | StanfordPKU | LinearIonDrift | DataDriven | PulseResponse, Field(discriminator="kind")]

_MODELS: dict[str, type[Switching]] = {
    model.model_fields["kind"].default: model
    for model in (VTEAM, StanfordPKU, LinearIonDrift, DataDriven, PulseResponse)
}


def switching_names() -> list[str]:
    """Return the `kind` of every switching model, sorted."""
    return sorted(_MODELS)


@checked
def switching_model(name: str) -> Switching:
    """Return a switching model with its default parameters.

    Args:
        name: `kind` of the model, one of `switching_names()`.

    Raises:
        InputError: no model has this name.
    """
    if name in _MODELS:
        return _MODELS[name]()
    known = switching_names()
    raise InputError("switching model", repr(name), ", ".join(known), f"{nearest(name, known)}Name one of these.")


#: V, of any pulse
_MOST_V = 10.0


@final
class PulseScheme(Spec):
    """Pulse and verify: set pulses below the target, reset pulses above it, until the read is within tolerance.

    Pulses in the same direction grow by step_V each (incremental step pulse programming), up to 10 V; at a change of
    direction the amplitude starts again and the width is multiplied by `shrink`, so that coarse steps become
    fine ones. compliance_A: limit of the current, as of a transistor in series; see `Limited`.

    Source: Suh et al., IEEE JSSC 30, 1995 (incremental step pulses); Alibart et al., Nanotechnology 23, 2012
    (tuning of a memristor by alternating pulse trains).
    """

    set_V: Volt = Field(ge=-10.0, le=10.0, description="amplitude of the first set pulse, with its sign")
    reset_V: Volt = Field(ge=-10.0, le=10.0, description="amplitude of the first reset pulse, with its sign")
    width_s: Seconds = Field(ge=1e-15, le=1e6, description="width of the first pulse")
    step_V: Volt = Field(default=0.0, ge=0.0, le=10.0, description="growth of the amplitude from pulse to pulse")
    shrink: float = Field(default=0.5, gt=0.0, le=1.0, description="factor on the width at a change of direction")
    compliance_A: Ampere | None = Field(
        default=None, ge=1e-15, le=1.0, description="limit of the current of set pulses; resets have ten times as much"
    )
    max_pulses: int = Field(default=200, ge=0, le=100_000, description="pulses after which a cell is given up")

    @classmethod
    def of(cls, drive: Drive) -> PulseScheme:
        """Return a scheme with the pulse amplitudes and width of a model's typical drive, and defaults for the rest.

        Args:
            drive: typical drive of a switching model.
        """
        return cls(set_V=drive.set_V, reset_V=drive.reset_V, width_s=drive.width_s)


class Programmed(NamedTuple):
    """Cells after programming; all tensors are shaped as the targets.

    Attributes:
        state: states in the unit of the model.
        conductance_S: conductances in S.
        pulses: number of pulses that each cell got (int64).
        converged: True for each cell within tolerance.
    """

    state: Tensor
    conductance_S: Tensor
    pulses: Tensor
    converged: Tensor


def program_and_verify(
    model: Switching,
    target_g_S: Tensor,
    tolerance: float,
    scheme: PulseScheme | None = None,
    state: Tensor | None = None,
    speed: Tensor | float = 1.0,
) -> Programmed:
    """Program every cell to its target conductance by pulses; cells within tolerance get no further pulse.

    Reads between the pulses are ideal.

    Args:
        model: switching model of the cells.
        target_g_S: target conductances [*] in S.
        tolerance: accepted error relative to the target: |G - target| <= tolerance * target.
        scheme: pulses; None: those of the model's typical drive.
        state: states from which the cells start, broadcastable to [*], in the unit of the model; None: fresh cells.
        speed: factor by which each cell switches faster than the model, [*] or one number for all.

    Returns:
        State, conductance in S, number of pulses and convergence of each cell [*].

    Raises:
        InputError: a target is outside the model's range of conductances, widened by the tolerance.
    """
    check_usual(target_g_S, "program_and_verify, target_g_S")
    check_positive(tolerance, "program_and_verify, tolerance")
    scheme = PulseScheme.of(model.typical) if scheme is None else scheme
    low, high = model.range_S
    if not bool(((target_g_S >= low * (1 - tolerance)) & (target_g_S <= high * (1 + tolerance))).all()):
        got = f"targets from {float(target_g_S.min()):g} S to {float(target_g_S.max()):g} S"
        step = "Clip the targets, or widen the tolerance."
        raise InputError(f"program_and_verify with {type(model).__name__}", got, f"{low:g} S to {high:g} S", step)
    state = model.initial(target_g_S.shape) if state is None else state.expand(target_g_S.shape)
    width = torch.full_like(state, scheme.width_s) * speed  # d state / dt = speed x rate is time run faster
    cells = _Cells(model, *(t.flatten().clone() for t in (target_g_S, state, width)))
    pulses = torch.zeros_like(cells.state, dtype=torch.int64)
    for _ in range(scheme.max_pulses):
        todo = cells.missing(tolerance)
        if not todo.numel():
            break
        cells.pulse(scheme, todo)
        pulses[todo] += 1
    shape, g = target_g_S.shape, model.conductance(cells.state)
    within = (g - cells.target).abs() <= tolerance * cells.target
    return Programmed(cells.state.view(shape), g.view(shape), pulses.view(shape), within.view(shape))


class _Cells:
    """Cells during programming, flat: targets in S, states, next pulse width in s, pulses in this direction so far."""

    def __init__(self, model: Switching, target: Tensor, state: Tensor, width: Tensor) -> None:
        self.model, self.target, self.state, self.width = model, target, state, width
        self.row = torch.zeros_like(state)
        self.was_below = model.conductance(state) < target

    def missing(self, tolerance: float) -> Tensor:
        """Return the indices of the cells that are not within tolerance."""
        off = (self.model.conductance(self.state) - self.target).abs()
        return (off > tolerance * self.target).nonzero()[:, 0]

    def pulse(self, scheme: PulseScheme, todo: Tensor) -> None:
        """Apply one pulse towards the target to each of these cells."""
        state, width, row = self.state[todo], self.width[todo], self.row[todo]
        below = self.model.conductance(state) < self.target[todo]
        turned = below != self.was_below[todo]
        width = torch.where(turned, width * scheme.shrink, width)
        row = torch.where(turned, 0.0, row)
        first = torch.where(below, scheme.set_V, scheme.reset_V).to(state.dtype)
        v = (first + torch.sign(first) * scheme.step_V * row).clamp(-_MOST_V, _MOST_V)
        state = self.model.step(state, v, width, scheme.compliance_A)
        self.state[todo], self.width[todo], self.row[todo], self.was_below[todo] = state, width, row + 1.0, below


class Sweep(NamedTuple):
    """Triangular voltage sweep of one cell.

    Attributes:
        time_s: time of each sample [samples] in s.
        v_V: voltage of the source [samples] in V.
        trace: current, conductance and final state of the cell.
    """

    time_s: Tensor
    v_V: Tensor
    trace: Trace


@checked
def sweep(
    model: Switching,
    amplitude_V: float,
    period_s: float,
    cycles: int = 2,
    samples: int = 2000,
    state: Tensor | None = None,
    compliance_A: float | None = None,
) -> Sweep:
    """Apply a triangular voltage sweep to one cell: from 0 to +amplitude, to -amplitude and back to 0.

    Args:
        model: switching model of the cell.
        amplitude_V: largest voltage in V; negative to begin in the other direction.
        period_s: duration of one cycle in s.
        cycles: number of cycles.
        samples: time steps per cycle.
        state: state from which the cell starts, a scalar in the unit of the model; None: a fresh cell.
        compliance_A: limit of the source's current in A, see `Limited`; None: no limit.

    Returns:
        Times, voltages, currents and conductances at cycles * samples + 1 samples, and the final state.
    """
    check_whole(cycles, "sweep, cycles", 1)
    check_whole(samples, "sweep, samples", 1)
    check_whole(cycles * samples, "sweep, cycles * samples", 1, _MOST_SAMPLES)
    check_positive(abs(amplitude_V), "sweep, |amplitude_V|")
    check_positive(period_s, "sweep, period_s")
    if compliance_A is not None:
        check_positive(compliance_A, "sweep, compliance_A")
    phase = torch.arange(cycles * samples + 1, dtype=torch.float64) / samples
    v = amplitude_V * (1.0 - 4.0 * ((phase + 0.25) % 1.0 - 0.5).abs())
    v = v.round(decimals=12)  # equal numbers for rising and falling voltage, so that their tables are made once
    return Sweep(phase * period_s, v, model.simulate(v, period_s / samples, state, compliance_A))
