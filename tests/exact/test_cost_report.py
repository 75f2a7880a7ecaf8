"""Prices of actions: every joule, second and square metre of small chips, and what is not counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip, load_chip
from imc_sim.config import content_names
from imc_sim.cost import CostReport, macro_cost, memory_cost, survey_area_m2, survey_energy_J, with_unit
from imc_sim.evaluate import build_task
from imc_sim.nn import Linear, SignActivation
from imc_sim.study import Point

CELLS = {"device": {"g_lrs_S": 100e-6, "g_hrs_S": 10e-6, "read": {"v_read_V": 0.5}}, "tile": {"rows": 4, "cols": 4}}
#: every component, in units that can be added by hand
COST = {
    "technology_m": "100 nm", "supply_V": 1.0, "read_pulse_s": "10 ns", "cell_area_F2": 4.0,
    "lines": {"capacitance_F": "1 fF", "swing_V": 2.0}, "driver": {"energy_J": "1 pJ", "area_m2": "1 um2"},
    "hold": {"energy_J": "2 pJ", "area_m2": "2 um2"},
    "adc": {"kind": "sar", "energy_J": "1 pJ", "step_energy_J": "0.5 pJ", "step_time_s": "1 ns", "area_m2": "10 um2",
            "columns": 2},
    "shift_add": {"energy_J": "0.1 pJ", "area_m2": "3 um2"}, "adder": {"energy_J": "0.2 pJ", "area_m2": "4 um2"},
    "neuron": {"energy_J": "0.3 pJ", "area_m2": "5 um2"}, "buffer": {"energy_J": "1 fJ", "area_m2": "100 um2"},
    "bus": {"energy_J": "2 fJ", "area_m2": "50 um2"},
    "multiply_add": {"energy_J": "1 pJ", "time_s": "1 ns", "units": 2, "area_m2": "7 um2"},
    "write": {"voltage_V": 2.0, "current_A": "50 uA", "time_s": "100 ns"},
}  # fmt: skip


def chip(**cost: Any) -> Chip:
    return load_chip(CELLS | {"converter": {"kind": "auto", "bits": 4}, "cost": COST | cost})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sign, self.one, self.two = SignActivation(), Linear(3, 2, "sign", bias=False), Linear(2, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(self.sign(x)))


def report(spec: Chip, chips: int = 1) -> CostReport:
    net = imc.map_model(Net().eval(), spec.replace("policy.float", "digital"), chips=chips)
    return imc.cost(net, torch.randn(4, 3))


def test_every_joule_of_a_small_network() -> None:
    """3 signs on 2 column pairs of a 4 x 4 tile: 3 lines of 220 uS, 2 conversions of 4 bits, 10 digital products."""
    found = report(chip())
    one, two = found.layers
    assert {name: each[0] for name, each in one.energy_J.items()} == pytest.approx({
        "cells": 0.5**2 * 3 * 220e-6 * 10e-9, "lines": 3 * (4 * 1e-15 * 2.0**2), "driver": 3 * 1e-12,
        "hold": 2 * 2e-12, "adc": 2 * (1e-12 + 4 * 0.5e-12), "neuron": 2 * 0.3e-12,
        "buffer": (3 + 2 * 4) * 1e-15, "bus": (3 + 2 * 4) * 2e-15,
    })  # fmt: skip
    assert two.energy_J == {"multiply_add": (pytest.approx(10e-12),)}
    assert found.energy_J == pytest.approx(sum(each[0] for layer in found.layers for each in layer.energy_J.values()))
    assert one.latency_s == pytest.approx({"cells": 10e-9, "adc": 4e-9})  # 2 ADCs: both pairs together
    assert two.latency_s == pytest.approx({"multiply_add": 5e-9})
    assert found.latency_s == pytest.approx(19e-9)
    assert found.rate_Hz == pytest.approx(1 / 14e-9)
    areas = {"cells": 16 * 4 * 0.01, "driver": 4, "hold": 8, "adc": 20, "shift_add": 6, "adder": 4, "neuron": 10}
    assert one.area_m2 == pytest.approx({name: each * 1e-12 for name, each in areas.items()})
    assert found.shared_area_m2 == pytest.approx({"buffer": 100e-12, "bus": 50e-12, "multiply_add": 14e-12})
    assert found.area_m2 == pytest.approx((sum(areas.values()) + 164) * 1e-12)
    assert found.programming_J == (pytest.approx(12 * 2.0 * 50e-6 * 100e-9),)
    assert found.not_counted == ()


def test_selected_bit_lines_are_read_for_each_conversion() -> None:
    """2 conversions on one ADC, each during a read of 10 ns; where it takes longer, it lengthens the read."""
    adc = COST["adc"] | {"columns": 4}
    assert report(chip(access="select", adc=adc)).layers[0].latency_s == pytest.approx({"cells": 20e-9, "adc": 0.0})
    slow = chip(access="select", adc=adc | {"time_s": "8 ns"})  # and 4 steps of 1 ns
    assert report(slow).layers[0].latency_s == pytest.approx({"cells": 20e-9, "adc": 4e-9})


def test_cells_may_conduct_for_a_part_of_the_read() -> None:
    found = report(chip(conduct_s="1 ns")).layers[0]
    assert found.energy_J["cells"] == (pytest.approx(0.5**2 * 3 * 220e-6 * 1e-9),)
    assert found.latency_s["cells"] == pytest.approx(10e-9)


def test_a_report_states_what_its_values_leave_to_others() -> None:
    assert "part of that of other components" in str(report(chip(conduct_s=0.0)))
    assert "one conversion for all rows" in str(report(chip(rows_per_read=2)))
    assert "one conversion" not in str(report(chip(rows_per_read=4)))


def test_a_stated_energy_of_adcs_is_reported_to_hold_for_any_bits() -> None:
    line = "the stated energy_J is taken for any number of bits"
    assert line in str(report(chip(adc={"kind": "sar", "energy_J": 1e-12})))
    for more in ({"step_energy_J": 1e-13}, {"bits": 5}):
        assert line not in str(report(chip(adc={"kind": "sar", "energy_J": 1e-12, **more})))


def test_areas_below_a_thousandth_of_a_square_millimetre_are_in_square_micrometres() -> None:
    assert [with_unit(area, "m2") for area in (6.912e-12, 9.99e-10, 9.999e-10, 0.0)] == [
        "6.91 um2", "999 um2", "0.001 mm2", "0 mm2",
    ]  # fmt: skip


def test_a_slow_word_line_lengthens_the_read() -> None:
    spec = chip(lines={"capacitance_F": "1 pF"}).replace("wires", {"kind": "nodal", "r_row_ohm": 1e3})
    found = report(spec).layers[0]
    assert found.latency_s["cells"] == pytest.approx(4e3 * 4e-12)


def test_components_that_are_left_out_are_not_counted() -> None:
    found = report(chip(driver=None, adc={"kind": "sar", "energy_J": 1e-12}, multiply_add=None, write=None))
    assert found.not_counted == (
        "driver (energy, area)", "adc (time, area)", "programming (energy)", "multiply_add (energy, time, area)",
    )  # fmt: skip
    assert "driver" not in found.layers[0].energy_J
    assert "not counted: driver" in str(found)
    assert found.summary.count("at least") == 3  # the energy of drivers, the times of ADCs and multipliers, their areas
    rates = [line for line in str(found).splitlines() if "per second" in line or "TOPS" in line]
    assert [line.count("at most") for line in rates] == [1, 3, 3]  # per second; TOPS, TOPS/W and TOPS/mm2
    assert "at least" not in report(chip()).summary
    assert "at most" not in str(report(chip()))
    assert found.layers[1].energy_J == {}


def test_a_chip_without_a_cost_says_so() -> None:
    net = imc.map_model(Net().eval(), load_chip(CELLS | {"policy": {"float": "digital"}}))
    with pytest.raises(InputError, match=r"chip 'chip': got no cost given.*docs/cost.md"):
        imc.cost(net, torch.randn(4, 3))


def written(spec: Chip, chips: int = 2) -> imc.AssociativeMemory:
    memory = imc.AssociativeMemory(spec, dim=3, chips=chips)
    memory.write(torch.ones(2, 3), torch.arange(2))
    return memory


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: imc.cost(Net(), torch.ones(1, 3)), r"got a Net; .* imc.map_model"),  # type: ignore[arg-type]
        (
            lambda: imc.cost(imc.map_model(nn.ReLU(), chip(), inputs=torch.randn(2, 3)), torch.ones(1, 3)),
            "without prod",
        ),
        (lambda: memory_cost(chip(), torch.ones(1, 3)), "got a Chip; .* a key memory"),  # type: ignore[arg-type]
        (lambda: memory_cost(written(chip()), torch.ones(4, 1)), r"shape \(4, 1\)"),  # would be broadcast
        (lambda: memory_cost(written(chip()), torch.ones(3, 4, 3)), r"shape \(3, 4, 3\)"),  # of more chips
        (lambda: memory_cost(written(chip()), torch.full((4, 3), torch.nan)), "NaN"),
        (lambda: memory_cost(written(chip()), torch.ones(0, 3)), "no queries"),
        (lambda: macro_cost(chip(), "sign"), "'sign'; allowed: 'signs' or 'real'"),  # type: ignore[arg-type]
        (lambda: macro_cost(chip(), vectors=0), "1 or more"),
        (lambda: report(chip()).joined(memory_cost(written(chip()), torch.ones(1, 3))), "1 and 2 chips"),
    ],
)
def test_costs_of_something_else_are_refused(call: Callable[[], CostReport], error: str) -> None:
    with pytest.raises(InputError, match=error):
        call()


def test_totals_that_no_component_states_are_none() -> None:
    bare = load_chip(CELLS | {"converter": {"kind": "auto", "bits": 4}, "cost": {"source": "none"}})
    assert report(bare).summary == "chip chip: no energy stated, no time stated per inference, no area stated"


def test_values_of_another_node_are_scaled_by_the_stated_rule() -> None:
    old = {"energy_J": "4 pJ", "area_m2": "4 um2", "scaled_from_m": "200 nm"}
    found = report(chip(driver=old))
    assert found.layers[0].energy_J["driver"] == (pytest.approx(3 * 2e-12),)
    assert found.layers[0].area_m2["driver"] == pytest.approx(4 * 1e-12)
    assert found.scaled == ("driver",)
    assert "scaled to 100 nm by node (energy, time) and node squared (area): driver" in str(found)
    slow = {"energy_J": "1 pJ", "time_s": "2 ns", "scaled_from_m": "200 nm"}  # 10 products
    assert report(chip(multiply_add=slow)).layers[1].latency_s == {"multiply_add": pytest.approx(10e-9)}
    supply = report(chip(driver=old | {"scaled_from_V": 2.0})).layers[0]
    assert supply.energy_J["driver"] == (pytest.approx(3 * 0.5e-12),)


@pytest.mark.parametrize(
    ("kind", "energy", "time"),
    [("sar", 4, 4), ("flash", 15, 1), ("ramp", 16, 16), ("sense_amplifier", 1, 1)],
)
def test_steps_of_a_conversion(kind: str, energy: int, time: int) -> None:
    layer = report(chip(adc={"kind": kind, "step_energy_J": "1 pJ", "step_time_s": "1 ns", "columns": 2})).layers[0]
    assert layer.energy_J["adc"] == (pytest.approx(2 * energy * 1e-12),)
    assert layer.latency_s["adc"] == pytest.approx(time * 1e-9)


def test_the_survey_of_adcs() -> None:
    """By hand: 8 bits, 10 MHz: SNDR 49.92 dB, figure of merit at its bound 154.071 dB; 12 bits, 1 GHz: 154.266 dB."""
    assert survey_energy_J(8, 1e7) == pytest.approx(0.5 * 10 ** ((49.92 - 154.0709) / 10), rel=1e-4)
    assert survey_energy_J(12, 1e9) == pytest.approx(0.5 * 10 ** ((74.0 - 154.2663) / 10), rel=1e-4)
    area = (
        1e-12
        * 32**0.9932794744745022
        * 1e9**0.18071538424508238
        * 2**0.29912426192653485
        * 2.71828182845905**1.3461916439910742
    )
    assert survey_area_m2(32e-9, 1e9, 2e-12) == pytest.approx(area)
    layer = report(chip(adc={"kind": "survey", "columns": 4})).layers[0]  # 4 conversions in 10 ns
    energy = survey_energy_J(4, 4e8)
    assert layer.energy_J["adc"] == (pytest.approx(2 * energy),)
    assert layer.area_m2["adc"] == pytest.approx(survey_area_m2(100e-9, 4e8, energy))


def test_energies_differ_from_chip_to_chip_with_their_cells() -> None:
    cells = CELLS["device"] | {"programming": {"kind": "relative", "sigma": 0.3}}
    found = report(load_chip({**chip().to_dict(), "device": cells}), chips=8)
    assert len(set(found.energies_J)) == 8
    assert "lowest to highest of 8 chips" in found.summary
    adc = found.layers[0].energy_J["adc"]
    assert len(set(adc)) == 1


def test_operations_of_a_full_tile() -> None:
    """4 x 2 weights: 16 operations in 14 ns."""
    found = macro_cost(chip())
    assert found.tops == pytest.approx(16 / 14e-9 * 1e-12)
    assert found.tops_per_W == pytest.approx(16e-12 / found.energies_J[0])
    assert report(chip()).peak.tops_per_W == found.tops_per_W  # type: ignore[union-attr]


def test_a_search_and_its_report() -> None:
    memory = imc.AssociativeMemory(chip(), dim=4, chips=2)
    memory.write(torch.ones(2, 4), torch.arange(2))
    found = memory_cost(memory, torch.ones(3, 4))
    assert found.energies_J[0] == pytest.approx(found.energies_J[1])
    assert found.programming_J == (pytest.approx(16 * 10e-12),) * 2
    both = report(chip(), chips=2).joined(found)
    assert both.energy_J == pytest.approx(report(chip()).energies_J[0] + found.energies_J[0])
    data = json.loads(json.dumps(both.to_dict()))
    assert sum(row["energy_J"] or 0.0 for row in data["rows"]) == pytest.approx(data["totals"]["energy_J"])
    assert [layer["layer"] for layer in data["layers"]] == ["one", "two", "memory"]


UNSCALED = {"technology_m": None, "cell_area_F2": None, "driver": {"scaled_from_m": 1e-7}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (UNSCALED, "technology_m with scaled_from_m"),
        ({"technology_m": None}, "technology_m with cell_area_F2"),
        ({"supply_V": None, "lines": {"capacitance_F": 1e-15}}, "supply_V or lines.swing_V"),
        ({"read_pulse_s": None, "adc": {"kind": "survey"}}, "read_pulse_s, or converter.time_s"),
        ({"adc": {"kind": "survey", "energy_J": 1e-12}}, "energy_J left out with kind 'survey'"),
        ({"conduct_s": "11 ns"}, "conduct_s of at most read_pulse_s"),
        ({"write": {"voltage_V": 1.0}}, "energy_J, or voltage_V, current_A and time_s"),
        ({"write": {"energy_J": 1e-12, "voltage_V": 1.0}}, "energy_J without voltage_V"),
        ({"replicas": {"*": 0}}, "replicas"),
        ({"drivr": {}}, "unknown key 'drivr'"),
    ],
)  # fmt: skip
def test_costs_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chip(**changes)


def test_a_cost_changes_no_id_and_no_result() -> None:
    settings: dict[str, Any] = {
        "case": "",
        "coordinates": (),
        "model": "m",
        "weights": "0",
        "task": build_task({}, "task").to_dict(),
        "seed": 0,
    }
    priced, plain = chip(), chip().model_copy(update={"cost": None})
    assert Point(**settings, chip=priced.to_dict()).id == Point(**settings, chip=plain.to_dict()).id
    assert priced.acting() == plain.acting()
    assert priced.physics() == plain.physics()
    assert "cost" not in plain.to_dict()
    assert load_chip(priced.to_dict()) == priced
    assert priced.replace("cost.adc.columns", 4).cost.converter.columns == 4  # type: ignore[union-attr]


@pytest.mark.parametrize("name", content_names("chip"))
def test_presets_with_a_cost_state_its_source(name: str, repository: Path) -> None:
    spec = load_chip(name)
    if spec.cost is None:
        return
    assert len(spec.cost.source) > 20
    assert macro_cost(spec).tops_per_W > 1.0  # type: ignore[operator]
