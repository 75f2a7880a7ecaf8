"""Mappings with wires compared with vectors of an independent nodal analysis: currents of every pass, and results."""

from pathlib import Path

import numpy as np
import pytest
import torch

from imc_sim.array import Crossbar, Wires
from imc_sim.array.circuit.conductance import gated_conductance
from tests.oracle.test_reference_mappings import BNN, TNN, chip_of, vectors_of, weights_and_inputs

CASES = [(e, d) for e in BNN + TNN for d in ("d0", "d1")]


def exact_currents(bar: Crossbar, x: torch.Tensor, wires: Wires) -> np.ndarray:
    """Return [term, batch, out] in uA of the cells in their layout, one exact circuit per gate pattern."""
    plan, encoding = bar.plan, bar.encoding
    G = bar.conductance[0, 0]
    found = []
    for term in encoding.terms:
        drives = torch.tensor(encoding.drives[term.drive], dtype=torch.float64)
        volts = torch.einsum("rk,kbi->bir", drives, torch.stack([x**0, x, x**2])).flatten(1)
        on = torch.zeros(len(x), G.shape[0], dtype=torch.float64)
        on[:, : volts.shape[1]] = volts
        lines = torch.einsum("bi,bio->bo", on, gated_conductance(G, on, wires)) * bar.chip.device.read.v_read_V
        columns = lines[:, : plan.outputs * encoding.columns].unflatten(1, (plan.outputs, encoding.columns))
        found.append(columns @ torch.tensor(term.columns, dtype=torch.float64))
    return torch.stack(found).numpy() * 1e6


@pytest.mark.parametrize(("encoding", "device"), CASES)
@pytest.mark.parametrize("resistance", [0.5, 2.0])
def test_currents_with_wires_equal_the_reference(
    reference: Path, encoding: str, device: str, resistance: float
) -> None:
    w, x = weights_and_inputs(reference, encoding)
    vectors = vectors_of(reference, encoding, device, "tight")
    bar = Crossbar.program(w, chip_of(encoding, device, int(vectors["N"])))
    columns = exact_currents(bar, x, Wires(kind="columns", r_col_ohm=resistance))
    expected = vectors[f"Ipar_w{resistance}"]
    assert np.abs(columns - expected).max() < 1e-9 * np.abs(expected).max()
    nodal = exact_currents(bar, x[:2], Wires(kind="nodal", r_row_ohm=resistance, r_col_ohm=resistance))
    expected = vectors[f"Ifull_w{resistance}"]
    assert np.abs(nodal - expected).max() < 1e-9 * np.abs(expected).max()
