"""Details of crossbars that act in one path only: read addresses, references, ranges of few values, what is refused."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from imc_sim import InputError
from imc_sim._rng import Address
from imc_sim.array import (
    Chip,
    CompiledReadout,
    Converter,
    Crossbar,
    Differential,
    Inputs,
    Offset,
    Placement,
    Policy,
    Rows,
    Sliced,
    Tile,
    Unipolar,
    Wires,
    approximate_gating,
    effective_conductance,
    gated_conductance,
    gating_error,
    operand_bytes,
    solve_currents,
    solve_nonlinear,
)
from imc_sim.array._limits import Histogram, _best, calibrated
from imc_sim.array._plan import Plan
from imc_sim.array._tiled_readout import TilePass, read_stream
from imc_sim.array.encoding.kinds import encodings
from imc_sim.config import build
from imc_sim.device import Device, Drift, Faults, ReadDisturb, RelativeVariation, StateRelaxation, Time

CELL = Device(g_lrs_S=1e-4, g_hrs_S=1e-5)
CHIP = Chip(device=CELL, tile=Tile(rows=8, cols=6))


def signs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


def chip(**paths: Any) -> Chip:
    found = CHIP
    for path, value in paths.items():
        found = found.replace(path.replace("__", "."), value)
    return found


# -- chips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "varies"),
    [
        (CELL, False),
        (CELL.replace("read.sigma", 0.1), True),
        (CELL.replace("programming", {"kind": "relative", "sigma": 0.1}), True),
        (CELL.replace("programming", {"kind": "relative", "sigma_hrs": 0.1}), True),
        (CELL.model_copy(update={"time": Time(t_s=5.0, drift=Drift(nu=0.1))}), True),
        (CELL.model_copy(update={"faults": Faults(stuck_lrs=0.1)}), True),
        (CELL.model_copy(update={"disturb": ReadDisturb(reads=1)}), True),
    ],
)
def test_chips_differ_where_an_effect_acts(device: Device, varies: bool) -> None:
    assert CHIP.model_copy(update={"device": device}).varies == varies


def test_the_physics_of_a_chip_is_all_but_its_texts() -> None:
    assert set(CHIP.to_dict()) - set(CHIP.physics()) == {"name", "source", "validity"}


PATHS = ("tile.rows", "tile.cols", "device.g_lrs_S", "device.levels", "inputs.passes", "device.read.v_read_V")


@pytest.mark.parametrize(
    ("changes", "acting"),
    [
        ({}, set()),
        ({"wires": {"kind": "columns", "r_col_ohm": 1.0}}, {"tile.rows", "device.g_lrs_S"}),
        ({"wires": {"kind": "nodal", "r_row_ohm": 1.0}}, {"tile.rows", "tile.cols", "device.g_lrs_S"}),
        ({"device.programming.sigma": 0.1}, {"device.g_lrs_S"}),
        ({"device.read.sigma": 0.1}, {"tile.rows", "device.g_lrs_S", "inputs.passes"}),
        ({"device.disturb.reads": 5}, {"device.g_lrs_S", "device.read.v_read_V"}),
        ({"device.read.bandwidth_Hz": 1.0}, {"tile.rows", "device.g_lrs_S", "inputs.passes", "device.read.v_read_V"}),
        ({"engine": "memtorch"}, set(PATHS)),
    ],
)
def test_settings_of_products_act_by_other_settings(changes: dict[str, Any], acting: set[str]) -> None:
    """Of binary weights with inputs of -1 and +1 in column pairs."""
    found = CHIP
    for path, value in changes.items():
        found = found.replace(path, value)
    assert set(PATHS) - found.idle_in([(Differential(), True, True)]) == acting


def test_an_adc_of_one_sign_does_not_convert_sums_of_the_other() -> None:
    for kind, signed in (("sym", True), ("pos", False)):
        adc = build(Converter, {"kind": kind, "bits": 4}, "adc")
        adc.check(signed, "bnn_i", "here")
        with pytest.raises(
            InputError, match=f"got '{kind}' with encoding bnn_i; allowed: '{'pos' if signed else 'sym'}'"
        ):
            adc.check(not signed, "bnn_i", "here")
    for signed in (True, False):
        Converter(kind="auto").check(signed, "bnn_i", "here")


def test_settings_of_relaxation_by_state_that_do_not_act() -> None:
    states = (1e-5, 1e-4)
    assert StateRelaxation(states_S=states, shift_S=1e-6).idle() == {"tail", "states_S"}
    assert StateRelaxation(states_S=states, sigma_S=1e-6).idle() == {"t0_s", "states_S"}
    assert StateRelaxation(states_S=states, growth_S=(1e-6, 2e-6)).idle() == frozenset()
    assert StateRelaxation(states_S=states).idle() == {"states_S", "tail", "t0_s"}


def test_settings_of_wires_and_of_adcs_that_do_not_act() -> None:
    wires = Wires(kind="nodal", r_row_ohm=1.0)
    assert wires.idle() == frozenset()
    assert wires.model_copy(update={"gating": "all_on"}).idle() == {"density"}
    assert wires.model_copy(update={"cells": "passive"}).idle() == {"gating", "density"}
    assert Wires(kind="columns", r_col_ohm=1.0).idle() == {"kind", "drive"}
    limits = {"limits", "percentile", "sigmas"}
    assert Converter(kind="auto").idle() == limits
    assert Converter(kind="auto", range="unit").idle() == limits | {"rows"}
    assert Converter(kind="auto", range="calibrated", limits="mse").idle() == {"rows", "percentile", "sigmas"}
    assert Converter(kind="auto", range="calibrated", limits="percentile").idle() == {"rows", "sigmas"}


def test_names_of_layers_do_not_place_the_key_memory() -> None:
    policy = Policy(layers={"*": "digital", "last": "crossbar"}, memory="crossbar")
    assert policy.place("memory", "memory") == "crossbar"
    assert policy.place("last", "binary") == "digital"  # the first name that fits
    with pytest.raises(InputError, match="policy.float"):
        Policy().place("layer", "float")


def test_either_encoding_may_need_the_share_of_driven_rows() -> None:
    wires = Wires(kind="nodal", r_row_ohm=1.0, r_col_ohm=1.0)
    ternary = encodings()["tnn_iii"]()
    for field in ("encoding", "encoding_multibit"):
        plain = CHIP.model_copy(update={"wires": wires, "encoding": Differential()})
        assert not plain.calibrates
        assert plain.model_copy(update={field: ternary}).calibrates


# -- reads -------------------------------------------------------------------------------------------------------


def test_every_chip_may_have_its_own_inputs() -> None:
    noisy, w, x = chip(device__read__sigma=0.1), signs(3, 8), signs(4, 8, seed=1)
    shared, separate = (Crossbar.program(w, noisy, chips=3) for _ in range(2))
    for _ in range(2):  # reads are counted equally
        assert torch.equal(separate.mvm(x.expand(3, 4, 8)), shared.mvm(x))
    assert shared.take_reads(1) == separate.take_reads(1) == 8
    for chips in (2, 4):
        with pytest.raises(InputError, match=r"allowed: \[batch, 8\] or \[3, batch, 8\]"):
            separate.mvm(x.expand(chips, 4, 8))


def test_streams_of_reads_are_named_by_tile_effect_and_pass() -> None:
    """Golden names: another one would change every stored result with read noise."""
    address = Address(5, "fc", 2, 1)
    assert [(s.seed, s.layer, s.stage) for s in (read_stream(address, 3), read_stream(address, 3, 2))] == [
        (5, "fc/3", "read"), (5, "fc/3", "read/2"),
    ]  # fmt: skip
    stages = [
        TilePass(address, number, 0, 1).stream(1, effect).stage
        for effect in ("telegraph", "reference")
        for number in (0, 1)
    ]
    assert stages == ["telegraph/0", "telegraph/1", "reference/0", "reference/1"]


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_range_needs_a_width(limit: float) -> None:
    bar = Crossbar.program(signs(2, 8), CHIP)
    with pytest.raises(InputError, match="not all zero"):
        bar.set_input_limit(limit)
    with pytest.raises(InputError, match="inputs that differ"):
        bar.set_limits(1.0, 1.0 + limit)


def test_targets_and_ageing_of_measured_cells() -> None:
    w = signs(2, 8)
    measured = Crossbar.program(w, CHIP).programmed * 0.9
    bar = Crossbar.from_conductance(measured, w, CHIP)
    assert torch.equal(bar.programmed, bar.conductance)
    assert torch.allclose(bar.targets, Crossbar.program(w, CHIP).targets)
    assert not torch.allclose(bar.targets, bar.programmed[0])
    old = CHIP.model_copy(update={"device": CELL.model_copy(update={"time": Time(t_s=10.0, drift=Drift(nu=0.1))})})
    aged = Crossbar.from_conductance(measured, w, old)
    assert torch.allclose(aged.programmed, bar.programmed, rtol=1e-6)
    assert torch.allclose(aged.conductance, bar.programmed * 10**-0.1, rtol=1e-6)


@pytest.mark.parametrize(("chips", "last"), [(3, 2), (range(1, 3), 2), (range(2, 3), 2)])
def test_no_more_chips_than_were_measured(chips: int | range, last: int) -> None:
    w = signs(2, 8)
    measured = Crossbar.program(w, CHIP, chips=2).programmed
    assert Crossbar.from_conductance(measured, w, CHIP, chips=range(1, 2)).shape[0] == 1
    with pytest.raises(InputError, match=f"chip {last}; allowed: 0 to 1"):
        Crossbar.from_conductance(measured, w, CHIP, chips=chips)


def test_measured_units_are_judged_by_the_typical_cell() -> None:
    w = signs(2, 8)
    measured = Crossbar.program(w, CHIP).programmed.clone()
    with pytest.raises(InputError, match="Convert them to siemens"):
        Crossbar.from_conductance(measured * 1e6, w, CHIP)
    most = measured * 1e6
    most[0, 0, 0, 0] = 0.0
    with pytest.raises(InputError, match="Convert them to siemens"):
        Crossbar.from_conductance(most, w, CHIP)
    measured[0, 0, 0, 0] = 1.0  # one short circuit
    assert Crossbar.from_conductance(measured, w, CHIP).shape == (1, 2, 8)


@pytest.mark.parametrize("kind", ["bnn_v", "tnn_i", "tnn_ii", "tnn_iv"])
def test_wires_in_double_precision_do_not_pass_through_the_compiled_readout(kind: str) -> None:
    """The constants of switched rows may be float64; 16 bits show where a sum rounds to another number."""
    wires = Wires(kind="nodal", r_row_ohm=1.0, r_col_ohm=1.0, density=0.4)
    spec = Chip(
        device=CELL, encoding=encodings()[kind](), wires=wires, tile=Tile(rows=128, cols=64), compute="int8",
        converter=Converter(kind="auto", bits=16),
    )  # fmt: skip
    bar = Crossbar.program(signs(64, 128), spec)
    if not isinstance(bar.readout, CompiledReadout):
        pytest.skip("no compiled readout")
    assert bar.readout.weights[0].constant is not None
    x = signs(400, 128, seed=1) * (signs(400, 128, seed=2) > 0 if kind.startswith("tnn") else 1)
    assert torch.equal(bar.readout.read(0, Rows(x), 0), bar.readout.reference.read(0, Rows(x), 0))


@pytest.mark.parametrize("bits", [3, 8, 12])
@pytest.mark.parametrize("passes", [1, 2])
def test_bits_of_every_code_add_up_to_it(bits: int, passes: Literal[1, 2]) -> None:
    """A code over the largest one, times the largest one, may be a little below the code."""
    dac = Inputs(kind="bit_serial", bits=bits, passes=passes)
    codes = torch.arange(-dac.top, dac.top + 1.0)
    x = dac.quantise(0.3 * codes / dac.top, 0.3)
    planes = [dac.plane(x, number) for number in range(len(dac.factors))]
    total = sum((factor * dac.top * plane.double() for factor, plane in zip(dac.factors, planes, strict=True)))
    assert torch.equal(torch.as_tensor(total).round(), codes.double())
    assert len(planes) == passes * (bits - 1)


# -- places ------------------------------------------------------------------------------------------------------


def test_references_are_in_the_last_column_of_their_tile() -> None:
    plan = Plan.of(signs(7, 3), Offset(), chip(tile__cols=4), "here")
    assert plan.order.tolist() == [0, 1, 2, 7, 3, 4, 5, 8, 6, 9]
    assert plan.reference is not None
    assert plan.reference.tolist() == [7, 7, 7, 8, 8, 8, 9]
    cells = torch.arange(float(plan.cells.numel())).reshape(plan.cells.shape)
    assert torch.equal(plan.logical(plan.physical(cells)), cells)
    assert torch.equal(plan.units(plan.siemens(cells)).round(), cells)
    _, cols, tile = plan.coordinates()
    assert cols[[0, 2, 7, 3, 9], 0, 0, 0, 0].tolist() == [-0.375, 0.125, 0.375, -0.375, -0.125]
    assert tile[[0, 7, 3, 8, 6, 9], 0, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_tiles_are_numbered_row_by_row() -> None:
    place = Placement.of(Tile(rows=2, cols=4), Differential(), 4, 3, "here")
    matrix = torch.arange(24.0).reshape(4, 6)
    tiles = place.split(matrix)
    assert tiles[:, 0, 0].tolist() == [0, 4, 12, 16]
    assert tiles[1].tolist() == [[4, 5, 0, 0], [10, 11, 0, 0]]
    assert torch.equal(place.join(tiles), matrix)
    rows = Placement.of(Tile(rows=5, cols=4), encodings()["bnn_vi"](), 4, 3, "here")
    assert (rows.inputs_per_tile, rows.outputs_per_tile, rows.tiles, rows.cells) == (2, 2, 4, 48)
    assert rows.utilisation == 48 / 80
    for tile in (Tile(rows=1, cols=4), Tile(rows=4, cols=1)):
        with pytest.raises(InputError, match="2 x 2 cells or more"):
            Placement.of(tile, encodings()["bnn_vi"](), 4, 3, "here")


def test_double_weights_have_double_products() -> None:
    for dtype, wanted in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
    ):
        assert Plan.of(signs(2, 3).to(dtype), Differential(), CHIP, "here").dtype == wanted


def test_estimates_of_memory_count_words_planes_and_padded_columns() -> None:
    """Bytes of an input: 4 of every weight, and a byte of every word of 64 columns."""
    sizes = {
        compute: operand_bytes(10, 7, Differential(), chip(compute=compute), True, "here")
        for compute in ("float32", "int16", "int8")
    }
    assert sizes == {"float32": 7 * (40 + 128), "int16": 7 * (40 + 128), "int8": 7 * (40 + 64)}


def test_rounding_is_in_windows() -> None:
    """On 4 levels: multiples of 2^-12 of a third of the window; cells in HRS are at 0 S, which is one of them."""
    spec = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0, levels=4, programming=RelativeVariation(sigma=0.1)))
    weights = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    bar = Crossbar.program(weights, spec, encoding=Differential())
    rounding, varied = bar.rounding(), float((bar.plan.targets.weights != 0).double().mean())
    assert rounding.step == pytest.approx(2.0**-12 / 3)
    assert 0.49 < rounding.largest / rounding.step <= 0.5
    assert rounding.rms / rounding.step == pytest.approx((varied / 12) ** 0.5, rel=0.1)
    two = Crossbar.program(weights, spec, chips=2, encoding=Differential())
    assert two.rounding(0) == rounding
    assert two.rounding(1) != rounding
    assert two.rounding(1).largest <= 0.5 * rounding.step
    double = Crossbar.program(weights.double(), spec, encoding=Differential()).rounding()
    assert (double.compute, double.step, double.largest) == ("float64", 0.0, 0.0)


# -- limits of ADCs ----------------------------------------------------------------------------------------------

VALUES = torch.cat([torch.linspace(-1.0, 1.0, 999), torch.tensor([-8.0])])


@pytest.mark.parametrize(
    ("rule", "signed", "wanted"),
    [
        ({"limits": "minmax"}, False, (-8.0, 1.0)),
        ({"limits": "sigma", "sigmas": 1.0}, False, (-0.0080 - 0.6299, -0.0080 + 0.6299)),
        ({"limits": "sigma", "sigmas": 100.0}, False, (-8.0, 1.0)),
        ({"limits": "percentile", "percentile": 99.0}, False, (-0.9919, 0.9899)),
        ({"limits": "percentile", "percentile": 90.0}, True, (-0.9, 0.9)),
    ],
)
def test_limits_of_values_with_one_far_off(rule: dict[str, Any], signed: bool, wanted: tuple[float, float]) -> None:
    """999 evenly spaced values from -1 to 1 and one at -8; bins are 9 / 4096 wide."""
    found = calibrated(lambda: [VALUES[:500], VALUES[500:]], Converter(kind="auto", **rule), signed)
    assert found == pytest.approx(wanted, abs=5e-3)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 10])
def test_the_default_limits_are_the_wider_of_two_rules(signed: bool, bits: int) -> None:
    found = [
        calibrated(lambda: [VALUES], Converter(kind="auto", bits=bits, limits=limits), signed)
        for limits in ("sigma", "mse", "auto")
    ]
    assert found[2] == (min(found[0][0], found[1][0]), max(found[0][1], found[1][1]))


def test_of_equally_good_limits_the_widest_are_taken() -> None:
    h = Histogram(-1.0, 1.0, np.ones(4096, np.int64))
    rule = Converter(kind="auto", bits=3)
    assert _best(h, rule, [(-0.5, 0.5), (-1.0, 1.0), (-1.0, 1.0), (-0.5, 0.5)], True) == 2
    one = Histogram(-1.0, 1.0, np.eye(1, 4096, 0, dtype=np.int64)[0])
    edge = float(-one.centres[0])
    assert _best(one, rule, [(-edge / 3, edge / 3), (-edge, edge), (-edge, edge)], True) == 2


def test_equal_values_have_a_range_with_0() -> None:
    bar = Crossbar.program(
        torch.ones(2, 8), chip(converter={"kind": "auto", "range": "calibrated", "limits": "minmax"})
    )
    for size in (1.0, -0.5):
        low, high = bar.tiled.profile(lambda rows, size=size: torch.full((3, 8), size)[:, rows])
        assert (low, high) == pytest.approx((min(8 * size, 0.0), max(8 * size, 0.0)))


# -- encodings ---------------------------------------------------------------------------------------------------


def test_results_depend_on_levels_only_where_weights_are_between() -> None:
    kinds = {
        "differential": Differential(),
        "offset": Offset(),
        "sliced": Sliced(),
        "two bits": Sliced(bits_per_slice=2),
    }
    table = {
        name: [kind.uses_levels(linear, signs) for linear in (True, False) for signs in (True, False)]
        for name, kind in kinds.items()
    }
    assert table == {
        "differential": [False, True, False, True], "offset": [False, True, True, True], "sliced": [False] * 4,
        "two bits": [False, False, True, True],
    }  # fmt: skip
    assert not encodings()["bnn_i"]().uses_levels(False, False)


def test_encodings_of_nothing_but_zeros() -> None:
    zeros = torch.zeros(2, 3)
    for encoding in (Differential(), Offset(), Sliced(weight_bits=4), Unipolar()):
        targets = encoding.encode(zeros, 2 if encoding.name != "offset" else 3, "here")
        assert np.isfinite(targets.scale)
        assert not bool(targets.weights.any())


@pytest.mark.parametrize(("bits", "levels"), [(1, 2), (2, 4), (3, 8)])
def test_digits_need_a_level_each(bits: int, levels: int) -> None:
    weights = torch.tensor([[1.0, -3.0, 5.0]])
    assert torch.equal(Sliced(bits_per_slice=bits).encode(weights, levels, "here").weights, weights)
    with pytest.raises(InputError, match=f"{levels} levels or more"):
        Sliced(bits_per_slice=bits).encode(weights, levels - 1, "here")


@pytest.mark.parametrize("value", [0.5, 0.0, 2.0])
def test_bipolar_inputs_are_one_in_magnitude(value: float) -> None:
    x = torch.tensor([[1.0, -1.0, value]])
    with pytest.raises(InputError, match=r"-1, \+1"):
        encodings()["bnn_i"]().check_inputs(x, "here")
    if value:
        with pytest.raises(InputError, match=r"-1, 0, \+1"):
            encodings()["tnn_i"]().check_inputs(x, "here")


def test_offset_rounds_to_the_nearest_level() -> None:
    targets = Offset().encode(torch.tensor([[-1.0, -0.7, -0.3, 0.3, 0.6, 1.0]]), 3, "here")
    assert targets.levels.flatten().tolist() == [0, 0, 2, 2, 4, 4]
    assert (targets.weights * targets.scale).flatten().tolist() == [-1, -1, 0, 0, 1, 1]


def test_encodings_of_other_packages_are_found_at_any_depth() -> None:
    class Base(Differential):  # type: ignore[misc]  # final, which nothing enforces
        kind: Any = "base_of_a_test"

    class Inner(Base):
        kind: Any = "inner_of_a_test"

    assert encodings()["inner_of_a_test"] is Inner
    assert encodings()["base_of_a_test"] is Base


# -- circuits ----------------------------------------------------------------------------------------------------

SOME = Wires(kind="nodal", r_row_ohm=2.0, r_col_ohm=3.0, r_source_ohm=5.0, r_sense_ohm=7.0)
PASSIVE = SOME.model_copy(update={"cells": "passive"})
G = torch.tensor([[1e-4, 2e-5, 1e-4], [2e-5, 1e-4, 1e-4], [1e-4, 1e-4, 2e-5], [2e-5, 2e-5, 1e-4]], dtype=torch.float64)


def test_an_approximation_scales_with_the_read_voltage() -> None:
    gates = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    found = approximate_gating(G, SOME, "tangent", 0.4)
    assert bool(found.offset.any())
    assert torch.allclose(found.currents(gates, 0.2), 0.2 * found.currents(gates), rtol=1e-12, atol=0)
    whole = approximate_gating(G, SOME, "all_on", 0.1)
    assert torch.equal(whole.matrix, approximate_gating(G, SOME, "all_on", 0.9).matrix)
    assert not bool(whole.offset.any())


def test_errors_of_an_approximation_are_relative_to_the_largest_current() -> None:
    gates = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    found = approximate_gating(G, SOME, "mean", 0.5)
    exact = (gates[:, None] @ gated_conductance(G, gates, SOME))[:, 0]
    off = found.currents(gates) - exact
    error = gating_error(found, G, gates, SOME)
    assert error.max == pytest.approx(float(off.abs().max() / exact.abs().max()))
    assert error.rms == pytest.approx(float(off.square().mean().sqrt() / exact.square().mean().sqrt()))
    pair = torch.tensor([[1.0], [-1.0], [0.0]], dtype=torch.float64)
    combined = gating_error(found, G, gates, SOME, pair)
    assert combined.max == pytest.approx(float((off @ pair).abs().max() / (exact @ pair).abs().max()))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: solve_currents(G, torch.ones(2, 4), SOME, gates=torch.ones(2, 3)), "one gate per row"),
        (lambda: solve_currents(G, torch.ones(2, 4), PASSIVE, gates=torch.ones(2, 4)),
         "Leave the gates out"),
        (lambda: solve_currents(G[None], torch.ones(2, 2, 4), SOME), "Reshape the voltages"),
        (lambda: solve_currents(G, torch.full((1, 4), torch.nan), SOME), "finite voltages"),
        (lambda: effective_conductance(-G, 1.0, 1.0), "0 S or more"),
        (lambda: effective_conductance(G * torch.inf, 1.0, 1.0), "finite values"),
        (lambda: effective_conductance(torch.ones(0, 3), 1.0, 1.0), "at least one row"),
        (lambda: gated_conductance(G, torch.full((1, 4), 0.5), SOME), "True and False"),
        (lambda: gated_conductance(G, torch.full((1, 4), -1.0), SOME), "True and False"),
        (lambda: approximate_gating(G, SOME, "tangent", 0.0), "share of rows"),
        (lambda: solve_nonlinear(G, torch.full((1, 4), -0.5), SOME, 100.0), "a times V up to 50"),
        (lambda: solve_nonlinear(G, torch.ones(1, 4), SOME, torch.ones(2)), "one per array"),
        (lambda: build(Wires, {"kind": "columns", "r_source_ohm": 1.0}, "w"), "r_source_ohm of 0"),
        (lambda: build(Wires, {"kind": "columns", "r_col_ohm": 1.0, "drive": "double"}, "w"), "drive 'single'"),
    ],
)  # fmt: skip
def test_circuits_that_cannot_be_are_refused(call: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        call()


def test_passive_cells_conduct_at_0_volts_and_switched_ones_do_not() -> None:
    v = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    passive = solve_currents(G, v, PASSIVE).currents
    whole = effective_conductance(G, 2.0, 3.0, r_source_ohm=5.0, r_sense_ohm=7.0)
    assert torch.allclose(passive, v @ whole, rtol=1e-7)
    switched = solve_currents(G, v, SOME)
    assert torch.allclose(switched.currents, (v[:, None] @ gated_conductance(G, v, SOME))[:, 0], rtol=1e-7)
    assert not torch.allclose(switched.currents, passive, rtol=1e-5)
    assert bool((switched.residual <= 1e-8).all())
    ints = effective_conductance((G * 1e5).round().long(), 1e-5, 1e-5)
    assert ints.dtype == torch.float64


@pytest.mark.parametrize(
    ("wires", "joined", "sense"),
    [
        (Wires(kind="nodal", r_row_ohm=1.0), True, 0.0),
        (Wires(kind="nodal", r_source_ohm=1.0), True, 0.0),
        (Wires(kind="columns", r_col_ohm=1.0), False, 0.0),
        (Wires(kind="nodal", r_sense_ohm=1.0), False, 0.25),
    ],
)
def test_only_word_lines_with_resistance_join_columns(wires: Wires, joined: bool, sense: float) -> None:
    assert wires.joins_columns == joined
    assert wires.loaded(0.25).r_sense_ohm == sense
