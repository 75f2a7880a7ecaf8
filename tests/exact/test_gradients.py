"""Gradients through chips: the value is that of the chip to the bit, the gradient that of the digital layers."""

import pytest
import torch
from torch import Tensor, nn

from imc_sim.analog import AnalogModel, AssociativeMemory, straight_through
from imc_sim.array import Chip, load_chip
from imc_sim.mapping import map_model
from imc_sim.nn.networks import BatmannController
from tests.exact.networks import seeded

NOISY = {"device.programming.sigma": 0.3, "device.read.sigma": 0.1}


def network() -> nn.Module:
    return seeded(BatmannController, "xnor", width=12, dim=40, seed=3).eval()


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 32, 32, generator=torch.Generator().manual_seed(count))


def chip(**paths: float) -> Chip:
    c = load_chip("rram_hfo2_1t1r")
    for path, value in (NOISY | paths).items():
        c = c.replace(path, value)
    return c


def mapped(c: Chip, limit: int = 2 * 10**9) -> AnalogModel:
    return map_model(network(), c, chips=3, seed=5, memory_limit_bytes=limit)


def gradient(features: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(features.square().sum(), x)[0]


@pytest.mark.parametrize("limit", [2 * 10**9, 1])
def test_the_value_is_that_of_the_chip_read_by_read(limit: int) -> None:
    plain, through, x = mapped(chip()), mapped(chip(), limit), images()
    first, second = plain(x), plain(x)
    assert not torch.equal(first, second), "read noise"
    for position in (2, 0):
        again = mapped(chip(), limit)
        assert torch.equal(straight_through(again, x.requires_grad_(), position), first[position])
        assert torch.equal(straight_through(again, x, position), second[position]), "every call reads again"
    straight_through(through, x)
    assert torch.equal(through(x), second), "no read is stored"
    assert not through(x).requires_grad


def test_on_an_ideal_chip_the_gradient_is_the_digital_one() -> None:
    model, x = network(), images().requires_grad_()
    analog = map_model(model, load_chip("ideal"))
    assert torch.equal(gradient(straight_through(analog, x), x), gradient(model(x), x))


def test_on_other_chips_the_gradient_follows_their_activations() -> None:
    """It is neither that of the digital network nor of another chip, and is repeatable without noise."""
    analog, model, x = mapped(chip(**{"device.read.sigma": 0.0})), network(), images().requires_grad_()
    found = [gradient(straight_through(analog, x, position), x) for position in (0, 1, 0)]
    assert torch.equal(found[0], found[2])
    assert all(float(g.abs().sum()) > 0 for g in found)
    for other in (found[1], gradient(model(x), x)):
        agree = (found[0].sign() == other.sign()).float().mean()
        assert 0.5 < float(agree) < 0.999


def test_skipped_reads_belong_to_other_images() -> None:
    keys, queries = (torch.randn(n, 32, generator=torch.Generator().manual_seed(n)) for n in (5, 6))
    one, other = (AssociativeMemory(chip(), 32, chips=2, seed=1) for _ in range(2))
    for memory in (one, other):
        memory.write(keys, torch.arange(5))
    whole = one.similarity(queries)
    other.skip_reads(4)
    assert torch.equal(other.similarity(queries[4:]), whole[:, 4:])
    assert not torch.equal(other.similarity(queries[4:]), whole[:, 4:])
