"""Crossbars with wires: the exact circuit for inputs that drive every row, a bounded approximation for the others."""

import numpy as np
import pytest
import torch

from imc_sim.array import Chip, Converter, Crossbar, Tile, Wires, encodings
from imc_sim.array.circuit.conductance import gated_conductance
from imc_sim.array.circuit.gates import approximate_gating, gating_error
from imc_sim.device import Device, RelativeVariation

DEVICE = Device(g_lrs_S=5e-5, g_hrs_S=5e-6, programming=RelativeVariation(sigma=0.1))
NODAL = Wires(kind="nodal", r_row_ohm=1.0, r_col_ohm=2.0, r_source_ohm=20.0, r_sense_ohm=10.0)


def values(kind: str, *shape: int, seed: int) -> torch.Tensor:
    among = torch.tensor(encodings()[kind]().values or (-1.0, 1.0), dtype=torch.float64)
    return among[torch.randint(0, len(among), shape, generator=torch.Generator().manual_seed(seed))]


def chip(kind: str = "differential", wires: Wires = NODAL, **changes: object) -> Chip:
    made = Chip(device=DEVICE, tile=Tile(rows=32, cols=24), wires=wires).model_copy(update=changes)
    return made.replace("encoding", {"kind": kind})


def circuit(bar: Crossbar, x: torch.Tensor, wires: Wires) -> torch.Tensor:
    """Return results from the exact circuit of every tile, one per gate pattern: [batch, out]."""
    plan, encoding, device = bar.plan, bar.encoding, bar.chip.device
    p, tiles, total = plan.placement, bar.conductance[0], torch.zeros(len(x), plan.outputs, dtype=torch.float64)
    unit = device.window_S / plan.targets.steps
    for i, rows in enumerate(p.row_slices):
        part = x[:, rows]
        for term in encoding.terms:
            drives = torch.tensor(encoding.drives[term.drive], dtype=torch.float64)
            volts = torch.einsum("rk,kbi->bir", drives, torch.stack([part**0, part, part**2])).flatten(1)
            on = torch.nn.functional.pad(volts, (0, p.tile.rows - volts.shape[1]))
            lines = []
            for j, columns in enumerate(p.column_slices):
                M = gated_conductance(tiles[i * len(p.column_slices) + j], on != 0, wires)
                width = (columns.stop - columns.start) * p.column_group
                lines.append(torch.einsum("bi,bio->bo", on, M)[:, :width])
            placed = torch.cat(lines, 1).unflatten(1, (-1, encoding.columns))
            cells = torch.empty_like(placed).index_copy_(1, plan.order, placed)
            u = cells @ torch.tensor(term.columns, dtype=torch.float64)
            if plan.reference is not None:
                u = u[:, : plan.outputs] - u[:, plan.reference]
            count = float(rows.stop - rows.start)
            analog = device.g_hrs_S * (term.sum_x * part.sum(1, keepdim=True) + term.count * count)
            total += term.gain * (u + analog) / unit
    c = encoding.correction
    total -= c.sum_w * plan.targets.weights.sum(-1) + c.count * x.shape[1] + c.sum_x * x.sum(1, keepdim=True)
    return total * plan.targets.scale


@pytest.mark.parametrize("wires", [NODAL, NODAL.model_copy(update={"drive": "double"}),
                                   Wires(kind="columns", r_col_ohm=3.0)])  # fmt: skip
@pytest.mark.parametrize("kind", ["differential", "offset"])
@pytest.mark.parametrize(("converter", "outputs"), [(Converter(), 30), (Converter(kind="auto", bits=16), 30),
                                                    (Converter(), 3)])  # fmt: skip
def test_rows_that_are_always_on_have_the_exact_circuit(
    kind: str, wires: Wires, converter: Converter, outputs: int
) -> None:
    """Three outputs leave most of a tile's columns open."""
    w, x = values(kind, outputs, 50, seed=1), values(kind, 6, 50, seed=2)
    bar = Crossbar.program(w, chip(kind, wires, converter=converter))
    expected = circuit(bar, x, wires)
    atol = 1e-9 if converter.is_ideal else 5e-3
    assert torch.allclose(bar.mvm(x)[0], expected, rtol=0, atol=atol)
    free = Crossbar.program(w, chip(kind, Wires())).mvm(x)[0]
    assert float((free - expected).abs().max()) > 0.3


@pytest.mark.parametrize("kind", [k for k, e in encodings().items() if e.operands != "real"])
def test_switched_rows_are_close_to_the_exact_circuit(kind: str) -> None:
    """The error of the tangent is a small part of the IR drop; readout tile by tile gives the same."""
    w, x = values(kind, 30, 50, seed=1), values(kind, 24, 50, seed=2)
    bar = Crossbar.program(w, chip(kind))
    bar.set_driven_rows(bar.measure_rows(lambda rows: x[:, rows]))
    expected, seen = circuit(bar, x, NODAL), bar.mvm(x)[0]
    free = Crossbar.program(w, chip(kind, Wires())).mvm(x)[0]
    moved = float((free - expected).square().mean().sqrt())
    assert float((seen - expected).square().mean().sqrt()) < 0.2 * moved
    tiled = chip(kind, converter=Converter(kind="auto", bits=16))
    by_tiles = Crossbar.program(w, tiled, driven=bar.driven_rows).mvm(x)[0]
    if bar.encoding.signed:  # elsewhere an analog correction may leave the range of the ADC
        assert torch.allclose(by_tiles, seen, atol=1e-2)


def test_passive_rows_are_all_driven() -> None:
    w, x = values("bnn_i", 20, 30, seed=1), values("bnn_i", 5, 30, seed=2)
    bar = Crossbar.program(w, chip("bnn_i", NODAL.model_copy(update={"cells": "passive"})))
    gated = Crossbar.program(w, chip("bnn_i")).mvm(x)
    assert not torch.allclose(bar.mvm(x), gated, atol=1e-3)
    again = Crossbar.program(w, chip("bnn_i", NODAL.model_copy(update={"cells": "passive", "gating": "mean"})))
    assert torch.equal(bar.mvm(x), again.mvm(x))  # nothing is approximated


@pytest.mark.parametrize(("method", "worst"), [("all_on", 0.09), ("mean", 0.05), ("tangent", 0.012)])
def test_the_error_of_an_approximation_is_measured(method: str, worst: float) -> None:
    generator = torch.Generator().manual_seed(4)
    G = torch.where(torch.rand(64, 64, generator=generator) < 0.5, 2e-5, 2e-6).double()
    gates = torch.rand(20, 64, generator=generator) < 0.5
    wires = Wires(kind="nodal", r_row_ohm=1.0, r_col_ohm=1.0)
    error = gating_error(approximate_gating(G, wires, method), G, gates, wires)  # type: ignore[arg-type]
    assert 0.0 < error.rms < worst
    assert np.isfinite(error.max)
