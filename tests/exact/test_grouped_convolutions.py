"""Grouped convolutions: every group has its own cells, and one product reads all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim.analog._site_groups import Groups
from imc_sim.array import Chip, Crossbar
from imc_sim.config import build

#: binary and integer weights in cells with device variation and a conductance of HRS
VARIED = build(
    Chip, {"device": {"g_lrs_S": 1e-4, "g_hrs_S": 2e-5, "programming": {"kind": "relative", "sigma": 0.1}},
           "policy": {"int8": "crossbar", "float": "crossbar"}, "tile": {"rows": 16}}, "chip",
)  # fmt: skip
#: layer, shape of the inputs
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), (4, 7, 7)),
    "two filters a channel": (lambda: nn.Conv2d(3, 6, 3, stride=2, groups=3), (3, 7, 7)),
    "two groups": (lambda: nn.Conv2d(4, 6, 1, groups=2), (4, 5, 5)),
    "two tiles": (lambda: nn.Conv2d(4, 4, 3, groups=2), (4, 5, 5)),
    "rectangles": (lambda: nn.Conv2d(4, 4, (3, 1), (2, 1), (1, 0), (1, 2), groups=4), (4, 7, 5)),
    "same": (lambda: nn.Conv2d(4, 4, 4, padding="same", dilation=2, groups=2), (4, 7, 7)),
    "sequences": (lambda: nn.Conv1d(4, 4, 3, padding=1, groups=4), (4, 9)),
    "volumes": (lambda: nn.Conv3d(2, 4, 2, groups=2), (2, 4, 4, 4)),
}


def network(layer: nn.Module, weights: str) -> nn.Module:
    """Return a network of one layer with weights that are exact in any order of sums."""
    for p in layer.parameters():
        p.data = torch.randint(-3, 4, p.shape).float() if weights == "integers" else torch.randn(p.shape).sign()
    return nn.Sequential(layer).eval()


class Twice(nn.Module):
    """Use a layer twice, and let its second use see other inputs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), self.layer(0.5 * x)


def together(analog: imc.analog.AnalogModel, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return the output, in which no group is read alone."""
    with monkeypatch.context() as patch:
        patch.setattr(Crossbar, "read", None)
        return torch.cat(analog(x), 2)


def alone(analog: imc.analog.AnalogModel, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return the output with every group read alone."""
    with monkeypatch.context() as patch:
        patch.setattr(Groups, "product", lambda *_: None)
        y = analog(x)
        return torch.cat(y, 2) if isinstance(y, tuple) else y


@pytest.mark.parametrize("weights", ["signs", "integers"])
@pytest.mark.parametrize("name", LAYERS)
def test_all_groups_in_one_product_are_each_group_alone(
    name: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs of -1 and +1: to the bit for binary weights, whose sums are exact; float64 rounding does not show."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    for batch in (3, 400):  # chips together, and one after the other
        x = torch.randn(batch, *shape).sign()
        analog = imc.map_model(network(make(), weights), VARIED, chips=3, inputs=x[:3])
        expected = alone(analog, x, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(Crossbar, "read", None)  # no group is read alone
            found = analog(x)
        assert torch.equal(found, expected) if weights == "signs" else torch.allclose(found, expected, atol=1e-5)
        assert not torch.equal(found[0], found[1])


def test_groups_are_programmed_by_the_names_of_their_rows() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, groups=4, bias=False)
    analog = imc.map_model(network(layer, "signs"), VARIED, chips=2, seed=5, inputs=torch.randn(3, 4, 6, 6).sign())
    names = [f"0[{group}]" for group in range(4)]
    assert [row.layer for row in analog.report.layers] == names
    assert {(row.tiles, row.weights) for row in analog.report.layers} == {(analog.report.tiles // 4, 9)}
    for group, name in enumerate(names):
        weights = layer.weight.detach()[group].permute(1, 2, 0).reshape(1, -1)  # kernel row, kernel column, channel
        own, held = Crossbar.program(weights, VARIED, 2, 5, name), analog.analog_layers[name].crossbar
        assert torch.equal(own.conductance, held.conductance)


def test_groups_are_read_from_the_chips_that_are_programmed() -> None:
    torch.manual_seed(0)
    x, net = torch.randn(3, 4, 7, 7).sign(), network(LAYERS["depthwise"][0](), "signs")
    together = imc.map_model(net, VARIED, chips=3, inputs=x)
    blocks = imc.map_model(net, VARIED, chips=3, inputs=x, memory_limit_bytes=1)
    assert blocks.block == 1
    assert torch.equal(together(x), blocks(x))


ADC = {"kind": "auto", "bits": 4, "range": "calibrated"}
#: changes of the chip after which sums of groups are converted, or noise is added
CHANGES: dict[str, dict[str, Any]] = {
    "ADC": {"converter": ADC},
    "ADC of range max": {"converter": {"kind": "auto", "bits": 4, "rows": "used"}},
    "read noise": {"device.read.sigma": 0.05},
    "DAC": {"inputs": {"kind": "levels", "bits": 4}, "converter": ADC},
    "bits in turn": {"inputs": {"kind": "bit_serial", "bits": 4, "passes": 2}, "converter": ADC},
    "all": {"inputs": {"kind": "levels", "bits": 4}, "converter": ADC, "device.read.sigma": 0.05},
    "sliced": {"encoding_multibit": {"kind": "sliced", "weight_bits": 4}, "converter": ADC, "device.read.sigma": 0.05},
    "offset": {"encoding_multibit": {"kind": "offset"}, "policy.allow_rounding": True, "converter": ADC},
    "unsigned": {"encoding_multibit": {"kind": "unipolar"}, "policy.allow_rounding": True, "converter": ADC},
    "drift": {"device.time": {"t_s": 1e3, "drift": {"nu": 0.05}, "compensation": True}, "converter": ADC},
}


@pytest.mark.parametrize(
    ("change", "name"),
    [*((change, "depthwise") for change in CHANGES), *(("all", name) for name in LAYERS), ("unsigned", "two tiles")],
)
def test_groups_with_their_own_ranges_or_noise_are_read_together_as_each_alone(
    change: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, with a layer that is used twice, chips in one pass and one after the other."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    chip = VARIED
    for path, value in CHANGES[change].items():
        chip = chip.replace(path, value)
    layer, x = network(make(), "integers"), torch.randn(3, *shape)
    if change == "unsigned":
        x = x.abs()
        for p in layer.parameters():
            p.data.abs_()
    net = Twice(layer)
    outputs = []
    for read in (lambda a: together(a, x, monkeypatch), lambda a: alone(a, x, monkeypatch)):
        analog = imc.map_model(net, chip, chips=2, inputs=x)
        found = []
        for inputs in (x, 0.5 * x):
            analog.calibrate(inputs)
            found.append(read(analog))
        outputs.append(torch.stack(found))
    assert torch.equal(*outputs)
    if name == "depthwise":
        ideal = torch.cat(imc.map_model(net, VARIED, chips=2, inputs=x)(x), 2)
        assert not torch.allclose(outputs[0][0], ideal, rtol=1e-3)


def test_groups_follow_the_last_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, chip = Twice(network(LAYERS["depthwise"][0](), "integers")), VARIED.replace("converter", ADC)
    x = torch.randn(3, 4, 7, 7)
    analog, other = (imc.map_model(net, chip, chips=2, inputs=x) for _ in range(2))
    found = []
    for scale in (1.0, 0.2):
        analog.calibrate(scale * x)
        found.append(together(analog, x, monkeypatch))
    other.calibrate(0.2 * x)
    assert torch.equal(found[1], together(other, x, monkeypatch))
    assert not torch.equal(*found)


def test_half_precision_is_computed_in_single(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 7, 7).sign().half()
    analog = imc.map_model(network(LAYERS["two groups"][0](), "integers").half(), VARIED, chips=2, inputs=x)
    found = analog(x)
    assert found.dtype == torch.float16
    assert torch.equal(found, alone(analog, x, monkeypatch))
