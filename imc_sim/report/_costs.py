"""Energy, latency and area in the report of a study: lines to quote, a table per point, and what is not counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from imc_sim._quantities import number_of, with_unit
from imc_sim._stats import FULL_BAND, band_label
from imc_sim.plotting import Metric, has_costs, heading, is_number, pareto_data, shown
from imc_sim.report._html import Cell, details, escaped, table
from imc_sim.runs import Row, RowTable
from imc_sim.study import finished_trials

if TYPE_CHECKING:
    from pandas import DataFrame

    from imc_sim.study import Results

#: lines that are shown without a click
_SHOWN = 6


def cost_section(results: Results) -> str:
    """Return the section of the report on costs; empty for a study without energies.

    Args:
        results: results of the study.
    """
    if not has_costs(results):
        return ""
    data = pareto_data(results)
    front = [row for row in data.sort_values("energy_J").to_dict("records") if row["front"]]
    lines = [quoted(row, Metric.of(results.study)) for row in front]
    best = (
        f"The front of energy and {Metric.of(results.study).name}: no other point has both less energy and a better "
        "result."
    )
    listed = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    shown_lines = (
        f"<ul>{listed}</ul>" if len(lines) <= _SHOWN else details(number_of(len(lines), "point"), f"<ul>{listed}</ul>")
    )
    return (
        f"<h2>Energy, latency and area</h2><p>{escaped(best)}</p>{shown_lines}{_table(results, data)}"
        f'<p class="note">{escaped(not_counted(results))}</p>'
    )


def quoted(row: dict[Any, Any], metric: Metric) -> str:
    """Return the line of a point to quote: energy with its band, latency, and accuracy with its band.

    Args:
        row: of `pareto_data`.
        metric: of the study.
    """
    chips = row["chips"]
    energy, result = with_unit(row["energy_J"], "J"), metric.quantity(row["median"])
    if chips > 1:
        low, high = (with_unit(row[key], "J", 4) for key in ("energy_p05_J", "energy_p95_J"))
        energy = f"{energy} ({low} to {high})"
        result = f"{result} ({metric.number(row['p05'], 1)} to {metric.number(row['p95'], 1)})"
    time = "" if row["latency_s"] != row["latency_s"] else f" and {with_unit(row['latency_s'], 's')}"
    ends = "5-95 %" if chips >= FULL_BAND else "lowest to highest"
    band = f" ({ends} of {chips} chips)" if chips > 1 else " (1 chip)"
    return f"{row['label']}: {energy}{time} per inference at {result}{band}".removeprefix(": ")


def not_counted(results: Results) -> str:
    """Return what the energies, times and areas of a study leave out, and the source of what circuits take.

    Args:
        results: results of the study.
    """
    rows = _distinct(results.costs)
    missing = list(dict.fromkeys(text for row in rows for text in row["not_counted"]))
    scaled = list(dict.fromkeys(text for row in rows for text in row["scaled"]))
    finished, _ = finished_trials(results.rows)
    lacking = int((finished.column("chip") >= 0).sum()) - len(results.costs)
    chip = results.study["chip"] or {}
    cost = chip.get("cost") or {}
    split = (cost.get("rows_per_read") or math.inf) < chip.get("tile", {}).get("rows", 0)
    adc = cost.get("converter") or {}
    swept = {path for axis in results.study["axes"] for path in (axis["path"], *axis.get("also", ()))}
    swept |= {path for case in results.study["cases"] for path in case.get("set", ())}
    flat = "chip.converter.bits" in swept and adc.get("energy_J") and not (adc.get("step_energy_J") or adc.get("bits"))
    parts = [
        "Energies are means over chips, of an inference; in few-shot tasks, of a query through network and key memory.",
        f"Not counted: {'; '.join(missing)}." if missing else "",
        "Norms, activations and pooling in digital logic are never counted.",
        f"Scaled from another node or supply: {', '.join(scaled)}." if scaled else "",
        f"{number_of(lacking, 'trial')} {'has' if lacking == 1 else 'have'} no cost." if lacking else "",
        "Accuracy is simulated with one conversion for all rows of a tile (rows_per_read)." if split else "",
        "ADCs of all resolutions take the same energy: energy_J is stated without step_energy_J." if flat else "",
        f"Costs of circuits: {cost['source']}" if cost.get("source") else "",
    ]
    return " ".join(filter(None, parts))


def _distinct(costs: Mapping[str, Row]) -> list[Row]:
    """Return the first of the rows that leave out and scale the same."""
    if not isinstance(costs, RowTable):
        return list(costs.values())
    texts = np.stack([costs.column("not_counted"), costs.column("scaled")])
    return [costs.at(number) for number in sorted(np.unique(texts, axis=1, return_index=True)[1].tolist())]


def _table(results: Results, data: DataFrame) -> str:
    """Return the table of all points with an energy."""
    axes, metric = results.study["axes"], Metric.of(results.study)
    programs = bool(results.table["programming_J"].notna().any())
    heads = [
        "case",
        *map(heading, axes),
        "chips",
        "energy",
        band_label(results.table["chips"], named=False),
        "latency",
        "area",
        *(["programming"] if programs else []),
    ]
    heads += [f"median{metric.in_brackets}", "front"]
    records = results.table.dropna(subset=["energy_J"]).to_dict("records")
    rows: list[list[Cell]] = []
    for row, front in zip(records, data["front"], strict=True):
        low, high = (_text(row[f"energy_J_{end}"], "J", 4) for end in ("p05", "p95"))
        median = metric.factor * row["median"]
        rows.append([
            str(row["case"]), *(place_cell(row[axis["path"]], axis) for axis in axes),
            (str(row["chips"]), row["chips"]),
            (_text(row["energy_J"], "J"), row["energy_J"]), (f"{low} to {high}", row["energy_J_p05"]),
            (_text(row["latency_s"], "s"), row["latency_s"]), (_text(row["area_m2"], "m2"), row["area_m2"]),
            *([(_text(row["programming_J"], "J"), row["programming_J"])] if programs else []),
            (metric.number(median), median), "yes" if front else "",
        ])  # fmt: skip
    return table(heads, rows, "costs")


def _text(value: float, unit: str, digits: int = 3) -> str:
    return with_unit(None if value != value else value, unit, digits)


def place_cell(value: Any, axis: dict[str, Any]) -> Cell:
    """Return the cell of a value of an axis.

    Args:
        value: in SI units.
        axis: as in the resolved study.
    """
    return (shown(value, axis), value * axis["scale"]) if is_number(value) else shown(value, axis)
