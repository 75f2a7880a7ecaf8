"""Device variation as measured: quantiles of each level, in the tables of programming and in cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri

from imc_sim import InputError
from imc_sim._quantiles import PARTS, probabilities
from imc_sim.array import Crossbar, load_chip
from imc_sim.device import Device, MeasuredVariation, Programming, sample_cells
from imc_sim.testing import ProgrammingContract

P = (0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999)
LEVELS = (5e-6, 2e-5, 1e-4)
Q = (
    (1e-6, 2e-6, 4e-6, 5e-6, 7e-6, 9e-6, 3e-5),
    (1.9e-5, 1.95e-5, 2e-5, 2e-5, 2e-5, 2.1e-5, 2.4e-5),
    (5e-5, 9e-5, 9.9e-5, 1e-4, 1.01e-4, 1.1e-4, 1.2e-4),
)
LAW = MeasuredVariation(targets_S=LEVELS, probabilities=P, quantiles_S=Q)


class TestContract(ProgrammingContract):
    programming: Programming = LAW


def device(**settings: object) -> Device:
    return Device.model_validate({"table_S": LEVELS, "programming": LAW} | settings)


def conductances(d: Device) -> np.ndarray:
    return ((d.table(d.levels - 1) + d.floor) * d.window_S).numpy()


def test_the_quantile_table_goes_through_the_measured_quantiles() -> None:
    table, places = conductances(device()), np.argsort(probabilities())
    for row, wanted in zip(table, Q, strict=True):
        found = np.interp(P, probabilities()[places], row[places])
        assert found == pytest.approx(wanted, rel=2e-4)
        assert (np.diff(row[:PARTS]) >= 0).all()
        assert row.min() == pytest.approx(wanted[0], rel=1e-9)  # no cell outside the measured range
        assert row.max() == pytest.approx(wanted[-1], rel=1e-9)
    flat = (probabilities() > 0.3) & (probabilities() < 0.7)
    assert table[1][flat] == pytest.approx(2e-5, rel=1e-9)  # equal quantiles stay equal


def test_normal_quantiles_give_a_normal_law() -> None:
    """Between 33 knots the cubic is within 1e-4 standard deviations of a straight line in the normal score."""
    z = np.linspace(-4, 4, 33)
    p = tuple(ndtr(z).tolist())
    law = MeasuredVariation(targets_S=(1e-6, 1e-4), probabilities=p, quantiles_S=((1e-6,) * 33, tuple(1e-4 + 1e-6 * z)))
    table = conductances(Device(g_hrs_S=1e-6, g_lrs_S=1e-4, programming=law))[1, :PARTS]
    inside = np.abs(ndtri(probabilities()[:PARTS])) < 4
    assert table[inside] == pytest.approx((1e-4 + 1e-6 * ndtri(probabilities()[:PARTS]))[inside], abs=3e-10)


def test_levels_in_between_mix_both_quantiles() -> None:
    law = LAW.replace("targets_S", (0.0, 5e-5, 1e-4)).replace("quantiles_S", (Q[0], (5e-5,) * 7, Q[2]))
    d = Device(g_hrs_S=0.0, g_lrs_S=1e-4, levels=5, programming=law)
    table = conductances(d)
    assert table[1] == pytest.approx((table[0] + table[2]) / 2, rel=1e-9)
    assert table[3] == pytest.approx((table[2] + table[4]) / 2, rel=1e-9)


def test_scale_multiplies_deviations_and_zero_is_exact() -> None:
    full, half = conductances(device()), conductances(device(programming=LAW.replace("scale", 0.5)))
    targets = np.array(LEVELS)[:, None]
    assert half - targets == pytest.approx((full - targets) / 2, abs=1e-19)
    none = device(programming=LAW.replace("scale", 0.0))
    assert none.cells_are_ideal
    assert torch.equal(none.table(2), device().without_effects().table(2))
    assert conductances(device(programming=LAW.replace("scale", 9.0))).min() == 0.0


def test_sampled_cells_have_the_measured_quantiles() -> None:
    cells = sample_cells(device(), 2, 200_000)
    assert np.quantile(cells, P[1:-1]) == pytest.approx(Q[2][1:-1], rel=3e-3)


def test_other_effects_act_on_measured_cells() -> None:
    plain = sample_cells(device(), 2, 1000)
    drifted = sample_cells(device(time={"t_s": 100.0, "drift": {"nu": 0.5}}), 2, 1000)
    assert drifted == pytest.approx(plain / 10, rel=1e-6)
    verified = sample_cells(device(verify={"tolerance": 0.02, "max_pulses": 1000}), 2, 1000)
    assert np.abs(verified / 1e-4 - 1).max() <= 0.02 + 1e-9
    stuck = sample_cells(device(faults={"stuck_lrs": 0.5}), 0, 1000)
    assert (stuck > 4e-5).mean() == pytest.approx(0.5, abs=0.07)
    chip = load_chip({"device": device().to_dict()})
    crossbar = Crossbar.program(torch.ones(8, 16), chip, chips=1, seed=0)
    assert len(torch.unique(crossbar.conductance)) > 100


@pytest.mark.parametrize(
    ("path", "value"),
    [("targets_S", (1e-6, 1e-6, 1e-4)), ("probabilities", P[::-1]), ("quantiles_S", Q[:2]), ("scale", -1.0),
     ("quantiles_S", (Q[0], Q[1], Q[2][::-1])), ("quantiles_S", (Q[0], Q[1], Q[2][1:])),
     ("probabilities", (0.0, *P[1:]))],
)  # fmt: skip
def test_tables_that_are_no_quantiles_are_refused(path: str, value: object) -> None:
    with pytest.raises(InputError, match=path.split("_", maxsplit=1)[0]):
        LAW.replace(path, value)
