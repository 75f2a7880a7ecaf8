"""VTEAM fitted to pulse trains: the motion of the boundary in pulses, over the trains of all devices together."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imc_sim.device._vteam import VTEAM
from imc_sim.device.fit._estimates import Floats, jackknife, least_squares, number
from imc_sim.device.fit._quality import line

#: nodes of the table of the motion, and the end of it in -ln(distance to the end)
_NODES, _END = 1500, 25.0
#: steps of Gauss and Newton for each train
_STEPS = 8
#: limits of ln(G_on / highest start), ln(lowest start / G_off) and ln(exponent of the window)
_LOW, _HIGH = [1e-3, 1e-3, math.log(0.2)], [5.0, 5.0, math.log(30.0)]
_STARTS = [[0.05, 0.05, 0.0], [0.7, 0.7, 0.7]]
_FOLDS = 3
#: voltages that determine the threshold; two determine the exponent
_VOLTAGES = 3
_FIXED = VTEAM()

Curve = Literal["linear", "exponential"]


class Trains(NamedTuple):
    """Pulse trains of one fit, a row each, NaN behind the end of shorter trains.

    device, sets, volts: [trains]; number of the device, whether pulses set, and their voltage (positive). P, G: pulses
    and conductances in S [trains, n].
    """

    device: NDArray[np.int64]
    sets: NDArray[np.bool_]
    volts: Floats
    P: Floats
    G: Floats

    def of(self, rows: NDArray[Any]) -> Trains:
        """Return some of the trains."""
        return Trains(self.device[rows], self.sets[rows], self.volts[rows], self.P[rows], self.G[rows])

    @property
    def ends_S(self) -> tuple[float, float]:
        """Return the median first conductances of set and of reset trains."""
        return float(np.median(self.G[self.sets, 0])), float(np.median(self.G[~self.sets, 0]))


class Fitted(NamedTuple):
    """A fit of VTEAM: its curve, ends of the conductance and exponent of the window; for each train speed and model G.

    speed: parts of the range of the boundary per pulse [trains]. model: G [trains, n] in S.
    """

    curve: Curve
    ends: Floats
    speed: Floats
    model: Floats
    cost: float


def fit_trains(trains: Trains, curve: Curve | None = None, near: Floats | None = None) -> Fitted:
    """Return the fit with the least squares of G: ends and window of all devices, start and speed of each train.

    Args:
        trains: trains of set and reset pulses.
        curve: linear or exponential resistance; None: the one that fits better.
        near: ends and exponent to improve in two steps; None: they are searched.
    """
    if curve is None:
        return min((fit_trains(trains, kind) for kind in ("linear", "exponential")), key=lambda each: each.cost)
    low, high = trains.ends_S

    def rest(ends: Floats) -> Floats:
        model = _model(trains, curve, ends, low, high)[1]
        return ((model - trains.G) / (high - low))[~np.isnan(trains.G)]

    if near is None:
        ends = least_squares(rest, _STARTS, _LOW, _HIGH)
    else:
        ends = near
        for _ in range(2):
            r = rest(ends)
            h = np.where(ends + 1e-4 < _HIGH, 1e-4, -1e-4)
            slopes = np.stack([(rest(ends + h * (np.arange(3) == k)) - r) / h[k] for k in range(3)], 1)
            ends = np.clip(ends - np.linalg.lstsq(slopes, r, rcond=1e-8)[0], _LOW, _HIGH)
    speed, model = _model(trains, curve, ends, low, high)
    return Fitted(curve, ends, speed, model, float(np.square(rest(ends)).mean()))


@functools.lru_cache(maxsize=256)
def _motion(p: float) -> tuple[Floats, Floats]:
    """Return ways u in [0, 1) of the boundary to its end, and the pulses that they take at a speed of 1.

    du / dP = 1 - u^2p, Biolek's window; in y = -ln(1 - u) both ends are smooth.
    """
    y = np.linspace(0.0, _END, _NODES)
    u = -np.expm1(-y)
    slowness = np.exp(-y) / np.maximum(-np.expm1(2.0 * p * np.log(np.maximum(u, 1e-300))), 1e-300)
    steps = (slowness[1:] + slowness[:-1]) / 2 * np.diff(y)
    return u, np.concatenate([[0.0], np.cumsum(steps)])


def _conductance(x: Floats, curve: Curve, on: float, off: float) -> tuple[Floats, Floats]:
    """Return G at boundaries x (0 at G_on, 1 at G_off), and dG / dx."""
    if curve == "exponential":
        G = on * np.exp(-math.log(on / off) * x)
        return G, -math.log(on / off) * G
    G = 1.0 / (1.0 / on + (1.0 / off - 1.0 / on) * x)
    return G, -(1.0 / off - 1.0 / on) * np.square(G)


def _boundary(G: Floats, curve: Curve, on: float, off: float) -> Floats:
    """Return boundaries x of conductances, from 0 at G_on to 1 at G_off."""
    G = np.clip(G, off, on)
    return np.log(on / G) / math.log(on / off) if curve == "exponential" else (1 / G - 1 / on) / (1 / off - 1 / on)


def _model(trains: Trains, curve: Curve, ends: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """Return speed [trains] and G [trains, n] with the best start and speed of each train for these ends."""
    on, off, p = high * math.exp(ends[0]), low * math.exp(-ends[1]), math.exp(float(np.round(ends[2], 9)))
    u, pulses = _motion(p)
    there = ~np.isnan(trains.G)
    P, data = np.nan_to_num(trains.P), np.where(there, trains.G, low)
    down = np.where(trains.sets, -1.0, 1.0)[:, None]  # the boundary falls while G is set
    base = np.where(trains.sets, 1.0, 0.0)[:, None]

    def moved(way: Floats) -> tuple[Floats, Floats]:
        """Return G, and its slope over pulses at speed 1 where it was measured."""
        G, slope = _conductance(base + down * way, curve, on, off)
        return G, slope * down * (1.0 - np.power(way, 2.0 * p)) * there

    # a line through the ways of the data in pulses, weighted by how well G tells them
    way = np.clip((_boundary(data, curve, on, off) - base) * down, 0.0, 0.999)
    weight, seen = np.square(moved(way)[1]), np.interp(way, u, pulses)
    start, speed = _line(P, weight, weight * seen)
    start, speed = np.maximum(start, 0.0), np.maximum(speed, 1e-9)
    for _ in range(_STEPS):
        G, slope = moved(np.interp(start[:, None] + speed[:, None] * P, pulses, u))
        off_start, off_speed = _line(P, np.square(slope), slope * (data - G))
        start = np.maximum(start + off_start, 0.0)
        speed = np.clip(speed + off_speed, speed / 3.0, speed * 3.0)
    return speed, moved(np.interp(start[:, None] + speed[:, None] * P, pulses, u))[0]


def _line(P: Floats, weight: Floats, weighted: Floats) -> tuple[Floats, Floats]:
    """Return start and slope [trains] of the line over P with the least weighted squares; `weighted`: weight x y."""
    a, b, c = weight.sum(1), (weight * P).sum(1), (weight * P * P).sum(1) * (1.0 + 1e-9)
    d, e = weighted.sum(1), (weighted * P).sum(1)
    det = np.maximum(a * c - b * b, 1e-300)
    return (d * c - e * b) / det, (a * e - b * d) / det


# -- speed over voltage --------------------------------------------------------------------------------


class Speed(NamedTuple):
    """Median speed of one direction: k (V / v - 1)^alpha, in parts of the range of the boundary per pulse."""

    k: float
    alpha: float
    v_V: float
    std: float

    def at(self, volts: float) -> float:
        """Return the median speed at a voltage."""
        return self.k * (volts / self.v_V - 1.0) ** self.alpha


def speed_law(device: NDArray[np.int64], volts: Floats, speed: Floats, alpha: float) -> Speed:
    """Return the law of speeds over voltage; one voltage determines k alone, two k and alpha, three all of it.

    Where each device has several voltages, the law is that within devices.

    Args:
        device: device of each train.
        volts: voltage of each train in V, positive.
        speed: speed of each train.
        alpha: exponent where it is not determined.
    """
    known, y, lowest = len(np.unique(volts)), np.log(speed), float(volts.min())
    own = np.unique(device, return_inverse=True)[1]
    if known == 1:
        own = np.arange(len(own))
    elif np.bincount(own).min() == 1:
        own = np.zeros(len(own), np.int64)
    counts = np.bincount(own)

    def centred(z: Floats) -> Floats:
        return z - (np.bincount(own, z) / counts)[own]

    v = lowest / 2.0
    if known >= _VOLTAGES:
        found = least_squares(
            lambda t: centred(t[0] * np.log(volts / (t[1] * lowest) - 1.0) - y),
            [[alpha, 0.5]], [0.05, 0.01], [50.0, 0.99],
        )  # fmt: skip
        v = float(found[1]) * lowest
    x = np.log(volts / v - 1.0)
    if known > 1:
        alpha = float(centred(x) @ centred(y) / np.square(centred(x)).sum())
    rest = y - alpha * x
    levels = np.bincount(own, rest) / counts if len(counts) > 1 else rest
    std = float(levels.std(ddof=1)) if len(levels) > 1 else 0.0
    return Speed(math.exp(float(levels.mean())), alpha, v, std)


# -- the finished model --------------------------------------------------------------------------------


def estimates(trains: Trains, fitted: Fitted) -> tuple[Floats, Speed, Speed]:
    """Return ends in S and the exponent of the window, and the laws of set and reset speeds."""
    low, high = trains.ends_S
    ends = np.array([high * math.exp(fitted.ends[0]), low * math.exp(-fitted.ends[1]), math.exp(fitted.ends[2])])
    laws = [
        speed_law(trains.device[own], trains.volts[own], fitted.speed[own], alpha)
        for own, alpha in ((trains.sets, _FIXED.alpha_on), (~trains.sets, _FIXED.alpha_off))
    ]
    return ends, laws[0], laws[1]


def rows_of(trains: Trains, fitted: Fitted) -> list[dict[str, Any]]:
    """Return the lines of the estimates, with intervals over devices, and the error on pulses left out."""
    devices = np.unique(trains.device)
    middle = [float(np.median(trains.volts[own])) for own in (trains.sets, ~trains.sets)]
    known = [len(np.unique(trains.volts[own])) for own in (trains.sets, ~trains.sets)]
    quantities: list[tuple[str, str, float]] = [
        ("G_on", "uS", 1e6), ("G_off", "uS", 1e6), ("exponent of the window", "", 1.0)
    ]  # fmt: skip
    for name, volts, count in zip(("set", "reset"), middle, known, strict=True):
        at = f" at {volts:.3g} V" if count > 1 else ""
        quantities += [(f"{name} speed{at}, median", "% of the range per pulse", 100.0)]
        quantities += [(f"{name} speed, standard deviation of ln", "", 1.0)]
        quantities += [(f"{name} exponent alpha", "", 1.0)] * (count > 1)
        quantities += [(f"{name} threshold", "V", 1.0)] * (count >= _VOLTAGES)

    def estimate(chosen: NDArray[np.int64]) -> list[float]:
        part = trains.of(np.isin(trains.device, devices[chosen]))
        own = fitted if len(chosen) == len(devices) else fit_trains(part, fitted.curve, _near(fitted, trains, part))
        ends, *laws = estimates(part, own)
        found = ends.tolist()
        for law, volts, count in zip(laws, middle, known, strict=True):
            found += [law.at(volts), law.std, *[law.alpha] * (count > 1), *[law.v_V] * (count >= _VOLTAGES)]
        return found

    found, low, high = jackknife(estimate, len(devices), positive=True)
    open_ends = [*(np.array(fitted.ends) > np.array(_HIGH) - 1e-3), *[False] * (len(found) - 3)]
    low, high = np.where(open_ends, -np.inf, low), np.where(open_ends, np.inf, high)
    return [
        line(name, len(devices), float(found[k]), float(low[k]), float(high[k]), unit, scale)
        for k, (name, unit, scale) in enumerate(quantities)
    ]


def _near(fitted: Fitted, trains: Trains, part: Trains) -> Floats:
    """Return the ends of a fit relative to the first conductances of a part of its trains."""
    (low, high), (own_low, own_high) = trains.ends_S, part.ends_S
    moved = [math.log(high / own_high), math.log(own_low / low), 0.0]
    return np.clip(fitted.ends + moved, _LOW, _HIGH)


def error_left_out(trains: Trains, fitted: Fitted) -> float:
    """Return the root mean square error of G on pulses left out of the fit, relative to the window."""
    low, high = trains.ends_S
    place = np.arange(trains.P.shape[1])
    squares = []
    for fold in range(_FOLDS):
        out = (place > 0) & (place % _FOLDS == fold)
        kept = trains._replace(G=np.where(out, np.nan, trains.G))
        off = (fit_trains(kept, fitted.curve, fitted.ends).model - trains.G)[:, out] / (high - low)
        squares.append(np.square(off[~np.isnan(off)]))
    return math.sqrt(float(np.concatenate(squares).mean()))


def cell_settings(trains: Trains, fitted: Fitted, width_s: float) -> dict[str, Any]:
    """Return the settings of the switching model.

    Its boundary moves between the default ends: only parts of the range act on conductances.
    """
    (on, off, p), up, down = estimates(trains, fitted)
    way = (_FIXED.w_off_m - _FIXED.w_on_m) / width_s
    return {
        "kind": "vteam", "iv": fitted.curve, "window": "biolek", "window_p": number(float(p)),
        "r_on_ohm": number(1.0 / float(on)), "r_off_ohm": number(1.0 / float(off)),
        "w_on_m": _FIXED.w_on_m, "w_off_m": _FIXED.w_off_m, "w_initial_m": _FIXED.w_off_m,
        "k_on_m_per_s": number(-up.k * way), "alpha_on": number(up.alpha), "v_on_V": f"{-up.v_V:.5g} V",
        "k_off_m_per_s": number(down.k * way), "alpha_off": number(down.alpha), "v_off_V": f"{down.v_V:.5g} V",
    }  # fmt: skip


def held_fixed(trains: Trains) -> str:
    """Return which parameters the voltages of the trains leave open, in words."""
    known = min(len(np.unique(trains.volts[own])) for own in (trains.sets, ~trains.sets))
    fixed = ["w_on_m and w_off_m", *["thresholds"] * (known < _VOLTAGES), *["exponents alpha"] * (known < 2)]
    return f"held fixed: {', '.join(fixed)}"
