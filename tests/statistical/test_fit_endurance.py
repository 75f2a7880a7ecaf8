"""Endurance fitted to cells of a known law: recovered, with intervals that cover, and its chip wears as they did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imc_sim import InputError
from imc_sim.config import build
from imc_sim.device import Device, sample_cells
from imc_sim.device.fit import Table, fit
from imc_sim.device.fit._endurance import fit_endurance
from tests.statistical.coverage import check_coverage, held

CYCLES = np.unique(np.round(np.geomspace(1, 3e6, 28)))
#: state -> median in S, exponent over cycles, standard deviations of ln G from cell to cell and from cycle to cycle
STATES = {"LRS": (6e-5, -0.02, 0.08, 0.1), "HRS": (4e-6, 0.04, 0.2, 0.3)}
#: levels of a chip, which are then not fitted again
CHIP = {"device": {"g_lrs_S": 6e-5, "g_hrs_S": 4e-6}}
LIFE, SHAPE, CORRELATION = 3e6, 1.5, 0.5
TRUTH = {"cycles until 63 % have failed": LIFE, "shape of the lifetimes": SHAPE} | {
    f"{state} {name}": value
    for state, (_, exponent, cells, cycles) in STATES.items()
    for name, value in {
        "exponent over cycles": exponent, "ln G from cell to cell": cells, "ln G from cycle to cycle": cycles,
        "correlation of cycles": CORRELATION,
    }.items()
}  # fmt: skip


def worn(seed: int, cells: int = 80) -> Table:
    """Return both states of cells that wear: the window closes, and after its lifetime a cell is stuck at HRS."""
    rng = np.random.Generator(np.random.Philox(seed))
    life = LIFE * rng.exponential(size=cells) ** (1 / SHAPE)
    rows: dict[str, list[Any]] = {name: [] for name in ("state", "cell", "cycle", "G")}
    for state, (G_S, exponent, own, cycle) in STATES.items():
        z = rng.standard_normal((cells, len(CYCLES)))
        for k in range(1, len(CYCLES)):
            z[:, k] = CORRELATION * z[:, k - 1] + np.sqrt(1 - CORRELATION**2) * z[:, k]
        G = G_S * CYCLES**exponent * np.exp(own * rng.standard_normal((cells, 1)) + cycle * z)
        stuck = 4e-6 * np.exp(0.2 * rng.standard_normal(G.shape))
        G = np.where(life[:, None] <= CYCLES, stuck, G)
        cell, k = np.indices(G.shape)
        for name, values in (("state", np.full(G.size, state)), ("cell", cell), ("cycle", CYCLES[k]), ("G", G)):
            rows[name].append(np.ravel(values))
    return Table({name: np.concatenate(values) for name, values in rows.items()})


def test_intervals_of_endurance_hold_the_truth_in_95_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison for the figure has no interval."""
    monkeypatch.setitem(fit_endurance.__globals__, "_compared", lambda *_: [])
    check_coverage(lambda seed: held(fit(worn(seed), "endurance", CHIP).part.rows, TRUTH))


def test_the_chip_wears_as_the_cells_did() -> None:
    found = fit(worn(3, 400))
    assert found.part.kind == "endurance"
    assert found.device.endurance.failed_at == "hrs"
    assert found.device.cycle_to_cycle.share == pytest.approx((0.3**2 + 0.1**2) / (0.36**2 + 0.08**2), abs=0.1)
    assert found.device == build(Device, found.data, "device")
    for cycles in (1.0, 1e6):
        device = found.device.replace("endurance.cycles", cycles)
        failed = 1 - np.exp(-((cycles / LIFE) ** SHAPE))
        for level, state in enumerate(("HRS", "LRS")):
            G_S, exponent, own, cycle = STATES[state]
            cells = sample_cells(device, level, 20_000)
            true = G_S * cycles**exponent
            if state == "LRS":
                assert float((cells < 1.6e-5).mean()) == pytest.approx(failed, abs=0.05)
                cells = cells[cells > 1.6e-5]
            assert float(np.median(cells)) == pytest.approx(true, rel=0.06)
            assert float(np.log(cells).std()) == pytest.approx(np.hypot(own, cycle), rel=0.12)


def test_readings_that_are_missing_pair_no_two_cells() -> None:
    """A cell without its first reading in one state is left out in both."""
    table = worn(5, 30)
    first = table["cycle"] == table["cycle"].min()
    holes = first & (
        (table["cell"] == 3) & (table["state"] == "HRS") | (table["cell"] == 17) & (table["state"] == "LRS")
    )
    whole = fit(table.select(~np.isin(table["cell"], [3, 17])))
    assert fit(table.select(~holes)).part.rows == whole.part.rows


def test_one_state_and_few_cycles_are_refused() -> None:
    table = worn(1, 10)
    with pytest.raises(InputError, match="LRS: 10 cells, 28 cycles"):
        fit(table.select(table["state"] == "LRS"))
    with pytest.raises(InputError, match="2 cycles"):
        fit(table.select(table["cycle"] < 2.5))
