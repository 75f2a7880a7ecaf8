"""Results that physics determines exactly: addresses, batches, calibration, conductances."""

import pytest
import torch

from imc_sim import InputError
from imc_sim.array import Chip, Crossbar, Tile, load_chip
from imc_sim.device import Device, Faults, Read, RelativeVariation

DEVICE = Device(g_lrs_S=1e-4, g_hrs_S=2e-5, programming=RelativeVariation(sigma=0.3))


def signs(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


def chip(**changes: object) -> Chip:
    return Chip(device=DEVICE, tile=Tile(rows=32, cols=32)).model_copy(update=changes)


def test_a_product_is_that_of_the_conductances() -> None:
    w, x = signs(6, 50), signs(4, 50, seed=1)
    bar = Crossbar.program(w.double(), chip())
    g = bar.placement.join(bar.conductance)[0]
    expected = x.double() @ (g[:, 0::2] - g[:, 1::2]) / DEVICE.window_S
    assert torch.allclose(bar.mvm(x.double())[0], expected, rtol=1e-12, atol=0)


def test_float32_is_float64_within_the_stated_resolution() -> None:
    w, x = signs(20, 500), signs(9, 500, seed=1)
    fine, coarse = (Crossbar.program(weights, chip(), seed=2).mvm(x.to(weights.dtype)) for weights in (w.double(), w))
    assert float((fine - coarse).abs().max()) < 5 * (2 / 12) ** 0.5 * 2.0**-12 * 500**0.5


@pytest.mark.parametrize("read", [Read(), Read(sigma=0.05)])
@pytest.mark.parametrize("converter", [{"kind": "ideal"}, {"kind": "auto", "bits": 5}])
def test_batches_chips_and_order_change_no_bit(read: Read, converter: dict[str, object]) -> None:
    c = chip(device=DEVICE.model_copy(update={"read": read})).replace("converter", converter)
    w, x = signs(17, 200), signs(12, 200, seed=1)
    whole = Crossbar.program(w, c, chips=5, seed=9).mvm(x)
    bar = Crossbar.program(w, c, chips=range(3, 5), seed=9)
    parts = torch.cat([bar.mvm(x[:1]), bar.mvm(x[1:8]), bar.mvm(x[8:])], dim=1)
    assert torch.equal(whole[3:], parts)
    assert not torch.equal(whole[0], whole[1])


def test_tile_size_changes_no_sample() -> None:
    w = signs(8, 100)
    cells = [Crossbar.program(w, chip(tile=Tile(rows=r, cols=9))).cells(0) for r in (7, 100)]
    assert torch.equal(*cells)


def test_a_later_epoch_is_another_sample_with_the_same_defects() -> None:
    faulty = DEVICE.model_copy(
        update={"faults": Faults(stuck_lrs=0.2, stuck_hrs=0.3), "programming": RelativeVariation()}
    )
    w = signs(10, 100)
    first, second = (Crossbar.program(w, chip(device=faulty), epoch=p) for p in (0, 1))
    assert torch.equal(first.cells(0), second.cells(0))
    epochs = [Crossbar.program(w, chip(), epoch=p).cells(0) for p in (0, 1)]
    assert not torch.equal(*epochs)


def test_successive_reads_differ_only_with_read_noise() -> None:
    w, x = signs(5, 64), signs(3, 64, seed=1)
    quiet = Crossbar.program(w, chip())
    assert torch.equal(quiet.mvm(x), quiet.mvm(x))
    noisy = Crossbar.program(w, chip(device=DEVICE.model_copy(update={"read": Read(sigma=0.1)})))
    assert not torch.equal(noisy.mvm(x), noisy.mvm(x))


def test_a_calibrated_adc_uses_its_limits() -> None:
    w, x = signs(16, 96), signs(40, 96, seed=1)
    c = load_chip("ideal").replace("converter", {"kind": "sym", "bits": 4, "range": "calibrated", "limits": "minmax"})
    bar = Crossbar.program(w, c)
    with pytest.raises(InputError, match="no calibration"):
        bar.mvm(x)
    low, high = bar.tiled.profile(lambda rows: x[:, rows])
    products = x @ w.T
    assert (low, high) == (float(products.min()), float(products.max()))
    bar.set_limits(low, high)
    full = Crossbar.program(w, c.replace("converter.range", "max"))
    exact = products[None]
    assert (bar.mvm(x) - exact).square().mean() < (full.mvm(x) - exact).square().mean() / 4


def test_adc_inputs_are_what_a_product_sums() -> None:
    w, x = signs(5, 96), signs(6, 96, seed=1)
    products = []
    for read, first_read in ((Read(), None), (Read(sigma=0.1), 0)):
        c = chip(device=DEVICE.model_copy(update={"read": read}))
        c = c.replace("converter", {"kind": "sym", "bits": 16, "range": "max"})
        parts = list(Crossbar.program(w, c).tiled.converter_inputs(lambda rows: x[:, rows], first_read, len(x)))
        assert [tile for tile, _ in parts] == [0, 1, 2]
        products.append(Crossbar.program(w, c).mvm(x)[0])
        half_step = 32 / 2**16
        torch.testing.assert_close(sum(u for _, u in parts), products[-1], atol=3.1 * half_step, rtol=0)
    assert (products[0] - products[1]).abs().max() > 0.1


def test_halves_round_away_from_zero() -> None:
    quantiser = (
        load_chip("ideal").replace("converter", {"kind": "sym", "bits": 4}).converter.quantiser(-14.0, 14.0, True)
    )
    u = torch.tensor([1.0, -1.0, 3.0, -3.0, 5.0, 15.0])
    assert quantiser.step == 2.0
    assert quantiser(u).tolist() == [2.0, -2.0, 4.0, -4.0, 6.0, 14.0]


@pytest.mark.parametrize("shape", [(3, 63), (2, 3, 64), (64,)])
def test_wrong_input_shapes_are_named(shape: tuple[int, ...]) -> None:
    bar = Crossbar.program(signs(5, 64), chip())
    with pytest.raises(InputError, match=r"\[batch, 64\]"):
        bar.mvm(torch.ones(shape))


def test_nan_weights_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        Crossbar.program(torch.tensor([[1.0, float("nan")]]), chip())
