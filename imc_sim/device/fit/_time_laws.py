"""Laws of time: how drift, relaxation by state and a stretched exponential are estimated, and their settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from imc_sim.device._time import BOLTZMANN_EV
from imc_sim.device.fit._estimates import Floats, Series, least_squares, number, quantity

#: means of the size of a standard normal number, and of its root
_MEAN_SIZE, _MEAN_ROOT = math.sqrt(2.0 / math.pi), 2.0**0.25 * math.gamma(0.75) / math.sqrt(math.pi)
#: slope of last over first readings, and mean over first mean, from which on a state is stable; and Student's t beyond
#: which the variance of the cells has fallen
_STABLE, _FALLEN = 0.9, 3.0
#: settings that switch a law of time off
_OFF: dict[str, Any] = {
    "relaxation": {"kind": "logarithmic", "sigma_S": 0.0},
    "drift": {"nu": 0.0, "nu_std": 0.0},
    "retention": {"rate_Hz": 0.0, "end_S": None, "states_S": None},
}


#: name, cells, unit, factor from SI, and whether it is a scale above 0
_Line = tuple[str, int, str, float, bool]


@final
@dataclass(frozen=True)
class Law:
    """A law of time: how it is estimated (near known estimates), what its estimates are, and the settings they make."""

    name: str
    estimate: Callable[[Sequence[Series], Floats | None], Floats]
    lines: Callable[[Sequence[Series]], list[_Line]]
    settings: Callable[[Sequence[Series], Floats], dict[str, Any]]

    def time(self, series: Sequence[Series], found: Floats) -> dict[str, Any]:
        """Return settings of `time`, with the other laws switched off."""
        return _OFF | self.settings(series, found)


def cells_of(series: Sequence[Series]) -> int:
    """Return the number of cells of all series."""
    return sum(len(each.G) for each in series)


def first_time(series: Sequence[Series]) -> float:
    """Return the first time after programming in s."""
    return float(min(each.at[each.at > 0.0][0] for each in series))


# -- drift ---------------------------------------------------------------------------------------------


def drift_estimates(series: Sequence[Series], _near: Floats | None = None) -> Floats:
    """Return mean and standard deviation of the exponent of each state; what the scatter of reads adds is removed."""
    found: list[float] = []
    for each in series:
        late = each.at > 0.0
        x, y = np.log(each.at[late]), np.log(each.G[:, late])
        centred = x - x.mean()
        nu = -(y @ centred) / (centred @ centred)
        nu[np.abs(nu) < 1e-12] = 0.0  # rounding
        rest = y - y.mean(1, keepdims=True) + nu[:, None] * centred
        scatter = float(np.square(rest).sum() / len(rest) / max(len(x) - 2, 1)) / float(centred @ centred)
        variance = float(nu.var(ddof=1)) - (scatter if len(x) > 2 else 0.0) if len(nu) > 1 else 0.0
        found += [float(nu.mean()), math.sqrt(max(variance, 0.0))]
    return np.array(found)


def _drift_settings(series: Sequence[Series], found: Floats) -> dict[str, Any]:
    """Return the settings of drift, with a piece for each state."""
    top = max(each.center_S for each in series)

    def by_state(values: Floats) -> Any:
        if len(values) == 1:
            return number(values[0])
        centers = [each.center_S for each in series]
        ends = [number(math.sqrt(a * b) / top) for a, b in itertools.pairwise(centers)]
        pieces = [{"coefficients": [number(v)]} for v in values]
        return [p | {"below": end} for p, end in zip(pieces, ends, strict=False)] + pieces[-1:]

    mean, std = np.maximum(found[::2], 0.0), found[1::2]
    law = {"nu": by_state(mean), "nu_std": by_state(std), "t0_s": quantity(first_time(series), "s")}
    return {"drift": law | ({"g_max_S": quantity(top, "S")} if len(series) > 1 else {})}


def _named(series: Sequence[Series], quantities: Sequence[tuple[str, str, float, bool]]) -> list[_Line]:
    """Return the lines of quantities of every state."""
    return [
        (f"{each.state} {name}".strip(), len(each.G), unit, scale, positive)
        for each in series
        for name, unit, scale, positive in quantities
    ]


DRIFT = Law(
    "drift", drift_estimates,
    lambda series: _named(series, [
        ("mean drift exponent", "", 1.0, False), ("standard deviation of the drift exponent", "", 1.0, True),
    ]),
    _drift_settings,
)  # fmt: skip


# -- relaxation ----------------------------------------------------------------------------------------


def _moved(series: Series) -> tuple[Floats, Floats]:
    """Return ln(t / t0) [n] and displacements [cells, n] after the first reading; t0 is the first time above 0."""
    later = series.at > series.at[0]
    return np.log(series.at[later] / series.at[series.at > 0.0][0]), series.G[:, later] - series.G[:, :1]


def _relaxation(series: Sequence[Series], _near: Floats | None = None) -> Floats:
    """Return shift, standard deviation, its growth (in S) and squared tail of each state.

    From means of |x| and of its root, which a few far cells move less than the standard deviation: for a normal law
    with a log-normal variance, the mean of |x|^p is c_p s^p exp((p / 2 - 1) p tail^2), c_p that of a normal law.
    """
    found: list[float] = []
    for each in series:
        elapsed, moved = _moved(each)
        shift = float(moved.mean(0) @ elapsed / (elapsed @ elapsed)) if elapsed.any() else 0.0
        size = np.abs(moved - moved.mean(0)) * math.sqrt(len(moved) / max(len(moved) - 1, 1))
        size[size < 1e-9 * abs(each.center_S)] = 0.0  # rounding
        whole = size.mean(0) / _MEAN_SIZE
        half = np.square(np.sqrt(size).mean(0) / _MEAN_ROOT)
        ratios = whole[half > 0.0] / half[half > 0.0]
        square = 4.0 * math.log(float(np.median(ratios))) if len(ratios) else 0.0
        sigma, growth = _rising_line(elapsed, whole * math.exp(max(square, 0.0) / 2.0))
        found += [shift, sigma, growth, square]
    return np.array(found)


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))


def _rising_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return intercept and slope of the line through y, neither below 0."""
    if len(x) == 1 or x[-1] == x[0]:
        return (float(y[0]), 0.0) if x[0] == 0.0 else (0.0, float(y[0] / x[0]))
    if not y.any():
        return 0.0, 0.0
    slope, start = np.polyfit(x, y, 1, w=1.0 / np.maximum(y, 1e-3 * y.max() + 1e-300))
    if start < 1e-9 * y.max():
        return 0.0, float(x @ y / (x @ x))
    flat = slope * x.max() < 1e-9 * y.max()  # falling, or rounding
    return (float(y.mean()), 0.0) if flat else (float(start), float(slope))


def _relaxation_settings(series: Sequence[Series], found: Floats) -> dict[str, Any]:
    """Return the settings of relaxation by state."""
    columns = {"shift_S": found[::4], "sigma_S": found[1::4], "growth_S": found[2::4]}
    law: dict[str, Any] = {"kind": "by_state", "states_S": [quantity(each.center_S, "S") for each in series]}
    law |= {name: [quantity(float(v), "S") for v in values] for name, values in columns.items()}
    tails = [number(min(_root(float(v)), 2.0)) for v in found[3::4]]
    return {"relaxation": law | {"tail": tails, "t0_s": quantity(first_time(series), "s")}}


RELAXATION = Law(
    "relaxation by state", _relaxation,
    lambda series: _named(series, [
        ("shift per factor e of time", "uS", 1e6, False),
        ("standard deviation of displacements at t0", "uS", 1e6, True),
        ("growth of this standard deviation per factor e of time", "uS", 1e6, True),
        ("tail of displacements, squared", "", 1.0, False),
    ]),
    _relaxation_settings,
)  # fmt: skip


# -- stretched exponential -----------------------------------------------------------------------------


def _stretched(series: Sequence[Series], near: Floats | None = None) -> Floats:
    """Return ln(rate), beta, activation energy (where there are several temperatures), and the end of each state in S.

    Means over cells obey the law that each cell obeys: G(t) - G_end is proportional to exp(-(r t)^beta). States that
    lose nothing (`stable_states`) say nothing about the rate: they are left out, and their end is NaN.
    """
    known = list(dict.fromkeys(each.state for each in series))
    lost = [i for i, name in enumerate(known) if name not in stable_states(series)]
    if near is not None:
        lost = [i for i in range(len(known)) if not math.isnan(near[len(near) - len(known) + i])]
    states = [known[i] for i in lost]
    series = [each for each in series if each.state in states]
    reference, warm = _reference(series), several_temperatures(series)
    means = [each.G.mean(0) for each in series]
    errors = [_standard_error(each) for each in series]
    top = max(float(m.max()) for m in means)

    def rest(theta: Floats) -> Floats:
        """Return how far means are from the law, in standard errors."""
        energy, ends = (theta[2], theta[3:]) if warm else (0.0, theta[2:])
        parts = []
        for each, mean, error in zip(series, means, errors, strict=True):
            T = each.temperature_K or reference
            rate = math.exp(theta[0] - energy / BOLTZMANN_EV * (1.0 / T - 1.0 / reference))
            passed = (rate * each.at) ** theta[1]
            kept = np.exp(passed[0] - passed)  # since the first reading; exp(-passed) itself may vanish
            end = ends[states.index(each.state)] * top
            parts.append(((end + (mean[0] - end) * kept) - mean)[1:] / error[1:])
        return np.concatenate(parts)

    longest, shortest = max(float(each.at[-1]) for each in series), first_time(series)
    lowest = min(float(m.min()) for m in means) / top
    energies, ends = [0.5] * warm, [lowest] * len(states)
    low = [math.log(1e-15), 0.02, *([0.0] * warm), *([0.0] * len(states))]
    high = [math.log(1e12), 1.0, *([5.0] * warm), *([10.0] * len(states))]
    scale = np.ones(len(low))
    scale[-len(states) :] = top
    if near is not None:
        found = _newton(rest, near[~np.isnan(near)] / scale, np.array(low), np.array(high)) * scale
    else:
        starts = [[-math.log(longest * shortest) / 2.0, beta, *energies, *ends] for beta in (0.4, 0.9)]
        found = least_squares(rest, starts, low, high) * scale
    shared = len(found) - len(states)
    whole = np.full(shared + len(known), np.nan)
    whole[:shared] = found[:shared]
    whole[[shared + i for i in lost]] = found[shared:]
    return whole


def _newton(rest: Callable[[Floats], Floats], theta: Floats, low: Floats, high: Floats, steps: int = 2) -> Floats:
    """Return parameters after steps of Gauss and Newton, which follow small changes of the data."""
    for _ in range(steps):
        r = rest(theta)
        h = np.where(theta + 1e-6 < high, 1e-6, -1e-6)
        slopes = np.stack([(rest(theta + h * (np.arange(len(theta)) == k)) - r) / h[k] for k in range(len(theta))], 1)
        theta = np.clip(theta - np.linalg.lstsq(slopes, r, rcond=None)[0], low, high)
    return theta


def _standard_error(series: Series) -> Floats:
    """Return the standard error of the mean change since the first reading, not below a thousandth of the mean."""
    change = series.G - series.G[:, :1]
    error = change.std(0, ddof=1) / math.sqrt(len(change)) if len(change) > 1 else np.zeros(len(series.at))
    return np.maximum(error, 1e-3 * float(np.abs(series.G).mean()) + 1e-300)


def several_temperatures(series: Sequence[Series]) -> bool:
    """Tell whether cells were kept at several temperatures."""
    return len({each.temperature_K for each in series}) > 1


def _reference(series: Sequence[Series]) -> float:
    """Return the temperature that rates refer to in K: the median of those in the table, or 300 K."""
    known = [each.temperature_K for each in series if each.temperature_K is not None]
    return float(np.median(known)) if known else 300.0


def _stretched_lines(series: Sequence[Series]) -> list[_Line]:
    """Return the lines of rate, exponent, activation energy and ends."""
    n, T = cells_of(series), f" at {_reference(series):.4g} K"
    energy = [("activation energy", n, "eV", 1.0, False)] if several_temperatures(series) else []
    states = dict.fromkeys(each.state for each in series)
    ends = [(f"{s} end".strip(), sum(len(e.G) for e in series if e.state == s), "uS", 1e6, False) for s in states]
    known: list[_Line] = [(f"ln(rate in 1/s){T}", n, "", 1.0, False), ("stretching exponent", n, "", 1.0, False)]
    return [*known, *energy, *ends]


def _stretched_settings(series: Sequence[Series], found: Floats) -> dict[str, Any]:
    """Return the settings of retention, with an end for each state."""
    warm = several_temperatures(series)
    law: dict[str, Any] = {"rate_Hz": quantity(math.exp(found[0]), "Hz"), "beta": number(found[1])}
    law |= {"activation_eV": number(found[2]) if warm else 0.0, "reference_K": _reference(series)}
    states: dict[str, list[float]] = {}
    for each in series:
        states.setdefault(each.state, []).append(each.center_S)
    law["states_S"] = [quantity(float(np.mean(centers)), "S") for centers in states.values()]
    ends = [None if math.isnan(end) else quantity(float(end), "S") for end in found[-len(states) :]]
    return {"retention": law | {"end_S": ends}}


def stable_states(series: Sequence[Series]) -> set[str]:
    """Return the states that lose nothing: at the end of every series, their cells are where they began.

    Cells that have lost a part are nearer to the end: their mean has moved, or the slope of their last over their first
    readings and their variance have fallen. Scatter of the reads lowers the slope alone.
    """
    moved = set()
    for each in series:
        first, last = each.G[:, 0], each.G[:, -1]
        if abs(float(last.mean() / first.mean()) - 1.0) > 1.0 - _STABLE or _gathered(first, last):
            moved.add(each.state)
    return {each.state for each in series} - moved


def _gathered(first: Floats, last: Floats) -> bool:
    """Tell whether cells are nearer to each other than they were, by more than chance.

    Reference: test of equal variances of pairs: Pitman, Biometrika 31:9 (1939); Morgan, Biometrika 31:13 (1939).
    """
    sum_, difference = first + last, first - last
    if len(first) < 5 or first.var() == 0.0 or difference.var() == 0.0:
        return False
    r = float(np.corrcoef(sum_, difference)[0, 1])
    slope = float(np.cov(first, last, bias=True)[0, 1] / first.var())
    return slope < _STABLE and r * math.sqrt((len(first) - 2) / max(1.0 - r * r, 1e-12)) > _FALLEN


UNCHANGED = Law("no loss", lambda _series, _near=None: np.empty(0), lambda _series: [], lambda _series, _found: {})
STRETCHED = Law("stretched exponential", _stretched, _stretched_lines, _stretched_settings)


def possible(law: Law, series: Sequence[Series]) -> bool:
    """Tell whether the data determine the estimates of a law."""
    if law is DRIFT:
        return all(bool((each.G > 0.0).all()) and int((each.at > 0.0).sum()) > 1 for each in series)
    if law is STRETCHED:
        lost = any(each.state not in stable_states(series) for each in series)
        return lost and min(len(each.at) for each in series) > 3
    return True
