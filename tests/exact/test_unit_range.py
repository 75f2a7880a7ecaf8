"""ADCs whose full scale is [0, 1] of a layer's output clamp it as integrate-and-fire units do."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim import InputError
from imc_sim.analog import AssociativeMemory
from imc_sim.array import Chip, Converter, Crossbar
from imc_sim.mapping import map_model
from imc_sim.nn.networks import BITNET_LAYERS, BitNet
from tests.exact.test_bitnet import chip, exact, images, network


def unit(bits: int = 16, **settings: object) -> Chip:
    """Return a chip of column pairs with 128 levels, which hold the weights of `exact`, one tile per layer."""
    made = chip(encoding_multibit={"kind": "differential"}, device__levels=128, tile__rows=1024)
    made = made.replace("converter", {"kind": "auto", "bits": bits, "range": "unit"})
    for path, value in settings.items():
        made = made.replace(path.replace("__", "."), value)
    return made


@torch.no_grad()
def counted(model: BitNet, x: Tensor, bits: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Rates of the network with currents of whole multiples of 2^-bits, and per layer spikes and currents summed."""
    layers = [model.get_submodule(name) for name in BITNET_LAYERS]
    states, spikes, currents = ([torch.zeros(())] * 6 for _ in range(3))
    for _ in range(model.steps):
        y = x
        for i, layer in enumerate(layers):
            w, b = layer.weight, layer.bias
            z = F.linear(y.flatten(1), w, b) if i == 5 else F.conv2d(y, w, b, padding=1)  # type: ignore[arg-type]
            p = ((z.double() * 2**bits).abs() + 0.5).floor().mul(z.sign()).clamp(0, 2**bits) / 2**bits
            c = states[i] + p
            y = (c >= 1).double()
            states[i] = c - y
            spikes[i], currents[i] = spikes[i] + y, currents[i] + p
            y = y.float()
            y = F.max_pool2d(y, 2) if i + 1 in (2, 3, 5) else y
    return spikes[5].float() / model.steps, spikes, currents


@pytest.mark.parametrize("bits", [2, 3, 6])
def test_spikes_follow_quantised_currents_and_sum_to_their_floor(bits: int) -> None:
    model, x = exact(network(steps=20)), images()
    rates, spikes, currents = counted(model, x, bits)
    found = map_model(model, unit(bits), chips=2)(x)
    assert torch.equal(found, rates.expand(2, -1, -1))
    for s, p in zip(spikes, currents, strict=True):
        assert torch.equal(s, p.floor())
    assert not torch.equal(found[0], model(x))  # so few bits are visible
    assert len(rates.unique()) > 3


def test_many_bits_equal_the_digital_network() -> None:
    """16 bits hold every sum of these weights that is in [0, 1]."""
    model, x = exact(network()), images()
    with torch.no_grad():
        assert torch.equal(map_model(model, unit(16))(x)[0], model(x))


def test_outputs_are_clipped_and_quantised_after_noise() -> None:
    z = torch.tensor([-0.3, 0.1249, 0.125, 0.374, 0.99, 7.0])
    assert Converter(kind="auto", bits=2, range="unit").unit(z).tolist() == [0, 0, 0.25, 0.25, 1, 1]
    layer = map_model(exact(network()), unit(3, device__read__sigma=0.3)).analog_layers["conv2"]
    y = layer((torch.rand(3, 8, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.2).float())
    assert set((y * 8).unique().tolist()) <= set(range(9))
    assert len(y.unique()) > 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tile__rows": 64}, "rows of tiles.*tile.rows 72 or more"),
        ({"encoding_multibit": {"kind": "sliced", "weight_bits": 8}}, "7 conversions an output"),
        ({"encoding_multibit": {"kind": "differential", "copies": 2}}, "2 conversions an output"),
        ({"inputs": {"kind": "levels", "passes": 2}}, "2 conversions an output"),
    ],
)
def test_outputs_converted_by_several_adcs_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        map_model(exact(network()), unit(**settings))


def test_matrices_outside_a_layer_and_integer_accumulators_are_refused() -> None:
    for build in (
        lambda: Crossbar.program(torch.eye(4), unit()),
        lambda: AssociativeMemory(unit(), dim=8).write(torch.ones(2, 8), torch.tensor([0, 1])),
    ):
        with pytest.raises(InputError, match="outside a network's layer"):
            build()
    with pytest.raises(InputError, match="accumulator real with range unit"):
        unit(converter__accumulator="integer")
