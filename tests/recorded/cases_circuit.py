"""Recorded circuits of cells and wires: effective conductances, switched rows, and currents of some inputs."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from imc_sim.array import (
    Wires,
    approximate_gating,
    column_conductance,
    effective_conductance,
    gated_conductance,
    gating_error,
    solve_currents,
    solve_nonlinear,
)
from imc_sim.array.circuit.driven_rows import random_gates
from imc_sim.array.encoding.kinds import encodings
from tests.recorded.cases_array import numbers
from tests.recorded.short import short

RESISTANCES: dict[str, dict[str, Any]] = {
    "all": {"r_row_ohm": 3.0, "r_col_ohm": 5.0, "r_source_ohm": 40.0, "r_sense_ohm": 20.0},
    "both ends": {"r_row_ohm": 2.0, "r_col_ohm": 4.0, "r_source_ohm": 30.0, "drive": "double"},
    "rows": {"r_row_ohm": 6.0},
    "columns": {"r_col_ohm": 7.0, "r_source_ohm": 10.0},
    "ends": {"r_source_ohm": 50.0, "r_sense_ohm": 70.0},
    "sense": {"r_sense_ohm": 90.0, "r_row_ohm": 1.0},
    "source": {"r_source_ohm": 60.0, "drive": "double"},
    "none": {},
}
SHAPES = ((2, 13, 7), (1, 5, 1), (1, 1, 6), (3, 37, 21), (1, 70, 66))


def cells(*shape: int) -> torch.Tensor:
    """Return conductances over two decades, some of them 0."""
    z = numbers(sum(shape), *shape).double()
    return torch.where(z < -1.8, 0.0, 5e-5 * torch.exp(1.2 * z))


def wires(name: str, **more: Any) -> Wires:
    return Wires.model_validate({"kind": "nodal"} | RESISTANCES[name] | more)


def record_effective() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, shape in itertools.product(RESISTANCES, SHAPES):
        G = cells(*shape)
        M = effective_conductance(G, **RESISTANCES[name])
        found[f"{name}, {shape}"] = [M, M.sum(-1), M[..., -1, :]]
    found["float32"] = effective_conductance(cells(2, 13, 7), 3.0, 5.0, dtype=torch.float32)
    found["bit lines"] = column_conductance(cells(2, 13, 7), 8.0, r_sense_ohm=30.0)
    return short(found)


def record_switched() -> dict[str, Any]:
    found: dict[str, Any] = {}
    G = cells(2, 13, 8)
    gates = (numbers(3, 6, 13) > 0.2).double()
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4)[:, None]
    combine = torch.eye(4, dtype=torch.float64).repeat_interleave(2, 0) * signs
    for name in ("all", "both ends", "rows", "columns", "ends"):
        exact = gated_conductance(G, gates, wires(name))
        found[f"{name}, exact"] = [exact, exact[:, 2]]
        for method, share in itertools.product(("all_on", "mean", "tangent"), (0.3, 0.5)):
            near = approximate_gating(G, wires(name), method, share)
            errors = [gating_error(near, G, gates, wires(name), mix) for mix in (None, combine)]
            found[f"{name}, {method}, {share}"] = [near.matrix, near.offset, near.currents(gates, 0.2), *errors]
    kinds = ("bnn_i", "bnn_vi", "tnn_i", "tnn_iii")
    found["random gates"] = {kind: random_gates(encodings()[kind](), 9) for kind in kinds}
    return short(found)


def record_currents() -> dict[str, Any]:
    found: dict[str, Any] = {}
    G, V = cells(2, 19, 8), numbers(4, 2, 3, 19).double() * 0.2
    V[:, :, ::4] = 0.0
    on = (numbers(5, 2, 3, 19) > 0.0).double()
    for name, kind in itertools.product(RESISTANCES, ("1t1r", "passive")):
        here = wires(name, cells=kind)
        each = [solve_currents(G, V, here), solve_currents(G, V, here, tol=1e-3, max_iterations=2)]
        if kind == "1t1r":
            each.append(solve_currents(G, V, here, gates=on))
        found[f"{name}, {kind}"] = [[s.currents, s.iterations, s.converged] for s in each]
        bent = solve_nonlinear(G, V, here, torch.tensor([3.0, 0.0])) if name != "none" else None
        found[f"{name}, {kind}, nonlinear"] = None if bent is None else [bent.currents, bent.converged]
    return short(found)
