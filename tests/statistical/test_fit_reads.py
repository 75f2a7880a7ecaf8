"""Reads fitted to noise traces and I-V curves of known laws: recovered, with intervals that cover. Fixed keys."""

from __future__ import annotations

import numpy as np
import pytest

from imc_sim import InputError
from imc_sim.device.fit import Table, fit
from tests.statistical.coverage import check_coverage, held

CHIP = {"device": {"g_lrs_S": 5e-5, "g_hrs_S": 5e-6}}
STEP_S, SIGMA, Q, TRAPS, JUMP, LN_STD = 1e-3, 0.01, 0.004, 0.5, 0.15, 0.3


def traces(seed: int, cells: int = 30, n: int = 256) -> Table:
    """Return traces with white noise, 1/f noise made in the frequency domain, and traps in half of the cells."""
    rng = np.random.Generator(np.random.Philox(seed))
    f = np.fft.rfftfreq(4 * n, STEP_S)
    f[0] = f[1]
    phases = (rng.standard_normal((cells, 2 * n + 1)) + 1j * rng.standard_normal((cells, 2 * n + 1))) / np.sqrt(2)
    x = np.fft.irfft(phases * np.sqrt(Q * Q / f * 4 * n / (2 * STEP_S)), 4 * n)[:, :n]
    x += SIGMA * rng.standard_normal(x.shape)
    high = np.cumsum(rng.random(x.shape) < 0.1, axis=1) % 2
    step = JUMP * np.exp(LN_STD * rng.standard_normal(cells)) * (rng.random(cells) < TRAPS)
    G = 5e-5 * (1.0 + x + step[:, None] * (high - 0.5))
    cell, time = np.indices(G.shape)
    return Table({"cell": cell.ravel(), "time": time.ravel() * STEP_S, "G": G.ravel()})


def curves(seed: int, devices: int = 12) -> Table:
    """Return a loop of each device: set at a positive voltage, reset at a negative one, sinh in both states."""
    rng = np.random.Generator(np.random.Philox(seed))
    up = np.linspace(0.0, 2.0, 41)
    v = np.concatenate([up, up[-2::-1], -up[1:], -up[-2::-1]])
    found = []
    for _ in range(devices):
        lrs, hrs = 3e-4 * np.exp(0.1 * rng.standard_normal()), 1e-5 * np.exp(0.3 * rng.standard_normal())
        v_set, v_reset, on, G = rng.normal(1.2, 0.1), rng.normal(-1.3, 0.08), False, []
        for each in v:
            on = (on or each >= v_set) and each > v_reset
            G.append(lrs if on else hrs)
        a = rng.normal(2.5, 0.1)
        i = np.array(G) * 0.2 * np.sinh(a * v) / np.sinh(a * 0.2) * np.exp(0.01 * rng.standard_normal(len(v)))
        found.append(np.minimum(i, 1e-3))
    return Table({
        "device": np.repeat(np.arange(devices), len(v)), "voltage": np.tile(v, devices),
        "current": np.concatenate(found),
    })  # fmt: skip


def test_intervals_of_noise_hold_the_truth_in_95_percent() -> None:
    truth = {
        "white noise, relative": SIGMA, "Q of 1/f noise": Q, "share of cells with a trap": TRAPS,
        "median step dG / G": JUMP, "standard deviation of ln(dG / G)": LN_STD,
    }  # fmt: skip
    check_coverage(lambda seed: held(fit(traces(seed), "noise", CHIP).part.rows, truth))


def test_intervals_of_i_v_curves_hold_the_truth_in_95_percent() -> None:
    truth = {
        "HRS resistance at 0.2 V, median": 100.0, "LRS resistance at 0.2 V, median": 1e-3 / 3e-4,
        "HRS a of sinh(a V)": 2.5, "LRS a of sinh(a V)": 2.5, "set voltage": 1.2, "reset voltage": -1.3,
    }  # fmt: skip
    check_coverage(lambda seed: held(fit(curves(seed), "iv", CHIP).part.rows, truth))


def test_a_chip_reads_with_the_noise_of_the_traces() -> None:
    found = fit(traces(1, 60, 2048), into=CHIP)
    assert found.part.kind == "noise"
    read = found.device.read
    assert read.sigma == pytest.approx(SIGMA, rel=0.03)
    assert read.flicker.q == pytest.approx(Q, rel=0.05)
    assert read.telegraph.amplitude == pytest.approx(JUMP, rel=0.2)
    assert all(
        float(word.split(": relative noise")[1].split("s ")[1].split(" %")[0]) < 15 for word in found.part.deviations
    )
    assert found.device.g_lrs_S == 5e-5


def test_normal_noise_has_no_trap() -> None:
    """60 traces; drift and white noise are no levels."""
    table = traces(3, 60, 1024)
    normal = np.random.Generator(np.random.Philox(4)).standard_normal(len(table))
    walk = np.cumsum(normal.reshape(60, -1), axis=1) * 1e-3
    for x in (0.05 * normal, walk.ravel() - walk.mean()):
        found = fit(Table(table.columns | {"G": 5e-5 * (1 + x.clip(-0.9))}), "noise", CHIP)
        assert found.device.read.telegraph.probability <= 2 / 60


def test_a_chip_has_the_levels_and_the_bend_of_the_curves() -> None:
    found = fit(curves(5, 60))
    assert found.part.kind == "iv"
    assert found.device.g_lrs_S == pytest.approx(3e-4, rel=0.05)
    assert found.device.read.nonlinearity_per_V == pytest.approx(2.5, rel=0.02)
    rows = {row["quantity"]: row["estimate"] for row in found.part.rows}
    assert rows["compliance current"] == pytest.approx(1000.0)
    assert rows["set voltage, standard deviation over devices"] == pytest.approx(0.1, rel=0.35)


def test_gaps_and_short_curves_are_refused() -> None:
    table = traces(1, 2, 128)
    with pytest.raises(InputError, match="a trace of 96 readings, at most 0.033 s apart"):
        fit(table.select((table["time"] < 0.064) | (table["time"] > 0.0955)), "noise", CHIP)
    curve = curves(1, 1)
    with pytest.raises(InputError, match="no branch with 4 readings"):
        fit(curve.select(np.abs(curve["voltage"]) > 0.9), "iv")
