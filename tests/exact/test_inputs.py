"""Word-line inputs and ADCs: DAC levels, bit-serial and two-pass inputs, ranges of used rows, integer accumulators."""

import pytest
import torch

from imc_sim import InputError
from imc_sim.array import Chip, Converter, Crossbar, Inputs, Offset, Tile
from imc_sim.device import Device, Read, RelativeVariation

IDEAL = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=16)
VARIED = IDEAL.model_copy(update={"programming": RelativeVariation(sigma=0.2)})
GENERATOR = torch.Generator().manual_seed(0)
W = torch.randn(7, 60, generator=GENERATOR, dtype=torch.float64)
X = torch.randn(5, 60, generator=GENERATOR, dtype=torch.float64)
FINE = Converter(kind="auto", bits=16)


def bar(device: Device = VARIED, limit: float | None = 3.0, **changes: object) -> Crossbar:
    chip = Chip(device=device, tile=Tile(rows=32, cols=32)).model_copy(update=changes)
    made = Crossbar.program(W, chip)
    if limit is not None:
        made.set_input_limit(limit)
    return made


@pytest.mark.parametrize("bits", [3, 8])
def test_levels_round_to_the_codes_of_the_dac(bits: int) -> None:
    top = 2 ** (bits - 1) - 1
    rounded = (X * top / 3.0).round().clamp(-top, top) * 3.0 / top
    assert not torch.equal(rounded, X)
    seen = bar(inputs=Inputs(kind="levels", bits=bits)).mvm(X)
    assert torch.allclose(seen, bar().mvm(rounded), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("converter", [Converter(), FINE])
def test_bit_serial_passes_sum_to_the_levels(bits: int, passes: int, converter: Converter) -> None:
    serial, whole = (
        bar(
            converter=converter,
            inputs=Inputs.model_validate({"kind": kind, "bits": bits, "passes": passes if kind == "bit_serial" else 1}),
        )
        for kind in ("bit_serial", "levels")
    )
    atol = 1e-9 if converter.is_ideal else 0.02
    assert torch.allclose(serial.mvm(X), whole.mvm(X), rtol=0, atol=atol)


def test_two_passes_convert_each_sign_separately() -> None:
    one, two = (bar(limit=None, inputs=Inputs.model_validate({"passes": n})).mvm(X) for n in (1, 2))
    assert torch.allclose(one, two, rtol=1e-12, atol=1e-12)
    coarse = Converter(kind="auto", bits=6)
    one, two = (
        bar(IDEAL, limit=None, converter=coarse, inputs=Inputs.model_validate({"passes": n})).mvm(X.sign())
        for n in (1, 2)
    )
    parts = [bar(IDEAL, limit=None, converter=coarse).mvm(X.sign().mul(s).clamp_min(0.0)) for s in (1, -1)]
    assert torch.allclose(two, parts[0] - parts[1], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(one, two)


def test_every_pass_is_a_separate_read() -> None:
    noisy = VARIED.model_copy(update={"read": Read(sigma=0.1)})
    quiet, one, two = (
        bar(d, limit=None, inputs=Inputs.model_validate({"passes": n})).mvm(X)
        for d, n in ((VARIED, 1), (noisy, 1), (noisy, 2))
    )
    assert not torch.equal(one, two)
    assert float((one - quiet).std()) == pytest.approx(float((two - quiet).std()), rel=0.5)


def test_a_dac_without_a_limit_is_refused() -> None:
    with pytest.raises(InputError, match="Call `calibrate`"):
        bar(limit=None, inputs=Inputs(kind="levels", bits=4)).mvm(X)
    with pytest.raises(InputError, match="above 0"):
        bar(limit=0.0)


def test_plus_minus_one_needs_no_limit() -> None:
    chip = Chip(device=VARIED, inputs=Inputs(kind="levels", bits=2))
    made, free = (Crossbar.program(W.sign(), c, unit_inputs=True) for c in (chip, Chip(device=VARIED)))
    assert torch.equal(made.mvm(X.sign()), free.mvm(X.sign()))


def test_the_range_of_used_rows_has_finer_steps() -> None:
    """60 inputs on tiles of 32 rows: the last tile uses 28, and its step is 28/32 of the others'."""
    made = bar(IDEAL, converter=Converter(kind="auto", bits=4, rows="used"))
    steps = [q.step for q in made.tiled.quantisers()]
    assert steps[1] / steps[0] == pytest.approx(28 / 32)
    physical = bar(IDEAL, converter=Converter(kind="auto", bits=4)).tiled.quantisers()
    assert physical[0].step == physical[1].step == steps[0]
    x = X.sign()
    tiles = [bar(IDEAL, converter=Converter(kind="auto", bits=4, rows="used")) for _ in range(2)]
    alone = [x * (torch.arange(60) < 32), x * (torch.arange(60) >= 32)]
    assert torch.allclose(made.mvm(x), tiles[0].mvm(alone[0]) + tiles[1].mvm(alone[1]), atol=1e-12)


def test_integer_accumulators_hold_whole_numbers() -> None:
    device = VARIED.model_copy(update={"levels": 2})
    chip = Chip(device=device, tile=Tile(rows=32, cols=32), converter=Converter(kind="auto", bits=6))
    whole = chip.model_copy(update={"converter": Converter(kind="auto", bits=6, accumulator="integer")})
    real, integer = (Crossbar.program(W.sign(), c).mvm(X.sign()) for c in (chip, whole))
    assert torch.equal(integer, integer.round())
    assert not torch.equal(real, real.round())
    assert float((real - integer).abs().max()) <= 0.5 * 2  # two tiles


@pytest.mark.parametrize("levels", [2, 3, 16])
def test_offset_weights_are_relative_to_the_reference(levels: int) -> None:
    device = IDEAL.model_copy(update={"levels": levels})
    made = Crossbar.program(W, Chip(device=device, encoding=Offset(), tile=Tile(rows=40, cols=4)))
    top = float(W.abs().max())
    steps = levels - 1
    rounded = ((W / top + 1) * steps / 2).round() * 2 / steps - 1
    assert torch.allclose(made.mvm(X)[0], X @ (rounded * top).T, rtol=1e-12, atol=1e-12)
    assert made.placement.tiles == 2 * 3
    references = made.plan.siemens(made.cells(0)[7:] * made.plan.targets.steps)
    assert torch.allclose(references, torch.full_like(references, 5.5e-5), rtol=1e-12, atol=0)


def test_one_reference_shifts_all_columns_of_its_tile() -> None:
    """With variation in the references alone, columns of a tile have a common error and other tiles another one."""
    made = Crossbar.program(W, Chip(device=VARIED, encoding=Offset(), tile=Tile(rows=64, cols=4)))
    g = made.cells(0)
    assert len(g) == 7 + 3
    x = torch.ones(1, 60, dtype=torch.float64)
    expected = (
        (g[:7] - g[made.plan.reference])[:, 0, 0, :, 0].sum(-1) * made.plan.targets.steps * made.plan.targets.scale
    )
    assert torch.allclose(made.mvm(x)[0, 0], expected, rtol=1e-12, atol=0)
    assert made.plan.reference is not None
    assert made.plan.reference.tolist() == [7, 7, 7, 8, 8, 8, 9]
