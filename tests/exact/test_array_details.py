"""Details of arrays: ranges and ties of ADCs, several tiles, one effect alone, effects together."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from imc_sim.array import Chip, Converter, Crossbar, InputBytes, Wires, effective_conductance
from imc_sim.array._compiled import _product
from imc_sim.config import build
from tests.exact.samples import signs

G = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}


def chip(device: dict[str, Any] | None = None, **more: Any) -> Chip:
    data = {"tile": {"rows": 16, "cols": 16}, **more, "device": {**G, **(device or {})}}
    return build(Chip, data, "chip")


# -- ADCs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "signed", "codes"),
    [
        (-3.0, 1.0, True, (-3.0, 0.0, 3.0)),  # the larger magnitude sets the range, on either side
        (-1.0, 3.0, True, (-3.0, 0.0, 3.0)),
        (-3.0, -1.0, True, (-3.0, 0.0, 3.0)),
        (1.0, 8.0, False, (1.0, 1.0, 8.0)),
    ],
)
def test_an_adc_clips_at_its_limits(low: float, high: float, signed: bool, codes: tuple[float, ...]) -> None:
    quantiser = Converter(kind="auto", bits=3).quantiser(low, high, signed)
    found = quantiser(torch.tensor([-100.0, 0.0, 100.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx(codes, abs=1e-12)
    assert quantiser.highest - quantiser.lowest + 1 == (7 if signed else 8)


@pytest.mark.parametrize("encoding", ["bnn_i", "bnn_iii", "bnn_v", "bnn_vi", "tnn_i"])
def test_the_range_of_used_rows_is_that_of_the_rows_in_use(encoding: str) -> None:
    rows = 2 if encoding in ("bnn_v", "bnn_vi", "tnn_i") else 1
    converter = {"kind": "auto", "bits": 6, "rows": "used"}
    bar = Crossbar.program(signs(3, 5), chip(encoding={"kind": encoding}, converter=converter))
    (quantiser,) = bar.tiled.quantisers()
    floor = 0.0 if bar.encoding.signed else bar.chip.device.floor
    assert quantiser.base + quantiser.step * quantiser.highest == pytest.approx(5 * rows * (1 + floor), rel=1e-12)


@pytest.mark.parametrize("encoding", ["bnn_iii", "bnn_v"])
def test_calibrated_ranges_that_begin_above_0_in_every_tile(encoding: str) -> None:
    """Three rows of tiles, each with the base of its ADC."""
    converter = {"kind": "auto", "bits": 14, "range": "calibrated"}
    w, x = signs(6, 40), signs(9, 40, seed=1)
    bar = Crossbar.program(w, chip(encoding={"kind": encoding}, converter=converter))
    tiles = len(bar.placement.row_slices)
    assert tiles >= 3
    low, high = bar.tiled.profile(lambda rows: x[:, rows])
    assert low > 0.0
    bar.set_limits(low, high)
    quantiser = bar.tiled.quantisers()[0]
    assert quantiser.base > 0.0
    bound = 0.5 * quantiser.step * tiles * 2 * len(bar.encoding.terms) * (1 + 1e-3)
    assert float((bar.mvm(x)[0] - x @ w.T).abs().max()) <= bound


def test_integer_accumulators_add_the_base_of_their_range() -> None:
    """A range that begins above 0: codes alone would be off by its beginning in every conversion."""
    converter = {"kind": "auto", "bits": 14, "range": "calibrated", "limits": "minmax", "accumulator": "integer"}
    w, x = signs(6, 40), signs(9, 40, seed=1)
    bar = Crossbar.program(w, chip({"g_hrs_S": 0.0}, encoding={"kind": "bnn_v"}, converter=converter))
    low, high = bar.tiled.profile(lambda rows: x[:, rows])
    assert low > 0.0
    bar.set_limits(low, high)
    assert torch.allclose(bar.mvm(x)[0], x @ w.T, rtol=0, atol=0.5)


def test_integer_accumulators_round_halves_away_from_0() -> None:
    converter = {"kind": "auto", "bits": 6, "accumulator": "integer"}
    bar = Crossbar.program(signs(1, 4), chip(converter=converter))
    halves = torch.tensor([[-2.5], [-1.5], [-0.5], [0.5], [1.5], [2.5]]) / bar.plan.factors[0]
    assert bar.tiled._rounded(halves)[:, 0].tolist() == [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, False),
        ({"inputs": {"kind": "levels", "bits": 4}}, True),
        ({"converter": {"kind": "auto", "range": "calibrated"}}, True),
        ({"converter": {"kind": "ideal", "range": "calibrated"}}, False),
        ({"converter": {"kind": "auto"}, "inputs": {"kind": "bit_serial", "bits": 4}}, True),
    ],
)
def test_a_chip_tells_if_it_is_calibrated(settings: dict[str, Any], wanted: bool) -> None:
    assert chip(**settings).calibrates is wanted


def test_drives_of_one_bit_are_independent_of_the_curve() -> None:
    """Word lines are at 0 V or the read voltage, where a nonlinear I-V curve changes nothing."""
    weights, x = signs(4, 12), torch.randn(6, 12, generator=torch.Generator().manual_seed(2))
    found = []
    for bend, kind in ((0.0, "bit_serial"), (6.0, "bit_serial"), (6.0, "levels")):
        spec = chip({"read": {"nonlinearity_per_V": bend}}, inputs={"kind": kind, "bits": 5})
        bar = Crossbar.program(weights, spec)
        bar.set_input_limit(float(x.abs().max()))
        found.append(bar.mvm(x))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=0.1)


# -- tiles and chips ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("out", "inputs"), [(20, 40), (20, 10), (4, 40)])
def test_every_tile_has_its_number(out: int, inputs: int) -> None:
    """Tiles are numbered row by row: as many as there are, none twice."""
    plan = Crossbar.program(signs(out, inputs), chip()).plan
    tile = plan.coordinates()[2]
    columns = len(plan.placement.column_slices)
    for r, rows in enumerate(plan.placement.row_slices):
        for c, outs in enumerate(plan.placement.column_slices):
            assert torch.unique(tile[outs, :, :, rows]).tolist() == [r * columns + c]


ALONE = {
    "chip to chip": {"correlated": {"chip": 0.2}},
    "gradient": {"correlated": {"gradient": 0.5}},
    "drift": {"time": {"t_s": 1e3, "drift": {"nu": 0.05, "nu_std": 0.03}}},
    "relaxation": {"time": {"t_s": 1e3, "relaxation": {"kind": "logarithmic", "sigma_S": 1e-5}}},
    "faults": {"faults": {"stuck_hrs": 0.3}},
    "programming": {"programming": {"kind": "relative", "sigma": 0.2}},
    "traps": {"read": {"telegraph": {"probability": 0.5, "amplitude": 0.3}}},
    "1/f noise": {"time": {"t_s": 1e3}, "read": {"flicker": {"q": 0.1, "g_max_S": 1e-4}}},
    "endurance": {"endurance": {"cycles": 1e6, "life_cycles": 1e6, "failed_at": "lrs"}},
}


@pytest.mark.parametrize("device", list(ALONE.values()), ids=list(ALONE))
def test_chips_differ_by_one_effect_alone_and_not_by_the_other_chips(device: dict[str, Any]) -> None:
    w, x = signs(6, 20), signs(5, 20, seed=1)
    three = Crossbar.program(w, chip(device), chips=range(4, 7)).mvm(x)
    assert len(torch.unique(three, dim=0)) == 3
    for position in range(3):
        alone = Crossbar.program(w, chip(device), chips=range(4 + position, 5 + position)).mvm(x)
        assert torch.equal(alone[0], three[position])


def test_a_chip_without_effects_is_exact() -> None:
    wires = {"kind": "nodal", "r_row_ohm": 2.0, "r_col_ohm": 2.0}
    spec = chip(ALONE["programming"] | ALONE["drift"] | {"read": {"sigma": 0.1}}, wires=wires)
    quiet = spec.without_effects()
    assert not spec.cells_are_ideal
    assert quiet.cells_are_ideal
    assert quiet.wires == Wires()
    w, x = signs(6, 20), signs(5, 20, seed=1)
    assert torch.equal(Crossbar.program(w, quiet).mvm(x)[0], x @ w.T)


@pytest.mark.parametrize("shape", [(2, 3), (256, 256)])  # cell by cell, and large enough for the compiled pass
def test_cells_written_again_are_those_that_products_use(shape: tuple[int, int]) -> None:
    """With refresh and no ageing, only the programming epochs of the samples change."""
    law = {"programming": {"kind": "relative", "sigma": 0.3}}
    w, tile = signs(*shape), {"rows": 512, "cols": 512}
    again = law | {"time": {"t_s": 25.0, "refresh_s": 10.0}}
    first, third = (Crossbar.program(w, chip(d, tile=tile), chips=range(1, 2), epoch=1) for d in (law, again))
    for bar in (first, third):
        g = bar.cells(0)[:, 0, :, :, 0]
        found = bar.mvm(torch.eye(shape[1]))[0].T
        assert torch.allclose(found.double(), g[:, 0] - g[:, 1], rtol=0, atol=2.0**-11)
    assert not torch.allclose(first.mvm(torch.eye(shape[1])), third.mvm(torch.eye(shape[1])), atol=0.1)


# -- effects together --------------------------------------------------------------------------------------


TRAPS = {"probability": 0.6, "amplitude": 0.2}
FLICKER = {"q": [{"coefficients": [0.0, 0.05]}], "g_max_S": 1e-4, "t_read_s": 1e-6}


@pytest.mark.parametrize("read", [{"sigma": 0.1}, {"flicker": FLICKER}, {"telegraph": TRAPS}])
def test_noise_is_that_of_the_aged_cells(read: dict[str, Any]) -> None:
    """All cells have lost the same part: the same samples, scaled by it; q of 1/f noise is that of the programmed G."""
    w, x = signs(6, 20), signs(5, 20, seed=1)
    found = []
    for drift in ({}, {"drift": {"nu": 0.1}}):
        device = {"g_hrs_S": 0.0, "time": {"t_s": 1e4, **drift}}
        noisy, quiet = (Crossbar.program(w, chip(device | part)) for part in ({"read": read}, {}))
        found.append((noisy.mvm(x) - quiet.mvm(x))[0].double())
    assert float(found[0].abs().max()) > 0.2
    assert torch.allclose(found[1], found[0] * 1e4**-0.1, rtol=0, atol=1e-3)


def test_compensation_undoes_ageing_and_nothing_else() -> None:
    """The factor that a die has from the beginning stays; what all cells lost together is restored."""
    w, x = signs(6, 20), signs(5, 20, seed=1)
    die = {"correlated": {"chip": 0.3}}
    aged = {"time": {"t_s": 1e6, "drift": {"nu": 0.05}, "compensation": True}}
    read = {"disturb": {"reads": 10**9}, "read": {"v_read_V": 0.4}}
    young = Crossbar.program(w, chip({"g_hrs_S": 0.0} | die), chips=3).mvm(x)
    old = Crossbar.program(w, chip({"g_hrs_S": 0.0} | die | aged), chips=3).mvm(x)
    assert torch.allclose(old, young, rtol=1e-3, atol=1e-3)
    assert float((young - (x @ w.T)).abs().max()) > 1.0
    disturbed = chip({"g_hrs_S": 0.0} | aged | read)
    assert disturbed.device.wear.factor < 0.9
    assert not disturbed.device.at_start.ages
    assert torch.allclose(Crossbar.program(w, disturbed).mvm(x)[0], x @ w.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("encoding", "on"), [("bnn_i", 1.0), ("bnn_ii", -1.0)])
def test_gated_rows_agree_with_the_circuit(encoding: str, on: float) -> None:
    """Half of the rows are on: the error of the affine function is a small part of the effect of the wires."""
    wires = {"kind": "nodal", "r_col_ohm": 2.0, "cells": "1t1r", "gating": "tangent"}
    spec = chip(encoding={"kind": encoding}, wires=wires, tile={"rows": 32, "cols": 12})
    w = torch.ones(6, 32)
    w[:, ::5] = -1.0
    x = signs(8, 16, seed=3)
    x = torch.cat([x, -x], dim=1)
    bar = Crossbar.program(w, spec)
    gates = (x == on).double()[..., None]
    circuits = effective_conductance(bar.conductance[0, 0] * gates, r_row_ohm=0.0, r_col_ohm=2.0)
    currents = (gates.mT @ circuits)[:, 0]
    exact = 2.0 * (currents[:, 0::2] - currents[:, 1::2]) / 9e-5 - on * w.sum(1)
    cost = float((exact - x @ w.T).abs().max())
    assert cost > 0.6
    assert float((bar.mvm(x)[0] - exact).abs().max()) < 0.1 * cost


# -- the compiled product ----------------------------------------------------------------------------------


@pytest.mark.skipif(_product.why_not() is not None, reason=str(_product.why_not()))
@pytest.mark.parametrize(("values", "factor"), [("signs", 1), ("bytes", 127)])
def test_sums_beyond_float32_are_computed_by_torch(values: str, factor: int) -> None:
    w = signs(64, 64)
    x = signs(96, 64, seed=1) if values == "signs" else torch.randint(-100, 101, (96, 64)).float()
    bar = Crossbar.program(w, chip(tile={"rows": 64, "cols": 128}))
    drives = InputBytes.of_rows(x)
    assert drives is not None
    packed = _product.Packed.of(bar.readout.weights[0], drives.run)
    assert packed is not None
    assert (1 if drives.offset == 1 else 127) == factor
    for bound, there in ((2**24 // factor, True), (2**24 // factor + 1, False)):
        found = _product.multiply(dataclasses.replace(packed, bound=bound), drives, None, 1.0, None)
        assert (found is not None) is there
