"""I-V curves: the sinh of each state at low voltage, set and reset voltages, compliance, and R at the read voltage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from imc_sim._errors import InputError
from imc_sim.device._read import Read
from imc_sim.device.fit._estimates import (
    Floats,
    Series,
    cell_numbers,
    frame,
    jackknife,
    levels_part,
    normal_intervals,
    number,
    quantity,
)
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._quality import line
from imc_sim.device.fit._reader import Table

#: change of the conductance on one branch that counts as switching
_SWITCHED = 2.0
#: share of the smallest switching voltage up to which a branch shows its state
_CALM = 0.6
#: candidates of a V at the highest voltage, searched from coarse to fine
_A = np.concatenate([[0.0], np.geomspace(1e-2, 1e2, 161)])
_CURVES = 40


class _Branch(NamedTuple):
    """Readings while the voltage changes in one direction, on one side of 0 V."""

    device: int
    outward: bool
    v: Floats
    i: Floats


class _Sinh(NamedTuple):
    """Conductance at the read voltage and a of one branch, and the standard deviation of ln I around the law."""

    device: int
    G_S: float
    a_per_V: float
    off: float


def fit_iv(table: Table, options: Options) -> PartFit:
    """Fit I-V curves of one device or more.

    Args:
        table: measurements in their order with voltage and current, and device, cell, sweep or state.
        options: the chip to which the fit is added; `v_read_V` or its read voltage.

    Raises:
        InputError: no branch has enough readings below the switching voltages.
    """
    branches, limit_A = _branches(table)
    v_read = options.v_read_V or float(_volts(options.device.get("read", {}).get("v_read_V", 0.2)))
    switched = [(b.device, *found) for b in branches if (found := _switching(b, limit_A)) is not None]
    lowest = min([abs(v) for _, _, v in switched], default=math.inf)
    calm = [_calm(b, _CALM * lowest, limit_A) for b in branches]
    fits = [_sinh(b, v_read) for b in calm if len(b.v) >= 4]
    if not fits:
        got = f"no branch with 4 readings above 0 V and below {_CALM * lowest:.3g} V, where nothing switches"
        raise InputError(table.name, got, "currents at several low voltages", "Measure with smaller steps.")
    states = _by_state(fits)
    rows: list[dict[str, Any]] = []
    for state, own in states.items():
        rows += _lines(state, own, v_read)
    for name, sign in (("set", 1), ("reset", -1)):
        own = [(device, v) for device, s, v in switched if s == sign]
        if own:
            volts = _per_device([d for d, _ in own], np.array([[v] for _, v in own]))
            found = normal_intervals(volts[:, 0])
            for what, each in zip(("voltage", "voltage, standard deviation over devices"), found, strict=True):
                rows.append(line(f"{name} {what}", len(volts), *each, unit="V"))
    if limit_A is not None:
        rows.append(line("compliance current", len(branches), limit_A, math.nan, math.nan, "uA", 1e6))
    a = float(np.mean([np.median([f.a_per_V for f in own]) for own in states.values()]))
    read = {"v_read_V": quantity(v_read, "V"), "nonlinearity_per_V": number(a)}
    series = [Series(s, None, np.zeros(1), np.array([[f.G_S] for f in own])) for s, own in states.items()]
    part = levels_part(series, options) | {"read": read}
    words = _in_words(states, a, calm, v_read)
    devices = len({b.device for b in branches})
    summary = f"{len(branches)} branches of {devices} device{'s' * (devices > 1)}, a = {a:.3g} / V"
    data = _curves(branches, states, a, v_read, _CALM * lowest, limit_A)
    return PartFit("iv", part, rows, words, summary + ".", {"iv": data})


def _volts(value: Any) -> float:
    """Return a voltage of a chip file in V."""
    return Read.model_validate({"v_read_V": value}).v_read_V


def _branches(table: Table) -> tuple[list[_Branch], float | None]:
    """Return the branches of all curves, and the current at which the instrument limits."""
    for role in ("voltage", "current"):
        if role not in table:
            step = 'Name them: --columns "V1=voltage V,I1=current A".'
            raise InputError(table.name, f"columns {', '.join(table.columns)}", "voltage and current", step)
    devices = cell_numbers(table)
    sweeps = np.unique(table["sweep"], return_inverse=True)[1] if "sweep" in table else np.zeros(len(table), int)
    curve = devices * (int(sweeps.max()) + 1) + sweeps
    found = []
    for k in np.unique(curve):
        rows = np.flatnonzero(curve == k)
        v, i, device = table["voltage"][rows], np.abs(table["current"][rows]), int(devices[rows[0]])
        outward = np.sign(np.diff(np.abs(v), prepend=0.0))
        outward[outward == 0] = 1
        sides = np.sign(v)
        cuts = np.flatnonzero((np.diff(outward) != 0) | (np.diff(sides) != 0)) + 1
        for part in np.split(np.arange(len(v)), cuts):
            kept = part[(v[part] != 0.0) & (i[part] > 0.0)]
            if len(kept) > 1:
                found.append(_Branch(device, bool(outward[part[0]] > 0), v[kept], i[kept]))
    return found, _compliance([b for b in found if b.outward])


def _compliance(branches: Sequence[_Branch]) -> float | None:
    """Return the current at which at least three readings in a row are equal within 1 % at the top of a branch."""
    tops = []
    for b in branches:
        top = float(b.i.max())
        if int((b.i[-3:] > 0.99 * top).sum()) == 3 and abs(b.v[-1]) > 1.05 * abs(b.v[-3]) * 0.999:
            growth = math.log(b.i[-1] / b.i[-3]) / max(math.log(abs(b.v[-1] / b.v[-3])), 1e-9)
            if growth < 0.1:
                tops.append(top)
    return float(np.median(tops)) if tops else None


def _switching(b: _Branch, limit_A: float | None) -> tuple[int, float] | None:
    """Return (1 for set, -1 for reset, voltage) of a branch on which the cell switches."""
    if not b.outward or len(b.v) < 4:
        return None
    G = b.i / np.abs(b.v)
    free = b.i < 0.98 * limit_A if limit_A is not None else np.ones(len(G), bool)
    steps = np.diff(np.log(G))
    jump = int(np.argmax(steps))
    if steps[jump] > math.log(_SWITCHED) and bool(free[jump]):
        return 1, float(b.v[jump : jump + 2].mean())
    peak = int(np.argmax(b.i))
    if b.i[peak] / b.i[peak:].min() > 1.2 and G[peak] / G[peak:].min() > _SWITCHED:
        return -1, float(b.v[peak : peak + 2].mean())
    return None


def _calm(b: _Branch, most_V: float, limit_A: float | None) -> _Branch:
    """Return the readings of a branch below the switching voltages and the compliance."""
    kept = np.abs(b.v) <= most_V
    if limit_A is not None:
        kept &= b.i < 0.95 * limit_A
    return _Branch(b.device, b.outward, b.v[kept], b.i[kept])


def _log_shape(v: Floats, a: Floats | float, v_read: float) -> Floats:
    """Return ln of v_read sinh(a V) / sinh(a v_read), broadcast; ln V for a = 0."""
    a = np.maximum(np.asarray(a, dtype=np.float64), 1e-9)

    def log_sinh(x: Floats | float) -> Floats:
        return x + np.log(-np.expm1(-2.0 * np.asarray(x)))

    return math.log(v_read) + log_sinh(a * np.abs(v)) - log_sinh(a * v_read)


def _sinh(b: _Branch, v_read: float) -> _Sinh:
    """Fit G and a to ln I: G is in closed form, a is searched from coarse to fine."""
    y, candidates = np.log(b.i), _A / max(float(np.abs(b.v).max()), v_read)
    found = (0.0, 0.0, 0.0)
    for _ in range(4):
        rest = y - _log_shape(b.v, candidates[:, None], v_read)
        cost = rest.var(1)
        best = int(np.argmin(cost))
        near = candidates[max(best - 1, 0)], candidates[min(best + 1, len(candidates) - 1)]
        found = candidates[best], float(rest[best].mean()), float(np.sqrt(cost[best]))
        candidates = np.linspace(*near, 41)
    return _Sinh(b.device, math.exp(found[1]), float(found[0]), found[2])


def _by_state(fits: Sequence[_Sinh]) -> dict[str, list[_Sinh]]:
    """Return the branches of HRS and LRS, split at the widest gap of ln G, or of one state."""
    order = sorted(fits, key=lambda f: f.G_S)
    gaps = np.diff(np.log([f.G_S for f in order]))
    if not len(gaps) or gaps.max() < math.log(_SWITCHED):
        return {"": order}
    cut = int(np.argmax(gaps)) + 1
    return {"HRS": order[:cut], "LRS": order[cut:]}


def _per_device(devices: Sequence[int], values: Floats) -> Floats:
    """Return the mean of each device's values [n, k], or the values where there are fewer than 5 devices."""
    numbers = np.unique(devices)
    if len(numbers) < 5:
        return values
    return np.stack([values[np.asarray(devices) == d].mean(0) for d in numbers])


def _lines(state: str, own: Sequence[_Sinh], v_read: float) -> list[dict[str, Any]]:
    """Return the lines of a state: ln of its resistance, and a."""
    values = _per_device([f.device for f in own], np.array([[-math.log(f.G_S), f.a_per_V] for f in own]))
    found, low, high = jackknife(lambda k: values[k].mean(0), len(values))
    R = [math.exp(min(float(x[0]), 80.0)) if np.isfinite(x[0]) else math.nan for x in (found, low, high)]
    return [
        line(f"{state} resistance at {v_read:g} V, median".strip(), len(values), R[0], R[1], R[2], "kohm", 1e-3),
        line(f"{state} a of sinh(a V)".strip(), len(values), float(found[1]), float(low[1]), float(high[1]), "1/V"),
    ]


def _in_words(states: dict[str, list[_Sinh]], a: float, calm: Sequence[_Branch], v_read: float) -> list[str]:
    """Return how far currents of the chip are from the data at the highest voltage, the largest deviation first."""
    top = max(float(np.abs(b.v).max()) for b in calm if len(b.v) >= 4)
    found = []
    for state, own in states.items():
        measured = float(np.median([f.a_per_V for f in own]))
        off = math.expm1(float(_log_shape(np.array(top), a, v_read) - _log_shape(np.array(top), measured, v_read)))
        where = f"{state or 'cells'}: current at {top:.3g} V"
        found.append((abs(off), f"{where} {100 * abs(off):.2g} % {'above' if off > 0 else 'below'} the data"))
        rough = float(np.median([f.off for f in own]))
        found.append((rough, f"{state or 'curves'}: {100 * rough:.2g} % around their own sinh"))
    return [text for size, text in sorted(found, reverse=True) if size > 0.005]


def _curves(
    branches: Sequence[_Branch], states: dict[str, list[_Sinh]], a: float, v_read: float, most_V: float,
    limit_A: float | None,
) -> Any:  # fmt: skip
    """Return the data of the figure: measured branches, and the chip's curve of each state."""
    rows: list[dict[str, Any]] = []
    for k, b in enumerate(branches[:_CURVES]):
        rows += [{"curve": f"measured {k}", "v_V": v, "current_A": i} for v, i in zip(b.v, b.i, strict=True)]
    top = min(most_V, max(float(np.abs(b.v).max()) for b in branches))
    for state, own in states.items():
        G = float(np.median([f.G_S for f in own]))
        for v in np.concatenate([-np.linspace(top, top / 100, 50), np.linspace(top / 100, top, 50)]).tolist():
            i = G * math.exp(float(_log_shape(np.array(v), a, v_read)))
            rows.append({"curve": f"chip {state}".strip(), "v_V": v, "current_A": i})
    data = frame(rows)
    data.attrs = {"compliance_A": limit_A, "v_read_V": v_read}
    return data
