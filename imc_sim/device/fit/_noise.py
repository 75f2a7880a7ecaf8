"""Read noise fitted to traces: white and 1/f parts of the spectrum, its slope, and two-level traps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.config import build
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
from imc_sim.device.fit._quality import line, share_interval
from imc_sim.device.fit._reader import Table

#: fewest readings of a trace, and parts of all traces together whose spectra are averaged
_LEAST, _PARTS = 64, 40
#: distance of two levels in standard deviations within them, and rise of the likelihood per reading, that make a trap
_APART, _EVIDENCE = 3.0, 0.02
#: readings that are searched for levels together
_TOGETHER = 2**13
#: relative change from round to round at which a fit of a spectrum ends
_SETTLED = 1e-12


class _Trap(NamedTuple):
    """Two levels of a trace: distance over the mean, share of readings in the low one, and which are."""

    step: float
    low_share: float
    low: NDArray[np.bool_]


class _Trace(NamedTuple):
    """Readings of one cell: state, mean, relative deviations from the mean of their level, and trap."""

    state: str
    mean_S: float
    rest: Floats
    whole: float
    trap: _Trap | None


def fit_noise(table: Table, options: Options) -> PartFit:
    """Fit white noise, 1/f noise and telegraph noise to traces of conductance.

    Args:
        table: measurements with evenly spaced times and G, of one cell or more (`cell`, `device`), by state or not.
        options: the chip to which the fit is added.

    Raises:
        InputError: a trace is short, its times are uneven, or it is not above 0 S.
    """
    traces, step_s = _traces(table)
    parts = _parts(traces)
    f, _ = _spectrum(parts[0], step_s)
    spectra = np.stack([_spectrum(part, step_s)[1] for part in parts])

    def estimate(which: NDArray[np.int64]) -> Floats:
        S = spectra[which].mean(0)
        white, flicker = _white_and_flicker(f, S, len(which))
        return np.array([math.sqrt(white / (2.0 * step_s)), math.sqrt(flicker), -_slope(f, S)])

    found, low, high = jackknife(estimate, len(parts), [True, True, False])
    names = ("white noise, relative", "Q of 1/f noise", "slope of the spectrum")
    rows = [line(name, len(traces), float(found[k]), float(low[k]), float(high[k])) for k, name in enumerate(names)]
    read: dict[str, Any] = {"sigma": number(min(float(found[0]), 3.0))}
    read["flicker"] = {"q": number(float(found[1])), "t_read_s": quantity(step_s, "s")}
    telegraph, more = _telegraph(traces)
    read["telegraph"] = telegraph
    seconds = step_s * min(len(trace.rest) for trace in traces)
    words = _in_words(traces, build(Read, read, "read"), seconds)
    states = list(dict.fromkeys(trace.state for trace in traces))
    means = [np.array([t.mean_S for t in traces if t.state == s])[:, None] for s in states]
    series = [Series(s, None, np.zeros(1), G) for s, G in zip(states, means, strict=True)]
    part = levels_part(series, options) | {"read": read}
    summary = f"{len(traces)} traces of {seconds:.3g} s: white noise {100 * found[0]:.2g} %, spectrum f^{-found[2]:.2f}"
    summary += f", traps in {sum(t.trap is not None for t in traces)}; 1/f noise acts where device.time.t_s is above "
    summary += f"{quantity(step_s, 's')}."
    chip = found[0] ** 2 * 2.0 * step_s + found[1] ** 2 / f
    data = frame([{"frequency_Hz": x, "measured_per_Hz": y, "chip_per_Hz": z}
                  for x, y, z in zip(f, spectra.mean(0), chip, strict=True)])  # fmt: skip
    return PartFit("noise", part, rows + more, words, summary, {"noise": data})


def _traces(table: Table) -> tuple[list[_Trace], float]:
    """Return the traces of all cells and states, and the time between readings in s."""
    for role in ("time", "G"):
        if role not in table:
            step = 'Name them: --columns "T=time s,G=G uS".'
            raise InputError(table.name, f"columns {', '.join(table.columns)}", "time and conductance", step)
    states = np.asarray(table["state"]).astype(str) if "state" in table else np.full(len(table), "")
    _, number_of = np.unique(
        np.char.add(np.char.add(states, "/"), cell_numbers(table).astype(str)), return_inverse=True
    )
    found, steps = [], []
    for k in range(int(number_of.max()) + 1):
        rows = np.flatnonzero(number_of == k)
        rows = rows[np.argsort(table["time"][rows], kind="stable")]
        t, G = table["time"][rows], table["G"][rows]
        step = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
        if len(G) < _LEAST or step <= 0.0 or float(np.diff(t).max()) > 1.5 * step or float(G.mean()) <= 0.0:
            got = f"a trace of {len(G)} readings, at most {float(np.diff(t).max()) if len(t) > 1 else 0:.3g} s apart"
            allowed = f"{_LEAST} evenly spaced readings or more, of a mean above 0 S"
            raise InputError(table.name, got, allowed, "Name cells by a column `cell`; leave out gaps.")
        found.append((str(states[rows[0]]), G))
        steps.append(step)
    return _without_traps(found), float(np.median(steps))


def _without_traps(readings: Sequence[tuple[str, Floats]]) -> list[_Trace]:
    """Return traces of a state and its conductances each, with their traps removed."""
    means = [float(G.mean()) for _, G in readings]
    traces = [G / mean - 1.0 for (_, G), mean in zip(readings, means, strict=True)]
    found = []
    for (state, _), mean, x, trap in zip(readings, means, traces, _traps(traces), strict=True):
        rest = x.copy()
        if trap is not None:
            for level in (trap.low, ~trap.low):
                rest[level] -= rest[level].mean()
        found.append(_Trace(state, mean, rest, float(x.std()), trap))
    return found


def _traps(traces: Sequence[Floats]) -> list[_Trap | None]:
    """Return the trap of each trace of relative deviations; traces of one length are searched together."""
    found: list[_Trap | None] = [None] * len(traces)
    lengths = np.array([len(x) for x in traces])
    for n in np.unique(lengths).tolist():
        which = np.flatnonzero(lengths == n)
        for part in np.array_split(which, min(-(-len(which) * n // _TOGETHER), len(which))):
            for k, trap in zip(part.tolist(), _two_levels(np.stack([traces[k] for k in part])), strict=True):
                found[k] = trap
    return found


def _two_levels(traces: Floats) -> list[_Trap | None]:
    """Return two levels of each trace [traces, n], None where two normal laws of one width are no better than one."""
    found: list[_Trap | None] = [None] * len(traces)
    sigma = traces.std(1)
    below = traces <= np.quantile(traces, [0.1, 0.5, 0.9], axis=1)[..., None]  # levels may be occupied unequally
    owner, start = np.nonzero((~below.all(2) & (sigma > 0.0)).T)
    if not len(owner):
        return found
    laws = _two_laws(traces[owner], below[start, owner], 1e-3 * sigma[owner, None])
    for k in np.unique(owner).tolist():
        own = owner == k
        likelihood = laws[-1][own]
        best = int(np.nan_to_num(likelihood, nan=-np.inf).argmax())  # a start may empty one of its levels
        low, high, width, share = (float(each[own][best, 0]) for each in laws[:-1])
        one, x = -0.5 - math.log(float(sigma[k])), traces[k]
        evidence = likelihood[best] - one >= _EVIDENCE + 10.0 / len(x)
        if not (evidence and high - low >= _APART * width and 0.01 < share < 0.99):
            continue
        under = x < (low + high) / 2.0
        jumps = np.abs(np.diff(x))[under[1:] != under[:-1]]  # drift passes the middle slowly
        if len(jumps) > 1 and jumps.mean() > (high - low) / 2.0:
            found[k] = _Trap(high - low, share, under)
    return found


def _two_laws(
    x: Floats, below: NDArray[np.bool_], narrowest: Floats, rounds: int = 30
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Fit two normal laws of one width to each row of readings by expectation maximisation.

    Args:
        x: readings [rows, n].
        below: which of them belong to the lower law at the start.
        narrowest: least standard deviation [rows, 1].
        rounds: number of rounds.

    Returns:
        Means of the lower and the upper law, their standard deviation and the share of the lower one [rows, 1], and
        the mean ln of the likelihood [rows].
    """
    p, q, likelihood = below, ~below, np.empty(0)
    share, low, high = _moments(p, q, x)
    from_low, from_high = x - low, x - high
    width = _width(p, q, from_low, from_high, narrowest)
    for turn in range(rounds):
        a, b = share * _bell(from_low, width), (1.0 - share) * _bell(from_high, width)
        total = np.maximum(a + b, 1e-300)
        if turn == rounds - 1:
            likelihood = np.log(total / width).mean(1)
        p = a / total
        q = 1.0 - p
        share, low, high = _moments(p, q, x)
        share = share.clip(1e-6, 1.0 - 1e-6)
        from_low, from_high = x - low, x - high
        width = _width(p, q, from_low, from_high, narrowest)
    return low, high, width, share, likelihood


def _bell(distance: Floats, width: Floats) -> Floats:
    """Return exp(-(distance / width)^2 / 2)."""
    found = distance / width
    np.square(found, out=found)
    found *= -0.5
    return np.exp(found, out=found)


def _moments(p: NDArray[Any], q: NDArray[Any], x: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean of shares p [rows, n], and the means of readings weighted by p and by q, [rows, 1] each."""
    weight = p.sum(1, keepdims=True)
    low, high = (p * x).sum(1, keepdims=True) / weight, (q * x).sum(1, keepdims=True) / q.sum(1, keepdims=True)
    return weight / x.shape[1], low, high


def _width(p: NDArray[Any], q: NDArray[Any], from_low: Floats, from_high: Floats, narrowest: Floats) -> Floats:
    """Return the standard deviation [rows, 1] of both laws from distances [rows, n] of readings with shares p and q."""
    variance = (p * np.square(from_low) + q * np.square(from_high)).mean(1, keepdims=True)
    return np.maximum(np.sqrt(variance), narrowest)


def _parts(traces: Sequence[_Trace]) -> list[Floats]:
    """Return parts of equal length of all traces, for spectra and their scatter."""
    shortest = min(len(trace.rest) for trace in traces)
    each = max(1, -(-_PARTS // len(traces)))
    length = max(_LEAST // 2, 2 ** int(math.log2(max(shortest / each, 2.0))))
    length = min(length, shortest)
    return [trace.rest[k * length : (k + 1) * length] for trace in traces for k in range(len(trace.rest) // length)]


def _spectrum(x: Floats, step_s: float) -> tuple[Floats, Floats]:
    """Return frequencies in Hz and the one-sided spectrum per Hz of a part, with the window of Hann (Welch)."""
    n = len(x)
    window = np.hanning(n + 2)[1:-1]
    power = np.square(np.abs(np.fft.rfft(window * (x - x.mean())))) * 2.0 * step_s / np.square(window).sum()
    used = slice(2, (n + 1) // 2)  # the window mixes the mean into the first ones
    return np.asarray(np.fft.rfftfreq(n, step_s)[used], dtype=np.float64), power[used]


def _white_and_flicker(f: Floats, S: Floats, parts: int) -> tuple[float, float]:
    """Return W and K of S = W + K / f with the largest likelihood of spectra with scatter in proportion (Whittle)."""
    white, flicker = float(np.median(S[len(S) // 2 :])), float(np.median(S * f)) / 2.0
    forms = np.stack([np.ones_like(f), 1.0 / f], 1)
    for _ in range(50):
        model = np.maximum(white + flicker / f, 1e-300)
        basis = forms / model[:, None]
        solved = np.linalg.lstsq(basis, S / model, rcond=None)[0]
        if solved.min() < 0.0:  # one of the two alone
            keep = 1 if solved[0] < 0.0 else 0
            alone = float((S * (f if keep else 1.0)).mean())
            solved = np.array([0.0, alone]) if keep else np.array([alone, 0.0])
        settled = abs(solved[0] - white) <= _SETTLED * white and abs(solved[1] - flicker) <= _SETTLED * flicker
        white, flicker = float(solved[0]), float(solved[1])
        if settled:
            break
    return white, flicker


def _slope(f: Floats, S: Floats) -> float:
    """Return the slope of ln S against ln f, every octave with equal weight."""
    return float(np.polyfit(np.log(f), np.log(np.maximum(S, 1e-300)), 1, w=1.0 / np.sqrt(f))[0])


def _telegraph(traces: Sequence[_Trace]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings of telegraph noise, and their lines."""
    traps = [trace.trap for trace in traces if trace.trap is not None]
    n, count = len(traces), len(traps)
    share = count / n
    rows = [line("share of cells with a trap", n, share, *share_interval(count, n))]
    if not traps:
        return {"probability": 0.0}, rows
    steps = np.log([trap.step for trap in traps])
    middle_of, spread = normal_intervals(steps)
    middle, least, most = (math.exp(x) for x in middle_of)
    rows.append(line("median step dG / G", count, middle, least, most))
    rows.append(line("standard deviation of ln(dG / G)", count, *spread))
    occupancy = float(np.mean([trap.low_share for trap in traps]))
    return {
        "probability": number(share), "amplitude": number(min(math.exp(middle_of[0]), 1.0)),
        "spread": number(min(spread[0], 5.0)), "occupancy": number(occupancy),
    }, rows  # fmt: skip


def _in_words(traces: Sequence[_Trace], read: Read, seconds: float) -> list[str]:
    """Return how far the noise of the chip's cells is from that of the traces, by state, the largest first."""
    found = []
    for state in dict.fromkeys(trace.state for trace in traces):
        own = [trace for trace in traces if trace.state == state]
        G = torch.tensor([t.mean_S for t in own], dtype=torch.float64).repeat_interleave(max(1, 4000 // len(own)))
        trap = read.telegraph.traps(tuple(G.shape), 0, "fit", 0)
        chip = float((read.variance(G, trap, seconds) / G.square()).mean().sqrt())
        data = math.sqrt(float(np.mean([trace.whole**2 for trace in own])))
        if data > 0.0:
            off = chip / data - 1.0
            words = f"{100 * abs(off):.2g} % {'above' if off > 0 else 'below'} the data"
            found.append((abs(off), f"{state or 'cells'}: relative noise of {seconds:.3g} s {words}"))
    return [text for size, text in sorted(found, reverse=True) if size > 0.005]
