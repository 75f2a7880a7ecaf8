"""Intervals over cells, lines of tables, series of cells, and levels of a chip, for fits of all kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from imc_sim._errors import InputError
from imc_sim.device.fit._levels import LEAST, fit_levels
from imc_sim.device.fit._part import Options
from imc_sim.device.fit._quality import mean_interval, std_interval
from imc_sim.device.fit._reader import Table, cell_numbers

Floats = NDArray[np.float64]
#: groups of cells, each left out once
_GROUPS = 20


def jackknife(
    estimate: Callable[[NDArray[np.int64]], Any], count: int, positive: Sequence[bool] | bool = False
) -> tuple[Floats, Floats, Floats]:
    """Return estimates, and the ends of their 95 % intervals: those of Student's law over groups of cells left out.

    Cells may have any distribution, and estimates may be any smooth function of them. Ends are infinite under 5 cells.

    Args:
        estimate: indices of cells -> estimates.
        count: number of cells.
        positive: whether an estimate is a scale, whose interval is symmetric in its logarithm.
    """
    everything = np.arange(count)
    whole = np.asarray(estimate(everything), dtype=np.float64)
    if count < LEAST:
        return whole, np.full_like(whole, -np.inf), np.full_like(whole, np.inf)
    groups = min(_GROUPS, count)
    parts = np.array([estimate(everything[everything % groups != k]) for k in range(groups)], dtype=np.float64)
    error = np.sqrt((groups - 1) / groups * np.square(parts - parts.mean(0)).sum(0))
    half = float(stdtrit(groups - 1, 0.975)) * error
    factor = np.exp(np.minimum(half / np.where(whole > 0.0, whole, np.inf), 50.0))
    scale = np.asarray(positive, dtype=bool) & (whole > 0.0)
    return whole, np.where(scale, whole / factor, whole - half), np.where(scale, whole * factor, whole + half)


def normal_intervals(values: Floats) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation of normal values, each with its 95 % interval.

    Args:
        values: independent values; the intervals of a single one are not bounded.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return (mean, -math.inf, math.inf), (0.0, 0.0, math.inf)
    return (mean, *mean_interval(values)), (float(values.std(ddof=1)), *std_interval(values))


def least_squares(
    rest: Callable[[Floats], Floats], starts: Sequence[Sequence[float]], low: Sequence[float], high: Sequence[float]
) -> Floats:
    """Return the parameters with the least squares between two limits, the best of several starts.

    Args:
        rest: parameters -> differences from the data.
        starts: parameters to start from, moved between the limits.
        low, high: limits of the parameters.
    """
    from scipy.optimize import least_squares as solve

    fits = [solve(rest, np.clip(s, low, high), bounds=(low, high), x_scale="jac", max_nfev=200) for s in starts]
    return min(fits, key=lambda fit: fit.cost).x


def frame(rows: list[dict[str, Any]]) -> Any:
    """Return a data frame of rows: the table of a figure."""
    import pandas as pd

    return pd.DataFrame(rows)


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit as chip files write it, such as `12.5 uS`."""
    if value == 0.0:
        return f"0 {unit}"
    prefixes = {-15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
    power = min(max(3 * math.floor(math.log10(abs(value) * (1 + 1e-9)) / 3), -15), 9)
    return f"{value / 10.0**power:.5g} {prefixes[power]}{unit}"


def number(value: float) -> float:
    """Return a number with the five digits that chip files show."""
    return float(f"{value:.5g}")


@final
@dataclass(frozen=True)
class Series:
    """Conductances of the cells of one state at one temperature, against time, cycles or pulses.

    Attributes:
        state: name of the state, `` where there are none.
        temperature_K: temperature of the cells, where the table has one.
        at: times, cycles or pulses [n], ascending.
        G: conductances [cells, n] in S; NaN where a cell was not measured.
    """

    state: str
    temperature_K: float | None
    at: Floats
    G: Floats

    @property
    def center_S(self) -> float:
        """Return the median of the first conductances in S."""
        return float(np.nanmedian(self.G[:, 0]))

    def of(self, cells: NDArray[Any]) -> Series:
        """Return the series of some of its cells.

        Args:
            cells: a mask or indices.
        """
        return Series(self.state, self.temperature_K, self.at, self.G[cells])


def series_of(table: Table, axis: str) -> list[Series]:
    """Return the series of every state and temperature, by rising conductance.

    Args:
        table: measurements with G and the axis; cells that are not measured at the first point are left out.
        axis: role of what they are measured against: time, cycle or pulse.

    Raises:
        InputError: a column is missing, or cells cannot be told apart.
    """
    for role in ("G", axis):
        if role not in table:
            got = f"columns {', '.join(table.columns)}"
            raise InputError(
                table.name, got, f"columns {axis} and conductance", f'Name them: --columns "X={axis},G=G uS".'
            )
    names = table["state"] if "state" in table else table["target"] if "target" in table else np.full(len(table), "")
    names = np.asarray(names).astype(str)
    temperature = table["temperature"] if "temperature" in table else np.full(len(table), np.nan)
    cells, found = cell_numbers(table), []
    for name in np.unique(names):
        for T in np.unique(temperature[names == name]):
            rows = (names == name) & ((temperature == T) | np.isnan(temperature))
            at, place = np.unique(table[axis][rows], return_inverse=True)
            number = np.unique(cells[rows], return_inverse=True)[1]
            G = np.full((int(number.max()) + 1, len(at)), np.nan)
            if len(np.unique(number * len(at) + place)) < len(place):
                got = f"several conductances of one cell and {axis}"
                step = "Add a column `cell` that numbers the cells, or name it with --columns."
                raise InputError(f"{table.name}, state {name}" if name else table.name, got, "one", step)
            G[number, place] = table["G"][rows]
            G = G[~np.isnan(G[:, 0])]
            found.append(Series(str(name), None if np.isnan(T) else float(T), at, G))
    return sorted(found, key=lambda s: (s.center_S, s.temperature_K or 0.0))


def levels_part(series: Sequence[Series], options: Options) -> dict[str, Any]:
    """Return the levels of a chip that has none yet: those of the first conductances, with their device variation.

    Args:
        series: series of every state.
        options: the chip to which the fit is added.

    Raises:
        InputError: the chip has no levels, and there is only one state.
    """
    if options.device:
        return {}
    first = {}
    for each in series:
        first[each.state] = np.concatenate([first.get(each.state, np.empty(0)), each.G[:, 0]])
    if len(first) < 2:
        step = "Add the fit to a chip that has levels: --into chip.yaml."
        raise InputError("fit", "cells of one state and no chip", "two states, or a chip with levels", step)
    ordered = sorted(first.values(), key=lambda G: float(np.median(G)))
    names = ("HRS", "LRS") if len(ordered) == 2 else tuple(map(str, range(len(ordered))))
    if min(map(len, ordered)) >= LEAST:
        rows = np.concatenate([np.full(len(G), name) for name, G in zip(names, ordered, strict=True)])
        return fit_levels(Table({"state": rows, "G": np.concatenate(ordered)}), options).part
    middles = [quantity(float(np.median(G)), "S") for G in ordered]
    if len(middles) == 2:
        return {"g_lrs_S": middles[1], "g_hrs_S": middles[0]}
    return {"levels": len(middles), "table_S": middles}
