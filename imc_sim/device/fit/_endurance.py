"""Endurance: trend of the window over cycles, variation of cells and of cycles, and lifetimes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from imc_sim._errors import InputError
from imc_sim.device._cycles import Endurance
from imc_sim.device.fit._estimates import (
    Floats,
    Series,
    frame,
    jackknife,
    levels_part,
    number,
    series_of,
)
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._quality import line
from imc_sim.device.fit._reader import Table, cell_numbers

#: most correlation that a chip takes
_MOST = 0.95
#: quantiles that the figure shows, in %
_SHOWN = (10, 50, 90)


def fit_endurance(table: Table, options: Options) -> PartFit:
    """Fit the trend over ln(cycles) of both states, the variance of cells and of cycles, and lifetimes.

    A cell has failed from the cycle on after which its window, LRS over HRS, stays below the root of the median window
    of the cells that work.

    Args:
        table: measurements with cycle, G, cell and state.
        options: the chip to which the fit is added.

    Raises:
        InputError: there are not two states, or fewer than three cycles.
    """
    low, high = _both(series_of(_of_both_states(table), "cycle"), table.name)
    failed_at = _failures(low, high)
    alive = failed_at[:, None] > low.at[None, :]
    states = [Series(s.state, None, s.at, np.where(alive & (s.G > 0.0), s.G, np.nan)) for s in (low, high)]
    first = float(max(low.at[0], 1.0))
    rows: list[dict[str, Any]] = []
    exponents, parts = [], []
    for each in states:
        found, least, most = jackknife(
            lambda cells, s=each: _trend(s.of(cells), first), len(each.G), [False, True, True, False]
        )
        names = ("exponent over cycles", "ln G from cell to cell", "ln G from cycle to cycle", "correlation of cycles")
        for k, name in enumerate(names):
            rows.append(line(f"{each.state} {name}", len(each.G), float(found[k]), float(least[k]), float(most[k])))
        exponents.append(float(found[0]))
        parts.append(found[1:])
    endurance: dict[str, Any] = {
        "cycles": 0.0, "onset_cycles": first, "lrs_exponent": number(exponents[1]),
        "hrs_exponent": number(exponents[0]), "life_cycles": None,
    }  # fmt: skip
    life = _weibull(failed_at, float(low.at[-1]))
    if life is not None:
        found, least, most = jackknife(
            lambda cells: _log_life(failed_at[cells], float(low.at[-1])), len(failed_at), [False, True]
        )
        ends = [math.exp(min(float(x[0]), 80.0)) for x in (found, least, most)]
        rows.append(line("cycles until 63 % have failed", len(failed_at), ends[0], ends[1], ends[2]))
        rows.append(line("shape of the lifetimes", len(failed_at), float(found[1]), float(least[1]), float(most[1])))
        endurance |= {"life_cycles": number(life[0]), "life_shape": number(life[1])}
        endurance["failed_at"] = _stuck_at(low, high, failed_at)
    share = _share(parts)
    cycle = {"share": number(share), "correlation": number(min(max(float(np.mean([p[2] for p in parts])), 0.0), _MOST))}
    levels = levels_part([_fresh(s, e, first) for s, e in zip(states, exponents, strict=True)], options)
    part = levels | {"endurance": endurance, "cycle_to_cycle": cycle}
    compared = _compared(states, failed_at, endurance, first)
    failures = int(np.isfinite(failed_at).sum())
    summary = f"{len(failed_at)} cells over {low.at[-1]:.3g} cycles, {failures} failed; set device.endurance.cycles."
    return PartFit("endurance", part, rows, _in_words(compared), summary, {"endurance": frame(compared)})


def _of_both_states(table: Table) -> Table:
    """Return the rows of cells that were read in every state at the first cycle: rows of both states are the same."""
    if not {"state", "cycle"} <= table.columns.keys():
        return table
    cells, first = cell_numbers(table), table["cycle"] == table["cycle"].min()
    each = [cells[first & (table["state"] == state)] for state in np.unique(table["state"])]
    kept = functools.reduce(np.intersect1d, each)
    return table.select(np.isin(cells, kept)) if len(kept) else table


def _both(series: Sequence[Series], where: str) -> tuple[Series, Series]:
    """Return HRS and LRS of the same cells."""
    if len(series) != 2 or len(series[0].G) != len(series[1].G) or not np.array_equal(series[0].at, series[1].at):
        got = ", ".join(f"{s.state or 'one state'}: {len(s.G)} cells, {len(s.at)} cycles" for s in series)
        raise InputError(where, got, "HRS and LRS of the same cells and cycles", "Add the column of the other state.")
    if len(series[0].at) < 3:
        raise InputError(where, f"{len(series[0].at)} cycles", "three or more", "Read the cells more often.")
    return series[0], series[1]


def _failures(low: Series, high: Series) -> Floats:
    """Return the cycle from which on the window of each cell stays closed; infinite for cells that work to the end.

    It is the geometric mean of the cycles of the last reading before and the first one after.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        window = high.G / low.G
    works = ~np.isnan(window)
    for_good = ~works
    for _ in range(4):  # the median of cells that work, and with it which do
        middle = np.array([float(np.median(w[k])) if k.any() else 1.0 for w, k in zip(window.T, works.T, strict=True)])
        closed = (window < np.sqrt(np.maximum(middle, 1.0))) | np.isnan(window)
        for_good = np.logical_and.accumulate(closed[:, ::-1], 1)[:, ::-1]
        works = ~for_good
    first = for_good.argmax(1)
    between = np.sqrt(np.maximum(low.at[np.maximum(first - 1, 0)], 1.0) * np.maximum(low.at[first], 1.0))
    return np.where(for_good.any(1), between, np.inf)


def _trend(series: Series, first: float) -> Floats:
    """Return exponent over cycles, standard deviations of ln G of cells and of cycles, and the lag-1 correlation."""
    x = np.log(np.maximum(series.at, first) / first)
    y = np.log(series.G)
    there = ~np.isnan(y)
    n = there.sum(1)
    used = n > 2
    y, there, n = y[used], there[used], n[used]
    # Slopes within cells, which their own levels do not move.
    own = np.where(there, x, 0.0).sum(1) / n
    centred = np.where(there, x - own[:, None], 0.0)
    level = np.where(there, y, 0.0).sum(1) / n
    slope = float((centred * np.where(there, y - level[:, None], 0.0)).sum() / np.square(centred).sum())
    rest = np.where(there, y - slope * x, 0.0)
    level = rest.sum(1) / n
    rest = np.where(there, rest - level[:, None], 0.0)
    within = float(np.square(rest).sum() / (n - 1).sum())
    pairs = there[:, 1:] & there[:, :-1]
    lagged = float((rest[:, 1:] * rest[:, :-1])[pairs].sum() / max(int(pairs.sum()), 1))
    variance, correlation, kept = _corrected(within, lagged, float(n.mean()))
    between = max(float(level.var(ddof=1)) - variance * kept, 0.0) if len(level) > 1 else 0.0
    return np.array([slope, math.sqrt(between), math.sqrt(variance), correlation])


def _corrected(within: float, lagged: float, n: float) -> tuple[float, float, float]:
    """Return variance and correlation of cycles without what the mean over n cycles takes, and this share of it.

    The mean of n numbers with correlations c^k keeps the share q = (1 + 2 sum (1 - k / n) c^k) / n of their variance.
    """
    variance, c, q, k = within, 0.0, 1.0 / n, np.arange(1, int(n))
    weights = 1.0 - k / n
    for _ in range(50 if within > 0.0 else 0):
        before = c
        q = min((1.0 + 2.0 * float(np.add.reduce(weights * c**k))) / n, 0.9)
        variance = within * (n - 1.0) / n / (1.0 - q)
        c = min(max(lagged / variance + q, -0.99), 0.99)
        if c == before:
            break
    return variance, c, q


def _share(parts: Sequence[Floats]) -> float:
    """Return the part of the variance that each programming renews, over both states."""
    cells, cycles = (float(np.mean([p[k] ** 2 for p in parts])) for k in (0, 1))
    return cycles / (cells + cycles) if cells + cycles > 0.0 else 1.0


def _log_life(failed_at: Floats, last: float) -> Floats:
    """Return ln(scale) and shape of the lifetimes."""
    found = _weibull(failed_at, last)
    return np.array([math.log(found[0]), found[1]]) if found is not None else np.array([math.log(last) + 5.0, 1.0])


def _weibull(failed_at: Floats, last: float) -> tuple[float, float] | None:
    """Return scale and shape of Weibull's law with the largest likelihood; None where no cell has failed.

    Cells that work to the end have lifetimes beyond the last cycle.
    """
    failed = failed_at[np.isfinite(failed_at)]
    if not len(failed):
        return None
    logs, working = np.log(failed), len(failed_at) - len(failed)
    end, mean = math.log(last), float(logs.mean())
    top = max(float(logs.max()), end)
    below = logs - top

    def excess(shape: float) -> float:
        """Return the derivative of the likelihood in the shape, which falls."""
        weights = np.exp(shape * below)
        more = working * math.exp(shape * (end - top))
        total = float(np.add.reduce(weights)) + more
        return 1.0 / shape + mean - (float(np.add.reduce(weights * logs)) + more * end) / total

    low, high = 0.05, 50.0
    for _ in range(60):
        before, middle = (low, high), math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
        if (low, high) == before:
            break
    shape = math.sqrt(low * high)
    total = float(np.exp(shape * (logs - end)).sum()) + working
    return math.exp(end + math.log(total / len(failed)) / shape), shape


def _stuck_at(low: Series, high: Series, failed_at: Floats) -> str:
    """Return the state that most failed cells are in when both are read."""
    middle = math.sqrt(low.center_S * high.center_S)
    failed = np.isfinite(failed_at)
    ends = np.sqrt(np.maximum(low.G[failed, -1], 0.0) * np.maximum(high.G[failed, -1], 0.0))
    return "lrs" if float((ends > middle).mean()) > 0.5 else "hrs"


def _fresh(series: Series, exponent: float, first: float) -> Series:
    """Return all readings of cells that work, moved back along the trend to a fresh cell."""
    G = series.G * (np.maximum(series.at, first) / first) ** -exponent
    return Series(series.state, None, series.at[:1], G[~np.isnan(G)][:, None])


def _compared(
    states: Sequence[Series], failed_at: Floats, settings: dict[str, Any], first: float
) -> list[dict[str, Any]]:  # fmt: skip
    """Return quantiles of measured cells that work, those of the chip, and failed shares, for each state and cycle."""
    found, shares = [], np.array(_SHOWN) / 100
    normal = ndtri(shares).tolist()
    for k, each in enumerate(states):
        exponent = settings["lrs_exponent" if k else "hrs_exponent"]
        fresh = np.log(_fresh(each, exponent, first).G)
        middle, std = float(fresh.mean()), float(fresh.std())
        for j, cycle in enumerate(each.at.tolist()):
            G = each.G[:, j][~np.isnan(each.G[:, j])]
            if not len(G):
                continue
            wear = Endurance(cycles=cycle, **{n: v for n, v in settings.items() if n in ("life_cycles", "life_shape")})
            row: dict[str, Any] = {"state": each.state, "cycle": cycle, "n": len(G)}
            row |= dict(zip((f"measured_{q}_S" for q in _SHOWN), np.quantile(G, shares).tolist(), strict=True))
            shift = middle + exponent * math.log(max(cycle, first) / first)
            row |= {f"chip_{q}_S": math.exp(shift + std * z) for q, z in zip(_SHOWN, normal, strict=True)}
            found.append(row | {"measured_failed": float((failed_at <= cycle).mean()), "chip_failed": wear.failed})
    return found


def _in_words(compared: Sequence[dict[str, Any]]) -> list[str]:
    """Return how far cells of the chip are from the data, the largest deviation first."""
    found = []
    for row in compared:
        for q, name in ((50, "median"), (10, "10 % quantile"), (90, "90 % quantile")):
            off = row[f"chip_{q}_S"] / row[f"measured_{q}_S"] - 1.0
            words = f"{100 * abs(off):.2g} % {'above' if off > 0 else 'below'} the data"
            if q == 50 or row["n"] >= 20:
                found.append((abs(off), f"{row['state']} after {row['cycle']:.3g} cycles: {name} {words}"))
        apart = row["chip_failed"] - row["measured_failed"]
        found.append((abs(apart), f"after {row['cycle']:.3g} cycles: failed share {100 * apart:+.2g} points off"))
    return list(dict.fromkeys(text for size, text in sorted(found, reverse=True) if size > 0.005))[:5]
