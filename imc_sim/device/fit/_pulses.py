"""Pulse trains: conductance against the number of pulses, fitted to each device by the form of NeuroSim."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.device.fit._estimates import Floats, cell_numbers, frame, normal_intervals, number, quantity
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._quality import line
from imc_sim.device.fit._reader import Table

#: pulses over the length of a train that A is searched between
_A = np.geomspace(0.02, 20.0, 121)
#: fewest readings of a train
_LEAST = 5
_CURVES = 12


class _Train(NamedTuple):
    """Conductances of one device [n] after some pulses in one direction, and the fit start + B (1 - exp(-P / A))."""

    device: int
    rises: bool
    pulses: Floats
    G: Floats
    A: float
    B: float
    start: float
    off: float


def fit_pulses(table: Table, options: Options) -> PartFit:
    """Fit set and reset trains of one device or more.

    Args:
        table: measurements with pulse and G, and device, voltage and width, in their order.
        options: the chip to which the fit is added.

    Raises:
        InputError: there is no train that rises, or none that falls.
    """
    trains = _trains(table)
    up, down = ([t for t in trains if t.rises == rises] for rises in (True, False))
    if not up or not down:
        got = f"{len(up)} trains of set pulses and {len(down)} of reset pulses with {_LEAST} readings or more"
        raise InputError(table.name, got, "one or more of each", "Add the other direction.")
    rows: list[dict[str, Any]] = []
    middles: dict[str, float] = {}
    for name, own in (("set", up), ("reset", down)):
        for what, values, unit, scale in (
            ("A", [t.A for t in own], "pulses", 1.0), ("B", [abs(t.B) for t in own], "uS", 1e6),
            ("start", [t.start for t in own], "uS", 1e6),
        ):  # fmt: skip
            (middle, low, high), (std, least, most) = normal_intervals(np.log(values))
            ends = [math.exp(min(x, 80.0)) if math.isfinite(x) else x for x in (middle, low, high)]
            ends[1] = ends[1] if math.isfinite(ends[1]) else math.inf
            rows.append(line(f"{name} {what}, median", len(own), ends[0], ends[1], ends[2], unit, scale))
            rows.append(line(f"{name} {what}, standard deviation of ln", len(own), std, least, most))
            middles[f"{name} {what}"] = ends[0]
    low_S, high_S = middles["set start"], middles["reset start"]
    if low_S >= high_S:
        got = f"set pulses from {low_S:.3g} S and reset pulses from {high_S:.3g} S"
        raise InputError(table.name, got, "set trains that start below reset trains", "Check the order of pulses.")
    window = high_S - low_S
    width = float(np.median(table["width"])) if "width" in table else 1e-6
    volts = _volts(table)
    cell = {
        "kind": "pulse_response", "g_min_S": quantity(low_S, "S"), "g_initial_S": quantity(low_S, "S"),
        "g_max_S": quantity(high_S, "S"), "set_pulses": number(middles["set A"]),
        "set_reach_S": quantity(max(middles["set B"], window) * 1.0001, "S"),
        "reset_pulses": number(middles["reset A"]),
        "reset_reach_S": quantity(max(middles["reset B"], window) * 1.0001, "S"), "width_s": quantity(width, "s"),
        "v_set_V": quantity(volts[0] / 2, "V"), "v_reset_V": quantity(volts[1] / 2, "V"),
    }  # fmt: skip
    stds = [float(np.log([t.A for t in own]).std(ddof=1)) for own in (up, down) if len(own) > 1]
    programming = {
        "kind": "pulses", "cell": cell, "speed_spread": number(float(np.mean(stds)) if stds else 0.0),
        "scheme": {"set_V": quantity(volts[0], "V"), "reset_V": quantity(volts[1], "V"),
                   "width_s": quantity(width, "s")},
    }  # fmt: skip
    levels = (
        {} if options.device else {"g_lrs_S": quantity(high_S * 0.9999, "S"), "g_hrs_S": quantity(low_S * 1.0001, "S")}
    )
    words = _in_words(trains, middles, window)
    summary = (
        f"{len(up)} set and {len(down)} reset trains: A {middles['set A']:.3g} and {middles['reset A']:.3g} pulses"
    )
    data = _curves(up, down, middles)
    return PartFit("pulses", levels | {"programming": programming}, rows, words, summary + ".", {"pulses": data})


def _volts(table: Table) -> tuple[float, float]:
    """Return the voltages of set and reset pulses in V, of opposite sign; +-1 V where the table has none."""
    if "voltage" not in table:
        return 1.0, -1.0
    size = np.abs(table["voltage"][table["voltage"] != 0.0])
    top = float(np.median(size)) if len(size) else 1.0
    return top, -top


def _trains(table: Table) -> list[_Train]:
    """Return the trains of all devices, split where the direction turns."""
    for role in ("pulse", "G"):
        if role not in table:
            got = f"columns {', '.join(table.columns)}"
            raise InputError(table.name, got, "pulse and conductance", "Use --columns.")
    devices, found = cell_numbers(table), []
    for device in np.unique(devices):
        rows = np.flatnonzero(devices == device)
        pulse, G = table["pulse"][rows].astype(np.float64), table["G"][rows]
        volts = table["voltage"][rows] if "voltage" in table else None
        parts = np.split(np.arange(len(G)), _turns(pulse, G, volts))
        found += [_train(int(device), pulse[p] - pulse[p[0]], G[p]) for p in parts if len(p) >= _LEAST]
    return found


def _turns(pulse: Floats, G: Floats, volts: Floats | None) -> NDArray[np.int64]:
    """Return where trains begin: another sign of the voltage, a number that starts again, or the turn of G."""
    cuts = np.diff(pulse) <= 0.0
    if volts is not None:
        cuts |= np.diff(np.sign(volts)) != 0.0
    if cuts.any():
        return np.flatnonzero(cuts) + 1
    turn = int(np.argmax(G))
    return np.array([turn + 1] if _LEAST <= turn < len(G) - _LEAST else [], dtype=np.int64)


def _train(device: int, P: Floats, G: Floats) -> _Train:
    """Fit start + B (1 - exp(-P / A)): start and B in closed form for every A, A from coarse to fine."""
    candidates, last = _A * P[-1], 1.0
    best = (1.0, 0.0, float(G.mean()), 0.0)
    for _ in range(3):
        shape = -np.expm1(-P / candidates[:, None])
        centred, y = shape - shape.mean(1, keepdims=True), G - G.mean()
        B = (centred @ y) / np.maximum(np.square(centred).sum(1), 1e-300)
        cost = np.square(y - B[:, None] * centred).sum(1)
        k = int(np.argmin(cost))
        last = math.sqrt(float(cost[k]) / len(G))
        best = (float(candidates[k]), float(B[k]), float(G.mean() - B[k] * shape[k].mean()), last)
        candidates = np.geomspace(candidates[max(k - 1, 0)], candidates[min(k + 1, len(candidates) - 1)], 41)
    A, B_S, start, off = best
    return _Train(device, B_S > 0.0, P, G, A, B_S, start, off)


def _in_words(trains: list[_Train], middles: dict[str, float], window: float) -> list[str]:
    """Return how far trains are from their own fit and from the chip's median device, the largest deviation first."""
    found = []
    for name, rises in (("set", True), ("reset", False)):
        own = [t for t in trains if t.rises == rises]
        rough = float(np.median([t.off for t in own])) / window
        found.append((rough, f"{name} trains: {100 * rough:.2g} % of the window around their own form"))
        ends = np.median([t.G[-1] for t in own])
        P = float(np.median([t.pulses[-1] for t in own]))
        sign = 1.0 if rises else -1.0
        chip = middles[f"{name} start"] - sign * middles[f"{name} B"] * math.expm1(-P / middles[f"{name} A"])
        off = (chip - float(ends)) / window
        found.append((abs(off), f"{name} trains: G after {P:.0f} pulses {100 * off:+.2g} % of the window off"))
    return [text for size, text in sorted(found, reverse=True) if size > 0.005]


def _curves(up: list[_Train], down: list[_Train], middles: dict[str, float]) -> Any:
    """Return the data of the figure: trains of some devices, and the median device of the chip."""
    rows: list[dict[str, Any]] = []
    for name, own, sign in (("set", up, 1.0), ("reset", down, -1.0)):
        for t in own[:_CURVES]:
            label = f"measured {t.device}"
            rows += [{"train": name, "curve": label, "pulse": p, "G_S": g} for p, g in zip(t.pulses, t.G, strict=True)]
        for p in np.linspace(0.0, max(float(t.pulses[-1]) for t in own), 101).tolist():
            G = middles[f"{name} start"] - sign * middles[f"{name} B"] * math.expm1(-p / middles[f"{name} A"])
            rows.append({"train": name, "curve": "chip", "pulse": p, "G_S": G})
    return frame(rows)
