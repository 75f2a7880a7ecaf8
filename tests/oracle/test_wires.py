"""Circuits of cells and wires compared with the sparse nodal solve and with reference vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from tests.oracle.nodal import exact_conductance, gated_currents, nonlinear_currents

LRS, HRS = 1e-4, 1e-6
ONE_OHM: dict[str, Any] = {"r_row_ohm": 1.0, "r_col_ohm": 1.0}
ALL_FOUR: dict[str, Any] = {"r_row_ohm": 2.0, "r_col_ohm": 0.7, "r_source_ohm": 50.0, "r_sense_ohm": 30.0}
CIRCUITS: dict[str, dict[str, Any]] = {
    "1 ohm": ONE_OHM,
    "unequal": {"r_row_ohm": 0.5, "r_col_ohm": 5.0},
    "tiny": {"r_row_ohm": 1e-6, "r_col_ohm": 1e-5},
    "large": {"r_row_ohm": 300.0, "r_col_ohm": 1e4},
    "source": ONE_OHM | {"r_source_ohm": 250.0},
    "sense": ONE_OHM | {"r_sense_ohm": 90.0},
    "all four": ALL_FOUR,
    "double": ONE_OHM | {"drive": "double"},
    "double, all four": ALL_FOUR | {"drive": "double"},
    "no r_row": {"r_col_ohm": 3.0},
    "no r_row, double, all else": {"r_col_ohm": 3.0, "r_source_ohm": 70.0, "r_sense_ohm": 20.0, "drive": "double"},
    "no r_col": {"r_row_ohm": 3.0},
    "no r_col, all else": {"r_row_ohm": 3.0, "r_source_ohm": 70.0, "r_sense_ohm": 20.0},
    "no wires, sense": {"r_sense_ohm": 200.0},
    "no wires, source": {"r_source_ohm": 200.0},
    "no wires, source and sense, double": {"r_source_ohm": 200.0, "r_sense_ohm": 100.0, "drive": "double"},
}  # fmt: skip
SIZES = [(4, 4), (5, 7), (16, 16), (37, 23), (64, 64), (128, 128)]
NARROW = [(1, 1), (1, 40), (40, 1), (1, 100), (100, 1), (2, 200), (200, 2)]


def cells(rows: int, cols: int, kind: str = "random", seed: int = 0) -> np.ndarray:
    """random: LRS or HRS. spread: any conductance over six decades, and some cells open."""
    draw = np.random.default_rng([rows, cols, seed])
    if kind == "spread":
        return 10.0 ** draw.uniform(-9, -3, (rows, cols)) * (draw.random((rows, cols)) < 0.9)
    share = {"random": 0.5, "all LRS": 1.0, "all HRS": 0.0}[kind]
    return np.where(draw.random((rows, cols)) < share, LRS, HRS)


def gap(found: torch.Tensor, expected: np.ndarray) -> float:
    """Return the largest deviation, relative to the largest entry."""
    assert tuple(found.shape) == expected.shape
    return float(np.abs(found.double().numpy() - expected).max() / np.abs(expected).max())


def wires(**values: Any) -> Wires:
    return Wires(kind="nodal", **values)


# -- the whole matrix ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "all LRS", "all HRS", "spread"])
@pytest.mark.parametrize("size", SIZES)
def test_effective_conductance_of_every_pattern_and_size(size: tuple[int, int], kind: str) -> None:
    G = cells(*size, kind)
    M = effective_conductance(G, **ONE_OHM)
    expected = exact_conductance(G, wires(**ONE_OHM))
    assert gap(M, expected) < 1e-9
    assert gap(M, G) > 1e-6 * min(size)  # the wires do matter here


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("size", [(7, 10), (40, 1), (1, 100), (100, 1), (33, 20)])
def test_effective_conductance_of_every_circuit(size: tuple[int, int], circuit: str) -> None:
    G = cells(*size, "spread", seed=1)
    values = CIRCUITS[circuit]
    M = effective_conductance(G, **values)
    assert gap(M, exact_conductance(G, wires(**values))) < 1e-9
    assert gap(M, G) > 1e-9


@pytest.mark.parametrize("size", NARROW)
def test_single_rows_and_columns_and_aspect_of_100_are_exact(size: tuple[int, int]) -> None:
    G, values = cells(*size), CIRCUITS["all four"]
    assert gap(effective_conductance(G, **values), exact_conductance(G, wires(**values))) < 1e-9


def test_each_entry_is_exact_however_small() -> None:
    """Relative to itself, where the direct solve is accurate enough to tell; single cells among open ones too."""
    for kind, tolerance in (("random", 1e-11), ("spread", 1e-7)):
        G = cells(48, 40, kind)
        expected = exact_conductance(G, wires(**ONE_OHM))
        there = G > 0
        error = np.abs(effective_conductance(G, **ONE_OHM).numpy()[there] / expected[there] - 1)
        assert error.max() < tolerance
    G = np.zeros((9, 9))
    G[3, 5] = LRS
    path = 1 / (1 / LRS + 6 * 1.0 + 6 * 1.0)
    assert effective_conductance(G, **ONE_OHM)[3, 5].item() == pytest.approx(path, rel=1e-14)


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (3, 300)])
@pytest.mark.parametrize("circuit", ["1 ohm", "unequal", "tiny", "large", "double, all four", "no r_col, all else"])
def test_float32_is_within_its_stated_accuracy(size: tuple[int, int], circuit: str) -> None:
    G = cells(*size)
    values = CIRCUITS[circuit]
    coarse = effective_conductance(G, **values, dtype=torch.float32)
    fine = effective_conductance(G.astype(np.float32).astype(np.float64), **values)
    assert coarse.dtype == torch.float32
    assert 1e-9 < float((coarse.double() / fine - 1).abs().max()) < 1e-5
    assert effective_conductance(torch.from_numpy(G).float(), **values).equal(coarse)


@pytest.mark.parametrize("size", [(6, 5), (40, 1), (1, 40), (64, 64)])
def test_columns_equal_the_whole_circuit_without_word_line_resistance(size: tuple[int, int]) -> None:
    G = cells(*size)
    expected = exact_conductance(G, wires(r_col_ohm=2.0, r_sense_ohm=15.0))
    assert gap(column_conductance(G, 2.0, r_sense_ohm=15.0), expected) < 1e-12
    coarse = column_conductance(G, 2.0, r_sense_ohm=15.0, dtype=torch.float32)
    assert coarse.dtype == torch.float32
    assert gap(coarse, expected) < 1e-5


@pytest.mark.parametrize(("size", "r_ohm", "stated"), [(64, 0.5, 0.10), (64, 1.0, 0.19), (128, 1.0, 0.55)])
def test_columns_leave_out_the_word_lines(size: int, r_ohm: float, stated: float) -> None:
    """The stated deviation at 250 uS: rms over rms of the currents of the whole circuit, all rows driven."""
    G = np.where(cells(size, size) == LRS, 2.5e-4, 2.5e-5)
    v = np.sign(np.random.default_rng(3).normal(size=(50, size)))
    exact = v @ effective_conductance(G, r_ohm, r_ohm).numpy()
    ladder = v @ column_conductance(G, r_ohm).numpy()
    error = np.sqrt(np.mean((ladder - exact) ** 2) / np.mean(exact**2))
    assert error == pytest.approx(stated, rel=0.12)


# -- reference vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ir_binary_64_r1", "ir_binary_64_rw0.5_rb5", "ir_rect_48x80_r1"])
def test_circuits_equal_the_reference_vectors(reference: Path, name: str) -> None:
    case = np.load(reference / "wires" / f"{name}.npz")
    G, v = 1 / case["R"], case["V"].T
    values: dict[str, Any] = {"r_row_ohm": float(case["r_word"]), "r_col_ohm": float(case["r_bit"])}
    M = effective_conductance(G, **values)
    assert gap(torch.from_numpy(v) @ M, case["I_out"]) < 1e-9
    coarse = effective_conductance(G, **values, dtype=torch.float32)
    assert gap(torch.from_numpy(v).float() @ coarse, case["I_out"]) < 1e-4
    every = {"gates": np.ones_like(v)}  # a 0 among the signals is a driven row in these circuits
    assert gap(solve_currents(G, v, wires(**values), tol=1e-11, **every).currents, case["I_out"]) < 1e-9
    quick = solve_currents(G.astype(np.float32), v, wires(**values), tol=1e-5, **every).currents
    assert quick.dtype == torch.float32
    assert gap(quick, case["I_out"]) < 1e-4


# -- rows switched by their gates ------------------------------------------------------------------------


@pytest.mark.parametrize("circuit", ["all four", "double", "no r_row", "no r_col"])
def test_gated_rows_are_open(circuit: str) -> None:
    G, circuit_wires = cells(20, 13), wires(**CIRCUITS[circuit])
    gates = np.random.default_rng(2).random((6, 20)) < 0.5
    gates[0], gates[1] = True, False
    M = gated_conductance(np.stack([G, cells(20, 13, "spread")]), gates, circuit_wires)
    assert M.shape == (2, 6, 20, 13)
    for k, on in enumerate(gates):
        assert np.abs(M[0, k].numpy() - exact_conductance(G * on[:, None], circuit_wires)).max() < 1e-9 * LRS
    assert not M[:, 1].any()
    assert M[0, 0].equal(effective_conductance(G, **CIRCUITS[circuit]))


@pytest.mark.parametrize(("lrs", "stated"), [
    (2e-5, {"all_on": 0.043, "mean": 0.022, "tangent": 0.004}),
    (2.5e-4, {"all_on": 0.20, "mean": 0.16, "tangent": 0.025}),
])  # fmt: skip
def test_stated_errors_of_the_gating_approximations(lrs: float, stated: dict[Any, float]) -> None:
    """BNN_I: weights in column pairs, rows on for inputs of +1; differences of pairs."""
    draw = np.random.default_rng(7)
    w = draw.random((128, 64)) < 0.5
    G = np.stack([np.where(w, lrs, lrs / 10), np.where(w, lrs / 10, lrs)], -1).reshape(128, 128)
    gates = draw.random((6, 128)) < 0.5
    pairs = np.kron(np.eye(64), [[1.0], [-1.0]])
    circuit = wires(**ONE_OHM)
    exact = np.stack([gated_currents(G, on * 1.0, on, circuit) for on in gates]) @ pairs
    for method, rms in stated.items():
        found = approximate_gating(G, circuit, method)
        error = gating_error(found, G, gates, circuit, combine=pairs)
        assert error.rms == pytest.approx(rms, rel=0.25)
        off = found.currents(gates).numpy() @ pairs - exact
        assert error.rms == pytest.approx(np.sqrt(np.mean(off**2) / np.mean(exact**2)), rel=1e-6)
        assert error.max == pytest.approx(np.abs(off).max() / np.abs(exact).max(), rel=1e-6)


#: rows on -> stated errors (rms, %) of `tangent` made for half of the rows, and for as many as are on
BY_DENSITY = {
    0.1: (44, 4.6), 0.2: (26, 3.2), 0.3: (18, 6.1), 0.4: (4.8, 2.7), 0.5: (2.1, 2.1), 0.6: (5.5, 2.4), 0.7: (8.6, 1.2),
    0.8: (10, 0.6), 0.9: (11, 0.6),
}  # fmt: skip


def test_stated_errors_by_the_share_of_rows_that_are_on() -> None:
    """BNN_I on 128 x 128 cells of 250 and 25 uS at 1 ohm, 16 random inputs each: the table of docs/wires.md."""
    w = np.random.default_rng(7).random((128, 64)) < 0.5
    G = np.stack([np.where(w, 2.5e-4, 2.5e-5), np.where(w, 2.5e-5, 2.5e-4)], -1).reshape(128, 128)
    circuit, pairs = wires(**ONE_OHM), np.kron(np.eye(64), [[1.0], [-1.0]])
    half = approximate_gating(G, circuit)
    for share, stated in BY_DENSITY.items():
        gates = np.random.default_rng(round(100 * share)).random((16, 128)) < share
        exact = (gates[:, None] @ gated_conductance(G, gates, circuit).numpy())[:, 0] @ pairs
        for found, rms in zip((half, approximate_gating(G, circuit, density=share)), stated, strict=True):
            off = found.currents(gates).numpy() @ pairs - exact
            assert 100 * np.sqrt(np.mean(off**2) / np.mean(exact**2)) == pytest.approx(rms, rel=0.05, abs=0.06)


# -- currents for given inputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("size", [(30, 24), (1, 40), (40, 1)])
def test_currents_without_the_matrix_are_the_same(size: tuple[int, int], circuit: str) -> None:
    """Rows at 0 V are open, unless the array is passive or their gates say otherwise."""
    G, values = cells(*size), CIRCUITS[circuit]
    draw = np.random.default_rng(5)
    v = draw.normal(size=(4, size[0])) * (draw.random((4, size[0])) < 0.6)
    v[0] = 0.3
    open_rows = np.stack([gated_currents(G, x, x != 0, wires(**values)) for x in v])
    driven = v @ exact_conductance(G, wires(**values))
    for found, expected in (
        (solve_currents(G, v, wires(**values)), open_rows),
        (solve_currents(G, v, wires(**values, cells="passive")), driven),
        (solve_currents(G, v, wires(**values), gates=np.ones_like(v)), driven),
    ):
        assert bool(found.converged.all())
        assert gap(found.currents, expected) < 1e-8
        assert float(found.residual.max()) <= 1e-8


def test_currents_report_how_they_were_computed() -> None:
    G = np.stack([cells(40, 50), cells(40, 50, "all LRS"), np.zeros((40, 50))]) * 10
    v = np.random.default_rng(1).random((3, 2, 40)) + 0.1
    circuit = wires(**ONE_OHM)
    expected = np.stack([x @ exact_conductance(g, circuit) for g, x in zip(G, v, strict=True)])
    errors, iterations = [], []
    for tol in (1e-3, 1e-6, 1e-9):
        found = solve_currents(G, v, circuit, tol=tol)
        assert found.iterations.shape == found.residual.shape == found.converged.shape == (3, 2)
        errors.append(np.abs(found.currents.numpy() - expected).max())
        iterations.append(int(found.iterations.max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert iterations == sorted(set(iterations))
    assert found.iterations[2].tolist() == [0, 0]  # no cells, nothing to do
    short = solve_currents(G, v, circuit, tol=1e-9, max_iterations=2)
    assert short.iterations.tolist() == [[2, 2], [2, 2], [0, 0]]
    assert short.converged.tolist() == [[False, False], [False, False], [True, True]]
    assert float(short.residual[:2].min()) > 1e-9


# -- cells that are not linear ---------------------------------------------------------------------------


@pytest.mark.parametrize("circuit", ["1 ohm", "all four", "large", "double", "no r_row", "no r_col", "no wires, sense"])
@pytest.mark.parametrize("steepness", [0.5, 3.0, 12.0])
def test_newton_solves_the_circuit_of_nonlinear_cells(circuit: str, steepness: float) -> None:
    G, values = cells(14, 11) * 10, CIRCUITS[circuit]
    v = np.random.default_rng(8).uniform(-0.5, 0.5, (3, 14))
    expected = np.stack([nonlinear_currents(G, x, wires(**values), steepness) for x in v])
    found = solve_nonlinear(G, v, wires(**values), steepness)
    assert gap(found.currents, expected) < 1e-7
    assert bool(found.converged.all())
    assert float(found.residual.max()) <= 1e-9
    assert 1 <= int(found.iterations.min()) <= int(found.iterations.max()) <= 20
    close = solve_nonlinear(G, v, wires(**values), steepness, tol=1e-12)
    assert gap(close.currents, expected) < 1e-10
    assert gap(close.currents, v @ exact_conductance(G, wires(**values))) > 1e-5


def test_newton_takes_arrays_vectors_gates_and_a_number_per_array() -> None:
    G = np.stack([cells(12, 9) * 10, cells(12, 9, seed=1)])
    draw = np.random.default_rng(3)
    v = draw.uniform(0.1, 0.5, (2, 4, 12)) * (draw.random((2, 4, 12)) < 0.5)
    steepness = np.array([6.0, 2.0])
    circuit = wires(**CIRCUITS["all four"])
    found = solve_nonlinear(G, v, circuit, steepness)
    for k in range(2):
        for i, x in enumerate(v[k]):
            expected = nonlinear_currents(G[k] * (x != 0)[:, None], x, circuit, steepness[k])
            assert gap(found.currents[k, i], expected) < 1e-8
    passive = solve_nonlinear(G, v, circuit.model_copy(update={"cells": "passive"}), steepness)
    driven = nonlinear_currents(G[0], v[0, 0], circuit, 6.0)
    assert gap(passive.currents[0, 0], driven) < 1e-8
    assert solve_nonlinear(G, v, circuit, steepness, gates=np.ones_like(v)).currents.equal(passive.currents)


def test_newton_without_steepness_or_wires_equals_the_linear_solution() -> None:
    G, v = cells(12, 9), np.random.default_rng(3).uniform(-0.5, 0.5, (4, 12))
    linear = solve_nonlinear(G, v, wires(**ONE_OHM), 0.0)
    assert linear.iterations.tolist() == [0] * 4
    assert gap(linear.currents, v @ exact_conductance(G, wires(**ONE_OHM))) < 1e-9
    free = solve_nonlinear(G, v, Wires(), 4.0)
    assert gap(free.currents, np.sinh(4 * v) / 4 @ G) < 1e-12
    close = solve_nonlinear(G, v, wires(r_row_ohm=1e-6, r_col_ohm=1e-6), 4.0)
    assert gap(close.currents, np.sinh(4 * v) / 4 @ G) < 1e-7


def test_newton_reports_where_it_has_not_converged() -> None:
    G, v = cells(30, 30) * 10, np.stack([np.full(30, 0.4), np.full(30, 1e-6)])
    found = solve_nonlinear(G, v, wires(**CIRCUITS["all four"]), 15.0, max_iterations=2)
    assert found.converged.tolist() == [False, True]  # the second is too small to be nonlinear
    assert found.residual[0] > 1e-9 >= found.residual[1]
    assert found.iterations.tolist() == [2, 0]
    hard = solve_nonlinear(G, np.full((1, 30), 2.0), wires(**CIRCUITS["large"]), 15.0)
    assert bool(hard.converged.all())  # a V = 30: full steps alone would overshoot
    coarse = solve_nonlinear(torch.from_numpy(G).float(), v, wires(**ONE_OHM), 5.0, tol=1e-5)
    fine = solve_nonlinear(G, v, wires(**ONE_OHM), 5.0)
    assert coarse.currents.dtype == torch.float32
    assert gap(coarse.currents, fine.currents.numpy()) < 1e-4


# -- on a GPU --------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("circuit", CIRCUITS)
def test_every_solver_runs_on_a_gpu(circuit: str) -> None:
    G = np.stack([cells(64, 48, seed=s) for s in range(3)])
    values, device = CIRCUITS[circuit], torch.device("cuda")
    there = torch.from_numpy(G).to(device)
    M = effective_conductance(there, **values)
    assert M.device.type == "cuda"
    expected = np.stack([exact_conductance(g, wires(**values)) for g in G])
    assert gap(M.cpu(), expected) < 1e-9
    coarse = effective_conductance(there, **values, dtype=torch.float32)
    assert gap(coarse.cpu(), expected) < 1e-5
    v = np.random.default_rng(1).random((3, 5, 64)) - 0.5
    found = solve_currents(there, v, wires(**values))
    assert gap(found.currents.cpu(), v @ expected) < 1e-8
    bent = solve_nonlinear(there, v, wires(**values), 4.0).currents.cpu()
    assert gap(bent, solve_nonlinear(G, v, wires(**values), 4.0).currents.numpy()) < 1e-7
    gates = np.random.default_rng(2).random((4, 64)) < 0.5
    assert (
        gap(
            approximate_gating(there, wires(**values)).currents(gates).cpu(),
            approximate_gating(G, wires(**values)).currents(gates).numpy(),
        )
        < 1e-7
    )
