"""Currents of bit lines, and reads of several vectors: what they are for every encoding, and how they are addressed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from imc_sim.array import Chip, Converter, Crossbar, Patches, Rows, Wires, encodings
from imc_sim.array._limits import calibrated
from imc_sim.array._read_noise import deviation
from imc_sim.array.circuit.conductance import wired_conductance
from imc_sim.array.circuit.nonlinear import _Cells
from imc_sim.config import build

G = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}
NODAL = {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 2.0}


def chip(device: dict[str, Any] | None = None, **more: Any) -> Chip:
    data = {"tile": {"rows": 16, "cols": 16}, **more, "device": {**G, **(device or {})}}
    return build(Chip, data, "chip")


def values(kind: str, *shape: int, seed: int = 0) -> Tensor:
    among = torch.tensor(encodings()[kind]().values or (-1.0, 1.0), dtype=torch.float64)
    return among[torch.randint(0, len(among), shape, generator=torch.Generator().manual_seed(seed))]


def weights(kind: str, *shape: int) -> Tensor:
    return values(kind, *shape, seed=1).abs() if kind == "unipolar" else values(kind, *shape, seed=1)


def readable(kind: str) -> bool:
    """Tell whether an encoding holds -1 and +1 (or 0 and 1) on two levels."""
    return kind != "sliced"


@pytest.mark.parametrize("kind", [kind for kind in encodings() if readable(kind)])
@pytest.mark.parametrize("wires", [{"kind": "ideal"}, NODAL])
def test_products_are_sums_of_currents_and_digital_corrections(kind: str, wires: dict[str, Any]) -> None:
    """Without HRS current no analog correction is left out; passes see other cells where they switch other rows on."""
    spec = chip({"g_hrs_S": 0.0, "read": {"v_read_V": 0.3}}, wires=wires, encoding={"kind": kind})
    w, x = weights(kind, 5, 21), values(kind, 4, 21)
    x[:, :15] = x[:, :15].abs()  # more rows at +1 than at -1
    bar = Crossbar.program(w, spec)
    bar.set_driven_rows(bar.measure_rows(lambda rows: x[:, rows]))
    found = bar.currents(x)
    plan, c = bar.plan, bar.encoding.correction
    assert found.shape == (1, len(bar.placement.row_slices), 4, 5 * len(plan.factors))
    units = found[0].sum(0) / (0.3 * spec.device.window_S / plan.targets.steps)
    y = units.unflatten(-1, (5, -1)) @ torch.tensor(plan.factors, dtype=torch.float64)
    held = plan.targets.weights.double()
    y = y - (c.sum_w * held.sum(-1) + c.count * x.shape[1] + c.sum_x * x.sum(1, keepdim=True))
    assert torch.allclose(y * plan.targets.scale, bar.mvm(x)[0].double(), rtol=0, atol=1e-5)


def test_inputs_of_each_chip_make_separate_currents() -> None:
    spec = chip({"programming": {"kind": "relative", "sigma": 0.2}})
    w, x = values("differential", 3, 20), values("differential", 2, 4, 20, seed=2)
    bar = Crossbar.program(w, spec, chips=2)
    each = bar.currents(x)
    for number in range(2):
        assert torch.equal(each[number], bar.currents(x[number])[number])
    assert not torch.allclose(each[0], bar.currents(x[1])[0], atol=1e-6)


READS: dict[str, dict[str, Any]] = {
    "noise": {"read": {"sigma": 0.1}},
    "traps": {"read": {"telegraph": {"probability": 0.5, "amplitude": 0.3, "occupancy": 0.4}}},
}


@pytest.mark.parametrize("effect", READS)
@pytest.mark.parametrize("converter", [{}, {"kind": "auto", "bits": 8}])
@pytest.mark.parametrize("compiled", [True, False])
def test_vectors_of_one_read_are_addressed_by_that_read(effect: str, converter: dict[str, Any], compiled: bool) -> None:
    """Reads may hold several rows, or the pixels of an image: each read is the same alone, whatever came before it."""
    spec = chip(READS[effect], converter=converter)
    w = values("differential", 4, 18).float()
    for inputs in (
        lambda part: Rows(values("differential", 3, 5, 18, seed=3).float()[part]),
        lambda part: Rows(values("differential", 3, 18, seed=3).float()[part]),
        lambda part: Patches(values("differential", 3, 2, 5, 6, seed=3).float()[part], 3, 2, 1),
    ):
        readout = Crossbar.program(w, spec).readout
        readout = readout if compiled else readout.reference
        whole = readout.read(0, inputs(slice(0, 3)), 7)
        for read in range(3):
            assert torch.equal(readout.read(0, inputs(slice(read, read + 1)), 7 + read)[0], whole[read])
        assert not torch.equal(readout.read(0, inputs(slice(0, 3)), 8), whole)


def test_vectors_count_what_they_hold() -> None:
    rows, several = Rows(torch.zeros(6, 4)), Rows(torch.zeros(3, 5, 4))
    assert (rows.reads, rows.per_read, rows.count, rows.shape) == (6, 1, 6, (6,))
    assert (several.reads, several.per_read, several.count, several.shape) == (3, 5, 15, (3, 5))
    images = Patches(torch.zeros(2, 3, 7, 9), 3, 2, 1)
    assert (images.reads, images.per_read, images.count, images.shape) == (2, 20, 40, (2, 4, 5))
    assert images(slice(0, 27)).shape == (40, 27)


@pytest.mark.parametrize("kind", ["differential", "offset", "unipolar", "sliced"])
@pytest.mark.parametrize("levels", [3, 5])
def test_weights_of_zero_have_products_of_zero(kind: str, levels: int) -> None:
    encoding = {"kind": kind} | ({"weight_bits": 8} if kind == "sliced" else {})
    spec = chip({"levels": levels}, encoding_multibit=encoding)
    bar = Crossbar.program(torch.zeros(3, 6), spec, encoding=spec.encoding_multibit)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert float(bar.mvm(x).abs().max()) < 1e-5


@pytest.mark.parametrize("kind", ["bnn_i", "tnn_iii"])
def test_measured_cells_have_the_wires_of_the_rows_that_are_driven(kind: str) -> None:
    """As programmed cells do: without the calibration the circuit would be that of half of the rows."""
    spec = chip(wires=NODAL, encoding={"kind": kind})
    w, x = values(kind, 5, 21), values(kind, 9, 21, seed=2)
    x[:, 3:] = -1.0
    simulated = Crossbar.program(w, spec)
    driven = simulated.measure_rows(lambda rows: x[:, rows])
    found = Crossbar.from_conductance(simulated.programmed, w, spec, driven=driven)
    wanted = Crossbar.program(w, spec, driven=driven)
    assert torch.allclose(found.mvm(x), wanted.mvm(x), rtol=0, atol=1e-3)
    assert not torch.allclose(simulated.mvm(x), wanted.mvm(x), rtol=0, atol=1e-2)
    assert found.driven_rows is driven


@pytest.mark.parametrize("kind", [kind for kind, e in encodings().items() if e.operands != "real"])
@pytest.mark.parametrize("read", [{"sigma": 0.2}, {"bandwidth_Hz": 1e11}, {"sigma": 0.1, "bandwidth_Hz": 1e11}])
def test_the_promise_of_unit_inputs_changes_no_noise(kind: str, read: dict[str, float]) -> None:
    """Only how its variance is computed; word lines that no input of -1 or +1 drives add none."""
    spec = chip({"read": read | {"v_read_V": 0.05}}, encoding={"kind": kind})
    w, x = values("differential", 5, 21).float(), values("differential", 9, 21, seed=2).float()
    promised, plain = (Crossbar.program(w, spec, unit_inputs=unit).mvm(x) for unit in (True, False))
    assert float((plain[0] - x @ w.T).abs().max()) > 0.1
    assert torch.allclose(promised, plain, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["levels", "bit_serial"])
@pytest.mark.parametrize("encoding", [k for k, e in encodings().items() if e.operands != "real"])
def test_inputs_of_few_values_need_no_range_of_the_dac(kind: str, encoding: str) -> None:
    spec = chip(encoding={"kind": encoding}, inputs={"kind": kind, "bits": 5})
    w, x = values(encoding, 5, 21).float(), values(encoding, 9, 21, seed=2).float()
    assert torch.allclose(Crossbar.program(w, spec).mvm(x)[0], x @ w.T, rtol=0, atol=1e-4)


@pytest.mark.parametrize("drive", ["single", "double"])
def test_unused_cells_of_passive_arrays_are_in_hrs(drive: Any) -> None:
    """6 x 4 of 12 x 8 cells: those left over conduct, and load the wires."""
    wires = Wires(kind="nodal", r_row_ohm=200.0, r_col_ohm=300.0, drive=drive, cells="passive")
    spec = chip({"g_lrs_S": 1e-4, "g_hrs_S": 5e-5}, tile={"rows": 12, "cols": 8}, wires=wires)
    w, x = values("differential", 2, 6), values("differential", 5, 6, seed=2)
    bar = Crossbar.program(w, spec)
    G = torch.full((12, 8), 5e-5, dtype=torch.float64)
    G[:6, :4] = bar.conductance[0, 0, :6, :4]
    M = wired_conductance(G, wires)
    wanted = x @ (M[:6, 0:4:2] - M[:6, 1:4:2]) / 5e-5
    assert torch.allclose(bar.mvm(x)[0], wanted, rtol=0, atol=1e-9)
    open_cells = wired_conductance(torch.where(bar.conductance[0, 0] > 0, G, 0.0), wires)
    assert float((wanted - x @ (open_cells[:6, 0:4:2] - open_cells[:6, 1:4:2]) / 5e-5).abs().max()) > 1e-3


@pytest.mark.parametrize("volts", [1e-8, 9.9e-5, 1.01e-4, 0.3, 3.0])
@pytest.mark.parametrize("a", [0.0, 1.0, 5.0])
def test_currents_of_bent_cells_are_exact_at_any_voltage(volts: float, a: float) -> None:
    cells = _Cells(torch.tensor(2e-5, dtype=torch.float64), torch.tensor(a, dtype=torch.float64))
    at = torch.tensor([volts, -volts], dtype=torch.float64)
    wanted = 2e-5 * (math.sinh(a * volts) / a if a else volts)
    assert cells.current(at).tolist() == pytest.approx([wanted, -wanted], rel=1e-13, abs=0)
    assert cells.slope(at).tolist() == pytest.approx([2e-5 * math.cosh(a * volts)] * 2, rel=1e-13, abs=0)


SETTINGS: list[dict[str, Any]] = [
    {"kind": "ideal"}, {"kind": "levels", "bits": 5}, {"kind": "levels", "bits": 5, "passes": 2},
    {"kind": "bit_serial", "bits": 5}, {"kind": "bit_serial", "bits": 5, "passes": 2},
]  # fmt: skip


@pytest.mark.parametrize("inputs", SETTINGS)
@pytest.mark.parametrize("kind", [k for k, e in encodings().items() if e.operands == "real"])
def test_passes_of_inputs_add_up_for_every_encoding(kind: str, inputs: dict[str, Any]) -> None:
    """Three rows of tiles and ADCs of 16 bits; sums of inputs are subtracted once, not in every pass."""
    converter = {"kind": "auto", "bits": 16}
    spec = chip({"levels": 4}, inputs=inputs, converter=converter, tile={"rows": 8, "cols": 16})
    spec = spec.replace("encoding", {"kind": kind})
    generator = torch.Generator().manual_seed(4)
    w = torch.randint(-3, 4, (5, 21), generator=generator).float()
    w = w.abs() if kind == "unipolar" else 2 * w.sign() + w % 2 if kind == "offset" else w
    x = torch.randint(-15, 16, (7, 21), generator=generator).float() / 15
    x = x.abs() if kind == "unipolar" else x  # its ADCs begin at 0
    bar = Crossbar.program(w, spec)
    bar.set_input_limit(1.0)
    assert len(bar.placement.row_slices) == 3
    held = (bar.plan.targets.weights * bar.plan.targets.scale).double()
    assert torch.allclose(bar.mvm(x)[0].double(), x.double() @ held.T, rtol=0, atol=0.05)


@pytest.mark.parametrize("limits", ["percentile", "sigma", "mse", "auto"])
@pytest.mark.parametrize("signed", [True, False])
def test_limits_of_nearly_equal_values_have_a_width(limits: Any, signed: bool) -> None:
    """A rule that finds a single value leaves the range from the smallest to the largest one."""
    values_ = torch.cat([torch.zeros(9999), torch.tensor([1.0])])
    rule = Converter(kind="auto", limits=limits, percentile=90.0, sigmas=0.5, bits=4)
    low, high = calibrated(lambda: [values_], rule, signed)
    assert low < high
    if limits == "percentile" and not signed:
        assert (low, high) == (0.0, 1.0)


def test_a_variance_below_0_by_rounding_is_none() -> None:
    assert deviation(torch.tensor([-1e-20, 0.0, 4.0], dtype=torch.float64), torch.float32).tolist() == [0.0, 0.0, 2.0]


RESISTANCES = ("r_row_ohm", "r_col_ohm", "r_source_ohm", "r_sense_ohm")


@pytest.mark.parametrize(
    ("kind", "refused"),
    [("ideal", RESISTANCES), ("columns", ("r_row_ohm", "r_source_ohm")), ("nodal", ())],
)
def test_no_resistance_is_ignored(kind: Any, refused: tuple[str, ...]) -> None:
    for name in RESISTANCES:
        settings: dict[str, Any] = {"kind": kind, name: 1.0}
        if name in refused:
            with pytest.raises(ValueError, match=f"{name} of 0 with kind '{kind}'"):
                Wires(**settings)
            continue
        assert not Wires(**settings).is_ideal
        assert Wires(**settings).joins_columns == (name in ("r_row_ohm", "r_source_ohm"))
    for drive in ("single", "double"):
        if drive == "double" and kind != "nodal":
            with pytest.raises(ValueError, match=f"drive 'single' with kind '{kind}'"):
                Wires(kind=kind, drive="double")
            continue
        assert Wires(kind=kind, drive=drive).is_ideal


def test_wires_of_a_share_of_rows_carry_a_share_of_the_current() -> None:
    wires = Wires(kind="nodal", r_row_ohm=1.0, r_col_ohm=2.0, r_source_ohm=3.0, r_sense_ohm=4.0, drive="double")
    wanted = {"r_row_ohm": 1.0, "r_col_ohm": 0.5, "r_source_ohm": 3.0, "r_sense_ohm": 1.0}
    assert {name: getattr(wires.loaded(0.25), name) for name in RESISTANCES} == wanted
    assert wires.loaded(0.25).drive == "double"
