"""The matrix unit of the processor: its sums, the copies of inputs that it reads, and the rule that chooses it."""

import ctypes

import numpy as np
import pytest
import torch

from imc_sim.array import Crossbar, Rows, load_chip
from imc_sim.array._compiled import _product

if _product.why_not() is not None:
    pytest.skip(str(_product.why_not()), allow_module_level=True)

from imc_sim.array._compiled import _byte_products, _kernel, _tiles

needs_unit = pytest.mark.skipif(not _tiles.usable(), reason="the processor has no matrix unit")


def test_inputs_are_copied_side_by_side_from_any_place() -> None:
    """Sixteen groups that are joined are one copy; a step that is not four bytes, also within sixteen, is seen."""
    x = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8)
    joined = 4 * np.arange(40)
    for offsets in (joined, joined[:7], joined * 3, np.append(joined[:16], joined[:16] + 1001), joined + (joined > 20)):
        for swapped in (offsets, offsets[::-1].copy()):
            rows, size, to = np.array([0, 3, 1000]), 4 * len(offsets), np.full((3, 192), 9, np.uint8)
            _tiles.gather(x.ctypes.data, rows, swapped, to)
            for row, line in zip(rows, to, strict=True):
                assert np.array_equal(line[:size], np.concatenate([x[row + o : row + o + 4] for o in swapped]))
                assert set(line[size : -(-size // 64) * 64]) <= {0}
                assert set(line[-(-size // 64) * 64 :]) <= {9}


def results(inputs: int, compute: str = "int16", top: int = 1, batch: int = 50) -> torch.Tensor:
    """Return products with inputs of magnitudes up to `top`."""
    generator = torch.Generator().manual_seed(inputs)
    w = torch.randint(0, 2, (70, inputs), generator=generator).float() * 2 - 1
    x = torch.randint(-top, top + 1, (batch, inputs), generator=generator).float()
    readout = Crossbar.program(w, load_chip("rram_hfo2_1t1r").replace("compute", compute)).readout
    packed, found = _product.Packed.of(readout.weights[0], inputs), Rows(x).as_bytes(False)
    assert packed is not None
    assert found is not None
    y = _product.multiply(packed, found, None, 1.0, None)
    assert y is not None
    return y


@needs_unit
@pytest.mark.parametrize(("compute", "top"), [("int16", 1), ("int8", 127)])
@pytest.mark.parametrize("inputs", [1, 63, 64, 65, 500, 2000])
def test_sums_are_those_of_the_vector_unit(
    inputs: int, compute: str, top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With inputs that fill no register, of one and two words."""
    by_unit = results(inputs, compute, top)
    monkeypatch.setattr(_product, "has_matrix_unit", lambda: False)
    assert torch.equal(by_unit, results(inputs, compute, top))


@needs_unit
def test_tiles_of_many_inputs_take_the_vector_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernel, "WIDEST", 512)
    monkeypatch.setattr(_product, "has_matrix_unit", lambda: pytest.fail("the matrix unit was chosen"))
    results(513)
    with pytest.raises(pytest.fail.Exception):
        results(512)


@pytest.mark.parametrize("refused", [True, False])
def test_a_process_requests_the_unit(refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses, or numba may not use it, the vector unit computes."""
    requests: list[tuple[int, ...]] = []

    class System:
        def syscall(self, *arguments: int) -> int:
            requests.append(arguments)
            return -1 if refused else 0

    monkeypatch.setattr(ctypes, "CDLL", lambda _: System())
    monkeypatch.setattr(_tiles.sys, "platform", "linux")
    monkeypatch.setattr(_tiles.platform, "machine", lambda: "x86_64")
    for compiles in (True, False):
        monkeypatch.setattr(_tiles, "_compiles", lambda compiles=compiles: compiles)
        usable = _tiles.usable.__wrapped__()
        assert usable == (compiles and not refused)
        monkeypatch.setattr(_product, "has_matrix_unit", lambda usable=usable: usable)
        assert _product.kernel_name() == ("AMX" if usable else ("AVX-512 VNNI" if _byte_products.VNNI else "AVX2"))
    assert requests == [(158, 0x1023, 18)]
