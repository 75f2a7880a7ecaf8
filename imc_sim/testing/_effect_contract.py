"""Contract tests of device effects, to inherit from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imc_sim.array import Chip, Crossbar, Tile
from imc_sim.device import Device
from imc_sim.testing._require import require


class DeviceEffectContract:
    """Tests of a device effect.

    Attributes:
        on: settings of `device` that switch the effect on: dotted path -> value, applied in order.
        random: whether cells differ from chip to chip; False for an effect that is equal in all cells of a state.
    """

    on: Mapping[str, Any]
    random: bool = True

    def device(self) -> Device:
        """Return a device of two levels, 10 and 100 uS, with the effect."""
        device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5)
        for path, value in self.on.items():
            device = device.replace(path, value)
        return device

    def product(self, device: Device, chips: int | range = 2, seed: int = 3) -> Tensor:
        """Compute the product of fixed +-1 weights and inputs on chips.

        Args:
            device: cell of the chips.
            chips: number of chips, or their numbers.
            seed: seed of the chips.

        Returns:
            Products [chip, batch, out].
        """
        w, x = _signs(24, 60, seed=1), _signs(5, 60, seed=2)
        return Crossbar.program(w, Chip(device=device, tile=Tile(rows=32, cols=16)), chips=chips, seed=seed).mvm(x)

    def test_off_is_the_digital_product_to_the_bit(self) -> None:
        """Check that `without_effects` switches the effect off, and that products then equal the digital ones."""
        digital = _signs(5, 60, seed=2) @ _signs(24, 60, seed=1).T
        product = self.product(self.device().without_effects())
        require(torch.equal(product, digital.expand(2, -1, -1)), "switched off, the effect changes the product")

    def test_on_changes_products(self) -> None:
        """Check that the settings change products on every chip."""
        product, ideal = self.product(self.device()), self.product(self.device().without_effects())
        require(all(not torch.equal(a, b) for a, b in zip(product, ideal, strict=True)), "no effect on the product")
        require(bool(torch.isfinite(product).all()), "products that are not finite")

    def test_chips_differ_and_depend_on_seed_and_number_alone(self) -> None:
        """Check that a chip depends only on its number and the seed."""
        both = self.product(self.device())
        require(torch.equal(self.product(self.device()), both), "the same seed gives another chip")
        alone = self.product(self.device(), chips=range(1, 2))
        require(torch.equal(alone[0], both[1]), "a chip depends on the other chips of the call")
        other = self.product(self.device(), seed=4)
        require(torch.equal(both[0], both[1]) != self.random, "`random` contradicts two chips")
        require(torch.equal(both, other) != self.random, "`random` contradicts two seeds")

    def test_settings_are_reported_as_acting(self) -> None:
        """Check that `idle` reports none of the settings: studies refuse to sweep what it reports."""
        acting = self.device().acting()
        for path in self.on:
            node: Any = acting
            for key in path.split("."):
                require(key in node, f"`idle` reports {path}, which switches the effect on")
                node = node[key]


def _signs(*shape: int, seed: int) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1
