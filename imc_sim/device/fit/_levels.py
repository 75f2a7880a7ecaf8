"""Fits of levels and of the device variation of each: a law where one describes the cells, else their quantiles."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.device._device import Device
from imc_sim.device._sample import sample_cells
from imc_sim.device.fit import _quality as quality
from imc_sim.device.fit._defects import Defects, find_defects
from imc_sim.device.fit._laws import FittedLaw, likelier_law
from imc_sim.device.fit._level_data import StateFit, cdf_data, largest_distance, sigma_data
from imc_sim.device.fit._level_quantiles import measured_quantiles
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._reader import Table, cell_numbers

#: Conductances in S by state: `HRS` and `LRS`, or `0` … `n - 1`; from the lowest to the highest.
Samples = dict[str, NDArray[np.float64]]
_Floats = NDArray[np.float64]

#: Values of each cell and state from which on the intervals are reported as too narrow.
_REPEATED = 1.5
#: Fewest values of a state for a fit.
LEAST = 5
#: Cells of a level sampled from a finished chip; chips over all levels, and the most for one. A few cells far out make
#: the standard deviation of measured levels, of which a single sample has too few.
_CELLS, _CHIPS, _MOST_CHIPS = 100_000, 20, 8


def fit_levels(table: Table, options: Options) -> PartFit:
    """Fit levels and device variation to conductances by state.

    Two states get a normal or log-normal law each where both describe their cells; all others get their quantiles.
    Stuck and dead cells are taken out first.

    Args:
        table: measurements with a state or a target, and G.
        options: the chip to which the fit is added.
    """
    samples = samples_of(table)
    defects = find_defects(list(samples.values()))
    working = [
        G[mask] if mask.sum() >= LEAST else G for G, mask in zip(samples.values(), defects.working, strict=True)
    ]  # fmt: skip
    laws = [likelier_law(G, judged=len(working) == 2) for G in working]
    parametric = len(laws) == 2 and all(law.fits for law in laws)
    part = _relative(laws) if parametric else _measured(working, table.name)
    part |= _reset(options, defects, part)
    device = options.finished(part).at_start
    states = []
    for k, ((name, G), own, law) in enumerate(zip(samples.items(), working, laws, strict=True)):
        center, sigma = (law.center_S, law.sigma) if parametric else _moments(own)
        kind, distance = law.law if parametric else "measured", largest_distance(device, k, G)
        states.append(StateFit(name, G, kind, center, sigma, distance, law.p_value, law.evidence, len(own)))
    rows = [line for state, own in zip(states, working, strict=True) for line in _rows(state, own)]
    found = [each for k, state in enumerate(states) for each in _deviations(state, device, k)]
    figures = {"cdf": cdf_data(states, device), "sigma": sigma_data(states, working, device)}
    low, high = (extreme * 1e6 for extreme in (states[0].conductance_S[0], states[-1].conductance_S[-1]))
    summary = f"{low:.4g} to {high:.4g} uS. {'; '.join(s.summary for s in states)}."
    summary += "".join(f" {100 * count / n:.2g} % {name}." for name, (count, n) in defects.found.items())
    return PartFit(
        "levels", part, rows + _defect_rows(defects), _repeated(table) + quality.in_words(found), summary, figures,
        tuple(states),
    )  # fmt: skip


def _repeated(table: Table) -> list[str]:
    """Return a line on intervals where most cells were measured several times in a state; empty where they were not."""
    if "cell" not in table and not {"row", "column"} <= table.columns.keys():
        return []
    cells = cell_numbers(table)
    state = np.unique(table["state" if "state" in table else "target"], return_inverse=True)[1]
    values = len(table) / len(np.unique(state * (int(cells.max()) + 1) + cells))
    words = "the intervals are those of independent values, and too narrow where cells differ"
    return [f"{values:.3g} values of each cell and state: {words}"] if values >= _REPEATED else []


def samples_of(table: Table) -> Samples:
    """Return sorted conductances by state from low to high.

    Args:
        table: measurements with a state or a target, and G.

    Raises:
        InputError: states are missing, have fewer than 5 values, or their medians do not rise.
    """
    where = table.name
    if "G" not in table or not ("state" in table or "target" in table):
        got = f"columns {', '.join(table.columns)}"
        step = 'Name them: --columns "S=state,G=G uS", or "R_on=LRS ohm,R_off=HRS ohm".'
        raise InputError(where, got, "a state or a target, and a conductance or resistance", step)
    key = table["state"] if "state" in table else table["target"]
    found = np.unique(key)
    index = np.searchsorted(found, key)
    numbered = {str(key): k for k, key in enumerate(found)}
    if "state" not in table:  # targets rise, or fall where they are resistances
        ends = [float(np.median(table["G"][index == k])) for k in (0, len(found) - 1)]
        order = range(len(found)) if ends[0] <= ends[1] else range(len(found) - 1, -1, -1)
        numbered = {str(number): k for number, k in enumerate(order)}
    names = sorted(numbered, key=lambda name: ("HRS", "LRS").index(name) if name in ("HRS", "LRS") else int(name))
    numbers = [int(name) for name in names if name.isdigit()]
    counted = len(numbers) > 1 and numbers[0] <= 1 and numbers == list(range(numbers[0], numbers[0] + len(names)))
    if names != ["HRS", "LRS"] and not counted:
        got = f"states {', '.join(names[:20])}"
        raise InputError(where, got, "HRS and LRS, or levels from 0 or 1 without a gap", "Add what is missing.")
    samples = {name: np.sort(table["G"][index == numbered[name]]) for name in names}
    for name, data in samples.items():
        if len(data) < LEAST:
            allowed = f"{LEAST} or more, for a standard deviation"
            raise InputError(f"{where}, state {name}", f"{len(data)} values", allowed, "Measure more cells.")
    medians = [float(np.median(data)) for data in samples.values()]
    if any(b <= a for a, b in itertools.pairwise(medians)):
        got = ", ".join(f"{name}: {m:g} S" for name, m in zip(names, medians, strict=True))
        step = "Check which column is which, and the unit."
        raise InputError(f"{where}, medians", got, "conductances that rise from HRS (level 0) to LRS", step)
    return samples


def _relative(laws: list[FittedLaw]) -> dict[str, Any]:
    """Return the settings of two states with a law each."""
    hrs, lrs = laws
    variation = {
        "kind": "relative", "sigma": _round(lrs.sigma), "sigma_hrs": _round(hrs.sigma), "law": lrs.law,
        "law_hrs": hrs.law,
    }  # fmt: skip
    return {"g_lrs_S": _text(lrs.center_S), "g_hrs_S": _text(hrs.center_S), "programming": variation}


def _measured(working: list[_Floats], where: str) -> dict[str, Any]:
    """Return the settings of levels with their quantiles."""
    targets = [float(G.mean()) for G in working]
    if any(b <= a for a, b in itertools.pairwise(targets)):
        targets = [float(np.median(G)) for G in working]
    targets = [_round(g) for g in targets]
    if any(b <= a for a, b in itertools.pairwise(targets)):
        got = ", ".join(f"{g:g} S" for g in targets)
        raise InputError(f"{where}, levels", got, "levels that differ", "Merge levels that are equal.")
    probabilities, quantiles = measured_quantiles(working)
    law = {"kind": "measured", "targets_S": targets, "probabilities": probabilities, "quantiles_S": quantiles}
    if len(working) == 2:
        return {"g_lrs_S": targets[1], "g_hrs_S": targets[0], "programming": law}
    return {"table_S": targets, "programming": law}


def _reset(options: Options, defects: Defects, part: dict[str, Any]) -> dict[str, Any]:
    """Return faults, and empty settings instead of those of the chip that the levels replace."""
    replaced = ("table_S", "levels", "spacing", "g_lrs_S", "g_hrs_S", "verify")
    found: dict[str, Any] = {key: None for key in replaced if key in options.device and key not in part}
    faults = defects.settings()
    if faults or "faults" in options.device:
        old = dict.fromkeys(("stuck_lrs", "stuck_hrs", "cell_yield", "dead_S"))
        found["faults"] = old | faults if "faults" in options.device else faults
    return found


def _moments(values: _Floats) -> tuple[float, float]:
    """Return mean and relative standard deviation."""
    mean = float(values.mean())
    return mean, float(values.std(ddof=1)) / mean if mean > 0.0 else 0.0


def _rows(state: StateFit, own: _Floats) -> list[dict[str, Any]]:
    """Return lines of the table: centre and standard deviation of working cells with their intervals."""
    if state.law == "log_normal":
        logs = np.log(own)
        low, high = (math.exp(x) * 1e6 for x in quality.mean_interval(logs))
        interval = quality.std_interval(logs)
        return [
            quality.line(f"{state.name} median", len(own), state.center_S * 1e6, low, high, "uS"),
            quality.line(f"{state.name} standard deviation of ln G", len(own), state.sigma, *interval),
        ]
    uS = own * 1e6
    interval = quality.std_interval(uS, normal=state.law == "gaussian")
    return [
        quality.line(f"{state.name} mean", len(own), float(uS.mean()), *quality.mean_interval(uS), "uS"),
        quality.line(f"{state.name} standard deviation", len(own), float(uS.std(ddof=1)), *interval, "uS"),
    ]


def _defect_rows(defects: Defects) -> list[dict[str, Any]]:
    """Return lines of the table for stuck and dead cells."""
    lines = []
    for name, (count, n) in defects.found.items():
        low, high = quality.share_interval(count, n)
        lines.append(quality.line(f"cells {name}", n, count / n, low, high, "%", 100))
    return lines


def _deviations(state: StateFit, device: Device, level: int) -> list[tuple[float, str]]:
    """Return the deviations of cells sampled from the finished chip."""
    chips = min(max(_CHIPS // device.levels, 1), _MOST_CHIPS)
    cells = np.concatenate([sample_cells(device, level, _CELLS, chip=chip) for chip in range(chips)])
    distance = f"{state.name}, largest distance of the distributions (KS): {state.distance:.3f}"
    found = quality.deviations(state.name, state.conductance_S, cells)
    return [*found, (state.distance / quality.DISTANCE, distance)]


def _text(g: float) -> str:
    return f"{g * 1e6:.5g} uS"


def _round(x: float) -> float:
    return float(f"{x:.6g}")
