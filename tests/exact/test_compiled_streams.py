"""Compiled random numbers, packed weights and bytes of inputs: equal to plain ones for sizes that fill no block."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from imc_sim import _rng
from imc_sim._quantiles import WIDTH
from imc_sim._rng import Stream
from imc_sim.array import Chip, Crossbar, InputBytes, Tile, encodings
from imc_sim.array._compiled import _product
from imc_sim.array._programmed_weights import ProgrammedWeights, whole_table
from imc_sim.array._read_noise import ReadPower
from imc_sim.array._whole_tiles import WholeTiles
from imc_sim.device import Device, RelativeVariation

pytestmark = pytest.mark.skipif(not _rng.compiled(), reason="numba is not installed")

STREAM = Stream(3, "layer", "stage")
#: row lengths around blocks of 16 words and batches of 1,024
WEIGHTS = ProgrammedWeights((), None, None, ReadPower())
SIZES = [1, 15, 17, 508, 510, 1009, 1020, 1023, 1024, 1025]


def table(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_any_length_have_the_numbers_of_the_plain_path(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row after row, with words that take a second one among them; the second half begins in the middle of a block."""
    units = np.random.default_rng(size).integers(-2, 3, (40, size)).astype(np.float32)
    found = {}
    for name, least in (("compiled", 0), ("plain", 2**60)):
        monkeypatch.setattr(_rng, "_LARGE", least)
        found[name] = [STREAM.signed(table(3), units, 4, 2), STREAM.normal(units.size, 4, 2, 5)]
        found[name].append(STREAM.entries(table(3), np.abs(units).astype(np.int32).reshape(-1), 4, 2))
    (one, top), *rest = found["compiled"]
    (other, same), *others = found["plain"]
    assert np.array_equal(one, other)
    assert top == same == np.abs(other).max()
    assert all(np.array_equal(a, b) for a, b in zip(rest, others, strict=True))
    monkeypatch.setattr(_rng, "_LARGE", 0)
    rows = np.stack([np.maximum(units, 0), np.maximum(-units, 0)], 1).astype(np.int32)
    for whole in ((table(3) * 1000).astype(np.int16), (table(3) * 1e6).astype(np.int32)):
        pairs = STREAM.differences(whole, units, 4, 2)
        assert pairs is not None
        cells = whole.reshape(-1)[rows * WIDTH + STREAM.columns(rows.size, 4, 2).reshape(rows.shape)]
        assert np.array_equal(pairs[0], cells[:, 0] - cells[:, 1])
        assert pairs[0].dtype == whole.dtype
        assert pairs[1] == np.abs(pairs[0]).max()


@pytest.mark.parametrize(("sigma", "levels", "bits"), [(0.1, 2, 16), (0.1, 16, 32), (3.0, 2, 32)])
@pytest.mark.parametrize("compute", ["float32", "int16", "int8"])
@pytest.mark.parametrize("kind", ["ideal", "auto"])
def test_whole_numbers_are_the_programmed_weights(
    sigma: float, levels: int, bits: int, compute: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of cells that are sampled one by one; on tiles that do not divide the inputs, of 16 or 32 bits."""
    monkeypatch.setattr(_rng, "_LARGE", 0)
    device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=levels, programming=RelativeVariation(sigma=sigma))
    chip = Chip(device=device, tile=Tile(rows=50, cols=50), compute=compute).replace("converter.kind", kind)  # type: ignore[arg-type]
    w = torch.randint(1 - levels, levels, (70, 120), generator=torch.Generator().manual_seed(0)).float()
    x = torch.randint(-1, 2, (300, 120), generator=torch.Generator().manual_seed(1)).float()
    found = Crossbar.program(w, chip, range(3, 5))
    monkeypatch.setattr(_rng, "compiled", lambda: False)
    plain = Crossbar.program(w, chip, range(3, 5))
    for one, other in zip(found.readout.weights, plain.readout.weights, strict=True):
        assert isinstance(one.linear, WholeTiles)
        assert not isinstance(other.linear, WholeTiles)
        assert one.linear.whole.dtype == f"int{bits}"
        assert (one.unit, one.merged, one.columns, one.device) == (
            other.unit, other.merged, other.columns, other.device
        )  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(one.linear, other.linear, strict=True))
    assert torch.equal(found.mvm(x), plain.mvm(x))
    assert found.rounding(1) == plain.rounding(1)


def test_tables_of_whole_numbers_hold_all_differences() -> None:
    """Continuous levels have none, nor have levels so wide that float32 would round their differences."""
    device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, programming=RelativeVariation(sigma=0.1))
    table = whole_table(device, 1)  # type: ignore[arg-type]  # hashable
    assert table is not None
    assert np.array_equal(table, (device.table(1) * 4096).round().numpy())
    lognormal = RelativeVariation(sigma=3.0, law="log_normal")
    assert float(device.table(1).max()) < 8
    wide = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, programming=lognormal)
    assert float(wide.table(1).max()) * 4096 > 2**24
    assert whole_table(wide, 1) is None  # type: ignore[arg-type]
    assert whole_table(device, 2**13) is None  # type: ignore[arg-type]


def test_small_counts_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rng, "_LARGE", 20)
    units = np.ones((2, 5), np.float32)
    whole = table(2).astype(np.int16)
    assert STREAM.differences(whole, units, 0) is not None
    assert STREAM.differences(whole, units[:, :4], 0) is None


@pytest.mark.parametrize("compute", ["int8", "int16"])
@pytest.mark.parametrize("kind", ["differential", "bnn_v", "tnn_iii"])
def test_bounds_of_packed_weights_are_sums_of_magnitudes(compute: str, kind: str) -> None:
    """On each tile, over weights and squares; the sums are of the whole numbers."""
    device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, programming=RelativeVariation(sigma=0.2))
    chip = Chip(device=device, tile=Tile(rows=16, cols=16), compute=compute).replace("converter.kind", "auto")  # type: ignore[arg-type]
    w = torch.randint(0, 2, (9, 21), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    weights = Crossbar.program(w, chip.replace("encoding", {"kind": kind})).readout.weights[0]
    packed = _product.Packed.of(weights, 21)
    assert packed is not None
    assert packed.words == (1 if compute == "int8" else 2)
    squares = weights.square or [t[:, :0] for t in weights.linear]
    whole = [torch.cat(both, 1).double() / weights.unit for both in zip(weights.linear, squares, strict=True)]
    assert packed.bound == max(int(t.abs().sum(1).max()) for t in whole)
    assert np.array_equal(packed.sums[:, : packed.columns], np.stack([t.sum(1).numpy() for t in whole]))
    assert not packed.sums[:, packed.columns :].any()


@pytest.mark.parametrize(
    ("value", "fits"), [(127.0, True), (128.0, False), (-128.0, False), (0.5, False), (-(2.0**31), False)]
)
def test_weights_that_a_byte_holds(value: float, fits: bool) -> None:
    """In any column and at any place; the words of the others are theirs."""
    whole = np.random.default_rng(0).integers(-127, 128, (70, 9)).astype(np.float32)
    for column, place in ((0, 0), (17, 8), (69, 4)):
        tile = torch.from_numpy(whole.copy())
        tile[column, place] = value
        weights = dataclasses.replace(WEIGHTS, linear=(tile,), unit=1.0)
        packed = _product.Packed.of(weights, 9)
        one_byte = packed is not None and packed.words == 1
        assert one_byte == fits
        if fits:
            assert packed is not None
            inputs = torch.zeros(128, 12)
            inputs[:70, :9] = tile
            groups = packed.weights.reshape(2, 3, 64, 4).permute(0, 2, 1, 3).reshape(128, 12)
            assert torch.equal(groups.float(), inputs)


def test_sums_of_magnitudes_beyond_32_bits_are_not_packed() -> None:
    """131,591 magnitudes of 32,639 are 31,353 in 32 bits, a sum that float32 would hold exactly."""
    assert 131_591 * 32639 - 2**32 == 31_353
    for count in (131_591, 2**31 // 32639 + 1):
        tile = torch.full((1, count), 32639.0)
        assert _product.Packed.of(dataclasses.replace(WEIGHTS, linear=(tile,), unit=1.0), count) is None
    count = 2**31 // 32639
    packed = _product.Packed.of(
        dataclasses.replace(WEIGHTS, linear=(torch.full((1, count), 32639.0),), unit=1.0), count
    )
    assert packed is not None
    assert packed.bound == count * 32639


@pytest.mark.parametrize(
    ("values", "squares", "offset"),
    [
        ([1.0, -1.0, 0.0], False, 1), ([1.0, -1.0, 0.0], True, 1), ([2.0, -1.0], False, 128), ([2.0, -1.0], True, None),
        ([127.0, -127.0], False, 128), ([128.0, 0.0], False, None), ([0.0, -128.0], False, None),
        ([0.5, 1.0], False, None), ([-1.0, 1.0], False, 1), ([-2.0, 0.0], True, None),
    ],
)  # fmt: skip
def test_inputs_that_bytes_hold(values: list[float], squares: bool, offset: int | None) -> None:
    found = InputBytes.of_rows(torch.tensor([values]), squares)
    images = InputBytes.of_images(torch.tensor(values).reshape(1, 1, -1, 1), 1, 1, squares)
    if offset is None:
        assert found is images is None
        return
    assert found is not None
    assert images is not None
    count = len(values)
    for each in (found, images):
        assert each.offset == offset
        assert each.data[:count].tolist() == [value + offset for value in values]
        if squares:
            assert each.data[each.plane : each.plane + count].tolist() == [value**2 + offset for value in values]
    assert (found.count, found.inputs, images.count, images.inputs) == (1, count, count, 1)


@pytest.mark.skipif(_product.why_not() is not None, reason=str(_product.why_not()))
@pytest.mark.parametrize("kind", [k for k, e in encodings().items() if e.operands != "real"])
def test_squares_of_inputs_follow_their_tile(kind: str) -> None:
    """Two rows of tiles, of which the second is not full: the compiled readout has the bits of the plain one."""
    chip = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=1e-5), tile=Tile(rows=24, cols=16)).replace(
        "converter.kind", "auto"
    )
    among = torch.tensor(encodings()[kind]().values)
    generator = torch.Generator().manual_seed(0)
    w, x = (among[torch.randint(0, len(among), (n, 19), generator=generator)] for n in (5, 40))
    readout = Crossbar.program(w, chip.replace("encoding", {"kind": kind})).readout
    from imc_sim.array import Rows

    assert torch.equal(readout.read(0, Rows(x), 0), readout.reference.read(0, Rows(x), 0))


def test_halves_are_rounded_to_even_multiples() -> None:
    from imc_sim.array._compiled._packing import to_multiples

    x = np.array([0.25, 0.75, 1.25, -0.25, -0.75, 0.3], np.float32)
    to_multiples(x, 0.5, 0, len(x))
    assert x.tolist() == [0.0, 1.0, 1.0, 0.0, -1.0, 0.5]


def test_large_matrices_of_noisy_cells_keep_their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled pass that programs differences knows nothing of reads."""
    monkeypatch.setattr(_rng, "_LARGE", 0)
    device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, programming=RelativeVariation(sigma=0.2))
    w = torch.randint(0, 2, (9, 21), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    for noise in (0.0, 0.1):
        bar = Crossbar.program(w, Chip(device=device.replace("read.sigma", noise)))
        assert torch.equal(bar.mvm(w), bar.mvm(w)) == (noise == 0.0)
