"""Pulse trains of devices with a known form: recovered, with intervals that cover, and a chip with that model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imc_sim import InputError
from imc_sim.device import PulsedProgramming, PulseResponse
from imc_sim.device.fit import Table, fit

TRUTH = {"set A, median": 18.0, "reset A, median": 9.0, "set A, standard deviation of ln": 0.2,
         "set B, median": 60.0, "reset B, median": 55.0, "set start, median": 2.0}  # fmt: skip


def trains(seed: int, devices: int = 20, pulses: int = 64) -> Table:
    """Return a set and a reset train of each device, read with noise of 0.3 % of the window."""
    rng = np.random.Generator(np.random.Philox(seed))
    P = np.arange(pulses + 1)
    G = []
    for _ in range(devices):
        up, down = 18.0 * np.exp(0.2 * rng.standard_normal()), 9.0 * np.exp(0.2 * rng.standard_normal())
        reach, fall = (b * np.exp(0.05 * rng.standard_normal()) for b in (6e-5, 5.5e-5))
        low = 2e-6 * np.exp(0.1 * rng.standard_normal())
        set_G = low - reach * np.expm1(-P / up)
        G.append(np.concatenate([set_G, set_G[-1] + fall * np.expm1(-P / down)]))
    clean = np.concatenate(G)
    volts = np.tile(np.repeat([1.2, -1.2], pulses + 1), devices)
    return Table({
        "device": np.repeat(np.arange(devices), 2 * pulses + 2), "pulse": np.tile(np.tile(P, 2), devices),
        "voltage": volts, "width": np.full(len(clean), 1e-7),
        "G": clean + 1.5e-7 * rng.standard_normal(len(clean)),
    })  # fmt: skip


def test_intervals_of_pulse_trains_hold_the_truth_in_95_percent() -> None:
    """200 groups of devices; each line within three standard deviations of such a share."""
    hits = []
    for seed in range(200):
        rows = {row["quantity"]: row for row in fit(trains(seed), "pulses").part.rows}
        hits.append([rows[name]["low"] <= true <= rows[name]["high"] for name, true in TRUTH.items()])
    share = np.mean(hits, 0)
    assert 0.92 <= share.mean() <= 0.98
    assert bool(((share >= 0.9) & (share <= 0.99)).all()), share


def test_the_chip_is_programmed_by_the_pulses_of_the_trains() -> None:
    found = fit(trains(1, 60))
    law = found.device.programming
    assert found.part.kind == "pulses"
    assert isinstance(law, PulsedProgramming)
    assert isinstance(law.cell, PulseResponse)
    assert law.speed_spread == pytest.approx(0.2, rel=0.25)
    P = torch.arange(1, 65)
    ours = law.cell.pulses(law.cell.initial(()), 1.2, 1e-7, 64)
    assert torch.allclose(ours, (2e-6 - 6e-5 * torch.expm1(-P.double() / 18.0)).double(), rtol=0.1, atol=1e-6)
    cells = found.device.program(torch.ones(1000, dtype=torch.float64), seed=1)
    assert float(((cells - 1.0).abs() * found.device.window_S / found.device.g_lrs_S).median()) <= 0.02


def test_one_direction_is_refused() -> None:
    table = trains(1, 3)
    with pytest.raises(InputError, match="3 trains of set pulses and 0 of reset pulses"):
        fit(table.select(table["voltage"] > 0.0))
