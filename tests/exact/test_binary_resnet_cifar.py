"""The binary ResNet-20 compared with its layout, written once more, and on a chip without effects."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim import InputError, load_chip, map_model
from imc_sim.nn import product_layers
from imc_sim.nn.networks import BinaryResNet
from tests.exact.networks import as_if_trained


def network(**args: Any) -> BinaryResNet:
    torch.manual_seed(7)
    return as_if_trained(BinaryResNet(**args))


def test_weights_are_those_of_resnet_20() -> None:
    """432 of the first layer, 2,304 x 6, 4,608 + 9,216 x 5, 18,432 + 36,864 x 5, and 640 of the last."""
    layers = product_layers(BinaryResNet())
    assert len(layers) == 20
    assert sum(layer.weight.numel() for layer in layers) == 432 + 13_824 + 50_688 + 202_752 + 640
    assert [layer.policy for layer in layers] == ["float", *["latent"] * 18, "float"]


def literal(model: BinaryResNet, x: Tensor) -> Tensor:
    state = model.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, w, b = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, w, b)

    x = norm(F.conv2d(x, state["conv.weight"], padding=1), "norm")
    for number in range(len(model.blocks)):
        w = state[f"blocks.{number}.conv.weight"]
        stride = 2 if w.shape[0] != w.shape[1] else 1
        y = F.conv2d(torch.where(x > 0, 1.0, -1.0), torch.where(w > 0, 1.0, -1.0), stride=stride, padding=1)
        if stride == 2:
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
            x = torch.cat([x, torch.zeros(len(x), w.shape[0] - w.shape[1], *x.shape[2:])], 1)
        x = x + norm(y, f"blocks.{number}.norm")
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def test_the_network_equals_its_layout_and_a_chip_without_effects_equals_the_network() -> None:
    model = network(depth=8, size=16)
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(model(x), literal(model, x), atol=1e-4)
        analog = map_model(model, load_chip("ideal").replace("policy.float", "digital"), chips=2, seed=0)
        assert torch.equal(analog(x), model(x).expand(2, -1, -1))


@pytest.mark.parametrize(
    "bad", [{"depth": 18}, {"depth": 2}, {"width": 0.0}, {"size": 30}, {"classes": 0}, {"channels_in": 0}]
)
def test_impossible_networks_are_refused(bad: dict[str, Any]) -> None:
    (name,) = bad
    with pytest.raises(InputError, match=f"arch.{name}"):
        BinaryResNet(**bad)
    with pytest.raises(InputError, match="channels, pixels"):
        BinaryResNet(depth=8, size=8)(torch.zeros(1, 3, 16, 16))
