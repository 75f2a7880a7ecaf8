"""Effective conductances in compiled code: equal to merging in torch, and the same bits in any company."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from imc_sim import _rng
from imc_sim.array import effective_conductance
from imc_sim.array.circuit.dissection import dissection

pytestmark = pytest.mark.skipif(not _rng.compiled(), reason="numba is not installed")

OHM = st.sampled_from((1e-9, 1e-3, 1.0, 40.0, 1e4, 1e9))
ENDS = st.sampled_from((0.0, 1e-6, 30.0, 1e7))
SOME: dict[str, Any] = {"r_row_ohm": 2.0, "r_col_ohm": 3.0, "r_source_ohm": 40.0, "r_sense_ohm": 20.0}


def cells(*shape: int, seed: int = 0) -> Tensor:
    """Return conductances over six decades, some of them 0."""
    draw = torch.Generator().manual_seed(seed)
    g = 10.0 ** (-3.0 - 6.0 * torch.rand(*shape, generator=draw, dtype=torch.float64))
    return torch.where(torch.rand(*shape, generator=draw) < 0.1, 0.0, g)


def without_numba(compute: Callable[[], Tensor]) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rng, "compiled", lambda: False)
        return compute()


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), OHM, OHM, ENDS, ENDS, st.sampled_from(["single", "double"]),
    st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_compiled_code_equals_merging_in_torch(
    size: tuple[int, int], row: float, col: float, source: float, sense: float, drive: str, seed: int
) -> None:
    """Relative to each entry, for every size and for resistances over 18 decades; open cells carry nothing."""
    G = cells(2, *size, seed=seed)

    def compute() -> Tensor:
        return effective_conductance(G, row, col, r_source_ohm=source, r_sense_ohm=sense, drive=drive)

    found, expected = compute(), without_numba(compute)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0.0)
    assert bool(((found > 0.0) == (expected > 0.0)).all())


@pytest.mark.parametrize(("rows", "cols"), [(128, 128), (100, 37), (3, 300), (300, 3), (129, 64)])
@pytest.mark.parametrize("drive", ["single", "double"])
def test_large_and_narrow_arrays_equal_those_of_torch(rows: int, cols: int, drive: str) -> None:
    G = cells(1, rows, cols)
    expected = without_numba(lambda: effective_conductance(G, **SOME, drive=drive))
    assert torch.allclose(effective_conductance(G, **SOME, drive=drive), expected, rtol=1e-12, atol=0.0)


def test_an_array_has_the_same_bits_in_any_company_order_and_number_of_threads() -> None:
    G = cells(7, 33, 21)
    alone = torch.stack([effective_conductance(g, **SOME) for g in G])
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert effective_conductance(G, **SOME).equal(alone)
            assert effective_conductance(G.flip(0)[:5].contiguous(), **SOME).equal(alone.flip(0)[:5])
            assert effective_conductance(G[:, None].expand(-1, 40, -1, -1), **SOME)[:, 39].equal(alone)
    finally:
        torch.set_num_threads(before)
    assert not alone[0].equal(alone[1])


def test_float32_is_rounded_once() -> None:
    G = cells(2, 30, 20).float()
    assert effective_conductance(G, **SOME).equal(effective_conductance(G.double(), **SOME).float())


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (16, 16), (17, 40), (128, 128)])
def test_a_plan_reduces_every_cell_once(rows: int, cols: int) -> None:
    """Leaves cover the array without overlap; every join but the last feeds another one."""
    operations, _, _, _, leaves, programs, _ = dissection(rows, cols, False).tables
    covered = torch.zeros(rows, cols, dtype=torch.int64)
    for step in operations[operations["join"] < 0]:
        program = programs[step["program"]]
        for leaf in leaves[step["first"] : step["last"]]:
            covered[leaf["row"] :, leaf["column"] :][: program["rows"], : program["columns"]] += 1
    assert bool((covered == 1).all())
    assert (operations["join"] >= 0).sum() == len(leaves) - 1
