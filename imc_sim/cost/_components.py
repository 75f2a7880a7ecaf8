"""Components: energy, time and area of each circuit per action, from what a chip states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

from imc_sim._errors import InputError
from imc_sim.array import STEPS, Chip, Circuit, Conversion, Cost, MultiplyAdds
from imc_sim.cost._actions import Scheme
from imc_sim.cost._survey import survey_area_m2, survey_energy_J

#: component -> the action that it takes energy for
ACTION = {
    "cells": "squared_drive", "lines": "lines_charged", "driver": "pulses", "hold": "integrations",
    "adc": "conversions", "shift_add": "shift_adds", "adder": "additions", "neuron": "outputs", "buffer": "bits",
    "bus": "bits", "multiply_add": "multiply_adds",
}  # fmt: skip


@final
@dataclass(frozen=True)
class Component:
    """Hold what one circuit takes; None: the chip does not state it.

    Attributes:
        energy_J: energy of one action.
        time_s: time of one action of those that follow one another.
        area_m2: area of one circuit.
    """

    energy_J: float | None = None
    time_s: float | None = None
    area_m2: float | None = None


@final
@dataclass(frozen=True)
class Components:
    """Hold the components of a chip by name.

    Attributes:
        each: component by name, the keys of `ACTION`.
        pulse_J: energy of a programming pulse.
        scaled: components whose values are scaled to the chip's node or supply.
    """

    each: dict[str, Component]
    pulse_J: float | None
    scaled: tuple[str, ...]

    @classmethod
    def of(cls, chip: Chip) -> Self:
        """Return the components of a chip.

        Args:
            chip: the chip.

        Raises:
            InputError: the chip states no cost.
        """
        cost = chip.cost
        if cost is None:
            allowed = "a part `cost` with energies, times and areas of its circuits"
            step = "Use a chip that has one, such as rram_neurram_core, or add one with its source (docs/cost.md)."
            raise InputError(f"chip {chip.name!r}", "no cost given", allowed, step)
        plain = {name: getattr(cost, name) for name in ("driver", "hold", "shift_add", "adder", "neuron")}
        plain |= {"buffer": cost.buffer, "bus": cost.bus, "multiply_add": cost.multiply_add}
        each = {name: _circuit(cost, circuit) for name, circuit in plain.items()}
        each["cells"] = _cells(chip, cost)
        each["lines"] = _lines(cost, chip.tile.cols)
        each["adc"] = _adc(chip, cost)
        stated = plain | {"adc": cost.converter}
        scaled = [n for n, c in stated.items() if c is not None and (c.scaled_from_m or c.scaled_from_V)]
        return cls(
            {name: each[name] for name in ACTION}, None if cost.write is None else cost.write.pulse_J, tuple(scaled)
        )


def _circuit(cost: Cost, circuit: Circuit | MultiplyAdds | None) -> Component:
    """Return a circuit whose values are stated."""
    if circuit is None:
        return Component()
    energy, area, time = cost.scaling(circuit)
    stated = circuit.time_s if isinstance(circuit, MultiplyAdds) else None
    return Component(_times(circuit.energy_J, energy), _times(stated, time), _times(circuit.area_m2, area))


def _cells(chip: Chip, cost: Cost) -> Component:
    """Return the cells: v_read^2 t per siemens, a read that is no shorter than R C of its word line."""
    area = None
    if cost.cell_area_F2 is not None and cost.technology_m is not None:
        area = cost.cell_area_F2 * cost.technology_m**2
    time = cost.read_pulse_s
    if cost.lines is not None and time is not None:
        resistance = chip.wires.r_source_ohm + chip.tile.cols * chip.wires.r_row_ohm
        time = max(time, resistance * chip.tile.cols * cost.lines.capacitance_F)
    conducting = time if cost.conduct_s is None else cost.conduct_s
    return Component(_times(conducting, chip.device.read.v_read_V**2), time, area)


def _lines(cost: Cost, columns: int) -> Component:
    """Return the word lines: C V^2 of each that is charged."""
    if cost.lines is None:
        return Component()
    swing = cost.supply_V if cost.lines.swing_V is None else cost.lines.swing_V
    return Component(_times(swing, (swing or 0.0) * columns * cost.lines.capacitance_F), None, 0.0)


def _adc(chip: Chip, cost: Cost) -> Component:
    """Return the ADC, stated or by the survey."""
    adc, bits = cost.converter, Scheme.of(chip).adc_bits
    if adc is None:
        return Component()
    if adc.kind == "survey":
        return _surveyed(cost, adc, bits)
    energy, area, time = cost.scaling(adc)
    of_energy, of_time = STEPS[adc.kind]
    one = adc.kind == "sense_amplifier"
    power = _stepped(adc.energy_J, adc.step_energy_J, None if bits is None and not one else of_energy(bits or 1))
    lasts = _stepped(adc.time_s, adc.step_time_s, None if bits is None and not one else of_time(bits or 1))
    return Component(_times(power, energy), _times(lasts, time), _times(adc.area_m2, area))


def _surveyed(cost: Cost, adc: Conversion, bits: int | None) -> Component:
    """Return the mean of published ADCs at the rate of the chip."""
    time = adc.time_s
    if time is None:
        time = (cost.read_pulse_s or 0.0) / (adc.columns if cost.access == "hold" else 1)
    if bits is None:
        return Component(None, time, adc.area_m2)
    energy = survey_energy_J(bits, 1 / time)
    area = survey_area_m2(cost.technology_m or 0.0, 1 / time, energy) if adc.area_m2 is None else adc.area_m2
    return Component(energy, time, area)


def _stepped(fixed: float | None, step: float | None, steps: int | None) -> float | None:
    """Return fixed + steps x step; None where neither is stated, or the steps are not known."""
    if step is None:
        return fixed
    return None if steps is None else (fixed or 0.0) + steps * step


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
