"""Training that starts from stored signs: a network of the same outputs, whose weights can change their signs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import imc_sim as imc
from imc_sim.nn import product_layers
from imc_sim.nn.store import Arch, ModelCard, build_model, load_card, save_model
from imc_sim.train._start import start_from

#: policy -> an architecture with layers of it, and their smallest number
NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "xnor": ("batmann", {"kind": "xnor", "width": 8, "dim": 16}, 3),
    "rbnn": ("batmann", {"kind": "rbnn", "width": 8, "dim": 16}, 3),
    "latent": ("bnn_conv", {"channels": [1, 8, 8], "kernels": [3, 3], "size": 16}, 2),
    "sign": ("benn", {"kind": "ab", "width": 0.05}, 5),
}


@pytest.mark.parametrize("policy", NETWORKS)
def test_signs_get_magnitudes_and_the_network_stays_the_same(policy: str, tmp_path: Path) -> None:
    name, args, count = NETWORKS[policy]
    card = ModelCard(name="start", summary="test", arch=Arch(name=name, args=args))
    torch.manual_seed(1)
    trained = build_model(card, tmp_path)
    imc.nn.constrain_weights(trained)
    save_model(tmp_path / "start", trained.eval(), card)
    torch.manual_seed(2)
    model = build_model(load_card(tmp_path / "start")[0], tmp_path)
    sampled = {layer: layer.weight.detach().abs().mean() for layer in product_layers(model)}
    start_from(model, str(tmp_path / "start"))
    binary = [layer for layer in product_layers(model.eval()) if layer.binary]
    assert len(binary) >= count
    stored = [layer for layer in product_layers(imc.load_model(tmp_path / "start").eval()) if layer.binary]
    for layer, same in zip(binary, stored, strict=True):
        assert torch.equal(layer.weight_operand(), same.weight_operand())
        hidden = layer.weight.detach().clone()
        if policy == "sign":  # the scale is the mean magnitude, and the constraint of training changes nothing
            imc.nn.constrain_weights(layer)
            torch.testing.assert_close(layer.alpha, same.alpha, rtol=1e-5, atol=0)
            torch.testing.assert_close(layer.weight.detach(), hidden, rtol=1e-4, atol=1e-6)
        else:
            torch.testing.assert_close(hidden.abs().mean(), sampled[layer], rtol=0.01, atol=0)
        assert float(hidden.abs().std() / hidden.abs().mean()) > 0.3, "magnitudes differ as sampled ones do"
        if policy in ("sign", "xnor"):
            torch.testing.assert_close(hidden.flatten(1).mean(1), torch.zeros(len(hidden)), rtol=0, atol=1e-6)


def test_weights_that_are_no_signs_start_unchanged(tmp_path: Path) -> None:
    card = ModelCard(
        name="start", summary="test", arch=Arch(name="batmann", args={"kind": "float", "width": 8, "dim": 16})
    )
    torch.manual_seed(1)
    trained = build_model(card, tmp_path)
    save_model(tmp_path / "start", trained, card)
    model = build_model(card, tmp_path)
    start_from(model, str(tmp_path / "start"))
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in model.state_dict().items())
