"""Programming by pulses: the models by name, sweeps, and the closed loop of pulse and verify."""

from __future__ import annotations

from typing import Annotated, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim._errors import InputError, nearest
from imc_sim.config import Seconds, Spec, Volt
from imc_sim.device._data_driven import DataDriven
from imc_sim.device._linear_ion_drift import LinearIonDrift
from imc_sim.device._stanford_pku import StanfordPKU
from imc_sim.device._switching import Drive, Switching, Trace
from imc_sim.device._vteam import VTEAM

AnySwitching = Annotated[VTEAM | StanfordPKU | LinearIonDrift | DataDriven, Field(discriminator="kind")]

_MODELS: tuple[type[Switching], ...] = (VTEAM, StanfordPKU, LinearIonDrift, DataDriven)


def switching_names() -> list[str]:
    """The `kind` of every switching model, sorted."""
    return sorted(model.model_fields["kind"].default for model in _MODELS)


def switching_model(name: str) -> Switching:
    """The model of that `kind` with its default parameters."""
    for model in _MODELS:
        if model.model_fields["kind"].default == name:
            return model()
    known = switching_names()
    raise InputError("switching model", repr(name), ", ".join(known), f"{nearest(name, known)}Name one of these.")


@final
class PulseScheme(Spec):
    """Pulse and verify: set pulses below the target, reset pulses above it, until the read is within tolerance.

    Pulses in the same direction grow by step_V each (incremental step pulse programming); at a change of
    direction the amplitude starts anew and the width is multiplied by `shrink`, so that coarse steps become
    fine ones. steps: time steps that integrate one pulse.

    Source: Suh et al., IEEE JSSC 30, 1995 (incremental step pulses); Alibart et al., Nanotechnology 23, 2012
    (tuning of a memristor by alternating pulse trains).
    """

    set_V: Volt = Field(description="amplitude of the first set pulse, with its sign")
    reset_V: Volt = Field(description="amplitude of the first reset pulse, with its sign")
    width_s: Seconds = Field(gt=0.0, description="width of the first pulse")
    step_V: Volt = Field(default=0.0, ge=0.0, description="growth of the amplitude from pulse to pulse")
    shrink: float = Field(default=0.5, gt=0.0, le=1.0, description="factor on the width at a change of direction")
    steps: int = Field(default=10, ge=1, description="time steps of one pulse")
    max_pulses: int = Field(default=200, ge=0, description="pulses after which a cell is given up")

    @classmethod
    def of(cls, drive: Drive) -> PulseScheme:
        """The scheme that a model's typical drive suggests."""
        return cls(set_V=drive.set_V, reset_V=drive.reset_V, width_s=drive.width_s)


class Programmed(NamedTuple):
    """Cells after programming, each shaped as the targets: state, G in S, pulses spent, within tolerance."""

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
) -> Programmed:
    """Drive every cell to its target conductance; cells that are within tolerance get no further pulse.

    target_g_S: [*]; tolerance: relative to the target, |G - target| <= tolerance * target; scheme None: that of
    the model's typical drive; state [*]: where the cells start (None: fresh cells). Reads are ideal.
    """
    scheme = PulseScheme.of(model.typical) if scheme is None else scheme
    low, high = model.range_S
    if not bool(((target_g_S >= low * (1 - tolerance)) & (target_g_S <= high * (1 + tolerance))).all()):
        got = f"targets from {float(target_g_S.min()):g} S to {float(target_g_S.max()):g} S"
        step = "Clip the targets, or widen the tolerance."
        raise InputError(f"program_and_verify with {type(model).__name__}", got, f"{low:g} S to {high:g} S", step)
    state = model.initial(target_g_S.shape) if state is None else state.expand(target_g_S.shape)
    width = torch.full_like(state, scheme.width_s)
    pulses, row = torch.zeros_like(state, dtype=torch.int64), torch.zeros_like(state)
    was_below = model.conductance(state) < target_g_S
    for _ in range(scheme.max_pulses):
        g = model.conductance(state)
        active = (g - target_g_S).abs() > tolerance * target_g_S
        if not bool(active.any()):
            break
        below = g < target_g_S
        turned = below != was_below
        width = torch.where(turned & active, width * scheme.shrink, width)
        row = torch.where(turned, 0.0, row)
        state = torch.where(active, _pulse(model, scheme, state, below, row, width), state)
        pulses, row, was_below = pulses + active, row + 1.0, below
    g = model.conductance(state)
    return Programmed(state, g, pulses, (g - target_g_S).abs() <= tolerance * target_g_S)


def _pulse(model: Switching, scheme: PulseScheme, state: Tensor, below: Tensor, row: Tensor, width: Tensor) -> Tensor:
    """State after one pulse per cell; `row`: pulses that the cell already got in this direction."""
    first = torch.where(below, scheme.set_V, scheme.reset_V).to(state.dtype)
    v = first + torch.sign(first) * scheme.step_V * row
    for _ in range(scheme.steps):
        state = model.step(state, v, width / scheme.steps)
    return state


class Sweep(NamedTuple):
    """A triangular voltage sweep of one cell: time_s and v_V [samples], and what the cell did."""

    time_s: Tensor
    v_V: Tensor
    trace: Trace


def sweep(
    model: Switching,
    amplitude_V: float,
    period_s: float,
    cycles: int = 2,
    samples: int = 2000,
    state: Tensor | None = None,
) -> Sweep:
    """0 -> +amplitude -> -amplitude -> 0, `cycles` times, in `samples` time steps each, on one cell (None: fresh)."""
    phase = torch.arange(cycles * samples + 1, dtype=torch.float64) / samples
    v = amplitude_V * (1.0 - 4.0 * ((phase + 0.25) % 1.0 - 0.5).abs())
    return Sweep(phase * period_s, v, model.simulate(v, period_s / samples, state))
