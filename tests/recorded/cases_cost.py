"""Recorded costs: actions, energies, times and areas of networks, key memories and full tiles."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import torch

import imc_sim as imc
from imc_sim.analog import AssociativeMemory
from imc_sim.array import load_chip
from imc_sim.config import content_names
from imc_sim.cost import (
    CostReport,
    count_actions,
    count_search,
    macro_cost,
    memory_cost,
    survey_area_m2,
    survey_energy_J,
)
from tests.recorded.cases_analog import network
from tests.recorded.cases_array import AGED, CELLS, chip, numbers
from tests.recorded.short import short

COST: dict[str, Any] = {
    "source": "made up", "technology_m": 4e-8, "supply_V": 1.1, "read_pulse_s": 1e-8, "conduct_s": 7e-9,
    "lines": {"capacitance_F": 2e-16}, "driver": {"energy_J": 1e-14, "area_m2": 3e-12, "scaled_from_m": 6.5e-8},
    "hold": {"energy_J": 3e-15, "area_m2": 1e-12, "scaled_from_V": 0.9}, "cell_area_F2": 30.0,
    "converter": {"kind": "sar", "energy_J": 1e-13, "step_energy_J": 2e-13, "time_s": 1e-9, "step_time_s": 2e-9,
                  "area_m2": 1e-9, "columns": 4},
    "shift_add": {"energy_J": 5e-15, "area_m2": 2e-11}, "adder": {"energy_J": 6e-15, "area_m2": 4e-11},
    "neuron": {"energy_J": 7e-15}, "buffer": {"energy_J": 8e-16, "area_m2": 1e-8}, "bus": {"energy_J": 9e-16},
    "multiply_add": {"energy_J": 2e-13, "time_s": 1e-9, "units": 3, "area_m2": 1e-10},
    "write": {"voltage_V": 2.0, "current_A": 1e-4, "time_s": 5e-8},
}  # fmt: skip
ADC = COST["converter"]
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hold": ({}, {}),
    "select": ({"access": "select", "conduct_s": None, "rows_per_read": 5}, {"encoding": {"kind": "bnn_iii"}}),
    "pulses": ({"coding": "pulses", "bits_per_phase": 3, "lines": {"capacitance_F": 1e-16, "swing_V": 0.7}},
               {"inputs": {"kind": "levels", "bits": 5}}),
    "width": ({"coding": "width", "converter": {"kind": "flash", "step_energy_J": 1e-14, "bits": 3}},
              {"inputs": {"kind": "bit_serial", "bits": 3, "passes": 2}}),
    "held lines": ({"lines": {"capacitance_F": 1e-16, "returns": False}, "replicas": {"sec*": 3}},
                   {"device": CELLS | {"verify": {"tolerance": 0.1, "max_pulses": 4},
                                       "time": AGED | {"refresh_s": 9e3}}}),
    "survey": ({"converter": {"kind": "survey", "columns": 2}, "write": None, "multiply_add": None},
               {"wires": {"kind": "nodal", "r_row_ohm": 5.0, "r_source_ohm": 900.0}, "encoding": {"kind": "bnn_v"}}),
    "ramp": ({"converter": ADC | {"kind": "ramp"}, "lines": None, "write": {"energy_J": 3e-12}},
             {"encoding": {"kind": "offset"}, "converter": {"kind": "ideal"}}),
    "sense amplifier": ({"converter": ADC | {"kind": "sense_amplifier"}, "word_bits": 5, "read_pulse_s": 2e-8},
                        {"encoding": {"kind": "bnn_vi"}, "device": CELLS | {"read": {"nonlinearity_per_V": 3.0}}}),
}  # fmt: skip


def _chip(name: str) -> Any:
    cost, settings = WAYS[name]
    kept = {key: value for key, value in (COST | cost).items() if value is not None}
    policy = {"int8": "crossbar", "float": "digital"}
    whole = {"converter": {"kind": "auto", "bits": 5}, "encoding_multibit": {"kind": "differential"}, "policy": policy}
    return chip(cost=kept, **(whole | settings))


def _report(report: CostReport) -> Any:
    """Return each number of a report, and its text."""
    totals = ("energies_J", "latency_s", "rate_Hz", "area_m2", "programming_J", "tops", "tops_per_W", "tops_per_mm2")
    layers = [
        [
            layer.layer, list(dataclasses.astuple(layer.actions)), list(layer.energy_J.values()),
            list(layer.latency_s.values()), list(layer.area_m2.values()), layer.tiles, layer.utilisation,
            [list(vars(p).values()) for p in layer.programming], list(layer.programming_J),
        ]
        for layer in report.layers
    ]  # fmt: skip
    return short([
        [getattr(report, name) for name in totals], layers, report.shared_area_m2, list(report.not_counted),
        list(report.scaled), zlib.crc32(str(report).encode()), report.summary, report.of_component("adc"),
    ])  # fmt: skip


def record_networks() -> dict[str, Any]:
    x, found = numbers(7, 5, 2, 8, 4), {}
    for name in WAYS:
        if name in ("select", "survey", "sense amplifier"):
            continue  # bipolar inputs: a padded convolution has zeros
        analog = imc.map_model(network(), _chip(name), range(1, 3), 8)
        if analog.report.chip.calibrates:
            analog.calibrate(x)
        found[name] = _report(imc.cost(analog, x[:3]))
        found[f"{name}, counted"] = short([[c.layer, list(c.siemens)] for c in count_actions(analog, x[:2], False)])
    return found


def record_memories() -> dict[str, Any]:
    found = {}
    keys, queries = numbers(1, 6, 29), numbers(2, 5, 29)
    for name in WAYS:
        described = _chip(name)
        for form in ("bipolar", "float") if described.encoding.operands == "real" else ("bipolar",):
            memory = AssociativeMemory(described, 29, 2, 3, form)
            memory.calibrate(keys, queries)
            memory.write(keys, torch.tensor([2, 0, 1, 1, 3, 0]))
            found[f"{name}, {form}"] = _report(memory_cost(memory, queries))
            found[f"{name}, {form}, counted"] = short(list(count_search(memory, queries, False).siemens))
    return found


def record_tiles() -> dict[str, Any]:
    found = {}
    for name in WAYS:
        found[name] = short([_report(macro_cost(_chip(name), "signs", 7, 2))[0]])
    for name in content_names("chip"):
        if load_chip(name).cost is not None:
            found[name] = _report(macro_cost(name, vectors=5))
    survey = [[survey_energy_J(b, f), survey_area_m2(9e-8, f, 1e-12)] for b, f in ((3, 1e6), (8, 1e8), (12, 1e9))]
    report = macro_cost(_chip("hold"), vectors=3)
    found["survey"] = survey
    found["joined"] = _report(report.joined(macro_cost(_chip("survey"), vectors=3)))
    return found
