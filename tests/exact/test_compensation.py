"""Drift compensation: cells that drift by one common factor leave every product unchanged, in every encoding."""

from typing import Any

import pytest
import torch

from imc_sim import InputError
from imc_sim.array import Chip, Crossbar, Tile, encodings
from imc_sim.device import Device, Drift, Time
from imc_sim.nn import Linear
from imc_sim.train import ChipNoise, Variation

#: all conductances fall to one half, which float32 holds exactly
HALVED = Time(t_s=1024.0, drift=Drift(nu=0.1), compensation=True)
#: ADC steps in windows: every drifted sum is a multiple of it
BITS, STEP = 16, 1 / 64


def weights_and_inputs(kind: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(4)
    values = torch.tensor(encodings()[kind]().values or (-1.0, 1.0), dtype=dtype)
    w, x = (values[torch.randint(len(values), shape, generator=g)] for shape in ((64, 128), (256, 128)))
    return (w.clamp_min(0) if kind == "unipolar" else w), x


def chip(kind: str, g_hrs_S: float, **changes: Any) -> Chip:
    device = Device(g_lrs_S=g_hrs_S + 8e-5, g_hrs_S=g_hrs_S, time=HALVED)
    settings = {"encoding": encodings()[kind](), "tile": Tile(rows=64, cols=64)} | changes
    return Chip(device=device, **settings)


@pytest.mark.parametrize("g_hrs_S", [0.0, 1e-5])
@pytest.mark.parametrize("kind", encodings())
def test_uniform_drift_is_undone(kind: str, g_hrs_S: float) -> None:
    """Digital corrections are not currents and are not scaled. Analog ones are, and drift like HRS."""
    paths: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
        "float64": (torch.float64, {}),
        "float64, ADCs": (torch.float64, {"converter": {"kind": "auto", "bits": BITS, "range": "calibrated"}}),
        "float32": (torch.float32, {}),
        "float32, ADCs": (torch.float32, {"converter": {"kind": "auto", "bits": BITS, "range": "calibrated"}}),
        "int8": (torch.float32, {"compute": "int8"}),
    }
    for name, (dtype, changes) in paths.items():
        w, x = weights_and_inputs(kind, dtype)
        bar = Crossbar.program(w, Chip.model_validate(chip(kind, g_hrs_S).to_dict() | changes), chips=2)
        codes = 2 ** (BITS - 1) - 1 if bar.encoding.signed else 2**BITS - 1
        bar.set_limits(*((0.0, STEP * codes) if bar.encoding.signed else (-100.0, STEP * codes - 100.0)))
        for index in range(2):
            assert bar.readout.weights[index].factor == pytest.approx(2.0, rel=1e-12)
        expected = (x @ w.mT).expand(2, -1, -1)
        error = float((bar.mvm(x) - expected).abs().max() / expected.abs().max())
        assert error <= 1e-14, f"{name}: {error:g}"


def test_compensation_leaves_digital_corrections_unscaled() -> None:
    """BNN V, 64 inputs, nu 0.05 of every cell: scaled corrections would change every product by 64."""
    device = Device(g_lrs_S=1e-4, g_hrs_S=0.0, time=Time(t_s=1e6, drift=Drift(nu=0.05), compensation=True))
    w, x = (t[:8, :64] for t in weights_and_inputs("bnn_v", torch.float64))
    y = Crossbar.program(w, Chip(device=device, encoding=encodings()["bnn_v"]())).mvm(x)[0]
    assert float((y - x @ w.mT).abs().max()) <= 1e-14 * 64


def test_training_refuses_encodings_that_are_not_a_single_matrix() -> None:
    """A compensated sum and a digital sum of inputs are two numbers: no single weight matrix represents both."""
    network = torch.nn.Sequential(Linear(8, 4, policy="xnor"))
    settings = {"encoding": {"kind": "bnn_iii"}, "device.time": HALVED.to_dict()}
    with pytest.raises(InputError, match="compensation"):
        ChipNoise(network, Variation(chip="rram_hfo2_1t1r", set=settings), 0)
