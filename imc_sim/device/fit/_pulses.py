"""Pulse trains: conductance against the number of pulses, fitted by the form of NeuroSim or by VTEAM."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.config import build
from imc_sim.device._pulsed import PulsedProgramming
from imc_sim.device._switching import Switching
from imc_sim.device.fit._estimates import Floats, cell_numbers, frame, normal_intervals, number, quantity
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._quality import line
from imc_sim.device.fit._reader import Table
from imc_sim.device.fit._vteam import (
    Trains,
    cell_settings,
    error_left_out,
    estimates,
    fit_trains,
    held_fixed,
    rows_of,
)

#: pulses over the length of a train that A is searched between
_A = np.geomspace(0.02, 20.0, 121)
#: fewest readings of a train
_LEAST = 5
_CURVES = 12
_FOLDS = 3
#: change of the voltage, relative to the largest, that begins another train
_SAME_VOLTAGE = 0.01


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
    volts: float

    def at(self, pulses: Floats) -> Floats:
        """Return the fitted conductances after some pulses."""
        return self.start - self.B * np.expm1(-pulses / self.A)


def fit_pulses(table: Table, options: Options) -> PartFit:
    """Fit set and reset trains of one device or more.

    Args:
        table: measurements with pulse and G, and device, voltage and width, in their order.
        options: the chip to which the fit is added, and the switching model.

    Raises:
        InputError: there is no train that rises, or none that falls; or the model takes no trains of several voltages.
    """
    trains = _trains(table)
    up, down = ([t for t in trains if t.rises == rises] for rises in (True, False))
    if not up or not down:
        got = f"{len(up)} trains of set pulses and {len(down)} of reset pulses with {_LEAST} readings or more"
        step = "Number equal pulses from 0 in each train; a train has pulses of one voltage."
        if trains:
            missing = "reset" if up else "set"
            step = f"Measure {missing} trains too, and give all files in one command: device fit set.csv reset.csv."
        raise InputError(table.name, got, "one or more of each", step)
    form = options.model or "pulse_response"
    if form not in _MODELS:
        raise InputError("--model", repr(form), ", ".join(_MODELS), "Choose one of these.")
    low_S, high_S = (math.exp(float(np.mean(np.log([t.start for t in own])))) for own in (up, down))
    if low_S >= high_S:
        got = f"set pulses from {low_S:.3g} S and reset pulses from {high_S:.3g} S"
        raise InputError(table.name, got, "set trains that start below reset trains", "Check the order of pulses.")
    width = float(np.median(table["width"])) if "width" in table else 1e-6
    rows, cell, std, words = _MODELS[form](table.name, up, down, width)
    error = math.sqrt(float(np.mean([_left_out(t) for t in trains]))) / (high_S - low_S)
    rows.append(line("error on pulses left out, pulse_response", len(trains), error, math.nan, math.nan, "%", 100.0))
    set_V, reset_V = (
        float(np.median([t.volts for t in own])) * way for own, way in zip((up, down), _WAYS[form], strict=True)
    )
    programming = {
        "kind": "pulses", "cell": cell, "speed_spread": number(std),
        "scheme": {"set_V": quantity(set_V, "V"), "reset_V": quantity(reset_V, "V"), "width_s": quantity(width, "s")},
    }  # fmt: skip
    finished = build(PulsedProgramming, programming, where="fit")
    # Starts are means of the trains; the ends of the model may be nearer to each other.
    low_S, high_S = np.clip((low_S, high_S), *finished.cell.range_S).tolist()
    levels = (
        {} if options.device else {"g_lrs_S": quantity(high_S * 0.9999, "S"), "g_hrs_S": quantity(low_S * 1.0001, "S")}
    )
    part = levels | {"programming": programming}
    curves, off = _chip_curves(finished.cell, up, down, (low_S, high_S), (set_V, reset_V), width)
    summary = f"{len(up)} set and {len(down)} reset trains, {form}, {words}."
    figures = {"pulses": _curves(up, down, curves)}
    return PartFit("pulses", part, rows, _in_words(trains, high_S - low_S, off), summary, figures)


def _pulse_response(where: str, up: list[_Train], down: list[_Train], width: float) -> _Form:
    """Return the fit by the form of NeuroSim: the median device."""
    rows: list[dict[str, Any]] = []
    middles: dict[str, float] = {}
    for name, own in (("set", up), ("reset", down)):
        if len(volts := sorted({t.volts for t in own})) > 1:
            got = f"{name} trains at {', '.join(f'{v:.3g}' for v in volts)} V"
            raise InputError(where, got, "one voltage for each direction", "Use --model vteam, or one voltage.")
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
    window = high_S - low_S
    cell = {
        "kind": "pulse_response", "g_min_S": quantity(low_S, "S"), "g_initial_S": quantity(low_S, "S"),
        "g_max_S": quantity(high_S, "S"), "set_pulses": number(middles["set A"]),
        "set_reach_S": quantity(max(middles["set B"], window) * 1.0001, "S"),
        "reset_pulses": number(middles["reset A"]),
        "reset_reach_S": quantity(max(middles["reset B"], window) * 1.0001, "S"), "width_s": quantity(width, "s"),
        "v_set_V": quantity(up[0].volts / 2, "V"), "v_reset_V": quantity(-down[0].volts / 2, "V"),
    }  # fmt: skip
    stds = [float(np.log([t.A for t in own]).std(ddof=1)) for own in (up, down) if len(own) > 1]
    words = f"A {middles['set A']:.3g} and {middles['reset A']:.3g} pulses"
    return rows, cell, float(np.mean(stds)) if stds else 0.0, words


def _vteam(_where: str, up: list[_Train], down: list[_Train], width: float) -> _Form:
    """Return the fit of VTEAM: its median device."""
    trains = [*up, *down]
    rows = np.full((2, len(trains), max(len(t.G) for t in trains)), np.nan)
    for k, t in enumerate(trains):
        rows[:, k, : len(t.G)] = t.pulses, t.G
    device, sets, volts = (np.array([getattr(t, name) for t in trains]) for name in ("device", "rises", "volts"))
    together = Trains(device, sets, volts, rows[0], rows[1])
    fitted = fit_trains(together)
    lines = rows_of(together, fitted)
    error = error_left_out(together, fitted)
    lines.append(line("error on pulses left out, vteam", len(trains), error, math.nan, math.nan, "%", 100.0))
    speeds = estimates(together, fitted)[1:]
    std = float(np.mean([law.std for law in speeds]))
    return lines, cell_settings(together, fitted, width), std, f"{fitted.curve} resistance; {held_fixed(together)}"


#: lines of the table, settings of the cell, standard deviation of ln(speed), and the fit in words
_Form = tuple[list[dict[str, Any]], dict[str, Any], float, str]
_MODELS = {"pulse_response": _pulse_response, "vteam": _vteam}
#: signs of set and reset voltages of each model
_WAYS = {"pulse_response": (1.0, -1.0), "vteam": (-1.0, 1.0)}


def _left_out(train: _Train) -> float:
    """Return the mean square error of G in S^2 on pulses left out of the fit, every third in turn."""
    place, squares = np.arange(len(train.G)), []
    for fold in range(_FOLDS):
        out = (place > 0) & (place % _FOLDS == fold)
        if out.any() and (~out).sum() > 2:
            fit = _train(train.device, train.pulses[~out], train.G[~out], train.volts)
            squares.append(np.square(fit.at(train.pulses[out]) - train.G[out]))
    return float(np.concatenate(squares).mean())


def _chip_curves(
    cell: Switching, up: list[_Train], down: list[_Train], starts: tuple[float, float], volts: tuple[float, float],
    width: float,
) -> tuple[list[Floats], list[float]]:  # fmt: skip
    """Return G of the chip's median device after 0, 1, … pulses for set and reset, and how far it is from the ends."""
    curves, off = [], []
    for own, start, v in zip((up, down), starts, volts, strict=True):
        state = cell.from_conductance(torch.tensor(start, dtype=torch.float64).clamp(*cell.range_S))
        count = max(round(float(t.pulses[-1])) for t in own)
        curve = np.concatenate([[start], cell.pulses(state, v, width, max(count, 1)).numpy()])
        at = [np.interp(t.pulses[-1], np.arange(len(curve)), curve) for t in own]
        curves.append(curve)
        off.append(float(np.median(at) - np.median([t.G[-1] for t in own])))
    return curves, off


def _trains(table: Table) -> list[_Train]:
    """Return the trains of all devices, split where the direction turns."""
    for role in ("pulse", "G"):
        if role not in table:
            got = f"columns {', '.join(table.columns)}"
            raise InputError(table.name, got, "pulse and conductance", 'Name them: --columns "N=pulse,G=G uS".')
    devices, found = cell_numbers(table), []
    for device in np.unique(devices):
        rows = np.flatnonzero(devices == device)
        pulse, G = table["pulse"][rows].astype(np.float64), table["G"][rows]
        volts = table["voltage"][rows] if "voltage" in table else None
        for p in np.split(np.arange(len(G)), _turns(pulse, G, volts)):
            if len(p) >= _LEAST:
                size = 1.0 if volts is None else float(np.median(np.abs(volts[p]))) or 1.0
                found.append(_train(int(device), pulse[p] - pulse[p[0]], G[p], float(f"{size:.3g}")))
    return found


def _turns(pulse: Floats, G: Floats, volts: Floats | None) -> NDArray[np.int64]:
    """Return where trains begin: another voltage, a number that starts again, or the turn of G."""
    cuts = np.diff(pulse) <= 0.0
    if volts is not None:
        cuts |= np.abs(np.diff(volts)) > _SAME_VOLTAGE * np.abs(volts).max()
    if cuts.any():
        return np.flatnonzero(cuts) + 1
    turn = int(np.argmax(G))
    return np.array([turn + 1] if _LEAST <= turn < len(G) - _LEAST else [], dtype=np.int64)


def _train(device: int, P: Floats, G: Floats, volts: float = 1.0) -> _Train:
    """Fit start + B (1 - exp(-P / A)): start and B in closed form for every A, A from coarse to fine."""
    candidates, last, mean = _A * P[-1], 1.0, float(G.mean())
    best = (1.0, 0.0, mean, 0.0)
    y, forms = G - mean, _coarse(P.tobytes())
    for _ in range(3):
        shape, centred, squares = forms or _forms(P, candidates)
        forms = None
        B = (centred @ y) / squares
        cost = np.square(y - B[:, None] * centred).sum(1)
        k = int(np.argmin(cost))
        last = math.sqrt(float(cost[k]) / len(G))
        best = (float(candidates[k]), float(B[k]), float(mean - B[k] * shape[k].mean()), last)
        candidates = np.geomspace(candidates[max(k - 1, 0)], candidates[min(k + 1, len(candidates) - 1)], 41)
    A, B_S, start, off = best
    start = start if start > 0.0 else max(float(G[0]), 1e-15)  # of a train of another form, conductances stay above 0
    return _Train(device, B_S > 0.0, P, G, A, B_S, start, off, volts)


def _forms(P: Floats, candidates: Floats) -> tuple[Floats, Floats, Floats]:
    """Return 1 - exp(-P / A) for every A, the same without its mean [candidates, n], and the sum of its squares."""
    shape = -np.expm1(-P / candidates[:, None])
    centred = shape - shape.mean(1, keepdims=True)
    return shape, centred, np.maximum(np.square(centred).sum(1), 1e-300)


@functools.lru_cache(maxsize=4)
def _coarse(pulses: bytes) -> tuple[Floats, Floats, Floats]:
    """Return the forms of the coarse search; trains of one measurement have the same numbers of pulses."""
    P = np.frombuffer(pulses)
    return _forms(P, _A * P[-1])


def _in_words(trains: list[_Train], window: float, chip_off: list[float]) -> list[str]:
    """Return how far trains are from their own form and from the chip's median device, the largest deviation first."""
    found = []
    for name, rises, off in (("set", True, chip_off[0]), ("reset", False, chip_off[1])):
        own = [t for t in trains if t.rises == rises]
        rough = float(np.median([t.off for t in own])) / window
        found.append((rough, f"{name} trains: {100 * rough:.2g} % of the window around their own form of NeuroSim"))
        P = float(np.median([t.pulses[-1] for t in own]))
        words = f"{name} trains: G of the chip after {P:.0f} pulses {100 * off / window:+.2g} % of the window off"
        found.append((abs(off) / window, words))
    return [text for size, text in sorted(found, reverse=True) if size > 0.005]


def _curves(up: list[_Train], down: list[_Train], chip: list[Floats]) -> Any:
    """Return the data of the figure: trains of some devices, and the median device of the chip."""
    rows: list[dict[str, Any]] = []
    for name, own, curve in (("set", up, chip[0]), ("reset", down, chip[1])):
        for t in own[:_CURVES]:
            label = f"measured {t.device}"
            rows += [{"train": name, "curve": label, "pulse": p, "G_S": g} for p, g in zip(t.pulses, t.G, strict=True)]
        for p in np.unique(np.linspace(0, len(curve) - 1, 101).astype(int)).tolist():
            rows.append({"train": name, "curve": "chip", "pulse": float(p), "G_S": float(curve[p])})
    return frame(rows)
