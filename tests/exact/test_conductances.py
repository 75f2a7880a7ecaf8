"""Conductances out of the simulation and in from a laboratory: exact round trips, and errors of measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.analog import deviations, read_conductances
from imc_sim.analog._conductances import chip_count
from imc_sim.array import Sliced
from imc_sim.cli import main
from imc_sim.nn.networks import BnnMlp

CHIP = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 0.2)
TILED = CHIP.replace("tile.rows", 16).replace("tile.cols", 10)
BINARY = torch.randn(7, 20, generator=torch.Generator().manual_seed(0)).sign()
SIGNS = torch.randn(5, 20, generator=torch.Generator().manual_seed(1)).sign()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BnnMlp(inputs=64, hidden=[16], classes=4).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(6, 64, generator=torch.Generator().manual_seed(2))


KINDS: dict[str, tuple[Any, Tensor]] = {
    "tiles": (TILED, BINARY),
    "reference columns": (TILED.replace("encoding", {"kind": "bnn_i"}), BINARY),
    "wires": (TILED.replace("wires", {"kind": "nodal", "r_col_ohm": 1.0}), BINARY),
    "ageing": (imc.load_chip("rram_neurram").replace("converter.kind", "ideal"), BINARY),
    "read noise": (TILED.replace("device.read.sigma", 0.02), BINARY),
    "real weights": (CHIP, torch.randn(4, 20, generator=torch.Generator().manual_seed(3))),
}


@pytest.mark.parametrize(("chip", "weights"), KINDS.values(), ids=KINDS)
def test_programmed_conductances_give_the_same_crossbar(chip: Any, weights: Tensor) -> None:
    """Conductances to the bit, and products to the bit where they are of float32."""
    options: dict[str, Any] = {"encoding": None if weights is BINARY else Sliced(weight_bits=4)}
    made = imc.Crossbar.program(weights, chip, 3, seed=4, **options)
    same = imc.Crossbar.from_conductance(made.programmed, weights, chip, seed=4, **options)
    assert torch.equal(same.programmed, made.programmed)
    assert torch.equal(same.targets, made.targets)
    for bar in (made, same):
        bar.set_input_limit(1.0)
    assert torch.equal(same.mvm(SIGNS), made.mvm(SIGNS))
    part = imc.Crossbar.from_conductance(made.programmed, weights, chip, range(2, 3), seed=4, **options)
    part.set_input_limit(1.0)
    torch.testing.assert_close(part.currents(SIGNS), made.currents(SIGNS)[2:])


@pytest.mark.parametrize(
    ("shapes", "chips"),
    [
        ([(3, 1, 4, 4), (2, 1, 4, 4)], 2),
        ([(2, 1, 4, 4), (3, 1, 4, 4)], 2),
        ([(3, 1, 4, 4), (2, 4, 4)], 1),
        ([(2, 4, 4)], 1),
    ],
)
def test_chips_are_those_of_which_every_layer_was_measured(shapes: list[tuple[int, ...]], chips: int) -> None:
    assert chip_count({str(i): np.ones(shape) for i, shape in enumerate(shapes)}) == chips


def test_products_follow_the_measured_conductances() -> None:
    """By hand: (G+ - G-) / window of a differential pair."""
    chip = imc.load_chip("ideal").replace("encoding", {"kind": "differential"})
    targets = imc.Crossbar.program(BINARY, chip).targets
    g = targets * torch.linspace(0.5, 1.5, targets.numel(), dtype=torch.float64).reshape(targets.shape)
    bar = imc.Crossbar.from_conductance(g.numpy(), BINARY, chip)
    window = chip.device.window_S
    found = g[0, :20].reshape(20, -1, 2)[:, :7]
    expected = SIGNS.double() @ (found[..., 0] - found[..., 1]) / window
    torch.testing.assert_close(bar.mvm(SIGNS)[0].double(), expected, atol=20 * 2.0**-13, rtol=0)
    assert torch.equal(bar.conductance, g[None] * (targets > 0))


def test_a_network_on_its_exported_conductances_is_the_same(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    """In blocks of chips too, with units and metadata in the file."""
    analog = imc.map_model(network, CHIP, chips=range(1, 4), seed=5)
    file = analog.to_npz(tmp_path / "cells.npz")
    again = imc.map_model(network, CHIP, chips=3, seed=5, conductances=file)
    for position in range(3):
        assert torch.equal(again.on_chip(position, images), analog.on_chip(position, images))
    blocks = imc.map_model(network, CHIP, chips=range(1, 4), seed=5, memory_limit_bytes=1)
    assert blocks.block == 1
    blocks.to_npz(tmp_path / "blocks.npz")
    first, second = (dict(np.load(tmp_path / name)) for name in ("cells.npz", "blocks.npz"))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    about = json.loads(str(first["metadata"]))
    assert (about["unit"], about["chips"], about["chip"]) == ("S", [1, 2, 3], CHIP.to_dict())
    layer = next(iter(analog.analog_layers))
    assert about["layers"][layer]["weights"] == list(analog.analog_layers[layer].crossbar.shape[1:])
    assert torch.equal(torch.from_numpy(first[f"{layer}/target_S"]), analog.analog_layers[layer].crossbar.targets)
    g = first[f"{layer}/conductance_S"]
    assert g[g > 0].min() > 1e-9
    assert g.max() < 1e-2


def test_cells_that_are_clipped_at_zero_are_exported_as_zero() -> None:
    """Rounding must not make them negative, which the import refuses."""
    made = imc.Crossbar.program(BINARY, CHIP.replace("device.programming.sigma", 0.9), 4)
    assert float(made.programmed.min()) == 0.0
    assert bool((made.programmed[:, made.targets > 0] == 0).any())
    again = imc.Crossbar.from_conductance(made.programmed, BINARY, made.chip)
    assert torch.equal(again.mvm(SIGNS), made.mvm(SIGNS))


def test_a_network_of_any_modules_runs_on_measured_cells(tmp_path: Path) -> None:
    class Sign(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return nn.functional.linear(input, self.weight.sign())

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(Sign(20, 7), nn.ReLU(), Sign(7, 3))
    analog = imc.map_model(net, CHIP, chips=2, inputs=SIGNS)
    again = imc.map_model(net, CHIP, chips=2, inputs=SIGNS, conductances=analog.to_npz(tmp_path / "a.npz"))
    torch.testing.assert_close(again(SIGNS), analog(SIGNS), rtol=1e-12, atol=0)
    ideal = imc.map_model(net, CHIP.without_effects(), inputs=SIGNS).to_npz(tmp_path / "b.npz")
    measured = imc.map_model(net, CHIP, inputs=SIGNS, conductances=ideal)
    torch.testing.assert_close(measured(SIGNS)[0], net(SIGNS), rtol=1e-5, atol=1e-6)
    assert set(deviations(measured.analog_layers).values()) == {0.0}
    assert all(0.05 < off < 0.3 for off in deviations(analog.analog_layers).values())


def test_the_command_reports_how_far_measured_cells_are_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analog = imc.map_model(imc.load_model("batmann_small_xnor"), "rram_hfo2_1t1r", chips=2)
    file = analog.to_npz(tmp_path / "cells.npz")
    main(["map", "batmann_small_xnor", "rram_hfo2_1t1r", "--conductances", str(file)])
    lines = capsys.readouterr().out.splitlines()
    for layer, off in deviations(analog.analog_layers).items():
        assert (
            f"{layer}: cells of 2 measured chips are {100 * off:.1f} % of the window off their targets (rms)" in lines
        )


# -- errors ------------------------------------------------------------------------------------------------


def good() -> np.ndarray:
    return imc.Crossbar.program(BINARY, TILED, 2).programmed.numpy()


def with_value(value: float) -> np.ndarray:
    g = good()
    g[1, 0, 0, 0] = value
    return g


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "shape": (lambda: good()[:, :1], r"shape \(2, 1, 16, 10\); allowed: \[chips, \d+, 16, 10\]"),
    "matrix": (lambda: good()[0, 0], r"shape \(16, 10\)"),
    "integers": (lambda: good().astype(int), "type int64; allowed: floating-point"),
    "NaN": (lambda: with_value(np.nan), "1 NaN or infinite values in cells in use"),
    "infinite": (lambda: with_value(np.inf), "1 NaN or infinite"),
    "negative": (lambda: with_value(-1e-6), "1 negative values, down to -1e-06 S"),
    "microsiemens": (lambda: good() * 1e6, "allowed: conductances in S. Convert them to siemens"),
    "no chips": (lambda: good()[:0], r"shape \(0"),
}


@pytest.mark.parametrize(("make", "match"), WRONG.values(), ids=WRONG)
def test_measurements_that_cannot_be_conductances_are_refused(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        imc.Crossbar.from_conductance(make(), BINARY, TILED)


def test_cells_that_are_not_in_use_are_ignored() -> None:
    g = good()
    unused = good() == 0
    g[unused] = np.nan
    assert unused.any()
    assert torch.equal(imc.Crossbar.from_conductance(g, BINARY, TILED).programmed, torch.from_numpy(good()))


def test_files_and_layers_that_do_not_fit_are_refused(network: nn.Module, tmp_path: Path) -> None:
    held = read_conductances(imc.map_model(network, CHIP, chips=2).to_npz(tmp_path / "a.npz"))
    first = next(iter(held))
    with pytest.raises(InputError, match=f"layer {first!r}, conductances: got none"):
        imc.map_model(network, CHIP, conductances={name: g for name, g in held.items() if name != first})
    with pytest.raises(InputError, match="layer 'other'; allowed: "):
        imc.map_model(network, CHIP, conductances=held | {"other": held[first]})
    with pytest.raises(InputError, match="got chip 2; allowed: 0 to 1, those measured"):
        imc.map_model(network, CHIP, chips=3, conductances=held)
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name, match in (("none.npz", "No such file"), ("text.npz", "allowed: an .npz"), ("one.npy", "allowed: an .npz"),
                        ("other.npz", "the arrays x; allowed: ")):  # fmt: skip
        with pytest.raises(InputError, match=match):
            imc.map_model(network, CHIP, conductances=tmp_path / name)
    with pytest.raises(InputError, match="Set draws: cells"):
        imc.map_model(network, CHIP.replace("draws", "pairs")).to_npz(tmp_path / "pairs.npz")
