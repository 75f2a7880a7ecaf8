"""Recorded fits of chips to made-up measurements: every number, sentence and figure of each."""

from __future__ import annotations

import zlib
from typing import Any
from unittest import mock

import numpy as np

from imc_sim.device.fit import DeviceFit, _levels, _vteam, fit, fit_device
from imc_sim.device.fit._laws import likelier_law
from imc_sim.device.fit._vteam import speed_law
from tests.recorded.measured import TIMES, curves, followed, joined, levels, rng, traces, trains, vteam, worn
from tests.recorded.short import short

_BASE: dict[str, Any] = {
    "name": "held", "source": "levels: an earlier one\nmade up", "validity": "pulses: two devices\nlevels: old",
    "device": {
        "g_lrs_S": "60 uS", "g_hrs_S": "9 uS", "programming": {"kind": "relative", "sigma": 0.1},
        "faults": {"stuck_lrs": 0.01, "failure": 0.02}, "verify": {"tolerance": 0.1, "max_pulses": 3},
        "read": {"v_read_V": "0.15 V", "sigma": 0.02},
    },
}  # fmt: skip


#: cells of a level that are sampled from finished chips, in all fits but one
FEW = mock.patch.object(_levels, "_CELLS", 500)


def everything(found: DeviceFit) -> dict[str, Any]:
    """Return all that a fit says."""
    figures = {
        name: {str(c): _column(data[c].to_numpy()) for c in data.columns} | {"attrs": dict(data.attrs)}
        for name, data in found.part.figures.items()
    }
    states = [
        [s.name, s.law, s.center_S, s.sigma, s.distance, s.p_value, s.evidence, s.working, s.conductance_S, s.summary]
        for s in found.states
    ]
    words = found.part.deviations
    return short({
        "chip": found.chip("made up"), "kind": [found.part.kind, found.reason, found.replaced, str(found.part.details)]
        if not states else [found.part.kind, found.reason, found.replaced],
        "rows": [[row[k] for k in ("quantity", "n", "unit", "estimate", "low", "high")] for row in found.part.rows],
        "deviations": [words[:1], zlib.crc32("\n".join(words).encode())], "figures": figures, "states": states,
        "dropped": dict(found.table.dropped), "device": found.device.model_dump_json(exclude_defaults=True)[:60],
    })  # fmt: skip


def _column(values: np.ndarray) -> Any:
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    names, counts = np.unique(values.astype(str), return_counts=True)
    return {"names": " ".join(names), "counts": counts}


_TWO = {"HRS": ("normal", 1e-5, 0.12, 61), "LRS": ("normal", 8e-5, 0.08, 83)}
_LEVELS: dict[str, Any] = {
    "normal": levels(1, _TWO),
    "log-normal": levels(2, {"HRS": ("log", 4e-6, 0.7, 70), "LRS": ("log", 8e-5, 0.3, 50)}),
    "mixed": levels(3, {"HRS": ("log", 4e-6, 0.5, 90), "LRS": ("normal", 8e-5, 0.1, 240)}),
    "stuck": levels(4, {"HRS": ("normal", 2e-6, 0.1, 120), "LRS": ("normal", 8e-5, 0.05, 90)}, (4, 5, 3)),
    "few": levels(5, {"HRS": ("normal", 1e-5, 0.2, 6), "LRS": ("normal", 8e-5, 0.2, 5)}),
    "no law": levels(6, {"HRS": ("mixture", 4e-6, 0.2, 150), "LRS": ("mixture", 8e-5, 0.1, 210)}),
    "zeros": levels(7, {"HRS": ("normal", 3e-6, 0.8, 90), "LRS": ("normal", 8e-5, 0.3, 60)}),
    "four levels, stuck": levels(
        8, {str(k): ("normal", 1e-6 * 5**k, 0.06, 60 + 7 * k) for k in range(1, 5)}, (4, 3, 0)
    ),
    "targets": levels(9, {f"{t}": ("normal", t, 0.1, 40) for t in (2e-6, 2e-5, 6e-5)}, key="target"),
    "resistances": levels(9, {f"{1 / t}": ("normal", t, 0.1, 40) for t in (2e-6, 2e-5, 6e-5)}, key="target"),
    "steps": levels(10, {"HRS": ("log", 6e-6, 0.4, 200), "LRS": ("normal", 5e-5, 0.1, 150)}, step_S=2e-6),
}


@FEW
def record_levels() -> dict[str, Any]:
    found = {name: everything(fit(table, "levels")) for name, table in _LEVELS.items()}
    return found | {"into": everything(fit(_LEVELS["stuck"], None, _BASE))}


def record_laws() -> dict[str, Any]:
    """Laws of cells whose lowest, or highest, are nearer to the others than a log-normal law has them."""
    z = rng(3).standard_normal(2000)
    cells = {
        "whole": np.exp(0.5 * z), "lowest": np.exp(0.5 * z.clip(-1.95)), "highest": np.exp(0.5 * z.clip(None, 2.05)),
        "zeros": (1.0 + 0.5 * z).clip(0.0), "equal": np.full(9, 2.0),
    }  # fmt: skip
    found = {name: short(likelier_law(np.sort(1e-6 * values))) for name, values in cells.items()}
    volts = np.array([0.8, 1.0, 1.2, 0.8, 1.0, 1.2, 0.9])
    for name, devices in (("within devices", [0, 0, 0, 1, 1, 1, 1]), ("one reading of one", [0, 0, 0, 1, 1, 1, 2])):
        speeds = 0.01 * (volts / 0.35 - 1.0) ** 2.2 * np.exp(0.1 * z[:7] + 0.3 * np.array(devices))
        for count in (7, 5):
            rows = slice(7 - count, 7)
            found[f"{name}, {count}"] = short(speed_law(np.array(devices)[rows], volts[rows], speeds[rows], 3.0))
    found["one voltage"] = short(speed_law(np.arange(4), np.ones(4), np.exp(z[:4]), 3.0))
    return found


def record_samples() -> dict[str, Any]:
    samples = {"HRS": np.linspace(1e-6, 2e-6, 9) ** 1.1, "LRS": np.geomspace(2e-5, 9e-5, 13)}
    return everything(fit_device(samples))


@FEW
def record_retention() -> dict[str, Any]:
    baked = [followed(20 + k, "loss", (11, 14), kelvin=T) for k, T in enumerate((310.0, 330.0, 365.0))]
    still = [followed(30 + k, "loss", (7, 8), kelvin=T, stable=True) for k, T in enumerate((310.0, 340.0))]
    kept = {**_BASE["device"], "time": {"drift": {"nu": 0.01}}}
    tables = {
        "drift": (followed(11, "drift"), None),
        "drift at two times": (followed(12, "drift", (6, 4), TIMES[[1, 4]]), None),
        "relaxation": (followed(14, "relaxation", (40, 33), TIMES - 1.0), None),
        "loss": (followed(15, "loss"), None),
        "one state": (followed(16, "drift", state="LRS"), _BASE | {"device": kept}),
        "baked": (joined(baked), None),
        "stable": (joined(still), None),
        "few cells": (followed(17, "loss", (2, 3)), None),
    }
    return {name: everything(fit(table, "retention", into)) for name, (table, into) in tables.items()}


@FEW
def record_endurance() -> dict[str, Any]:
    tables = {
        "fails at HRS": worn(41),
        "fails at LRS": worn(42, 25, 2e4, stuck="lrs", holes=True), "lives": worn(43, 12, 1e9),
        "few": worn(44, 4, 1e4),
    }  # fmt: skip
    found = {name: everything(fit(table)) for name, table in tables.items()}
    return found | {"into": everything(fit(tables["lives"], "endurance", _BASE))}


def coarse(found: DeviceFit) -> dict[str, Any]:
    """Return what a fit of VTEAM says, to two digits, without errors on pulses left out.

    Rounding moves the end of the search by more than 1e-4, and the errors by several percent.
    """
    everywhere = everything(found)
    cell = [str(value).split(" V") for value in found.chip("made up")["device"]["programming"]["cell"].values()]
    return {
        "cell": [text if text[:1].isalpha() else f"{float(text):.2g}" for text, *_ in cell],
        "kind": everywhere["kind"],
        "rows": [[*row[:3], "" if "error" in row[0] else f"{row[3]:.2g}"] for row in everywhere["rows"]],
        "figures": {name: list(columns) for name, columns in everywhere["figures"].items()},
        "dropped": everywhere["dropped"],
    }  # fmt: skip


@FEW
def record_pulses() -> dict[str, Any]:
    tables: dict[str, Any] = {"neurosim": trains(51), "one train": trains(52, 1, 17, volts=False)}
    found = {name: everything(fit(table)) for name, table in tables.items()}
    voltages = {
        "vteam": ((1.0,), 2, 9), "two voltages": ((0.8, 1.1), 5, 8),
        "three voltages": ((0.7, 0.85, 1.0), 2, 8, "exponential"),
    }  # fmt: skip
    for seed, (name, settings) in enumerate(voltages.items(), 53):
        found[name] = coarse(fit(vteam(seed, *settings), model="vteam"))
    inner = _BASE | {"device": {"g_lrs_S": 5e-5, "g_hrs_S": 9e-6, "programming": {"kind": "relative", "sigma": 0.1}}}
    return found | {"into": everything(fit(tables["neurosim"], "pulses", inner))}


def record_vteam() -> dict[str, Any]:
    """Parts of a fit of VTEAM at given ends and windows: the motion, trains, laws of speed, errors and settings."""
    table = vteam(57, (0.8, 1.1), 3, 9)
    starts = np.flatnonzero(table["pulse"] == 0)[:7]
    G = np.stack([table["G"][k : k + 9] for k in starts])
    G[2, 7:] = np.nan
    volts: Any = table["voltage"][starts]
    found: dict[str, Any] = {"window": [[*_vteam._motion(p)[1][[1, 700, -1]].tolist()] for p in (0.5, 1.5, 10.0)]}
    device, P = np.array([0, 0, 0, 0, 1, 1, 2]), np.tile(np.arange(9.0), (7, 1))
    trains_of = _vteam.Trains(device, volts > 0, abs(volts), P, G)
    found["ends"] = list(trains_of.ends_S)
    for curve in ("linear", "exponential"):
        ends = np.array([0.3, 0.2, 0.4])
        speed, model = _vteam._model(trains_of, curve, ends, *trains_of.ends_S)
        found[curve] = [speed, model, *_vteam._conductance(np.array([0.0, 0.3, 1.0]), curve, 7e-5, 2e-6)]
        found[curve] += [_vteam._boundary(np.array([1e-6, 2e-6, 9e-6, 8e-5]), curve, 7e-5, 2e-6)]
        fitted = _vteam.Fitted(curve, ends, speed, model, 0.0)
        at, up, down = _vteam.estimates(trains_of, fitted)
        found[f"{curve}, laws"] = [at, list(up), list(down), up.at(1.3), _vteam.cell_settings(trains_of, fitted, 2e-7)]
        found[f"{curve}, near"] = _vteam._near(fitted, trains_of, trains_of.of(np.arange(3)))
    found["held"] = [_vteam.held_fixed(trains_of._replace(volts=np.array(v)[[0, 0, 1, 1, 2, 2, 0]]))
                     for v in ([1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 2.0, 3.0])]  # fmt: skip
    heights: Any = np.array([[1.0, 3.0, 5.0, 7.0], [2.0] * 4])
    line = _vteam._line(P[:2, :4], 0.0 * heights + 1.0, heights)
    return short(found | {"line": list(line)})


@FEW
def record_iv() -> dict[str, Any]:
    tables = {
        "loops": (curves(61), None), "compliance": (curves(62, 2, 2e-4, sweeps=2), 0.3),
        "one state": (curves(63, 3, switches=False), None), "one device": (curves(64, 1), 0.1),
    }  # fmt: skip
    return {
        name: everything(fit(table, None, _BASE if name in ("one state", "one device") else None, volts))
        for name, (table, volts) in tables.items()
    }


@FEW
def record_noise() -> dict[str, Any]:
    tables = {
        "traps": traces(71), "no trap": traces(72, 4, 64, 0.0),
        "two states": traces(73, 6, 96, 0.7, ("LRS", "HRS"), 0.25),
        "rare low state": traces(74, 5, 200, 1.0, low=0.1, white=0.003),
    }  # fmt: skip
    return {
        name: everything(fit(table, "noise", None if name == "two states" else _BASE)) for name, table in tables.items()
    }
