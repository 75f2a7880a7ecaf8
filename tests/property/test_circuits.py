"""Properties of every circuit of cells and wires, for any values; no oracle is needed."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from imc_sim import InputError
from imc_sim.array import (
    GatedApproximation,
    Solution,
    Wires,
    approximate_gating,
    column_conductance,
    effective_conductance,
    gated_conductance,
    gating_error,
    solve_currents,
    solve_nonlinear,
)

OHM = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
RESISTANCES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    dict.fromkeys(("r_row_ohm", "r_col_ohm", "r_source_ohm", "r_sense_ohm"), OHM)
)
DRIVES = st.sampled_from(["single", "double"])
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))
SOME: dict[str, Any] = {"r_row_ohm": 2.0, "r_col_ohm": 3.0, "r_source_ohm": 40.0, "r_sense_ohm": 20.0}
METHODS: tuple[Any, ...] = ("all_on", "mean", "tangent")
MANY = settings(max_examples=60, deadline=None)


def cells(*shape: int, seed: int = 0, open_share: float = 0.1) -> Tensor:
    """Return conductances over four decades, with some open cells."""
    draw = torch.Generator().manual_seed(seed)
    g = 10.0 ** (-3.0 - 4.0 * torch.rand(*shape, generator=draw, dtype=torch.float64))
    return torch.where(torch.rand(*shape, generator=draw) < open_share, 0.0, g)


def wires(**values: Any) -> Wires:
    return Wires(kind="nodal", **values)


def close(found: Tensor, expected: Tensor, rtol: float = 1e-11) -> bool:
    return torch.allclose(found, expected, rtol=rtol, atol=rtol * float(expected.abs().max()))


# -- physics ---------------------------------------------------------------------------------------------


@given(SIZES, RESISTANCES, DRIVES, st.integers(0, 99))
@MANY
def test_a_passive_circuit_carries_no_more_than_its_cells(
    size: tuple[int, int], resistances: dict[str, Any], drive: str, seed: int
) -> None:
    """No entry is below 0; no row and no column collects more than without wires; part of the drive is lost."""
    G = cells(*size, seed=seed)
    M = effective_conductance(G, **resistances, drive=drive)
    assert float(M.min()) >= 0.0
    for axis in (0, 1):
        assert bool((M.sum(axis) <= G.sum(axis) * (1 + 1e-12)).all())
    if resistances["r_sense_ohm"] > 0.0 and float(G.sum()) > 0.0:
        assert float(M.sum()) < float(G.sum())


@given(SIZES, RESISTANCES, DRIVES, st.sampled_from(sorted(SOME)), st.integers(0, 99))
@MANY
def test_more_resistance_anywhere_carries_less_current(
    size: tuple[int, int], resistances: dict[str, Any], drive: str, which: str, seed: int
) -> None:
    """All drivers at 1 V and all sense nodes joined are two terminals: Rayleigh's monotonicity law."""
    G = cells(*size, seed=seed, open_share=0.0)
    more = resistances | {which: 2 * resistances[which] + 5.0}
    less, lower = (float(effective_conductance(G, **r, drive=drive).sum()) for r in (resistances, more))
    if which == "r_row_ohm" and drive == "double":
        assert lower <= less * (1 + 1e-12)
    else:
        assert lower < less
    if drive == "single":
        assert float(effective_conductance(G, **resistances, drive="double").sum()) >= less * (1 - 1e-12)


@given(SIZES, RESISTANCES, st.integers(0, 99))
@MANY
def test_reciprocity(size: tuple[int, int], resistances: dict[str, Any], seed: int) -> None:
    """Drivers and sense nodes exchanged: the array is transposed, its rows become columns."""
    G = cells(*size, seed=seed)
    row, col, source, sense = (resistances[f"r_{name}_ohm"] for name in ("row", "col", "source", "sense"))
    turned = effective_conductance(G.flip(0, 1).T, col, row, r_source_ohm=sense, r_sense_ohm=source)
    assert close(turned.T.flip(0, 1), effective_conductance(G, **resistances))


@given(SIZES, RESISTANCES, DRIVES, st.floats(1e-3, 1e3), st.integers(0, 99))
@MANY
def test_k_times_the_conductances_with_resistances_over_k_scale_the_currents(
    size: tuple[int, int], resistances: dict[str, Any], drive: str, k: float, seed: int
) -> None:
    G = cells(*size, seed=seed)
    scaled = effective_conductance(k * G, **{n: r / k for n, r in resistances.items()}, drive=drive)
    assert close(scaled, k * effective_conductance(G, **resistances, drive=drive))


@given(SIZES, RESISTANCES, st.integers(0, 99))
@MANY
def test_double_drive_is_symmetric(size: tuple[int, int], resistances: dict[str, Any], seed: int) -> None:
    G = cells(*size, seed=seed)
    mirrored = effective_conductance(G.flip(1), **resistances, drive="double").flip(1)
    assert close(mirrored, effective_conductance(G, **resistances, drive="double"))


@given(SIZES, RESISTANCES, st.integers(1, 9), st.integers(0, 99))
@MANY
def test_open_cells_are_only_wire(size: tuple[int, int], resistances: dict[str, Any], count: int, seed: int) -> None:
    """Rows of open cells above change nothing; below they lengthen the path to the sense nodes; columns likewise."""
    G = cells(*size, seed=seed)
    rows, columns = torch.zeros(count, size[1]).double(), torch.zeros(size[0], count).double()
    plain = effective_conductance(G, **resistances)
    assert close(effective_conductance(torch.cat([rows, G]), **resistances)[count:], plain)
    assert close(effective_conductance(torch.cat([G, columns], 1), **resistances)[:, :-count], plain)
    below = resistances | {"r_sense_ohm": resistances["r_sense_ohm"] + count * resistances["r_col_ohm"]}
    found = effective_conductance(torch.cat([G, rows]), **resistances)[:-count]
    assert close(found, effective_conductance(G, **below))
    left = resistances | {"r_source_ohm": resistances["r_source_ohm"] + count * resistances["r_row_ohm"]}
    found = effective_conductance(torch.cat([columns, G], 1), **resistances)[:, count:]
    assert close(found, effective_conductance(G, **left))


@given(SIZES, DRIVES, st.sampled_from(sorted(SOME)), st.integers(0, 99))
@MANY
def test_zero_is_the_limit_of_small_resistances(size: tuple[int, int], drive: str, which: str, seed: int) -> None:
    """The separate code for zero resistance agrees with the general one; each resistance acts."""
    G = cells(*size, seed=seed)
    none, tiny = {**SOME, which: 0.0}, {**SOME, which: 1e-9}
    at_zero = effective_conductance(G, **none, drive=drive)
    assert close(effective_conductance(G, **tiny, drive=drive), at_zero, rtol=1e-7)
    if float(G.sum()) > 0.0:
        assert not close(effective_conductance(G, **SOME, drive=drive), at_zero, rtol=1e-7) or (
            which == "r_row_ohm" and size[1] == 1 and drive == "double"
        )


def test_without_wires_the_conductances_are_unchanged() -> None:
    G = cells(9, 7)
    assert effective_conductance(G).equal(G)
    assert column_conductance(G, 0.0).equal(G)


@given(SIZES, RESISTANCES, DRIVES, st.integers(0, 99))
@MANY
def test_currents_are_inputs_times_the_matrix(
    size: tuple[int, int], resistances: dict[str, Any], drive: str, seed: int
) -> None:
    """Three ways to compute the same currents; none of them changes its arguments."""
    G = cells(*size, seed=seed)
    V = torch.randn(3, size[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g, v, circuit = G.clone(), V.clone(), wires(**resistances, drive=drive, cells="passive")
    expected = V @ effective_conductance(G, **resistances, drive=drive)
    scale = (V.abs() @ G).max()
    for found in (solve_currents(G, V, circuit, tol=1e-11), solve_nonlinear(G, V, circuit, 0.0, tol=1e-11)):
        assert float((found.currents - expected).abs().max()) <= 1e-9 * scale
    assert G.equal(g)
    assert V.equal(v)


@given(SIZES, RESISTANCES, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_steeper_cells_carry_more_current_and_keep_the_sign(
    size: tuple[int, int], resistances: dict[str, Any], seed: int
) -> None:
    """All rows at the same voltage are one terminal: the current grows with every cell and is odd in the voltage."""
    G = cells(*size, seed=seed, open_share=0.0)
    V = torch.full((1, size[0]), 0.4, dtype=torch.float64)
    found = [solve_nonlinear(G, V, wires(**resistances), a) for a in (0.0, 2.0, 6.0)]
    total = [float(solution.currents.sum()) for solution in found]
    assert all(bool(solution.converged.all()) for solution in found)
    assert total[0] < total[1] < total[2]
    back = solve_nonlinear(G, -V, wires(**resistances), 6.0)
    assert close(back.currents, -found[2].currents, rtol=1e-8)


# -- batches, devices, threads ---------------------------------------------------------------------------


@pytest.mark.parametrize("values", [SOME, SOME | {"drive": "double"}, {"r_row_ohm": 1.0}, {"r_sense_ohm": 9.0}])
def test_arrays_are_independent(values: dict[str, Any]) -> None:
    """One at a time or together they give the same numbers but for rounding, whatever the others hold."""
    G = cells(3, 5, 33, 20)
    together = effective_conductance(G, **values)
    assert together.shape == G.shape
    for a in range(3):
        for b in range(5):
            assert torch.allclose(together[a, b], effective_conductance(G[a, b], **values), rtol=1e-13, atol=0)
    other = G.clone()
    other[1:] = 0.0
    assert torch.allclose(effective_conductance(other, **values)[0], together[0], rtol=1e-13, atol=0)


def test_vectors_and_arrays_of_a_solution_are_independent() -> None:
    G, V = cells(2, 3, 16, 12), torch.rand(2, 3, 4, 16, dtype=torch.float64) + 0.1
    for found, one in (
        (solve_currents(G, V, wires(**SOME)), lambda g, v: solve_currents(g, v, wires(**SOME))),
        (solve_nonlinear(G, V, wires(**SOME), 5.0), lambda g, v: solve_nonlinear(g, v, wires(**SOME), 5.0)),
    ):
        assert found.currents.shape == (2, 3, 4, 12)
        alone = one(G[1, 2], V[1, 2, 3:])
        assert torch.allclose(found.currents[1, 2, 3:], alone.currents, rtol=1e-11, atol=0)
        assert found.iterations[1, 2, 3] == alone.iterations[0]


@pytest.mark.parametrize("size", [(200, 150), (128, 128)])
def test_parts_of_a_large_batch_equal_the_whole(size: tuple[int, int]) -> None:
    """The batch is larger than what is solved in one call."""
    G = cells(5, *size)
    assert close(effective_conductance(G, 1.0, 1.0)[4], effective_conductance(G[4], 1.0, 1.0), rtol=1e-13)


def test_any_number_of_threads_gives_the_same_bits_and_is_restored() -> None:
    G, V = cells(2, 96, 96), torch.rand(2, 3, 96, dtype=torch.float64)
    before = torch.get_num_threads()

    def compute_all() -> list[Tensor]:
        return [
            effective_conductance(G, **SOME),
            solve_currents(G, V, wires(**SOME)).currents,
            solve_nonlinear(G, V, wires(**SOME), 3.0).currents,
            approximate_gating(G, wires(**SOME)).matrix,
        ]

    try:
        torch.set_num_threads(1)
        expected = compute_all()
        torch.set_num_threads(3)
        found = compute_all()
        assert torch.get_num_threads() == 3
        with pytest.raises(InputError):
            solve_currents(G, V[:1], wires(**SOME))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert all(a.equal(b) for a, b in zip(found, expected, strict=True))


def test_other_types_of_numbers_are_accepted() -> None:
    """NumPy arrays, integers as float64, views that are not contiguous."""
    G = cells(10, 8)
    expected = effective_conductance(G, **SOME)
    assert effective_conductance(G.numpy(), **SOME).equal(expected)
    assert effective_conductance(G.T.contiguous().T, **SOME).equal(expected)
    assert effective_conductance(np.ones((2, 2), dtype=int), 1.0).dtype == torch.float64
    assert effective_conductance(G.float(), **SOME, dtype=torch.float64).dtype == torch.float64
    assert not effective_conductance(G.requires_grad_(), **SOME).requires_grad


# -- gates -----------------------------------------------------------------------------------------------


@given(SIZES, RESISTANCES, DRIVES, st.integers(0, 99))
@MANY
def test_a_row_switched_on_adds_current(
    size: tuple[int, int], resistances: dict[str, Any], drive: str, seed: int
) -> None:
    """Never more than its cells carry without wires, and never below zero; a row that is off adds nothing."""
    G = cells(*size, seed=seed, open_share=0.0)
    gates = torch.ones(size[0], size[0]).tril()  # one row on, two, …
    M = gated_conductance(G, gates, wires(**resistances, drive=drive))
    total = torch.cat([torch.zeros(1), M.sum((1, 2))])
    added = total.diff()
    assert bool((added > 0.0).all())
    assert bool((added <= G.sum(1) * (1 + 1e-9)).all())
    assert float(M[gates == 0].abs().sum()) == 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [SOME, SOME | {"r_row_ohm": 0.0}, {"r_col_ohm": 3.0}, {"r_sense_ohm": 30.0}])
def test_approximations_are_exact_where_they_leave_nothing_out(method: Any, values: dict[str, Any]) -> None:
    """Every row is on, with the density that says so; or bit lines have no resistance, whatever is on."""
    G = cells(30, 20)
    gates = (torch.rand(6, 30, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    every = approximate_gating(G, wires(**values), method, density=1.0)
    assert gating_error(every, G, torch.ones(1, 30), wires(**values)).max < 1e-7
    no_bit_lines = {n: 0.0 if n in ("r_col_ohm", "r_sense_ohm") else r for n, r in values.items()}
    shorted = approximate_gating(G, wires(**no_bit_lines), method)
    assert gating_error(shorted, G, gates, wires(**no_bit_lines)).max < 1e-7
    assert gating_error(every, G, gates, wires(**values)).max > 1e-4


def test_better_approximations_have_smaller_errors_and_the_density_acts() -> None:
    draw = torch.Generator().manual_seed(5)
    G = torch.where(torch.rand(40, 32, generator=draw) < 0.5, 1e-4, 1e-5).double()
    circuit = wires(**SOME)
    for share, other in ((0.5, 1.0), (0.2, 0.5)):
        gates = torch.rand(40, 40, generator=draw) < share
        rms = {m: gating_error(approximate_gating(G, circuit, m, share), G, gates, circuit).rms for m in METHODS}
        nothing = GatedApproximation(G, torch.zeros(32).double(), "all_on", share)
        assert rms["tangent"] < 0.6 * rms["mean"] < 0.6 * 0.6 * rms["all_on"]
        assert rms["all_on"] < 0.6 * gating_error(nothing, G, gates, circuit).rms
        for method in METHODS[1:]:
            off = approximate_gating(G, circuit, method, other)
            assert gating_error(off, G, gates, circuit).rms > 1.5 * rms[method]
    found = approximate_gating(G, circuit)
    assert isinstance(found, GatedApproximation)
    assert (found.method, found.density) == ("tangent", 0.5)
    gates = torch.rand(3, 40, generator=draw) < 0.5
    assert found.currents(gates, v_read_V=0.2).equal(found.currents(gates) * 0.2)


# -- what is refused -------------------------------------------------------------------------------------


G2, V2, NODAL = cells(2, 3), torch.ones(1, 2), wires(**SOME)
BAD: dict[str, tuple[Any, str]] = {
    "negative cell": (lambda: effective_conductance(-G2, 1.0, 1.0), "0 S or more"),
    "NaN cell": (lambda: effective_conductance(G2 / 0 * 0, 1.0, 1.0), "0 S or more"),
    "infinite cell": (lambda: effective_conductance(G2 + float("inf"), 1.0, 1.0), "0 S or more"),
    "one dimension": (lambda: effective_conductance(G2[0], 1.0, 1.0), "rows, cols"),
    "no cells": (lambda: effective_conductance(G2[:0], 1.0, 1.0), "at least one"),
    "negative wire": (lambda: effective_conductance(G2, -1.0, 1.0), "r_row_ohm"),
    "NaN wire": (lambda: effective_conductance(G2, 1.0, float("nan")), "r_col_ohm"),
    "infinite wire": (lambda: effective_conductance(G2, 1.0, float("inf")), "r_col_ohm"),
    "negative source": (lambda: effective_conductance(G2, r_source_ohm=-1.0), "r_source_ohm"),
    "unknown drive": (lambda: effective_conductance(G2, 1.0, 1.0, drive="triple"), "drive"),
    "half precision": (lambda: effective_conductance(G2, 1.0, 1.0, dtype=torch.float16), "dtype"),
    "negative column wire": (lambda: column_conductance(G2, -1.0), "r_col_ohm"),
    "gates of another array": (lambda: gated_conductance(G2, torch.ones(1, 3), NODAL), "gate"),
    "half a gate": (lambda: gated_conductance(G2, torch.full((1, 2), 0.5), NODAL), "gates"),
    "unknown method": (lambda: approximate_gating(G2, NODAL, "best"), "'all_on', 'mean' or 'tangent'"),  # type: ignore[arg-type]
    "density of 0": (lambda: approximate_gating(G2, NODAL, density=0.0), "density"),
    "density above 1": (lambda: approximate_gating(G2, NODAL, density=1.1), "density"),
    "voltages of another array": (lambda: solve_currents(G2, torch.ones(1, 3), NODAL), "vectors"),
    "NaN voltage": (lambda: solve_currents(G2, V2 * float("nan"), NODAL), "finite"),
    "gates of another shape": (lambda: solve_currents(G2, V2, NODAL, gates=torch.ones(2, 2)), "gates"),
    "gates of a passive array": (
        lambda: solve_currents(G2, V2, wires(**SOME, cells="passive"), gates=V2), "passive"),
    "steepness per array of another shape": (
        lambda: solve_nonlinear(G2, V2, NODAL, torch.ones(2)), "a_per_V"),
    "beyond the range of cosh": (lambda: solve_nonlinear(G2, V2, NODAL, 50.0), "a_per_V"),
    "NaN steepness": (lambda: solve_nonlinear(G2, V2, NODAL, float("nan")), "a_per_V"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case: str) -> None:
    call, text = BAD[case]
    with pytest.raises(InputError, match=text):
        call()


def test_the_repr_of_a_solution_names_all_four_settings() -> None:
    found = solve_currents(G2, V2, NODAL)
    assert isinstance(found, Solution)
    assert bool(found.converged)
    assert found.iterations.dtype == torch.int64
