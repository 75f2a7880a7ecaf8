"""Multiply numbers of actions by what components take: energy, time and area of every layer."""

from __future__ import annotations

from collections.abc import Sequence

from imc_sim.array import Chip
from imc_sim.cost._actions import Layout, Programming
from imc_sim.cost._components import ACTION, Components
from imc_sim.cost._observe import Counted
from imc_sim.cost._report import CostReport, LayerCost

#: circuits with one area for the whole chip
_SHARED = ("buffer", "bus", "multiply_add")


def price(chip: Chip, counted: Sequence[Counted]) -> CostReport:
    """Return the energies, times and areas of counted layers.

    Args:
        chip: the chip, with a cost.
        counted: what each layer does.

    Raises:
        InputError: the chip states no cost.
    """
    components = Components.of(chip)
    layers = tuple(_layer(chip, each, components) for each in counted)
    return CostReport(
        chip=chip, layers=layers, shared_area_m2=_shared(chip, counted, components),
        not_counted=tuple(dict.fromkeys(text for each in counted for text in _missing(each, components))),
        scaled=components.scaled,
    )  # fmt: skip


def _layer(chip: Chip, counted: Counted, components: Components) -> LayerCost:
    """Return what one layer takes."""
    energy = {}
    for name, component in components.each.items():
        counts = counted.siemens if name == "cells" else [getattr(a, ACTION[name]) for a in counted.actions]
        if component.energy_J is not None and any(counts):
            energy[name] = tuple(component.energy_J * n for n in counts)
    layout, pulse = counted.layout, components.pulse_J
    return LayerCost(
        layer=counted.layer, place="digital" if layout is None else "crossbar", actions=counted.mean, energy_J=energy,
        latency_s=_latency(chip, counted, components), area_m2={} if layout is None else _area(layout, components),
        tiles=0 if layout is None else layout.tiles * layout.replicas,
        utilisation=0.0 if layout is None else layout.utilisation, programming=counted.programming,
        programming_J=() if pulse is None else tuple(_writing(p, pulse, components) for p in counted.programming),
    )  # fmt: skip


def _writing(done: Programming, pulse_J: float, components: Components) -> float:
    """Return the energy of programming: pulses, and a conversion for each verifying read."""
    verify = components.each["adc"].energy_J or 0.0
    return done.pulses * pulse_J + done.verify_reads * verify


def _latency(chip: Chip, counted: Counted, components: Components) -> dict[str, float]:
    """Return the time of the actions that follow one another, by component."""
    actions, cost, layout = counted.mean, chip.cost, counted.layout
    units = 1 if cost is None or cost.multiply_add is None else cost.multiply_add.units
    read, convert, digital = (components.each[name].time_s for name in ("cells", "adc", "multiply_add"))
    reads, turns = actions.pulses_in_sequence, actions.conversions_in_sequence
    if cost is not None and cost.access == "select" and layout is not None and read is not None:
        reads = turns * layout.pulses
        convert = None if convert is None else max(0.0, convert - read * layout.pulses)
    times = {"cells": (reads, read), "adc": (turns, convert), "multiply_add": (actions.multiply_adds / units, digital)}
    return {name: count * time for name, (count, time) in times.items() if count and time is not None}


def _area(layout: Layout, components: Components) -> dict[str, float]:
    """Return the area of the tiles of a layer and the circuits at their edges."""
    tile, tiles = layout.chip.tile, layout.tiles * layout.replicas
    counts = {
        "cells": tile.rows * tile.cols, "driver": tile.rows, "hold": tile.cols, "adc": layout.adcs,
        "shift_add": layout.adcs, "adder": 1, "neuron": layout.adcs,
    }  # fmt: skip
    areas = {name: components.each[name].area_m2 for name in counts}
    return {name: tiles * n * area for name, n in counts.items() if (area := areas[name]) is not None}


def _shared(chip: Chip, counted: Sequence[Counted], components: Components) -> dict[str, float]:
    """Return the area of circuits that the whole chip has once."""
    used = {name for each in counted for name in _SHARED if getattr(each.mean, ACTION[name])}
    units = 1 if chip.cost is None or chip.cost.multiply_add is None else chip.cost.multiply_add.units
    areas = {name: components.each[name].area_m2 for name in _SHARED if name in used}
    return {name: area * (units if name == "multiply_add" else 1) for name, area in areas.items() if area is not None}


def _missing(counted: Counted, components: Components) -> list[str]:
    """Return what a layer does that the chip states no energy, time or area of."""
    actions, found = counted.mean, []
    for name, component in components.each.items():
        if not getattr(actions, ACTION[name]):
            continue
        lacks = ["energy"] if component.energy_J is None else []
        lacks += ["time"] if name in ("cells", "adc", "multiply_add") and component.time_s is None else []
        lacks += ["area"] if component.area_m2 is None else []
        found += [f"{name} ({', '.join(lacks)})"] if lacks else []
    return found + (["programming (energy)"] if counted.programming and components.pulse_J is None else [])
