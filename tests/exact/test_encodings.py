"""Every shipped encoding fulfils the contract; multi-bit weights, and combinations that are refused."""

import pytest
import torch

from imc_sim import InputError
from imc_sim.array import (
    BnnI,
    BnnII,
    BnnIII,
    BnnIV,
    BnnV,
    BnnVI,
    Chip,
    Crossbar,
    Differential,
    Offset,
    Sliced,
    Tile,
    TnnI,
    TnnII,
    TnnIII,
    TnnIV,
    TnnV,
    Unipolar,
    load_chip,
)
from imc_sim.device import Device, PolynomialVariation, RelativeVariation
from imc_sim.testing import EncodingContract, ProgrammingContract


class TestBnnI(EncodingContract):
    encoding = BnnI()


class TestBnnII(EncodingContract):
    encoding = BnnII()


class TestBnnIII(EncodingContract):
    encoding = BnnIII()


class TestBnnIV(EncodingContract):
    encoding = BnnIV()


class TestBnnV(EncodingContract):
    encoding = BnnV()


class TestBnnVI(EncodingContract):
    encoding = BnnVI()


class TestTnnI(EncodingContract):
    encoding = TnnI()


class TestTnnII(EncodingContract):
    encoding = TnnII()


class TestTnnIII(EncodingContract):
    encoding = TnnIII()


class TestTnnIV(EncodingContract):
    encoding = TnnIV()


class TestTnnV(EncodingContract):
    encoding = TnnV()


class TestUnipolar(EncodingContract):
    encoding = Unipolar()

    def weights(self, *shape: int, seed: int) -> torch.Tensor:
        return (super().weights(*shape, seed=seed) + 1) / 2


def test_unipolar_uses_one_cell_per_weight_and_no_negative_weights() -> None:
    keys = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    bar = Crossbar.program(keys, Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=1e-5), encoding=Unipolar()))
    assert bar.placement.cells == keys.numel()
    with pytest.raises(InputError, match="weights of 0 or more"):
        Crossbar.program(-keys, Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=1e-5), encoding=Unipolar()))


class TestDifferential(EncodingContract):
    encoding = Differential()


class TestDifferentialFourfold(EncodingContract):
    encoding = Differential(copies=4)


class TestOffset(EncodingContract):
    encoding = Offset()


class TestSlicedBits(EncodingContract):
    encoding = Sliced(bits_per_slice=1)


class TestGaussian(ProgrammingContract):
    programming = RelativeVariation(sigma=0.5)


class TestLogNormalHrs(ProgrammingContract):
    programming = RelativeVariation(sigma=0.1, sigma_hrs=0.8, law_hrs="log_normal")


class TestPolynomial(ProgrammingContract):
    programming = PolynomialVariation(coefficients_S=(1e-6, 2e-6), g_max_S=1e-4)


@pytest.mark.parametrize(("bits", "levels"), [(1, 2), (2, 4), (3, 8), (4, 16)])
def test_sliced_integers_are_exact(bits: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    w = torch.randint(-127, 128, (20, 300), generator=generator).double()
    x = torch.randn(7, 300, generator=generator, dtype=torch.float64)
    chip = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=1e-6, levels=levels), encoding=Sliced(bits_per_slice=bits))
    bar = Crossbar.program(w, chip)
    assert torch.allclose(bar.mvm(x)[0], x @ w.T, rtol=1e-12, atol=1e-9)
    assert bar.plan.targets.levels.shape[1] == -(-7 // bits)


def test_float_weights_are_rounded_to_the_set_bits() -> None:
    w = torch.tensor([[1.0, -0.5, 0.3, 0.0, 0.1]], dtype=torch.float64)
    for bits, expected in ((4, [7, -4, 2, 0, 1]), (8, [127, -64, 38, 0, 13])):
        chip = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0), encoding=Sliced(weight_bits=bits))
        bar = Crossbar.program(w, chip)
        assert bar.plan.targets.levels.shape[1] == bits - 1
        top = 2 ** (bits - 1) - 1
        found = bar.mvm(torch.eye(5, dtype=torch.float64))[0, :, 0]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64) / top, rtol=1e-12, atol=1e-12)


def test_copies_use_more_cells_and_average_their_errors() -> None:
    """The error of a product of 64 weights held four times is half that of single ones (2,000 products each)."""
    w = torch.ones(1000, 64)
    errors = []
    for copies in (1, 4):
        variation = RelativeVariation(sigma=0.2, sigma_hrs=0.0)
        chip = Chip(
            device=Device(g_lrs_S=1e-4, g_hrs_S=1e-6, programming=variation), encoding=Differential(copies=copies)
        )
        bar = Crossbar.program(w, chip, chips=2, seed=3)
        assert bar.placement.cells == w.numel() * 2 * copies
        errors.append(float((bar.mvm(torch.ones(1, 64)) - 64).std()))
    assert errors[1] / errors[0] == pytest.approx(0.5, rel=0.1)


def test_differential_places_magnitudes_on_the_levels() -> None:
    chip = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0, levels=5), encoding=Differential())
    w = torch.tensor([[1.0, -0.5, 0.3, 0.0]])
    y = Crossbar.program(w, chip).mvm(torch.eye(4))
    assert y[0, :, 0].tolist() == [1.0, -0.5, 0.25, 0.0]


@pytest.mark.parametrize("kind", ["bnn_i", "bnn_v", "bnn_vi"])
def test_bipolar_encodings_refuse_weights_that_they_cannot_hold(kind: str) -> None:
    chip = load_chip("ideal").replace("encoding", {"kind": kind})
    with pytest.raises(InputError, match="weights of -1 and \\+1"):
        Crossbar.program(torch.tensor([[1.0, 0.0]]), chip)
    bar = Crossbar.program(torch.tensor([[1.0, -1.0]]), chip)
    with pytest.raises(InputError, match="values other than -1 and \\+1"):
        bar.mvm(torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize(
    ("kind", "wrong"), [("bnn_i", "pos"), ("bnn_vi", "pos"), ("differential", "pos"), ("bnn_v", "sym")]
)
def test_an_adc_of_the_wrong_sign_is_refused(kind: str, wrong: str) -> None:
    chip = load_chip("ideal").replace("encoding", {"kind": kind}).replace("converter.kind", wrong)
    with pytest.raises(InputError, match="converter.kind.*or .ideal."):
        Crossbar.program(torch.ones(2, 2), chip)


def test_a_tile_must_hold_one_cell_group() -> None:
    chip = load_chip("ideal").replace("encoding", {"kind": "bnn_vi"})
    with pytest.raises(InputError, match="2 x 2 cells or more"):
        Crossbar.program(torch.ones(2, 2), chip.model_copy(update={"tile": Tile(rows=1, cols=8)}))
    with pytest.raises(InputError, match=r"tile\.rows: got 0"):
        chip.replace("tile.rows", 0)
