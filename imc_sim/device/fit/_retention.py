"""Laws of time fitted to cells followed after programming: drift, relaxation by state, or stretched exponential."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.config import build
from imc_sim.device._time import Time
from imc_sim.device.fit._estimates import (
    Floats,
    Series,
    frame,
    jackknife,
    levels_part,
    quantity,
    series_of,
)
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._quality import line
from imc_sim.device.fit._reader import Table
from imc_sim.device.fit._time_laws import (
    DRIFT,
    RELAXATION,
    STRETCHED,
    UNCHANGED,
    Law,
    cells_of,
    drift_estimates,
    first_time,
    possible,
    several_temperatures,
    stable_states,
)

_FOLDS = 5
#: quantiles that predictions are compared at
_AT = (0.1, 0.5, 0.9)


def fit_retention(table: Table, options: Options) -> PartFit:
    """Fit the law of time that predicts cells left out of the fit best.

    Tried are drift (a power of time), relaxation by state (in ln t), and the stretched exponential with an end for each
    state, which is the only one where the table has several temperatures. Where no state decays then, nothing is lost.

    Args:
        table: measurements with cell, time and G, and a state or temperature.
        options: the chip to which the fit is added.

    Raises:
        InputError: cells were measured at fewer than two times, or no law can be fitted.
    """
    series = [_complete(each) for each in series_of(table, "time")]
    if min(len(each.at) for each in series) < 2 or min(len(each.G) for each in series) < 1:
        got = "cells measured at one time only"
        raise InputError(table.name, got, "two times or more of each cell", "Check the columns time and cell.")
    warm = several_temperatures(series)
    stable = sorted(stable_states(series))
    laws = [law for law in ([STRETCHED] if warm else [DRIFT, RELAXATION, STRETCHED]) if possible(law, series)]
    if warm and len(stable) == len({each.state for each in series}):
        laws = [UNCHANGED]
    whole = {law.name: law.estimate(series, None) for law in laws}
    errors = {law.name: _error_left_out(law, series, whole[law.name]) for law in laws}
    law = min(laws, key=lambda each: errors[each.name])
    found, rows = whole[law.name], _rows(law, series, whole[law.name])
    time = law.time(series, found)
    for name, error in sorted(errors.items(), key=lambda item: item[1]):
        rows.append(line(f"error on cells left out, {name}", cells_of(series), error, math.nan, math.nan, "%", 100.0))
    compared = _compared(time, series)
    part = levels_part(series, options) | {"time": time}
    words = f"{law.name} over {cells_of(series)} cells, {100 * errors[law.name]:.2g} % off on cells left out"
    summary = f"{words}; acts where device.time.t_s is above {quantity(first_time(series), 's')}."
    if law is UNCHANGED:
        summary = f"none of {cells_of(series)} cells decays, and the chip loses nothing."
    deviations = _in_words(compared, law, series, stable)
    return PartFit("retention", part, rows, deviations, summary, {"retention": frame(compared)}, law.name)


def _complete(series: Series) -> Series:
    """Return the cells that were measured at all times."""
    return series.of(np.flatnonzero(~np.isnan(series.G).any(1)))


def _rows(law: Law, series: Sequence[Series], found: Floats) -> list[dict[str, Any]]:
    """Return the lines of the estimates of a law, with intervals over the cells of all states."""
    owner = np.concatenate([np.full(len(each.G), k) for k, each in enumerate(series)])
    within = np.concatenate([np.arange(len(each.G)) for each in series])

    def estimate(cells: NDArray[np.int64]) -> Floats:
        kept = np.zeros(len(owner), bool)
        kept[cells] = True
        return law.estimate([each.of(within[kept & (owner == k)]) for k, each in enumerate(series)], found)

    # Cells of each state in turn, so that every group leaves out some of each.
    order = np.lexsort((owner, within))
    lines = law.lines(series)
    _, low, high = jackknife(lambda cells: estimate(order[cells]), len(owner), [positive for *_, positive in lines])
    return [
        line(name, n, float(found[k]), float(low[k]), float(high[k]), unit, scale)
        for k, (name, n, unit, scale, _) in enumerate(lines)
        if not math.isnan(found[k])
    ]


# -- predictions ---------------------------------------------------------------------------------------


def _predicted(settings: dict[str, Any], each: Series, t_s: float, center_S: float, repeats: int) -> Floats:
    """Return conductances of cells at a time, as cells of the chip that had the first reading of these cells."""
    time = build(Time, settings | {"t_s": t_s}, "time")
    T = each.temperature_K or 300.0
    G = np.repeat(each.G[:, 0], repeats)
    if time.retention.rate_Hz > 0.0 and each.at[0] > 0.0:  # the first reading has lost a part already
        at = torch.full((2,), center_S, dtype=torch.float64)
        zero, one = time.retention.apply(torch.tensor([0.0, 1.0]).double(), float(each.at[0]), T, 0.0, at).tolist()
        G = np.maximum((G - zero) / max(one - zero, 1e-6), 0.0)
    aged = torch.from_numpy(G)
    target = torch.full_like(aged, center_S)
    stages = list(time.stages(aged, target, T, 0.0, 0, f"fit {each.state}", 0, 0))
    return (stages[-1][1] if stages else aged).numpy()


def _error_left_out(law: Law, series: Sequence[Series], found: Floats) -> float:
    """Return the mean distance of predicted from measured quantiles of cells left out, over the first reading."""
    folds = min(_FOLDS, *(len(each.G) for each in series))
    if folds < 2:
        return _distance(law.time(series, found), series, series)
    errors = []
    for fold in range(folds):
        out = [np.arange(len(each.G)) % folds == fold for each in series]
        kept = [each.of(~mask) for each, mask in zip(series, out, strict=True)]
        left = [each.of(mask) for each, mask in zip(series, out, strict=True)]
        errors.append(_distance(law.time(kept, law.estimate(kept, found)), left, series))
    return float(np.mean(errors))


def _distance(settings: dict[str, Any], left: Sequence[Series], series: Sequence[Series]) -> float:
    """Return the mean distance of predicted from measured quantiles, over the first reading."""
    found = []
    for each, whole in zip(left, series, strict=True):
        repeats = max(1, 2000 // len(each.G))
        for k in range(1, len(each.at)):
            sampled = _predicted(settings, each, float(each.at[k]), whole.center_S, repeats)
            apart = np.quantile(sampled, _AT) - np.quantile(each.G[:, k], _AT)
            found.append(float(np.abs(apart).mean()) / whole.center_S if whole.center_S else 0.0)
    return float(np.mean(found))


def _compared(settings: dict[str, Any], series: Sequence[Series]) -> list[dict[str, Any]]:
    """Return quantiles of measured cells and of cells of the chip, for each state, temperature and time."""
    found = []
    for each in series:
        repeats = max(1, 20000 // len(each.G))
        for k, t in enumerate(each.at.tolist()):
            sampled = each.G[:, 0] if k == 0 else _predicted(settings, each, t, each.center_S, repeats)
            row: dict[str, Any] = {"state": each.state, "temperature_K": each.temperature_K, "time_s": t}
            row["n"] = len(each.G)
            for name, values in (("measured", each.G[:, k]), ("chip", sampled)):
                at = np.quantile(values, (0.01, *_AT, 0.99))
                row |= {f"{name}_{q}_S": float(v) for q, v in zip(("01", "10", "50", "90", "99"), at, strict=True)}
                row |= {f"{name}_std_S": float(values.std()), f"{name}_zero": float((values <= 0.0).mean())}
            found.append(row)
    return found


def _in_words(compared: list[dict[str, Any]], law: Law, series: Sequence[Series], stable: list[str]) -> list[str]:
    """Return how far cells of the chip are from the data, the largest deviation first."""
    found: list[tuple[float, str]] = []
    for row in compared:
        where = f"{row['state']} after {_duration(row['time_s'])}".strip()
        where += f" at {row['temperature_K']:.4g} K" if row["temperature_K"] else ""
        for key, name in (("50", "median"), ("std", "standard deviation"), ("01", "1 %"), ("99", "99 %")):
            data, chip = row[f"measured_{key}_S"], row[f"chip_{key}_S"]
            if data > 0.0 and (key == "50" or row["n"] >= 20) and not (key in ("01", "99") and row["n"] < 200):
                off = chip / data - 1.0
                found.append(
                    (abs(off), f"{where}: {name} {100 * abs(off):.2g} % {'above' if off > 0 else 'below'} the data")
                )
    words = [text for size, text in sorted(found, reverse=True)[:5] if size > 0.005]
    if law is DRIFT and bool((drift_estimates(series)[::2] < 0.0).any()):
        words.insert(0, "some states rise with time, which drift cannot describe: their exponent is 0")
    if law in (STRETCHED, UNCHANGED):
        words = [f"{state or 'cells'}: does not decay, so that the chip loses nothing" for state in stable] + words
    if law is STRETCHED and not several_temperatures(series):
        words.append("one temperature: the activation energy is not known, and the chip loses at this rate at any")
    return words


def _duration(t_s: float) -> str:
    """Return a time in the unit that people say it in."""
    for size, unit in ((31557600.0, "years"), (86400.0, "days"), (3600.0, "h")):
        if t_s >= size:
            return f"{t_s / size:.3g} {unit}"
    return f"{t_s:.3g} s"
