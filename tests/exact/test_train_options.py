"""Options of recipes: each one acts, and at its default earlier training runs are unchanged."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import imc_sim as imc
from imc_sim import CheckpointError, InputError
from imc_sim.data import load_pool
from imc_sim.nn import product_layers
from imc_sim.nn.networks import BatmannController
from imc_sim.train import ChipNoise, EpisodicRecipe, EpisodicTrainer, Variation, training_episode
from tests.exact.networks import seeded
from tests.exact.test_train import RECIPE


def controller(kind: str = "xnor") -> nn.Module:
    return seeded(BatmannController, kind, width=8, dim=32)


def trained(folder: Path, kind: str = "xnor", **changes: Any) -> torch.Tensor:
    model = controller(kind)
    EpisodicTrainer(model, RECIPE.model_copy(update={"episodes": 3, **changes}), folder).run()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("xnor", {"similarity": "dot", "sharpening": "none"}),
        ("xnor", {"similarity": "dot", "sharpening": "abs"}),
        ("xnor", {"optimizer": "sgd"}),
        ("xnor", {"weight_decay": 0.1}),
        ("xnor", {"schedule": "constant"}),
        ("xnor", {"rotations": False}),
        ("rbnn", {"rotate_every": 1}),
        ("xnor", {"variation": Variation(chip="rram_hfo2_1t1r", set={"device.programming.sigma": 0.5})}),
    ],
)
def test_every_option_changes_what_is_trained(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    assert not torch.equal(trained(tmp_path / "a", kind), trained(tmp_path / "b", kind, **changes))


def test_momentum_needs_sgd(tmp_path: Path) -> None:
    slow, fast = (trained(tmp_path / str(m), optimizer="sgd", momentum=m) for m in (0.0, 0.9))
    assert not torch.equal(slow, fast)


def test_the_digest_of_an_earlier_training_run_is_unchanged() -> None:
    """It equals that before similarity, optimizer, … existed: old checkpoints can still be resumed."""
    assert EpisodicRecipe().training_digest()[:12] == "de59214e2f4e"


def test_a_diverging_training_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="smaller learning rate"):
        trained(tmp_path, "rbnn", episodes=40, optimizer="sgd", learning_rate=1e30, similarity="dot", sharpening="none")


def test_digits_make_a_pool_of_ten_classes() -> None:
    pool = load_pool("digits", "train")
    assert pool.images.shape[0] == 10
    assert pool.images.shape[2:] == (8, 8)
    with pytest.raises(InputError, match="those of digits"):
        load_pool("digits", "train", 32)
    recipe = RECIPE.model_copy(update={"way": 10, "shot": 2, "rotations": False})
    images, labels = training_episode(pool, recipe, 0)
    assert images.shape == (30, 1, 8, 8)
    assert labels[:20].tolist() == [n for n in range(10) for _ in range(2)]


# -- variation -----------------------------------------------------------------------------------------


def test_an_ideal_chip_disturbs_nothing() -> None:
    model, x = controller().train(), torch.randn(2, 1, 32, 32)
    plain = model(x)
    noise = ChipNoise(model, Variation(chip="ideal"), seed=1)
    noise.draw(0)
    assert torch.allclose(model(x), plain, atol=1e-5)


def test_training_computes_what_that_chip_computes_and_inference_does_not() -> None:
    spec = Variation(chip="rram_hfo2_1t1r", set={"device.programming.sigma": 0.3, "encoding": {"kind": "bnn_iii"}})
    model, x = controller().train(), torch.randn(2, 1, 32, 32)
    noise = ChipNoise(model, spec, seed=1)
    noise.draw(7)
    with torch.no_grad():
        disturbed = model(x)
        analog = imc.map_model(model, spec.resolved(), range(7, 8), seed=1)(x)[0]
        assert torch.allclose(disturbed, analog, rtol=1e-4, atol=1e-4)
        digital = model.eval()(x)
        noise.remove()
        assert torch.equal(digital, model(x))
    assert all(layer.disturb is None for layer in product_layers(model))


def test_the_gradient_of_a_disturbed_weight_is_unchanged() -> None:
    model = controller().train()
    ChipNoise(model, Variation(chip="rram_hfo2_1t1r"), seed=1).draw(0)
    model(torch.randn(2, 1, 32, 32)).sum().backward()
    conv2 = model.get_submodule("features.conv2")
    assert float(conv2.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_read_noise_is_refused() -> None:
    noisy = Variation(chip="rram_hfo2_1t1r", set={"device.read.sigma": 0.1})
    with pytest.raises(InputError, match="a chip without read noise"):
        ChipNoise(controller(), noisy, seed=0)
