"""The same study on a CUDA device: nothing stays on the CPU, and results of the device agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import imc_sim as imc
from imc_sim import InputError
from imc_sim.analog import AnalogModel
from imc_sim.array import Crossbar, Rows, load_chip
from imc_sim.config import as_engine
from imc_sim.evaluate import check_device, evaluate_chips
from imc_sim.evaluate._device import prepare_device
from imc_sim.study import Results, run

TASK = {"dataset": "glyphs", "split": "test", "episodes": 5, "classes": 10, "queries": 2, "rotations": False}
CHIP = "rram_hfo2_1t1r"
#: each with its own path from the word lines to the result
EFFECTS: list[dict[str, Any]] = [
    {},
    {"device.programming.sigma": 0.2},
    {"converter": {"kind": "auto", "bits": 6}},
    {"converter": {"kind": "auto", "bits": 6, "accumulator": "integer"}},
    {"device.read.sigma": 0.1, "device.programming.sigma": 0.2},
    {"encoding": {"kind": "bnn_iii"}, "device.read.sigma": 0.1},
    {"encoding": {"kind": "bnn_v"}, "converter": {"kind": "auto"}, "device.programming.sigma": 0.2},
    {"wires": {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 1.0}, "encoding": {"kind": "bnn_i"}},
    {"policy.int8": "crossbar", "inputs": {"kind": "levels", "bits": 6}},
]


def chip_with(effects: dict[str, Any]) -> imc.Chip:
    chip = load_chip(CHIP)
    for path, value in effects.items():
        chip = chip.replace(path, value)
    return chip


def moved(bar: Crossbar, device: str) -> None:
    """Return the crossbar as if it had been programmed from weights on that device."""
    bar._device = torch.device(device)
    weights = [each.to(bar._device) for each in bar.__dict__.pop("readout").weights]
    with mock.patch("imc_sim.array._crossbar.program_chips", return_value=weights):
        assert bar.readout.weights is weights


class OneDevice(TorchDispatchMode):
    """Refuse what CUDA refuses: tensors on two devices, except scalars, copies and indices."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.ndim]
        if len({t.device.type for t in tensors}) > 1 and func.overloadpacket not in _BETWEEN:
            raise RuntimeError(f"{func} takes tensors on two devices")
        return func(*args, **(kwargs or {}))


_BETWEEN = {torch.ops.aten.copy_, torch.ops.aten._to_copy, torch.ops.aten.index}


def signs(*shape: int, seed: int) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


@pytest.mark.parametrize("effects", EFFECTS, ids=str)
def test_a_network_leaves_nothing_on_the_cpu(effects: dict[str, Any]) -> None:
    """Tensors without values, on a device where a tensor of the CPU is refused."""
    model = imc.load_model("batmann_small_xnor")
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    analog: AnalogModel = imc.map_model(model, chip_with(effects), chips=2)
    analog.calibrate(images)
    expected = analog(images)
    analog.to("meta")
    for layer in analog.analog_layers.values():
        moved(layer.crossbar, "meta")
    with OneDevice():
        y = analog(images.to("meta"))
    assert y.device.type == "meta"
    assert y.shape == expected.shape


def test_a_tensor_of_the_cpu_is_refused_there() -> None:
    """The test above depends on this refusal."""
    bar = Crossbar.program(signs(4, 30, seed=0), chip_with(EFFECTS[1]), chips=2)
    x = signs(5, 30, seed=1)
    with OneDevice():
        with pytest.raises(RuntimeError, match="two devices"):
            bar.read(0, Rows(x.to("meta")), 0)
        moved(bar, "meta")
        assert bar.read(0, Rows(x.to("meta")), 0).device.type == "meta"


def test_weights_and_inputs_stay_on_their_device() -> None:
    bar = Crossbar.program(signs(4, 30, seed=0), CHIP)
    assert bar.readout.weights[0].to(torch.device("cpu")) is bar.readout.weights[0]


def test_the_cpu_by_name_is_the_cpu(tmp_path: Path) -> None:
    chip = chip_with(EFFECTS[4]).to_dict()
    named = evaluate_chips("batmann_small_xnor", chip, TASK, range(2), 0, device="cpu")
    assert [r.correct for r in named] == [
        r.correct for r in evaluate_chips("batmann_small_xnor", chip, TASK, range(2), 0)
    ]


def test_missing_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    native, foreign = as_engine("native"), as_engine("memtorch")
    check_device("cpu", foreign)
    for name in ("gpu", "cuda:", "cuda:x", "CUDA"):
        with pytest.raises(InputError, match="cpu, cuda, cuda:0"):
            check_device(name, native)
    with pytest.raises(InputError, match="backend memtorch"):
        check_device("cuda", foreign)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda", native)
    check_device("cuda:1", native)
    with pytest.raises(InputError, match=r"got cuda:2; allowed: cpu \(2 CUDA devices here\)"):
        check_device("cuda:2", native)


def test_float32_is_float32_on_a_device() -> None:
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark
    try:
        cudnn.allow_tf32 = matmul.allow_tf32 = cudnn.benchmark = True
        prepare_device("cpu")
        assert cudnn.allow_tf32
        prepare_device("cuda")
        assert [cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic] == [False] * 3 + [True]
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = before


# -- where there is a device -------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("effects", EFFECTS, ids=str)
def test_cells_are_those_of_the_cpu_and_products_agree(effects: dict[str, Any]) -> None:
    if effects.get("policy.int8"):
        pytest.skip("its weights are no signs")
    w, x = signs(40, 300, seed=0), signs(20, 300, seed=1)
    here, there = (Crossbar.program(w.to(d), chip_with(effects), chips=3, seed=1) for d in ("cpu", "cuda"))
    assert torch.equal(here.conductance, there.conductance)
    y = there.mvm(x.cuda())
    assert y.device.type == "cuda"
    quiet = not any("read" in path or "converter" in path for path in effects)
    tolerance = 1e-5 if quiet else 0.05  # a sum next to a rounding tie may take the next code
    worst = (here.mvm(x) - y.cpu()).abs().mean() / here.mvm(x).abs().mean()
    assert float(worst) <= tolerance


@pytest.mark.gpu
def test_ideal_cells_give_the_digital_product_to_the_bit() -> None:
    w, x = signs(40, 300, seed=0), signs(20, 300, seed=1)
    assert torch.equal(Crossbar.program(w.cuda(), "ideal").mvm(x.cuda())[0].cpu(), x @ w.T)


@pytest.fixture
def both() -> Callable[[dict[str, Any], Path], tuple[Results, Results]]:
    """Return a function that runs a study on both devices."""

    def call(study: dict[str, Any], folder: Path) -> tuple[Results, Results]:
        return run(study, folder / "cpu"), run(study, folder / "cuda", device="cuda")

    return call


@pytest.mark.gpu
def test_a_study_agrees_within_the_chips_bands(both: Callable, tmp_path: Path) -> None:
    axis = {"path": "chip.device.programming.sigma", "values": [0, 0.3, 0.7]}
    study = {"name": "gpu", "model": "batmann_5w1s_xnor", "chip": CHIP, "task": TASK | {"episodes": 20}}
    cpu, cuda = both(study | {"axes": [axis], "chips": {"min": 8}}, tmp_path)
    assert cuda.failed == 0
    assert np.abs(cpu.table["digital"] - cuda.table["digital"]).max() < 0.006  # one of 400 queries, or two
    assert abs(cpu.table["mean"][0] - cuda.table["mean"][0]) < 0.006
    assert cuda.table["median"].between(cpu.table["p05"] - 0.006, cpu.table["p95"] + 0.006).all()
