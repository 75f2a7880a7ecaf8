"""Costs in figures and in the report: the front by definition, and lines to quote, from a table written by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_sim._errors import ResultsError
from imc_sim.plotting import Metric, draw, figures_of, has_costs, on_front, pareto_data
from imc_sim.report import write_report
from imc_sim.report._costs import not_counted, quoted
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

STUDY: dict[str, Any] = {
    "name": "small", "model": "batmann_5w1s_xnor", "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
    "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.2, 0.4], "label": "sigma", "unit": "%",
              "scale": 100}],
    "chips": {"min": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(STUDY, tmp_path_factory.mktemp("costs") / "r", evaluator=stand_in_evaluator)


@pytest.fixture
def priced(plain: Results) -> Results:
    """Return the results with energies of 3, 1 and 2 nJ at medians of 90, 80 and 70 %."""
    table = plain.table.assign(
        median=[0.9, 0.8, 0.7], p05=[0.85, 0.75, 0.65], p95=[0.95, 0.85, 0.75], digital=0.97,
        energy_J=[3e-9, 1e-9, 2e-9], energy_J_p05=[2.9e-9, 0.9e-9, 1.9e-9], energy_J_p95=[3.1e-9, 1.1e-9, 2.1e-9],
        latency_s=[1.5e-6, 2e-6, np.nan], area_m2=1e-7, programming_J=np.nan,
    )  # fmt: skip
    row = {"not_counted": ["buffer (energy, area)"], "scaled": ["driver"]}
    return dataclasses.replace(plain, table=table, costs=dict.fromkeys(plain.rows, row))


def test_the_front_is_in_the_figure_and_its_table(priced: Results, tmp_path: Path) -> None:
    data = pareto_data(priced)
    assert data["front"].tolist() == [True, True, False]
    assert data["label"].tolist() == ["sigma 0 %", "sigma 20 %", "sigma 40 %"]
    assert data["median"].tolist() == pytest.approx([90, 80, 70])
    written = draw(dataclasses.replace(priced, folder=tmp_path), ["pareto"])
    assert [path.name for path in written] == ["pareto.png", "pareto.svg", "pareto.csv"]
    text = (tmp_path / "pareto.svg").read_text()
    assert "energy per inference" in text
    assert ("20 %" in text, "40 %" in text) == (True, True)  # the series of the legend


def test_a_line_to_quote_has_energy_latency_and_accuracy_with_their_bands(priced: Results) -> None:
    first, _, last = (quoted(row, Metric.of(STUDY)) for row in pareto_data(priced).to_dict("records"))
    assert first == (
        "sigma 0 %: 3 nJ (2.9 nJ to 3.1 nJ) and 1.5 us per inference at 90.0 % (85.0 to 95.0) (lowest to highest of 3 "
        "chips)"
    )
    many = {**pareto_data(priced).to_dict("records")[0], "chips": 30}
    assert quoted(many, Metric.of(STUDY)).endswith("(85.0 to 95.0) (5-95 % of 30 chips)")
    assert last.startswith("sigma 40 %: 2 nJ (1.9 nJ to 2.1 nJ) per inference at 70.0 %")  # no latency is stated


def test_the_report_has_costs_and_says_what_is_not_counted(plain: Results, priced: Results, tmp_path: Path) -> None:
    page = write_report(dataclasses.replace(priced, folder=tmp_path)).read_text()
    assert "<h2>Energy, latency and area</h2>" in page
    assert "Not counted: buffer (energy, area)." in page
    assert "Scaled from another node or supply: driver." in page
    assert "9 trials" not in not_counted(priced)
    chip = {"tile": {"rows": 128}, "cost": {"rows_per_read": 9, "source": "a paper"}}
    split = not_counted(dataclasses.replace(priced, study={**priced.study, "chip": chip}))
    assert "one conversion for all rows of a tile (rows_per_read)" in split
    assert split.endswith("Costs of circuits: a paper")
    assert "rows_per_read" not in not_counted(priced)
    assert "9 trials have no cost." in not_counted(dataclasses.replace(priced, costs={}))
    assert "Energy, latency and area" not in write_report(dataclasses.replace(plain, folder=tmp_path)).read_text()


def test_energies_that_do_not_follow_the_bits_of_adcs_are_reported(priced: Results) -> None:
    def text(adc: dict[str, Any], path: str = "chip.converter.bits") -> str:
        axis, chip = {**priced.study["axes"][0], "path": path}, {"cost": {"converter": adc}}
        return not_counted(dataclasses.replace(priced, study={**priced.study, "chip": chip, "axes": [axis]}))

    same = "ADCs of all resolutions take the same energy"
    assert same in text({"energy_J": 1e-12})
    assert same in text({"energy_J": 1e-12, "step_energy_J": 0.0})
    assert same not in text({"energy_J": 1e-12, "step_energy_J": 1e-13})
    assert same not in text({"energy_J": 1e-12, "bits": 8})  # stated for these
    assert same not in text({"energy_J": 1e-12}, "chip.tile.rows")


def test_the_table_of_costs_names_its_band_and_shows_its_width(priced: Results, tmp_path: Path) -> None:
    narrow = priced.table.assign(energy_J_p05=6.419e-9, energy_J_p95=6.421e-9)
    page = write_report(dataclasses.replace(priced, table=narrow, folder=tmp_path)).read_text()
    costs = page[page.index("<h2>Energy, latency and area</h2>") :]
    assert "6.419 nJ to 6.421 nJ" in costs
    assert "lowest to highest of chips" in costs
    assert ">5-95 %<" not in costs


def test_some_points_may_have_no_cost(priced: Results, tmp_path: Path) -> None:
    """Such as those whose chip states no energy of programming."""
    table = priced.table.assign(energy_J=[3e-9, np.nan, 2e-9], programming_J=[np.nan, np.nan, 7e-6])
    results = dataclasses.replace(priced, table=table, folder=tmp_path)
    assert has_costs(results)
    assert not has_costs(dataclasses.replace(priced, table=table.assign(energy_J=np.nan)))
    page = write_report(results).read_text()
    costs = page[page.index("<h2>Energy, latency and area</h2>") :]
    assert "programming" in costs
    assert "7 uJ" in costs
    assert all(f"{energy} nJ" in costs for energy in (3, 2))


def test_a_figure_of_earlier_prices_is_replaced(priced: Results, tmp_path: Path) -> None:
    """Equal energies have no such figure by default; one of earlier prices must not stay."""
    same = dataclasses.replace(priced, table=priced.table.assign(energy_J=2e-9), folder=tmp_path)
    assert "pareto" not in figures_of(same)
    draw(same, ["pareto"])
    assert "pareto" in figures_of(same)
    assert "programming" not in figures_of(same)


def test_a_study_without_costs_has_no_such_figure(plain: Results) -> None:
    assert not has_costs(plain)
    assert "pareto" not in figures_of(plain)
    with pytest.raises(ResultsError, match="no energies"):
        pareto_data(plain)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12), st.booleans())
def test_points_of_the_front_are_those_that_no_other_beats(points: list[tuple[int, int]], lower: bool) -> None:
    energy, result = (np.array(values, dtype=float) for values in zip(*points, strict=True))
    found = on_front(energy, result, lower)
    for (e, r), front in zip(points, found, strict=True):
        better = [(x, y) for x, y in points if x <= e and (y <= r if lower else y >= r) and (x, y) != (e, r)]
        assert front == (not better)
