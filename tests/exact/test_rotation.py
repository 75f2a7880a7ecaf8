"""Rotated binary layers compared with their publication: sizes, rotations, gradients, schedule, packing."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.nn import Linear, anneal, improve_rotations, standardise
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.rotation import (
    adjusted,
    alignment,
    annealed,
    annealed_sign,
    halves,
    improved_rotation,
    random_rotation,
    rotated,
)
from imc_sim.nn.store import ModelCard, load_model, save_model


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(5)


def small(kind: str = "rbnn", rotation: str = "updated") -> BatmannController:
    return BatmannController(kind, width=8, dim=16, size=20, rotation=rotation)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "sides"), [(3200, (50, 64)), (1152, (32, 36)), (2048, (32, 64)), (7, (1, 7))])
def test_weights_split_into_the_published_sides(n: int, sides: tuple[int, int]) -> None:
    assert halves(n) == sides


def test_two_rotations_equal_one_by_their_kronecker_product() -> None:
    w, a, b = torch.randn(3, 12).double(), random_rotation(3).double(), random_rotation(4).double()
    assert torch.allclose(rotated(w, a, b), w @ torch.kron(a, b), atol=1e-12)
    assert torch.allclose(a @ a.mT, torch.eye(3).double(), atol=1e-6)


def test_both_rotations_of_a_new_layer_are_random() -> None:
    layers = [Linear(24, 2, "rbnn"), Linear(24, 2, "rbnn")]
    for name in ("R1", "R2"):
        one, other = (layer.get_buffer(name) for layer in layers)
        assert not torch.equal(one, other)
        assert torch.allclose(one @ one.mT, torch.eye(len(one)), atol=1e-5)


def test_an_update_moves_weights_closer_to_their_signs_and_stays_a_rotation() -> None:
    w, a, b = standardise(torch.randn(20, 48)), random_rotation(6), random_rotation(8)
    before, steps = alignment(w, a, b), []
    for _ in range(5):
        a, b = improved_rotation(w, a, b)
        steps.append(alignment(w, a, b))
    assert before < steps[0]
    assert all(x <= y + 1e-6 for x, y in itertools.pairwise(steps))
    assert torch.allclose(b.mT @ b, torch.eye(8), atol=1e-5)


@pytest.mark.parametrize(("progress", "t", "k"), [(0, 0.01, 100), (1 / 3, 0.1, 10), (2 / 3, 1, 1), (1, 10, 1)])
def test_the_gradient_is_annealed_as_published(progress: float, t: float, k: float) -> None:
    assert annealed(progress) == pytest.approx((t, k))
    model = small()
    anneal(model, progress)
    assert model.features.conv2.sharpness == pytest.approx((t, k))


@pytest.mark.parametrize(("t", "k"), [(0.1, 10.0), (1.0, 1.0), (10.0, 1.0)])
def test_the_gradient_is_that_of_the_published_primitive(t: float, k: float) -> None:
    """F(x) = k (sqrt 2 t x - sign(x) t^2 x^2 / 2) up to |x| = sqrt 2 / t, constant beyond."""

    def primitive(x: Tensor) -> Tensor:
        inside = k * (math.sqrt(2) * t * x - x.sign() * t**2 * x**2 / 2)
        return torch.where(x.abs() < math.sqrt(2) / t, inside, k * x.sign())

    x = torch.linspace(-20, 20, 401).double() + 0.013
    (expected,) = torch.autograd.grad(primitive(y := x.clone().requires_grad_()).sum(), y)
    (got,) = torch.autograd.grad(annealed_sign(y := x.clone().requires_grad_(), t, k).sum(), y)
    assert torch.allclose(got, expected, atol=1e-9)


def test_theta_mixes_original_and_rotated_weights() -> None:
    w, a, b = torch.randn(2, 12), random_rotation(3), random_rotation(4)
    theta = torch.tensor([[0.0], [math.pi / 2]])
    mixed = adjusted(w, theta, a, b, "frozen")
    assert torch.equal(mixed[0], w[0])
    assert torch.allclose(mixed[1], rotated(w, a, b)[1])


def _gradient(layer: Linear) -> Tensor:
    layer(torch.randn(6, 12)).square().sum().backward()
    assert layer.weight.grad is not None
    return layer.weight.grad


def test_frozen_rotations_train_no_weight_at_the_start_and_updated_ones_do() -> None:
    layer = Linear(12, 4, "rbnn")
    layer.sharpness = (1.0, 1.0)
    assert float(_gradient(layer).abs().max()) > 1e-3
    layer.weight.grad, layer.rotation = None, "frozen"
    assert float(_gradient(layer).abs().max()) < 1e-6


@pytest.mark.parametrize(("rotation", "moves"), [("updated", True), ("frozen", False)])
def test_rotations_change_only_where_they_are_updated(rotation: str, moves: bool) -> None:
    model = small(rotation=rotation)
    before = model.features.conv2.R1.clone()
    improve_rotations(model)
    assert torch.equal(before, model.features.conv2.R1) is not moves


def test_an_unknown_rotation_is_refused() -> None:
    with pytest.raises(InputError, match=r"updated, frozen"):
        small(rotation="thawed")


@pytest.mark.parametrize("kind", ["rbnn", "rbnn_binary_fc"])
def test_a_stored_controller_computes_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    model, x = small(kind).eval(), torch.randn(3, 1, 20, 20)
    card = ModelCard.model_validate(
        {
            "name": "m",
            "summary": "rotated",
            "arch": {"name": "batmann", "args": {"kind": kind, "width": 8, "dim": 16, "size": 20}},
        }
    )
    save_model(tmp_path / "m", model, card)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "m")(x), model(x))


@pytest.mark.parametrize("encoding", ["differential", "bnn_iii"])
def test_an_ideal_chip_gives_the_digital_features(encoding: str) -> None:
    """Real activations on +-1 weights: one differential pair each, for any encoding of +-1 activations."""
    model, x = small("rbnn_binary_fc").eval(), torch.randn(3, 1, 20, 20)
    chip = imc.load_chip("ideal").replace("policy.float", "digital").replace("encoding", {"kind": encoding})
    analog = imc.map_model(model, chip)
    assert [row.encoding for row in analog.report.layers[1:]] == ["differential"] * 4
    with torch.no_grad():
        assert torch.equal(analog(x)[0], model(x))


def test_only_real_weights_have_rotations() -> None:
    assert not [name for name, _ in small("xnor").named_buffers()]
    parts = {name for name, _ in nn.Module.named_buffers(small())}
    assert {"features.conv2.R1", "features.conv4.R2"} <= parts
    assert "features.conv1.R1" not in parts
