"""Made-up measurements, each from a seed, as a laboratory would bring them: of every kind, clean and with defects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imc_sim.device import VTEAM
from imc_sim.device.fit import Table
from tests.statistical.trains import vteam_trains

Floats = NDArray[np.float64]


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def rows_of(series: Mapping[str, Floats], axis: str, at: NDArray[Any], cells: int = 0, **more: Any) -> Table:
    """Return the table of conductances [cells, n] of each state."""
    rows: dict[str, list[Any]] = {name: [] for name in ("state", "cell", axis, "G")}
    for state, G in series.items():
        cell, place = np.indices(G.shape)
        found = {"state": np.full(G.size, state), "cell": cells + cell.ravel(), axis: at[place.ravel()]}
        for name, values in (found | {"G": G.ravel()}).items():
            rows[name].append(values)
    columns = {name: np.concatenate(values) for name, values in rows.items() if name != "state" or "" not in series}
    return joined([Table(columns | {name: np.full(len(columns["G"]), value) for name, value in more.items()})])


def joined(tables: Sequence[Table], order: int = 5) -> Table:
    """Return the rows of tables in another order."""
    columns = {role: np.concatenate([t[role] for t in tables]) for role in tables[0].columns}
    rows = rng(order).permutation(len(columns["G"]))
    return Table({role: values[rows] for role, values in columns.items()})


def levels(seed: int, states: Mapping[str, tuple[str, float, float, int]], stuck: tuple[int, int, int] = (0, 0, 0),
           step_S: float = 0.0, key: str = "state") -> Table:  # fmt: skip
    """Return cells of each state: its law, centre in S, standard deviation and number.

    stuck: cells stuck at the highest, stuck at the lowest state, and dead, in every state. step_S: of an ADC.
    """
    draw, found = rng(seed), {}
    for name, (law, center, sigma, count) in states.items():
        z = draw.standard_normal(count)
        if law == "mixture":
            z = np.where(draw.random(count) < 0.3, 3.0 * z + 2.0, z)
        found[name] = np.maximum(center * (1.0 + sigma * z), 0.0) if law == "normal" else center * np.exp(sigma * z)
    ends = list(found.values())
    high, low = ends[-1].copy(), ends[0].copy()
    for G in found.values():
        places = draw.permutation(len(G))
        parts = np.split(places, np.cumsum(stuck))[:3]
        for part, values in zip(parts, (high, low, np.full(9, 2e-10)), strict=True):
            G[part] = values[: len(part)] * (1.0 + 1e-3 * np.arange(len(part)))
    G = np.concatenate(list(found.values()))
    names = np.concatenate([np.full(len(values), name) for name, values in found.items()])
    rows = draw.permutation(len(G))
    G = np.round(G / step_S) * step_S if step_S else G
    if key == "target":
        return Table({"target": names.astype(np.float64)[rows], "G": G[rows]})
    return Table({"state": names[rows], "G": G[rows]})


TIMES = np.array([1.0, 8.0, 60.0, 900.0, 2e4, 3e5])


def followed(seed: int, law: str, cells: tuple[int, int] = (23, 31), times: Floats = TIMES, kelvin: float = 300.0,
             state: str | None = None, stable: bool = False) -> Table:  # fmt: skip
    """Return both states of cells that age by a law."""
    draw, found = rng(seed), {}
    for name, center, count in (("HRS", 9e-6, cells[0]), ("LRS", 6e-5, cells[1])):
        if state not in (None, name):
            continue
        first = center * np.exp(0.1 * draw.standard_normal((count, 1)))
        t = np.maximum(times, times[times > 0][0]) / times[times > 0][0]
        own = draw.standard_normal((count, 1))
        if law == "drift":
            G = first * t ** -((0.09 if name == "HRS" else 0.04) + 0.015 * own)
        elif law == "relaxation":
            wide = np.exp(0.4 * draw.standard_normal((count, 1)))
            G = first + center * (-0.004 * np.log(t) + (0.004 + 0.006 * np.log(t)) * own * wide * (times > times[0]))
        else:
            rate = 3e-5 * np.exp(-0.8 / 8.617e-5 * (1.0 / kelvin - 1.0 / 330.0)) * (kelvin != 300.0) or 3e-5
            kept = np.exp(-((rate * times) ** 0.6))
            end = first if stable or name == "HRS" else 2e-5
            G = end + (first - end) * kept
        found[name if state is None else ""] = np.maximum(G * (1.0 + 0.004 * draw.standard_normal(G.shape)), 0.0)
    more = {} if kelvin == 300.0 else {"temperature": kelvin}
    return rows_of(found, "time", times, int(kelvin * 1000), **more)


def worn(seed: int, cells: int = 37, life: float = 3e4, stuck: str = "hrs", holes: bool = False) -> Table:
    """Return both states of cells that wear, of which some are stuck after their lifetime."""
    draw, cycles = rng(seed), np.array([1.0, 10.0, 100.0, 2e3, 3e4, 1e5])
    ends = life * draw.exponential(size=cells) ** (1 / 1.4)
    found = {}
    for name, center, exponent in (("HRS", 3e-6, 0.04), ("LRS", 7e-5, -0.03)):
        z = draw.standard_normal((cells, len(cycles)))
        z[:, 1:] += 0.5 * z[:, :-1]
        G = center * cycles**exponent * np.exp(0.1 * draw.standard_normal((cells, 1)) + 0.06 * z)
        at = {"hrs": 4e-6, "lrs": 6e-5}[stuck]
        G = np.where(ends[:, None] <= cycles, at * np.exp(0.15 * draw.standard_normal(G.shape)), G)
        G[draw.random(G.shape) < 0.03 * holes] = np.nan
        found[name] = G
    table = rows_of(found, "cycle", cycles)
    return table.select(~np.isnan(table["G"]))


def trains(seed: int, devices: int = 6, pulses: int = 21, volts: bool = True) -> Table:
    """Return a set and a reset train of each device, in the form of NeuroSim."""
    draw, P, found = rng(seed), np.arange(pulses + 1), []
    for _ in range(devices):
        up, down = 8.0 * np.exp(0.2 * draw.standard_normal()), 5.0 * np.exp(0.3 * draw.standard_normal())
        rise = 2e-6 * np.exp(0.1 * draw.standard_normal()) - 6e-5 * np.expm1(-P / up)
        found.append(np.concatenate([rise, rise[-1] + 5e-5 * np.expm1(-P / down)]))
    G = np.concatenate(found)
    columns: dict[str, Any] = {
        "device": np.repeat(np.arange(devices), 2 * len(P)), "G": G + 2e-7 * draw.standard_normal(len(G)),
        "width": np.full(len(G), 3e-7),
        "pulse": np.tile(np.tile(P, 2) if volts else np.arange(2 * len(P)), devices),
    }  # fmt: skip
    return Table(columns | ({"voltage": np.tile(np.repeat([1.2, -0.9], len(P)), devices)} if volts else {}))


def vteam(seed: int, volts: tuple[float, ...], devices: int = 3, pulses: int = 14, iv: Any = "linear") -> Table:
    """Return trains of cells of VTEAM."""
    cell = VTEAM(
        r_on_ohm=1.4e4, r_off_ohm=5e5, iv=iv, window="biolek", window_p=1.5, w_initial_m=3e-9, v_on_V=-0.4,
        alpha_on=3.0, k_on_m_per_s=-9e-5, v_off_V=0.35, alpha_off=1.4, k_off_m_per_s=2e-4,
    )  # fmt: skip
    return vteam_trains(cell, rng(seed), volts, devices, pulses)


def curves(seed: int, devices: int = 6, limit_A: float = 1e-3, sweeps: int = 1, switches: bool = True) -> Table:
    """Return loops of each device: set at a positive voltage, reset at a negative one, sinh in both states."""
    draw, up, found = rng(seed), np.linspace(0.0, 2.0, 31), []
    v = np.concatenate([up, up[-2::-1], -up[1:], -up[-2::-1]])
    for _ in range(devices * sweeps):
        lrs, hrs = 3e-4 * np.exp(0.1 * draw.standard_normal()), 1e-5 * np.exp(0.3 * draw.standard_normal())
        v_set, v_reset, on, G = draw.normal(1.2, 0.1), draw.normal(-1.3, 0.08), False, []
        for each in v:
            on = switches and (on or each >= v_set) and each > v_reset
            G.append(lrs if on else hrs)
        a = draw.normal(2.5, 0.1)
        i = np.array(G) * 0.2 * np.sinh(a * v) / np.sinh(a * 0.2) * np.exp(0.01 * draw.standard_normal(len(v)))
        found.append(np.minimum(i, limit_A))
    columns = {
        "device": np.repeat(np.arange(devices), len(v) * sweeps), "voltage": np.tile(v, devices * sweeps),
        "current": np.concatenate(found),
    }  # fmt: skip
    if sweeps > 1:
        columns["sweep"] = np.tile(np.repeat(np.arange(sweeps), len(v)), devices)
    return Table(columns)


def traces(seed: int, cells: int = 9, n: int = 128, trap: float = 0.5, states: Sequence[str] = ("",),
           low: float = 0.5, white: float = 0.01) -> Table:  # fmt: skip
    """Return traces with white noise, 1/f noise made in the frequency domain, and traps in some of the cells."""
    draw, f, found = rng(seed), np.fft.rfftfreq(4 * n, 1e-3), {}
    f[0] = f[1]
    for k, state in enumerate(states):
        phases = (draw.standard_normal((cells, 2 * n + 1)) + 1j * draw.standard_normal((cells, 2 * n + 1))) / 2**0.5
        x = np.fft.irfft(phases * np.sqrt(4e-6 / f * 4 * n / 2e-3), 4 * n)[:, :n]
        x += white * draw.standard_normal(x.shape)
        on = np.repeat(draw.random((cells, n // 8)) >= low, 8, 1)
        step = 0.15 * np.exp(0.3 * draw.standard_normal(cells)) * (draw.random(cells) < trap)
        found[state] = 5e-5 / (1 + 9 * k) * (1.0 + x + step[:, None] * (on - low))
    return rows_of(found, "time", np.arange(n) * 1e-3)
