"""Cells that are programmed to any conductance: exact without effects, and each effect as on levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip, Crossbar, Policy, load_chip
from imc_sim.config import build
from imc_sim.device import CONTINUOUS, Device, sample_cells

#: every effect that acts on a cell, by the keys of a device
EFFECTS: dict[str, dict[str, Any]] = {
    "none": {},
    "normal": {"programming": {"kind": "relative", "sigma": 0.1, "sigma_hrs": 0.3}},
    "log-normal": {"programming": {"kind": "relative", "sigma": 0.2, "law": "log_normal"}},
    "polynomial": {"programming": {"kind": "polynomial", "coefficients_S": [1e-6, 2e-6], "g_max_S": 1e-4}},
    "verify": {
        "programming": {"kind": "relative", "sigma": 0.3}, "verify": {"max_pulses": 5, "tolerance": 0.05},
    },
    "faults": {
        "programming": {"kind": "relative", "sigma": 0.1},
        "faults": {"stuck_lrs": 0.1, "stuck_hrs": 0.2, "cell_yield": 0.9, "failure": 0.1, "failure_state": "undefined"},
    },
    "drift": {"time": {"t_s": 1e5, "drift": {"nu": 0.05}}},
    "disturb": {"disturb": {"reads": 10**6}},
}  # fmt: skip


def device(levels: Any, **effects: Any) -> Device:
    return build(Device, {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, "levels": levels} | effects, where="device")


@pytest.mark.parametrize("kind", ["differential", "offset", "unipolar"])
def test_ideal_cells_hold_real_weights_as_float32_does(kind: str) -> None:
    torch.manual_seed(0)
    weights, x = torch.randn(40, 300).double(), torch.randn(5, 300).double()
    weights = weights.abs() if kind == "unipolar" else weights
    chip = Chip(device=device("continuous")).replace("encoding", {"kind": kind})
    found = Crossbar.program(weights, chip).mvm(x)[0]
    assert float((found - x @ weights.mT).norm() / (x @ weights.mT).norm()) < 5e-7


def test_signs_are_exact_and_sampled_as_on_two_levels() -> None:
    torch.manual_seed(0)
    weights, x = torch.randn(20, 64).sign(), torch.randn(5, 64).sign()
    for sigma, encoding in ((0.0, "differential"), (0.0, "bnn_i"), (0.1, "bnn_i")):
        found = [
            Crossbar.program(weights, Chip(device=device(levels)).replace("device.programming.sigma", sigma), seed=3,
                             encoding=Chip(device=device(2)).replace("encoding", {"kind": encoding}).encoding).mvm(x)
            for levels in ("continuous", 2)
        ]  # fmt: skip
        assert torch.equal(*found)


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_effect_is_that_of_levels_where_a_target_is_one(effect: str) -> None:
    """65 levels are the rows of the table, so that both cells are sampled from the same laws."""
    levels = torch.arange(65, dtype=torch.int32).repeat(200)
    one, other = device("continuous", **EFFECTS[effect]), device(65, **EFFECTS[effect])
    found = []
    for each, steps, codes in ((one, CONTINUOUS - 1, levels * 2**17), (other, 64, levels)):
        g = each.sample(each.table(steps), codes, steps, 1, "layer", 2)
        state = each.states(g * steps, each.held(codes, steps, 1, "layer", 2), steps)
        aged = each.age(g * steps, steps, 1, "layer", 2, state=state) / steps
        found.append((g, aged, state / steps, each.pulses(codes, steps, 1, "layer", 2)))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-12)
    target = torch.rand(1000, dtype=torch.float64)
    moved = one.program(target, seed=1, chip=2)
    assert moved.shape == target.shape
    assert torch.equal(moved, target.mul(2**23).round() / 2**23) == (effect in ("none", "drift", "disturb"))


@pytest.mark.parametrize("effect", ["normal", "polynomial"])
def test_device_variation_between_levels_follows_the_law(effect: str) -> None:
    """A false alarm has a probability of 1e-6: standardised by the law at their own targets, cells are normal."""
    cells, target = device("continuous", **EFFECTS[effect]), torch.rand(50_000, dtype=torch.float64)
    g = cells.program(target, seed=5)
    conductance = target + cells.floor
    std = (0.3 - 0.2 * target) * conductance
    if effect == "polynomial":
        std = (1e-6 + 2e-6 * conductance * cells.window_S / 1e-4) / cells.window_S
    inside = target > 0.4  # nothing is clipped at 0 S
    assert stats.kstest(((g - target) / std)[inside].numpy(), "norm").pvalue > 1e-6


def test_tables_need_the_memory_of_65_levels() -> None:
    cells = device("continuous", **EFFECTS["normal"])
    assert cells.table(CONTINUOUS - 1).numel() * 8 < 40e6
    assert cells.linear


def test_the_setting_is_read_written_and_refused_where_it_means_nothing() -> None:
    chip = Chip(device=device("continuous"))
    assert chip.to_dict()["device"]["levels"] == "continuous"
    assert load_chip(chip.to_dict()) == chip
    with pytest.raises(InputError, match=r"levels: got 5000"):
        device(5000)
    with pytest.raises(InputError, match="spacing: conductance"):
        device("continuous", spacing="resistance")
    with pytest.raises(InputError, match="continuous levels"):
        chip.replace("draws", "pairs")


def test_a_network_of_real_weights_maps_without_rounding() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4)).eval(), torch.randn(6, 30)
    chip = Chip(device=device("continuous"), policy=Policy(float="crossbar")).replace(
        "encoding_multibit", {"kind": "differential"}
    )
    analog = imc.map_model(network, chip, inputs=x)
    assert max(row.weight_error or 0.0 for row in analog.report.layers) < 1e-7
    assert torch.allclose(analog(x)[0], network(x), rtol=1e-5, atol=1e-6)
    stuck = imc.map_model(network, chip.replace("device.faults.stuck_hrs", 1.0), inputs=x)
    bias = dict(network.named_parameters())["2.bias"]
    assert torch.allclose(stuck(x)[0], bias.expand(6, 4), atol=1e-6)


def test_cells_of_a_level_are_shown() -> None:
    cells = device("continuous", **EFFECTS["normal"])
    G = sample_cells(cells, (CONTINUOUS - 1) // 2, 2000)
    assert abs(np.mean(G) / 5.5e-5 - 1) < 0.03
    assert cells.targets_S([0, CONTINUOUS - 1]) == pytest.approx([1e-5, 1e-4])
