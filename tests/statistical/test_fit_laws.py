"""Laws fitted to cells that were sampled from known ones: recovered, with intervals that cover. Fixed keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from imc_sim import InputError
from imc_sim.config import build
from imc_sim.device import Device, sample_cells
from imc_sim.device._time import BOLTZMANN_EV
from imc_sim.device.fit import Table, fit
from imc_sim.device.fit._estimates import Series
from imc_sim.device.fit._retention import _rows
from imc_sim.device.fit._time_laws import DRIFT, RELAXATION, STRETCHED, Law
from tests.statistical.coverage import MOST, check_coverage

TIMES = np.array([1.0, 10.0, 1e2, 1e3, 1e4, 1e5])
LEVELS = {"g_lrs_S": 6e-5, "g_hrs_S": 2e-5, "programming": {"kind": "relative", "sigma": 0.05}}
#: what ages the cells -> law, and the estimates that a fit has to find
AGEING: dict[str, tuple[dict[str, Any], Law, Sequence[float]]] = {
    "drift": (
        {"drift": {"nu": [{"coefficients": [0.09], "below": 0.6}, {"coefficients": [0.05]}], "g_max_S": 6e-5,
                   "nu_std": 0.012}},
        DRIFT, [0.09, 0.012, 0.05, 0.012],
    ),
    "relaxation by state": (
        {"relaxation": {"kind": "by_state", "states_S": [2e-5, 6e-5], "shift_S": [1e-7, -3e-7],
                        "growth_S": [1e-7, 2e-7], "tail": [0.2, 0.5]}},
        RELAXATION, [1e-7, 0.0, 1e-7, 0.04, -3e-7, 0.0, 2e-7, 0.25],
    ),
    "stretched exponential": (
        {"retention": {"rate_Hz": 1e-4, "beta": 0.6, "states_S": [2e-5, 6e-5], "end_S": [2.5e-5, 3e-5]}},
        STRETCHED, [np.log(1e-4), 0.6, 2.5e-5, 3e-5],
    ),
}  # fmt: skip


def followed(time: dict[str, Any], cells: int, seed: int, noise: float = 0.0, T: float = 300.0) -> list[Series]:
    """Return both states of one chip's cells at all times, read with some noise."""
    found, normal = [], np.random.Generator(np.random.Philox(seed)).standard_normal
    for level, state in enumerate(("HRS", "LRS")):
        G = []
        for t in TIMES:
            device = build(Device, LEVELS | {"time": {**time, "t_s": t}, "temperature_K": T}, "device")
            G.append(sample_cells(device, level, cells, seed))
        clean = np.stack(G, 1)
        found.append(Series(state, None, TIMES, clean * (1.0 + noise * normal(clean.shape))))
    return found


def table_of(series: Sequence[Series], **more: float) -> Table:
    """Return the rows of a table of these cells."""
    rows: dict[str, list[Any]] = {name: [] for name in ("state", "cell", "time", "G")}
    for each in series:
        cell, time = np.indices(each.G.shape)
        rows["state"].append(np.full(each.G.size, each.state))
        rows["cell"].append(cell.ravel())
        rows["time"].append(each.at[time.ravel()])
        rows["G"].append(each.G.ravel())
    columns = {name: np.concatenate(values) for name, values in rows.items()}
    return Table(columns | {name: np.full(len(columns["G"]), value) for name, value in more.items()})


@pytest.mark.parametrize("name", AGEING)
def test_intervals_of_laws_of_time_hold_the_truth_in_95_percent(name: str) -> None:
    """Each repeat has 120 other cells."""
    time, law, truth = AGEING[name]
    every = followed(time, 120 * MOST, 7, noise=0.0 if law is RELAXATION else 0.004)
    scales = [scale for *_, scale, _ in law.lines(every)]
    expected = {k: t * s for k, (t, s) in enumerate(zip(truth, scales, strict=True)) if t != 0.0}  # 0 has no scatter

    def hits(repeat: int) -> list[bool]:
        series = [each.of(np.arange(120 * repeat, 120 * (repeat + 1))) for each in every]
        rows = _rows(law, series, law.estimate(series, None))
        return [rows[k]["low"] <= true <= rows[k]["high"] for k, true in expected.items()]

    check_coverage(hits)


@pytest.mark.parametrize(
    ("count", "decades", "rate", "beta", "energy"),
    [(7, 6, 4.5, 0.7, 1.1), (7, 3, 4.5, 0.9, 0.6), (7, 3, 4.5, 0.7, 0.1), (6, 6, 1.0, 0.9, 1.1), (9, 6, 1.0, 0.9, 1.1)],
)
def test_cells_that_lose_nearly_all_before_the_first_reading_show_their_law(
    count: int, decades: int, rate: float, beta: float, energy: float
) -> None:
    """Six series without scatter; a search from one point alone ends elsewhere for some of them."""
    at, series = np.logspace(0, decades, count), []
    for state, center, end in (("HRS", 2e-5, 2.6e-5), ("LRS", 6e-5, 3e-5)):
        for T in (330.0, 358.0, 398.0):
            here = rate * np.exp(-energy / BOLTZMANN_EV * (1 / T - 1 / 358.0))
            first = center * np.linspace(0.9, 1.1, 7)
            series.append(Series(state, T, at, end + (first[:, None] - end) * np.exp(-((here * at) ** beta))))
    found = STRETCHED.estimate(series, None)
    assert found[:3] == pytest.approx([np.log(rate), beta, energy], abs=1e-3)
    assert found[3:] == pytest.approx([2.6e-5, 3e-5], rel=1e-3)


@pytest.mark.parametrize("name", AGEING)
def test_the_law_that_aged_the_cells_is_found_and_its_chip_ages_as_they_did(name: str) -> None:
    time, _, truth = AGEING[name]
    found = fit(table_of(followed(time, 400, 3)))
    assert found.part.details == name
    tried = {r["quantity"]: r["estimate"] for r in found.part.rows if r["quantity"].startswith("error")}
    best = tried.pop(f"error on cells left out, {name}")
    assert best < 2.0
    assert all(best < other for other in tried.values())
    aged = followed(found.device.time.to_dict(), 4000, 8)
    for each, true in zip(aged, followed(time, 4000, 9), strict=True):
        at = (0.1, 0.5, 0.9)
        ours, theirs = np.quantile(each.G[:, -1], at), np.quantile(true.G[:, -1], at)
        assert ours == pytest.approx(theirs, rel=0.03)
    assert found.device.at_start == build(Device, found.data, "device"), "the fit itself sets no time"
    assert len(found.part.figures["retention"]) == 2 * len(TIMES)
    assert truth


def test_bakes_at_three_temperatures_give_the_activation_energy() -> None:
    law = {"retention": {"rate_Hz": 1e-5, "activation_eV": 0.9, "reference_K": 380.0, "beta": 0.7, "end_S": 1e-5}}
    tables = [table_of(followed(law, 50, k, 0.002, T), temperature=T) for k, T in enumerate((360.0, 380.0, 410.0))]
    columns = {name: np.concatenate([t[name] for t in tables]) for name in tables[0].columns}
    columns["cell"] = columns["cell"] + 1000 * columns["temperature"]
    rows = {row["quantity"]: row for row in fit(Table(columns)).part.rows}
    for name, true in (("activation energy", 0.9), ("stretching exponent", 0.7), ("LRS end", 10.0)):
        assert rows[name]["low"] < true < rows[name]["high"], name
        assert rows[name]["high"] - rows[name]["low"] < 0.3 * true


def test_a_state_that_loses_nothing_keeps_its_variation() -> None:
    """LRS decays, HRS stays: a common end would draw all cells of HRS together."""
    law = {"retention": {"rate_Hz": 1e-4, "beta": 0.6, "states_S": [2e-5, 6e-5], "end_S": [None, 3e-5]}}
    found = fit(table_of(followed(law, 200, 4, 0.002)))
    ends: Any = found.device.time.retention.end_S
    assert ends[0] is None
    assert ends[1] == pytest.approx(3e-5, rel=0.03)
    hrs, lrs = followed(found.device.time.to_dict(), 1000, 8)
    assert np.array_equal(hrs.G[:, -1], hrs.G[:, 0])
    assert float(lrs.G[:, -1].std()) < 0.2 * float(lrs.G[:, 0].std())
    assert any("HRS: does not decay" in words for words in found.part.deviations)


def test_cells_that_cannot_be_followed_are_refused() -> None:
    table = table_of(followed(AGEING["drift"][0], 6, 0))
    without = Table({name: values for name, values in table.columns.items() if name != "cell"})
    with pytest.raises(InputError, match="state HRS: got several conductances of one cell and time"):
        fit(without)
    with pytest.raises(InputError, match="cells measured at one time only"):
        fit(table.select(table["time"] == 1.0), "retention")
    with pytest.raises(InputError, match="cells of one state and no chip"):
        fit(table.select(table["state"] == "LRS"))


def test_states_that_do_not_decay_leave_the_law_to_the_others_or_give_none() -> None:
    """Reads scatter as much as cells vary, which is no loss; HRS, LRS or both stay, at one or three temperatures."""
    decay: dict[str, Any] = {"rate_Hz": 1e-4, "beta": 0.6, "states_S": [2e-5, 6e-5]}
    for ends in ([None, 3e-5], [2.5e-5, None]):
        series = followed({"retention": decay | {"end_S": ends}}, 200, 5, 0.05)
        estimates = STRETCHED.estimate(series, None)
        assert np.isnan(estimates[2:]).tolist() == [end is None for end in ends]
        assert estimates[:2] == pytest.approx([np.log(1e-4), 0.6], rel=0.2)
    still = followed({}, 60, 6, 0.05)
    found = fit(table_of(still))
    assert "error on cells left out, stretched exponential" not in {row["quantity"] for row in found.part.rows}
    tables = [table_of(still, temperature=T) for T in (360.0, 380.0, 410.0)]
    columns = {name: np.concatenate([t[name] for t in tables]) for name in tables[0].columns}
    columns["cell"] = columns["cell"] + 1000 * columns["temperature"]
    found = fit(Table(columns))
    assert found.device.time.retention.rate_Hz == 0.0
    assert found.device.time.is_ideal
    assert found.part.details == "no loss"
    assert found.part.deviations[:2] == [f"{s}: does not decay, so that the chip loses nothing" for s in ("HRS", "LRS")]
