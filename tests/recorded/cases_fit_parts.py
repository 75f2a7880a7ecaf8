"""Steps of fits, each with inputs at which its conditions decide: estimates, intervals, traps, branches, lifetimes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from imc_sim.device.fit import (
    _defects,
    _endurance,
    _estimates,
    _iv,
    _laws,
    _levels,
    _noise,
    _pulses,
    _quality,
    _time_laws,
    fit,
)
from imc_sim.device.fit._estimates import Series
from imc_sim.device.fit._part import Options
from imc_sim.device.fit._reader import Table
from tests.recorded.cases_fit import FEW, everything
from tests.recorded.made import tried
from tests.recorded.measured import TIMES, followed, levels, rng, trains
from tests.recorded.short import short

_AT = np.array([0.0, 1.0, 20.0, 400.0])


def _series(name: str, first: float, *rows: tuple[float, ...], T: float | None = None, at: Any = _AT) -> Series:
    """Return cells whose conductances are these multiples of the first one."""
    return Series(name, T, at, first * np.array(rows))


_LOW = _series("HRS", 2e-6, (1.0, 0.99, 0.95, 0.9), (1.2, 1.21, 1.1, 1.0), (0.8, 0.79, 0.7, 0.75))
_HIGH = _series("LRS", 9e-5, (1.0, 0.98, 0.9, 0.6), (1.1, 1.0, 0.85, 0.55), (0.9, 0.9, 0.8, 0.5))


def record_intervals() -> dict[str, Any]:
    """Estimates over groups of cells left out, intervals of means, standard deviations and shares, and lines."""
    values = rng(1).standard_normal(47) + 0.4
    found: dict[str, Any] = {}
    for count, positive in itertools.product((4, 5, 19, 20, 21, 47), (False, True, [True, False])):
        estimate = lambda k: [values[k].mean(), np.abs(values[k]).max() * 1e-6]  # noqa: E731
        found[f"{count}, {positive}"] = list(_estimates.jackknife(estimate, count, positive))
    found["negative"] = list(_estimates.jackknife(lambda k: [-1.0 - values[k].mean(), 0.0], 9, True))
    found["normal"] = [list(map(list, _estimates.normal_intervals(values[:n]))) for n in (1, 2, 9)]
    found["std"] = [_quality.std_interval(x, normal) for x in (values, values[:5] ** 3, np.ones(4))
                    for normal in (True, False)]  # fmt: skip
    found["share"] = [_quality.share_interval(*each) for each in ((0, 9), (3, 9), (9, 9))]
    found["lines"] = [_quality.line("q", 3, 2e-6, *ends, "uS", 1e6) for ends in ((1e-6, 3e-6), (-np.inf, np.nan))]
    data = np.sort(np.abs(values)) * 1e-5
    for name, cells in {"itself": data, "wider": data * 1.3, "zeros": np.maximum(data - 2e-6, 0.0)}.items():
        found[name] = _quality.in_words(_quality.deviations("LRS", data, cells))
        found[f"{name}, many"] = _quality.deviations("HRS", np.repeat(data, 5), cells)
    found["of zeros"] = _quality.deviations("HRS", np.zeros(9), data)
    sizes = (0.0, 2.4e-16, 9.99994e-10, 1e-9, 0.0123456, 1.0, 999.999, 12345.6, -3e-6, 4e12)
    found["quantities"] = [_estimates.quantity(x, "S") for x in sizes] + [_estimates.number(x) for x in sizes]
    rest: Any = lambda t: t[0] * np.arange(4) + t[1] - np.array([1.0, 3.0, 5.0, 7.0])  # noqa: E731
    line = _estimates.least_squares(rest, [[9.0, 0.5], [0.1, 0.1]], [0.0, 0.0], [8.0, 8.0])
    return short(found) | {"line": [round(float(x), 6) for x in line]}


def record_series() -> dict[str, Any]:
    """Series of cells by state and temperature, and levels of chips that have none."""
    cells = {"cell": [0, 0, 1, 1, 2, 2, 0, 0], "time": [1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0, 1.0],
             "G": [3.0, 2.0, 5.0, 4.0, 7.0, 6.0, 90.0, 91.0], "state": [*["HRS"] * 6, "LRS", "LRS"]}  # fmt: skip
    table = Table({name: np.array(values) for name, values in cells.items()})
    several = Table(table.columns | {"temperature": np.array([300.0, 300, 330, 330, np.nan, np.nan, 300, 300])})
    target = Table({("target" if name == "state" else name): values for name, values in table.columns.items()})
    found: dict[str, Any] = {}
    for name, each in {"states": table, "temperatures": several, "targets": target}.items():
        found[name] = tried(
            lambda t=each: [[s.state, s.temperature_K, s.at, s.G] for s in _estimates.series_of(t, "time")]
        )
    without = Table({name: values for name, values in table.columns.items() if name != "cell"})
    found["refused"] = [tried(_estimates.series_of, *each) for each in ((table, "cycle"), (without, "time"))]
    found["of cells"] = [_HIGH.of(np.array([0, 2])).G, _HIGH.center_S]
    for name, series in {
        "two": [_LOW, _HIGH], "one": [_LOW], "three": [_LOW, _HIGH, _series("x", 5e-4, (1.0, 1.0, 1.0, 1.0))],
        "two temperatures": [_LOW, _series("HRS", 1e-6, (1.0,) * 4, T=330.0), _HIGH],
    }.items():  # fmt: skip
        found[name] = tried(_estimates.levels_part, series, Options({}))
    held = Options({"g_lrs_S": "1 mS"})
    return short(found | {"held": _estimates.levels_part([_LOW], held)})


def record_laws_of_time() -> dict[str, Any]:
    """Estimates, lines and settings of each law of time, and which of them data determine."""
    found: dict[str, Any] = {}
    steady = _series("HRS", 3e-6, (1.0, 1.0, 1.0, 1.0), (1.3, 1.3, 1.3, 1.3))
    warm = [_series("LRS", 9e-5, *(tuple(1 - k * f * x for x in (0.0, 0.05, 0.2, 0.5)) for f in (1.0, 0.9)), T=T)
            for k, T in ((0.5, 310.0), (0.9, 340.0))]  # fmt: skip
    zero = _series("HRS", 3e-6, (0.0, 1.0, 1.0, 0.9), (1.0, 1.0, 0.0, 0.9))
    sets = {"both": [_LOW, _HIGH], "one": [_HIGH], "steady": [steady, _HIGH], "only steady": [steady], "warm": warm,
            "zeros": [zero], "two times": [_series("HRS", 1e-6, (1.0, 0.9), (1.0, 0.8), at=np.array([0.0, 2.0]))],
            "late": [_series("LRS", 1e-6, (1.0, 0.9, 1.0, 0.7), (1.0, 0.8, 0.7, 0.6), at=_AT + 3.0)]}  # fmt: skip
    for name, series in sets.items():
        found[name] = [sorted(_time_laws.stable_states(series)), _time_laws.cells_of(series),
                       _time_laws.first_time(series), _time_laws._reference(series),
                       [_time_laws.possible(law, series) for law in
                        (_time_laws.DRIFT, _time_laws.RELAXATION, _time_laws.STRETCHED)]]  # fmt: skip
        for law in (_time_laws.DRIFT, _time_laws.RELAXATION):
            if law is _time_laws.RELAXATION or _time_laws.possible(law, series):
                estimate = law.estimate(series, None)
                found[f"{name}, {law.name}"] = [estimate, law.lines(series), law.time(series, estimate)]
        if _time_laws.possible(_time_laws.STRETCHED, series):
            warm_, ends = name == "warm", len({each.state for each in series})
            start = np.array([-5.0, 0.5, *([0.4] * warm_), *([2e-6, 2e-5] if ends == 2 else [2e-5])])
            if name == "steady":
                start[-2] = np.nan
            law = _time_laws.STRETCHED
            found[f"{name}, near"] = [law.estimate(series, start), law.lines(series), law.settings(series, start)]
            # A search ends at slightly different places where rounding differs.
            searched = law.estimate(series, None)
            found[f"{name}, searched"] = [f"{x:.1g}" for x in searched.tolist()]
    rising: list[Any] = [([0.0, 1.0, 2.0], [1.0, 2.0, 3.0]), ([0.0, 1.0, 2.0], [3.0, 2.0, 1.0]), ([1.0], [2.0]),
                         ([0.0], [2.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0, 2.0, 3.0], [1e-12, 1.0, 2.0])]  # fmt: skip
    found["rising"] = [_time_laws._rising_line(np.array(x), np.array(y)) for x, y in rising]
    first = rng(4).standard_normal(40)
    for name, last in {"same": first, "gathered": 0.5 * first, "wider": 1.5 * first,
                       "other": rng(5).standard_normal(40)}.items():  # fmt: skip
        found[f"{name} cells"] = [_time_laws._gathered(first[:n], last[:n]) for n in (4, 5, 40)]
    found["errors"] = [_time_laws._standard_error(each) for each in (_LOW, _HIGH.of(np.array([0])), steady)]
    return short(found)


def record_traps() -> dict[str, Any]:
    """Traps of traces, parts of traces and their spectra, white and 1/f noise, and refused traces."""
    draw, found = rng(8), dict[str, Any]()
    white = draw.standard_normal(96)
    for name, (step, share) in {
        "none": (0.0, 0.5),
        "half": (5.0, 0.5),
        "rare": (6.0, 0.06),
        "near": (2.5, 0.5),
    }.items():
        on = np.repeat(np.arange(24) % max(2, round(1 / share)) == 0, 4)
        x = 0.01 * (white + step * on)
        trap = _noise._traps([x - x.mean()])[0]
        found[name] = None if trap is None else [trap.step, trap.low_share, trap.low]
        trace = _noise._without_traps([("LRS", 5e-5 * (1.0 + x))])[0]
        found[f"{name}, trace"] = [trace.mean_S, trace.rest, trace.whole]
    found["ramp"] = _noise._traps([np.linspace(-1.0, 1.0, 64) ** 3]) == [None]
    found["constant"] = _noise._traps([np.zeros(64)])[0]
    traces = _noise._without_traps([("", 1.0 + 0.01 * white[: 64 + 8 * k]) for k in range(4)])
    for count in (1, 2, 4):
        cut = _noise._parts(traces[:count])
        found[f"{count} traces"] = [len(cut), len(cut[0]), cut[-1]]
    for n in (7, 32, 33):
        f, S = _noise._spectrum(white[:n], 1e-3)
        found[f"{n} readings"] = [f, S]
    f = np.geomspace(1.0, 100.0, 30)
    for name, (W, K) in {"both": (1e-6, 2e-6), "white": (1e-6, 0.0), "1/f": (0.0, 1e-6)}.items():
        S = (W + K / f) * (1.0 + 0.1 * np.sin(np.arange(30.0)))
        found[f"{name} noise"] = [*_noise._white_and_flicker(f, S, 4), _noise._slope(f, S)]
    time = np.arange(80.0)
    wrong = {"short": (time[:63], np.ones(63)), "uneven": (np.where(time > 40, time + 9, time), np.ones(80)),
             "same time": (0 * time, np.ones(80)), "at 0 S": (time, np.zeros(80))}  # fmt: skip
    for name, (t, G) in wrong.items():
        found[name] = tried(_noise._traces, Table({"time": t, "G": G}))
    found["no time"] = tried(_noise._traces, Table({"G": time}))
    order = Table({"time": time[::-1], "G": 1.0 + time, "state": np.full(80, "LRS"), "cell": np.zeros(80)})
    traced, step = _noise._traces(order)
    return short(found | {"reversed": [traced[0].state, traced[0].mean_S, traced[0].rest, step]})


def record_branches() -> dict[str, Any]:
    """Branches of I-V curves, switching voltages, compliance, and the sinh of each state."""
    found: dict[str, Any] = {}
    v = np.array([0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 0.8, 0.4, 0.2, 0.0, -0.2, -0.5, -0.9, -0.5, -0.1])
    i = np.array([0.0, 1.0, 2.1, 4.4, 70.0, 95.0, 70.0, 33.0, 15.0, 0.0, 15.0, 40.0, 9.0, 4.5, 0.9]) * 1e-6
    columns = {"voltage": v, "current": np.copysign(i, v), "device": np.zeros(15)}
    table = Table(columns)
    twice = Table({name: np.tile(each, 2) for name, each in columns.items()} | {"sweep": np.repeat([4, 7], 15)})
    limited = Table(columns | {"current": np.minimum(i, 5e-5)})
    for name, each in {"loop": table, "two sweeps": twice, "limited": limited}.items():
        branches, limit = _iv._branches(each)
        calm = [_iv._calm(b, 0.5, limit) for b in branches]
        found[name] = [[list(b) for b in branches], limit, [_iv._switching(b, limit) for b in branches],
                       [list(_iv._sinh(b, 0.2)) for b in calm if len(b.v) > 1]]  # fmt: skip
    found["refused"] = [tried(_iv._branches, Table({"voltage": v})), tried(fit, table.select(np.arange(3)), "iv")]
    outward = lambda i, v=(0.1, 0.2, 0.3, 0.4, 0.5): _iv._Branch(0, True, np.array(v), np.array(i))  # noqa: E731
    tops = {"flat": (1.0, 2.0, 3.0, 3.0, 3.0), "rising": (1.0, 2.0, 3.0, 3.02, 3.05), "two": (1.0, 2.0, 2.5, 3.0, 3.0),
            "falls": (1.0, 2.0, 3.0, 2.0, 1.0), "jumps": (1.0, 1.5, 6.0, 7.0, 8.0)}  # fmt: skip
    for name, values in tops.items():
        b = outward(values)
        found[name] = [
            _iv._compliance([b]),
            _iv._switching(b, None),
            _iv._switching(b, 6.05),
            _iv._switching(b._replace(outward=False), None),
        ]
    found["median"] = _iv._compliance([outward(tops["flat"]), outward(tuple(2 * x for x in tops["flat"]))])
    found["shape"] = [_iv._log_shape(np.array([0.1, 0.5]), a, 0.2) for a in (0.0, 3.0)]
    fits = [_iv._Sinh(k % 6, g * (1.0 + 0.1 * k), 2.0 + 0.1 * k, 0.01) for k in range(7) for g in (1e-6, 1e-4)]
    for name, each in {"two states": fits, "one": fits[::2], "few": fits[:4]}.items():
        states = _iv._by_state(each)
        found[f"{name}, lines"] = [[state, _iv._lines(state, own, 0.2)] for state, own in states.items()]
        found[f"{name}, words"] = _iv._in_words(states, 2.4, [outward((1e-6,) * 5)], 0.2)
    return short(found)


def record_lifetimes() -> dict[str, Any]:
    """Failed cells, trends over cycles and lifetimes."""
    at = np.array([0.0, 10.0, 1e3, 1e4])
    low = Series("HRS", None, at, 1e-6 * np.array([[1, 1, 1, 1], [1, 1, 30, 30], [1, 30, 1, 1], [1, 2, np.nan, 40.0]]))
    high = Series("LRS", None, at, 4e-5 * np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0.9, 0.8], [1, 1, np.nan, 1.0]]))
    found: dict[str, Any] = {"failed": _endurance._failures(low, high).tolist()}
    found["stuck"] = [
        _endurance._stuck_at(a, b, _endurance._failures(low, high)) for a, b in ((low, high), (high, low))
    ]
    for name, each in {"low": low, "high": high, "few": high.of(np.array([0])), "series": _HIGH}.items():
        found[f"{name}, trend"] = [_endurance._trend(each, 1.0), _endurance._trend(each, 10.0)]
    found["corrected"] = [
        _endurance._corrected(*each) for each in ((0.2, 0.05, 5.0), (0.0, 0.0, 3.0), (0.1, -0.09, 2.0))
    ]
    shares: list[Any] = [np.array([[0.1, 0.2, 0.0], [0.3, 0.1, 0.0]]), np.zeros((1, 3))]
    found["share"] = [_endurance._share(each) for each in shares]
    for ends in ([5.0, 50.0, 200.0, np.inf], [np.inf] * 3, [7.0], [3.0, 3.0, np.inf, np.inf]):
        life = _endurance._weibull(np.array(ends), 1e3)
        found[str(ends)] = [life, _endurance._log_life(np.array(ends), 1e3)]
    fresh = _endurance._fresh(_HIGH, -0.05, 5.0)
    found["fresh"] = [fresh.at, fresh.G]
    wear = {"lrs_exponent": -0.02, "hrs_exponent": 0.1, "life_cycles": 2e4, "life_shape": 1.5}
    compared = _endurance._compared([low, high], np.array([50.0, np.inf, np.inf, 1e5]), wear, 1.0)
    found["compared"] = [[list(row.values()) for row in compared], _endurance._in_words(compared)]
    cells = np.array([0, 1, 2, 0, 2, 0, 1, 2])
    both = Table({"cell": cells, "cycle": np.array([1, 1, 1, 9, 9, 1, 9, 1.0]), "G": np.arange(8.0),
                  "state": np.array(["HRS"] * 5 + ["LRS"] * 3)})  # fmt: skip
    found["of both"] = _endurance._of_both_states(both)["G"].tolist()
    few = Series("HRS", None, at[:2], low.G[:, :2])
    found["refused"] = [tried(_endurance._both, each, "here") for each in ([low], [low, _HIGH], [few, few])]
    return short(found)


def record_trains() -> dict[str, Any]:
    """Trains of pulses, where they turn, their own forms and errors, and fits of a few of them."""
    found: dict[str, Any] = {}
    pulses, G = np.arange(14.0), np.concatenate([np.arange(7.0), np.arange(7.0)[::-1]])
    for name, (P, g, volts) in {
        "turn": (pulses, G, None), "numbers": (pulses % 7, G, None), "short": (pulses, np.roll(G, -4), None),
        "voltages": (pulses, G, np.repeat([1.0, 1.02, -1.0], (5, 4, 5))), "steady": (pulses, G, np.ones(14)),
    }.items():  # fmt: skip
        found[name] = _pulses._turns(P, g, volts).tolist()
    shapes = {"up": 2e-6 - 6e-5 * np.expm1(-np.arange(9) / 4.0), "line": 1e-6 * (1 + np.arange(9.0)),
              "down": 7e-5 + 5e-5 * np.expm1(-np.arange(9) / 3.0), "flat": np.full(9, 1e-5),
              "below": -np.arange(9) * 1e-6}  # fmt: skip
    made = {name: _pulses._train(k, np.arange(9.0), g, 1.0 + k) for k, (name, g) in enumerate(shapes.items())}
    for name, train in made.items():
        found[f"{name}, train"] = [*train._replace(G=train.G.sum(), pulses=9.0), train.at(np.array([0.0, 2.5]))]
        found[f"{name}, left out"] = _pulses._left_out(train)
    found["words"] = [
        _pulses._in_words([made["up"], made["down"]], 6e-5, list(off)) for off in ((1e-6, -9e-6), (0.0, 1e-8))
    ]
    up, down = [made["up"]], [made["down"]._replace(volts=1.0)]
    rows, cell, std, words = _pulses._pulse_response("here", up, down, 2e-7)
    found["one device"] = [rows, cell, std, words]
    many = [up[0]._replace(A=4.0 + k, B=6e-5 - 1e-6 * k, start=2e-6 + 1e-7 * k, device=k) for k in range(3)]
    found["three devices"] = list(_pulses._pulse_response("here", many, down, 2e-7))
    found["refused"] = [
        tried(_pulses._pulse_response, "here", [*up, up[0]._replace(volts=1.5)], down, 1e-6),
        *(tried(fit, trains(52).select(rows), "pulses") for rows in (np.arange(4), np.arange(21))),
        tried(fit, trains(51, 2), "pulses", model="x"), tried(fit, Table({"G": G}), "pulses"),
    ]  # fmt: skip
    return short(found)


@FEW
def record_defects_and_laws() -> dict[str, Any]:
    """Stuck and dead cells of levels, laws of levels, and fits of levels that neither law describes."""
    found: dict[str, Any] = {}
    draw = rng(6)
    low, high = 2e-6 * np.exp(0.1 * draw.standard_normal(60)), 8e-5 * (1 + 0.05 * draw.standard_normal(50))
    stuck_low, stuck_high = np.r_[low[:-4], high[:4]], np.r_[high[:-3], low[:3]]
    for name, each in {
        "none": [low, high], "stuck at LRS": [stuck_low, high], "both": [stuck_low, stuck_high],
        "two cells": [np.r_[low[:-2], high[:2]], high],
        "dead": [np.r_[low[:-3], [1e-9] * 3], np.r_[high[:-3], [1e-9] * 3]],
        "dead in one": [np.r_[low[:-3], [1e-9] * 3], high], "near": [low, 1.5 * low], "zeros": [np.r_[low, 0.0], high],
        "three levels": [low, 12 * low, high], "three, stuck": [stuck_low, np.r_[12 * low[:-4], high[:4]], high],
    }.items():  # fmt: skip
        defects = _defects.find_defects(each)
        found[name] = [list(defects.stuck_lrs), list(defects.stuck_hrs), list(defects.dead), defects.settings(),
                       [int(m.sum()) for m in defects.working]]  # fmt: skip
    masks = lambda *counts: [np.arange(30) < n for n in counts]  # noqa: E731
    found["common"] = [_defects._common(masks(*each)) for each in ((3, 4), (0, 3), (2, 20), (0, 0))]
    for judged, values in itertools.product((True, False), (np.sort(low), np.sort(high), np.sort(high - high.mean()))):
        found[f"{judged}, {float(values[0]):.1e}"] = tried(_laws.likelier_law, np.maximum(values, 0.0), judged=judged)
    mixture = levels(6, {"HRS": ("mixture", 4e-6, 0.2, 40), "LRS": ("normal", 8e-5, 0.1, 40)})
    three = levels(9, {str(k): ("normal", 1e-5 * 4**k, 0.05, 12) for k in range(3)})
    found["fits"] = [everything(fit(each, "levels")) for each in (mixture, three)]
    found["options"] = tried(
        lambda: list(_levels.fit_levels(mixture, Options({"g_lrs_S": 1e-4, "g_hrs_S": 1e-6})).part)
    )
    found["drift of two cells"] = tried(lambda: everything(fit(followed(17, "drift", (2, 2), TIMES[:3]), "retention")))
    return short(found)
