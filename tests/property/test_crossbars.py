"""Crossbars of every shape, tiling and encoding: ideal is exact, placement is reversible, chips are independent."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imc_sim.array import Chip, Crossbar, Encoding, Placement, Tile, encodings
from imc_sim.array._compiled import _product, _readout
from imc_sim.device import Device, RelativeVariation

ENCODINGS = st.sampled_from([encoding() for encoding in encodings().values()])
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 90), st.integers(1, 9))
TILES = st.builds(Tile, rows=st.integers(2, 70), cols=st.integers(2, 70))
VARIED = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, programming=RelativeVariation(sigma=0.3))


def values(encoding: Encoding, *shape: int, seed: int) -> torch.Tensor:
    """Return values that the encoding allows: +-1 where possible, {0, 1} where none may be negative."""
    among = torch.tensor(encoding.values or ((0.0, 1.0) if encoding.name == "unipolar" else (-1.0, 1.0)))
    return among[torch.randint(0, len(among), shape, generator=torch.Generator().manual_seed(seed))]


@given(ENCODINGS, SIZES, TILES, st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_ideal_is_the_integer_product(encoding: Encoding, size: tuple, tile: Tile, seed: int) -> None:
    out, inputs, batch = size
    w, x = values(encoding, out, inputs, seed=seed), values(encoding, batch, inputs, seed=seed + 1)
    chip = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=1e-5), encoding=encoding, tile=tile)
    assert torch.equal(Crossbar.program(w, chip).mvm(x)[0], x @ w.T)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 2), st.integers(1, 2), TILES)
@settings(max_examples=80, deadline=None)
def test_placement_is_reversible_and_counts_its_cells(
    inputs: int, outputs: int, rows: int, columns: int, tile: Tile
) -> None:
    placement = Placement(tile, inputs, outputs, rows, columns)
    matrix = torch.arange(1.0, 1 + inputs * rows * outputs * columns).reshape(1, inputs * rows, outputs * columns)
    tiles = placement.split(matrix)
    assert torch.equal(placement.join(tiles), matrix)
    assert int((tiles != 0).sum()) == placement.cells
    assert 0 < placement.utilisation <= 1
    assert tiles.shape == (1, placement.tiles, tile.rows, tile.cols)


@given(ENCODINGS, SIZES, TILES, TILES, st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_cells_depend_on_seed_and_chip_alone(
    encoding: Encoding, size: tuple, tile: Tile, other: Tile, seed: int
) -> None:
    out, inputs, _ = size
    w = values(encoding, out, inputs, seed=1)
    chip = Chip(device=VARIED, encoding=encoding, tile=tile)
    together = Crossbar.program(w, chip, chips=range(3), seed=seed)
    alone = Crossbar.program(w, chip.model_copy(update={"tile": other}), chips=range(2, 3), seed=seed)
    assert torch.equal(together.cells(2)[:out], alone.cells(0)[:out])  # a wider tile has fewer references
    assert not torch.equal(together.cells(0), together.cells(1))


@given(ENCODINGS, SIZES, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_batch_equals_its_rows(encoding: Encoding, size: tuple, seed: int) -> None:
    out, inputs, batch = size
    chip = Chip(device=VARIED, encoding=encoding)
    bar = Crossbar.program(values(encoding, out, inputs, seed=seed), chip, chips=2)
    x = values(encoding, batch, inputs, seed=seed + 1)
    rows = torch.cat([bar.mvm(row[None]) for row in x], dim=1)
    assert torch.equal(bar.mvm(x), rows)


@pytest.mark.skipif(_product.why_not() is not None, reason=str(_product.why_not()))
@given(ENCODINGS, SIZES, TILES, st.sampled_from(["float32", "int16", "int8"]), st.integers(2, 10), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_compiled_products_equal_the_others(
    encoding: Encoding, size: tuple, tile: Tile, compute: str, bits: int, seed: int
) -> None:
    out, inputs, batch = size
    chip = Chip(device=VARIED, encoding=encoding, tile=tile).replace("compute", compute)
    chip = chip.replace("converter", {"kind": "auto", "bits": bits, "rows": "used"})
    bar = Crossbar.program(values(encoding, out, inputs, seed=seed), chip, chips=2)
    x = values(encoding, batch, inputs, seed=seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_readout, "_SMALL", 1)
        compiled = bar.mvm(x)
        patch.setattr(_product, "why_not", lambda: "switched off")
        assert torch.equal(compiled, bar.mvm(x))
