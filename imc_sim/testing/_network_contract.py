"""Contract tests of networks, to inherit from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imc_sim.array import Chip, load_chip
from imc_sim.mapping import map_model
from imc_sim.nn import ProductLayer
from imc_sim.nn.networks import build_arch
from imc_sim.nn.store import Arch, ModelCard, load_model, save_model
from imc_sim.testing._require import require


class NetworkContract:
    """Tests of a network.

    Attributes:
        arch: architecture as on a card.
        args: its arguments.
        shape: shape of a batch of images [batch, channels, y, x].
    """

    arch: str
    args: Mapping[str, Any]
    shape: tuple[int, int, int, int]

    def network(self) -> nn.Module:
        """Return the network, untrained, in eval mode; the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return build_arch(self.arch, self.args, Path()).eval()

    def images(self) -> Tensor:
        """Return images from 0 to 1; the same at every call."""
        return torch.rand(self.shape, generator=torch.Generator().manual_seed(2))

    def chip(self) -> Chip:
        """Return a chip without effects that takes the layers with binary weights; the others stay digital."""
        return load_chip("ideal").replace("policy.float", "digital")

    def test_ideal_chip_equals_the_digital_network_to_the_bit(self) -> None:
        """Check that mapping onto an ideal chip changes no output."""
        network, images = self.network(), self.images()
        with torch.no_grad():
            digital, analog = network(images), map_model(network, self.chip(), chips=2)(images)
        require(torch.equal(analog, digital.expand(2, *digital.shape)), "an ideal chip changes the outputs")

    def test_report_lists_every_product_layer(self) -> None:
        """Check that the mapping report lists each layer with weights, and at least one on crossbars."""
        network = self.network()
        rows = map_model(network, self.chip()).report.to_dict()["layers"]
        require({row["layer"] for row in rows} == set(_product_layers(network)), "layers without a row")
        require(any(row["place"] == "crossbar" for row in rows), "no layer on a crossbar")

    def test_device_variation_reaches_the_outputs(self) -> None:
        """Check that chips with variation differ from the digital network and from each other."""
        chip = self.chip().replace("device.programming.sigma", 0.5)
        network, images = self.network(), self.images()
        with torch.no_grad():
            digital, (first, second) = network(images), map_model(network, chip, chips=2)(images)
        require(not torch.equal(first, digital), "variation changes no output")
        require(not torch.equal(first, second), "two chips are equal")

    def test_gradients_reach_every_weight(self) -> None:
        """Check that a loss on the outputs has gradients in all product layers."""
        network, images = self.network().train(), self.images()
        outputs = network(images)
        outputs.mul(torch.rand(outputs.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
        for name, layer in _product_layers(network).items():
            grad = layer.weight.grad
            require(grad is not None and bool(grad.abs().sum() > 0), f"no gradient reaches {name}")

    def test_saved_and_loaded_is_the_same_network(self, tmp_path: Path) -> None:
        """Check that a model folder holds all that the outputs depend on.

        Args:
            tmp_path: pytest's temporary folder.
        """
        network, images = self.network(), self.images()
        card = ModelCard(name="contract", summary="of a test", arch=Arch(name=self.arch, args=dict(self.args)))
        save_model(tmp_path / "contract", network, card)
        with torch.no_grad():
            require(torch.equal(load_model(tmp_path / "contract")(images), network(images)), "loading changes outputs")


def _product_layers(network: nn.Module) -> dict[str, ProductLayer]:
    return {name: module for name, module in network.named_modules() if isinstance(module, ProductLayer)}
