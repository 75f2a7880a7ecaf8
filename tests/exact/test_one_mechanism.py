"""Networks of `imc_sim.nn` layers have the same results if they are mapped by the products that they make."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import imc_sim as imc
from imc_sim.nn import Conv2d, Linear, Policy, SignActivation
from tests.exact.networks import seeded

#: device variation, ADCs, DACs of 8 bits and read noise
CHIP = imc.load_chip("rram_neurram").replace("encoding_multibit", {"kind": "sliced", "weight_bits": 8})
CHIP = CHIP.replace("policy", {"int8": "crossbar", "float": "crossbar", "allow_rounding": True})
#: trained network, size of an image
MODELS = {
    "batmann_small_xnor": (1, 32, 32), "benn_small_wide_ab": (3, 32, 32), "binact_mnist_det_both_st": (1, 28, 28),
    "binact_mnist_stoch_first_st": (1, 28, 28), "bitnet_digits_spikes": (1, 8, 8), "bnn_mnist": (1, 28, 28),
}  # fmt: skip


def outputs(network: nn.Module, chip: imc.Chip, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs of chips that are mapped by layers and by products."""
    found = []
    for inputs in (None, x):
        analog = imc.map_model(network, chip, chips=2, seed=1, inputs=inputs)
        analog.calibrate(x)
        found.append(analog(x))
    return found[0], found[1]


@pytest.mark.parametrize("neurons", ["bernoulli", "comparator"])
@pytest.mark.parametrize("name", MODELS)
def test_trained_networks_have_the_same_results_to_the_bit(name: str, neurons: str) -> None:
    """Stochastic neurons sample the same numbers, or leave chance to the cells as the chip states."""
    torch.manual_seed(0)
    x = torch.rand(4, *MODELS[name])
    by_layers, by_products = outputs(imc.load_model(name), CHIP.replace("neurons", neurons), x)
    assert torch.equal(by_layers, by_products)
    assert not torch.equal(by_layers[0], by_layers[1])


@pytest.mark.parametrize("policy", ["int8", "xnor", "sign", "latent"])
def test_layers_of_every_kind_have_the_same_results_to_the_bit(policy: Policy) -> None:
    torch.manual_seed(0)
    conv, out = (seeded(make, *sizes, policy) for make, sizes in ((Conv2d, (4, 6, 3)), (Linear, (54, 5))))
    network = nn.Sequential(SignActivation(), conv, SignActivation(), nn.Flatten(), out)
    by_layers, by_products = outputs(network, CHIP, torch.randn(6, 4, 5, 5))
    assert torch.equal(by_layers, by_products)
