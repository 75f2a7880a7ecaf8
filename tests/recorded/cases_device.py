"""Recorded results of cells: levels, laws of programming, faults, ageing, reads, and devices of all of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from imc_sim.config import build
from imc_sim.device import (
    ArrayRefresh,
    CellRefresh,
    Correlated,
    CycleToCycle,
    Device,
    Drift,
    Endurance,
    Faults,
    Flicker,
    LogRelaxation,
    MeasuredRelaxation,
    MeasuredVariation,
    PolynomialVariation,
    Read,
    ReadDisturb,
    RelativeVariation,
    Retention,
    StatePiece,
    StateRelaxation,
    Telegraph,
    WriteVerify,
    read_currents,
    sample_cells,
)
from tests.recorded.devices import DEVICES
from tests.recorded.short import short

Z = torch.tensor([-5.5, -2.0, -0.7, 0.0, 0.3, 1.1, 2.5, 5.8], dtype=torch.float64)
#: conductances in S over a wide range, with 0 and one below it
G = torch.tensor([-2e-7, 0.0, 3e-9, 8e-7, 5e-6, 2.2e-5, 6e-5, 1.7e-4], dtype=torch.float64)
LEVELS = {
    "two": {"g_lrs_S": 2e-4, "g_hrs_S": 1e-5},
    "no floor": {"g_lrs_S": 3e-5, "g_hrs_S": 0.0, "levels": 5},
    "resistance": {"g_lrs_S": 2e-4, "g_hrs_S": 1e-5, "levels": 6, "spacing": "resistance"},
    "table": {"table_S": [1e-6, 3e-6, 4e-6, 9e-6, 2e-5]},
    "even table": {"table_S": [1e-6, 2e-6, 3e-6]},
    "continuous": {"g_lrs_S": 2e-4, "g_hrs_S": 1e-5, "levels": "continuous"},
}
PIECES = (
    StatePiece(coefficients=(0.02, 0.3), below=0.05),
    StatePiece(law="logarithm", coefficients=(0.01, -0.02, 0.003), low=0.015, high=0.06, below=0.4),
    StatePiece(law="power", coefficients=(0.03, -0.5)),
)


def record_levels() -> dict[str, Any]:
    found = {}
    for name, settings in LEVELS.items():
        device = build(Device, settings, where=name)
        steps = [1, 2, 3, 4, 7, 4096, 4097]
        targets = torch.tensor([0.0, 0.1, 0.125, 0.3, 0.375, 0.5, 0.61, 0.875, 1.0], dtype=torch.float64)
        found[name] = {
            "window, floor": [device.window_S, device.floor],
            "linear": device.linear,
            "positions": {n: device.positions(n) for n in steps if n < 100},
            "all": device.targets_S(range(min(device.levels, 6))),
            "rows": [device.highest_row(n) for n in steps],
            "places": {n: device.places(torch.tensor([[0, 1], [n - 1, n]]), n) for n in steps},
            "codes": device.codes(targets).tolist(),
            "settings": device.without_effects().model_dump(exclude_defaults=True),
        }
    return short(found)


_LAWS: tuple[Any, ...] = ("gaussian", "log_normal", None)
_SIGMAS: tuple[Any, ...] = (("ln_g", "median"), ("cv", "mean"), ("cv", "median"), ("ln_g", "mean"))
_WORN: tuple[Any, ...] = ((1e3, None, "hrs"), (1e6, 2e6, "lrs"), (1e6, 2e6, "hrs"), (50.0, None, "hrs"))


def _laws() -> dict[str, Any]:
    laws: dict[str, Any] = {
        f"{law}, {law_hrs}, {of}, {target}": RelativeVariation(
            sigma=0.35, sigma_hrs=0.9, law=law, law_hrs=law_hrs, sigma_of=of, target_is=target
        )
        for law, law_hrs in itertools.product(_LAWS[:2], _LAWS)
        for of, target in _SIGMAS
    }
    laws["one sigma"] = RelativeVariation(sigma=0.35)
    laws["HRS alone"] = RelativeVariation(sigma_hrs=0.2, law_hrs="log_normal")
    laws["none"] = RelativeVariation(law_hrs="log_normal")
    laws["polynomial"] = PolynomialVariation(coefficients_S=(-1e-6, 2e-5, -1.1e-5), g_max_S=1.5e-4, scale=1.3)
    laws["polynomial at 0"] = PolynomialVariation(coefficients_S=(1e-6,), g_max_S=1.5e-4, scale=0.0)
    quantiles = ((1e-6, 4e-6, 9e-6, 9e-6), (2e-5, 4e-5, 7e-5, 8e-5), (1e-4, 1.8e-4, 1.9e-4, 3e-4))
    targets = (5e-6, 5e-5, 1.8e-4)
    laws["measured"] = MeasuredVariation(
        targets_S=targets, probabilities=(0.01, 0.3, 0.6, 0.999), quantiles_S=quantiles, scale=0.8
    )
    laws["measured once"] = MeasuredVariation(
        targets_S=targets[1:2], probabilities=(0.1, 0.2, 0.7, 0.8), quantiles_S=quantiles[1:2]
    )
    laws["measured, exact"] = MeasuredVariation(
        targets_S=targets[:1], probabilities=(0.1, 0.2), quantiles_S=((5e-6, 5e-6),)
    )
    return laws


def record_programming_laws() -> dict[str, Any]:
    found: dict[str, Any] = {}
    target = torch.tensor([0.0, 0.2, 0.4999, 0.5, 0.8, 1.0], dtype=torch.float64)[:, None]
    for name, law in _laws().items():
        g = law.unclipped(target, Z, 0.05, 1.9e-4)
        found[name] = {
            "HRS": g[0], "between": g[1:5], "LRS": g[5], "clipped": law.apply(target, Z, 0.05, 1.9e-4),
            "ideal": law.is_ideal, "idle": sorted(law.idle()),
        }  # fmt: skip
    return short(found)


def record_write_verify() -> dict[str, Any]:
    found: dict[str, Any] = {}
    target = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    laws = {name: law for name, law in _laws().items() if not law.is_ideal}
    names = ("gaussian, log_normal, cv, mean", "measured")
    for name, (n, tolerance, absolute) in itertools.product(
        names, ((1, 0.1, 0.0), (2, 0.1, 0.0), (7, 0.0, 2e-6), (50, 0.04, 1e-7), (3, 1e-9, 0.0), (4, 0.0, 0.0))
    ):
        verify = WriteVerify(tolerance=tolerance, tolerance_S=absolute, max_pulses=n)

        def law(t: torch.Tensor, z: torch.Tensor, own: Any = laws[name]) -> torch.Tensor:
            return own.apply(t, z, 0.05, 1.9e-4)

        statistics = verify.statistics(law, target, 0.05, 1.9e-4)
        uniform = torch.tensor([[1e-6, 0.2, 0.5], [0.6, 0.9, 0.999]])
        within = torch.tensor([[True, False, True], [True, True, True]])
        found[f"{name}, {n} pulses, {tolerance:g}, {absolute:g} S"] = {
            "ideal": verify.is_ideal,
            "width": verify.width(target, 0.05, 1.9e-4).tolist(),
            "statistics": [part.tolist() for part in statistics],
            "normals": verify.normals(law, target, 0.05, 1.9e-4)[:, ::97],
            "counts": verify.counts(statistics.accepted, torch.arange(3), uniform, within).tolist(),
        }
    return short(found)


FAULTS = {
    "none": {},
    "stuck": {"stuck_lrs": 0.1, "stuck_hrs": 0.2},
    "dead": {"cell_yield": 0.8, "dead_S": 2e-6, "stuck_lrs": 0.05},
    "failure": {"failure": 0.15},
    "undefined": {"failure": 0.15, "failure_state": "undefined", "stuck_hrs": 0.3},
    "all": {"failure": 0.1, "failure_state": "undefined", "stuck_hrs": 0.1, "stuck_lrs": 0.2, "cell_yield": 0.7},
}


def record_faults() -> dict[str, Any]:
    found: dict[str, Any] = {}
    levels = (torch.arange(3 * 37, dtype=torch.int32) % 4).reshape(3, 37)
    for name, settings in FAULTS.items():
        faults = Faults(**settings)
        held = [faults.levels(levels, 3, 5, "a", chip, epoch) for chip, epoch in ((0, 0), (0, 1), (2, 1))]
        found[name] = {
            "flags": [faults.is_ideal, faults.undefined, faults.extra, *sorted(faults.idle())],
            "held": held,
            "counts": [torch.bincount(h.flatten(), minlength=6).tolist() for h in held],
            "rows": faults.rows(0.05, 1.9e-4),
        }
    return short(found)


def record_cycles() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for share, correlation in ((1.0, 0.0), (1.0, 0.6), (0.3, 0.0), (0.4, 0.9), (0.0, 0.5)):
        cycle = CycleToCycle(share=share, correlation=correlation)
        epochs = (0, 1, 5, (2 << 32) + 1, 3 << 32)
        found[f"share {share}, correlation {correlation}"] = {
            "flags": [cycle.is_ideal, *sorted(cycle.idle())],
            "columns": {e: cycle.columns(53, 3, "b", 1, e) for e in epochs},
        }
    levels = torch.tensor([[0, 1, 2, 3, 4, 5], [3, 3, 3, 0, 0, 0]], dtype=torch.int32).repeat(7, 3)
    for cycles, life, at in _WORN:
        wear = Endurance(
            cycles=cycles, onset_cycles=100.0, lrs_exponent=-0.06, hrs_exponent=0.11, life_cycles=life,
            life_shape=1.7, failed_at=at,
        )  # fmt: skip
        found[f"{cycles:g} cycles, life {life}, failed at {at}"] = {
            "flags": [wear.closes, wear.failed, wear.is_ideal, *sorted(wear.idle())],
            "factor": wear.factor(torch.tensor([-0.1, 0.0, 0.3, 0.5, 1.0, 1.2], dtype=torch.float64)).tolist(),
            "levels": wear.levels(levels, 3, 4, "c", 1),
        }
    return short(found)


def record_disturb() -> dict[str, Any]:
    found: dict[str, Any] = {}
    refreshes = {
        "none": {}, "array": {"refresh": ArrayRefresh(f=1.5)}, "cells": {"refresh": CellRefresh(tolerance=0.03)},
        "at any loss": {"refresh": CellRefresh(tolerance=0.0)},
    }  # fmt: skip
    for name, settings in refreshes.items():
        for reads, cycles, volts, kelvin in ((0, 7, 0.2, 300.0), (900, 0, -0.3, 330.0), (40_000, 20_000, 0.25, 290.0)):
            disturb = ReadDisturb(reads=reads, t_read_s=2e-8, cycles=cycles, c1=0.02, k=0.004, m=0.35, **settings)
            law = disturb.law(np.array([0, 1, 17, 90_000]), volts, kelvin)
            wear = disturb.wear(volts, kelvin)
            found[f"{name}, {reads} reads"] = {
                "law": [law.t_star_s, law.p],
                "factor": [law.factor(t).tolist() for t in (0.0, 1e-8, 3e-7, 1e-3)],
                "wear": [*wear, wear.rewritten(13)],
                "later": list(disturb.wear(volts, kelvin, 5 + cycles)),
            }
    return short(found)


def record_ageing_laws() -> dict[str, Any]:
    target = torch.tensor([0.0, 1e-6, 1e-6, 4e-6, 2e-5, 5e-5, 1e-4, 2e-4], dtype=torch.float64)
    states = (1e-6, 2e-5, 1e-4)
    polynomials = ((1e-6, 2e-6), (2e-6, 3e-6, -1e-6), (-2e-6, 9e-6))
    laws: dict[str, Any] = {
        "logarithmic": LogRelaxation(sigma_S=1e-6, growth_S=3e-7, shift_S=-2e-7, t0_s=3.0),
        "shift alone": LogRelaxation(shift_S=-2e-7, t0_s=3.0),
        "measured": MeasuredRelaxation(times_s=(1.0, 50.0, 1e4), coefficients_S=polynomials, g_max_S=1.2e-4, scale=0.7),
        "by state": StateRelaxation(
            states_S=states, sigma_S=(1e-7, 1e-6, 2e-6), growth_S=(2e-8, 0.0, 3e-7), shift_S=(1e-8, -2e-7, -1e-6),
            tail=(0.5, 0.2, 0.0), t0_s=2.0,
        ),
        "of one state": StateRelaxation(states_S=states[:1], sigma_S=(1e-7,), tail=0.3),
        "growth": StateRelaxation(states_S=states, growth_S=1e-7, t0_s=2.0),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, law in laws.items():
        moved = {t: law.apply(target, t, Z, target) - target for t in (0.5, 2.5, 70.0, 1e5) if law.acts(t)}
        flags = [law.has_tails, *[law.acts(t) for t in (0.0, 0.5, 2.0, 2.5)], *sorted(law.idle())]
        found[name] = {"moved": moved, "flags": flags, "widths": law.widths(Z, target)}
    for name, drift in {
        "drift": Drift(nu=0.04, nu_std=0.03, t0_s=20.0),
        "drift by state": Drift(nu=PIECES, nu_std=PIECES[:2], g_max_S=1e-4),
        "no drift": Drift(t0_s=2.0),
    }.items():
        aged = {
            t: drift.apply(
                G,
                t,
                Z,
            )
            for t in (0.5, 20.0, 1e3)
        }
        flags = [drift.acts(t) for t in (0.5, 1.0, 20.0, 21.0)]
        found[name] = {"exponents": drift.exponents(G, Z), "aged": aged, "flags": [*flags, *sorted(drift.idle())]}
    ends = {"end_S": (None, 6e-6, 2e-5), "states_S": states}
    for name, settings in {"one end": {"end_S": 5e-6}, "HRS": {}, "ends": ends}.items():
        loss = Retention(rate_Hz=1e-3, activation_eV=0.6, reference_K=320.0, beta=0.6, **settings)
        found[f"retention, {name}"] = {
            f"{t:g} s, {kelvin:g} K": [
                loss.apply(G, t, kelvin, 2e-6, target), loss.apply(G, t, kelvin, 2e-6), loss.rate(kelvin)
            ]
            for t, kelvin in ((0.0, 300.0), (40.0, 300.0), (900.0, 350.0))
        }  # fmt: skip
    return short(found)


def record_reads() -> dict[str, Any]:
    found: dict[str, Any] = {}
    reads = {
        "none": Read(),
        "white": Read(sigma=0.03, v_read_V=0.15),
        "thermal": Read(bandwidth_Hz=3e7, v_read_V=0.15),
        "flicker": Read(flicker=Flicker(q=0.02, t_read_s=1e-4), nonlinearity_per_V=3.0),
        "flicker by state": Read(flicker=Flicker(q=PIECES, g_max_S=1e-4, t_read_s=1e-4), sigma=0.01),
        "all": Read(
            sigma=0.02, bandwidth_Hz=1e8, flicker=Flicker(q=0.03), nonlinearity_per_V=11.0, v_read_V=0.4,
            telegraph=Telegraph(probability=0.4, amplitude=0.2, spread=0.9, occupancy=0.3),
        ),
    }  # fmt: skip
    trap = torch.tensor([0.0, 0.1, 0.2, 0.0, 0.9, 0.4, 0.0, 1.0], dtype=torch.float64)
    for name, read in reads.items():
        x = torch.tensor([-1.5, -1.0, -0.4, 0.0, 0.1, 0.7, 1.0], dtype=torch.float64)
        variances = [read.variance(G, trap, t, 310.0, p) for t, p in ((0.0, None), (5e-5, G), (30.0, G * 1.5))]
        thermal = read.thermal_variance(G, 280.0)
        found[name] = {
            "noisy": [read.noisy, *[read.noisy_at(t) for t in (0.0, 1e-4, 1.1e-4)]],
            "variance": [[torch.sqrt(v[2:5]), torch.sqrt(v)] for v in variances],
            "driven": [None if v is None else v.sqrt() for v in [read.driven_variance(G, 9.0, G * 0.9)]],
            "thermal": None if thermal is None else thermal.sqrt(),
            "drive": read.drive(x),
            "current": read.current(G[:, None], x[None] * 0.3),
            "traps": read.telegraph.traps((5, 11), 3, "d", 2),
        }
    return short(found)


def record_correlated() -> dict[str, Any]:
    found: dict[str, Any] = {}
    rows, cols = torch.linspace(-0.5, 0.5, 6).double()[:, None], torch.linspace(-0.3, 0.5, 5).double()[None]
    tile = torch.tensor([0, 0, 1, 2, 2])
    for chip, gradient in ((0.3, 0.0), (0.0, 0.5), (0.2, 1.9), (2.0, 0.0)):
        law = Correlated(chip=chip, gradient=gradient)
        factors = [law.factor(3, layer, n, rows, cols, t) for layer, n, t in (("a", 0, 0), ("b", 1, tile))]
        found[f"chip {chip}, gradient {gradient}"] = {"factor": factors, "ideal": law.is_ideal}
    return short(found)


def _device(name: str) -> dict[str, Any]:
    """Return the cells of two chips and two epochs after each stage."""
    device, found = DEVICES[name], {}
    steps = 3 if device.levels == 2 or device.levels > 100 else device.levels - 1
    levels = (torch.arange(4 * 45, dtype=torch.int32) * 7 % (steps + 1)).reshape(4, 45)
    rows, cols = torch.linspace(-0.5, 0.5, 4).double()[:, None], torch.linspace(-0.5, 0.5, 45).double()[None]
    tile = torch.arange(45) // 20
    table = device.table(steps)
    found["table"] = [*table[:, ::1024].clone(), table[:, -3:]]
    found["flags"] = {k: getattr(device, k) for k in ("cells_are_ideal", "one_draw", "by_state", "ages")} | {
        "idle": sorted(device.idle()),
        "wear": list(device.wear) if not device.disturb.is_ideal else None,
    }
    for chip, epoch in ((0, 0), (2, 1)):
        address = (steps, 7, "layer", chip, epoch)
        held = device.held(levels, *address)
        g = device.sample(table, levels, *address)
        state = device.states(g * steps, held, steps)
        aged = device.age(g * steps, *address, rows=rows, cols=cols, tile=tile, state=state)
        free = device.age(g * steps, *address, rows=rows, cols=cols, tile=tile)
        start = device.at_start.age(g * steps, *address, rows=rows, cols=cols, tile=tile, state=state)
        G_S = (aged / steps + device.floor) * device.window_S
        trap = device.traps((4, 45), 7, "layer", chip)
        found[f"chip {chip}, epoch {epoch}"] = {
            "held": held, "draw": device.draw(levels, *address), "g": [g[held == k] for k in range(steps + 3)],
            "aged": [aged[held == k] for k in (0, steps)], "aged, without states": [aged, free],
            "clipped": device.clipped(g * steps, steps), "start": start,
            "factor": device.compensation(start, aged, steps), "pulses": device.pulses(levels, *address),
            "deviation": device.read_variance(G_S, trap, G_S * 1.1).sqrt(),
            "program": device.program(levels.double() / steps, 7, "layer", chip, epoch),
        }  # fmt: skip
    if not device.verify.is_ideal:
        found["verification"] = [part.tolist() for part in device.verification(steps)]
    cells = [sample_cells(device, level, 60, seed=2, chip=1) for level in (0, min(device.levels, 4096) - 1)]
    found["sampled"] = cells
    found["currents"] = read_currents(device, cells[1][:5], np.array([-0.3, 0.0, 0.07, 0.5]))
    return found


def record_devices() -> dict[str, Any]:
    return {name: short(_device(name)) for name in DEVICES}
