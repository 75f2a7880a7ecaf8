"""Training by recipe: it resumes to the same bits, and learns."""

from pathlib import Path

import pytest
import torch
from torch import nn

from imc_sim import CheckpointError
from imc_sim.config import SHUFFLED
from imc_sim.data import load_pool
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.train import EpisodicRecipe, EpisodicTrainer, measure_model, training_episode
from tests.exact.networks import seeded

RECIPE = EpisodicRecipe(
    dataset="glyphs", split="train", validation_split="test", way=5, episodes=6, warm_up=0, learning_rate=2e-3,
    precision="float32", validate_every=2, validation_episodes=4,
)  # fmt: skip


def controller() -> nn.Module:
    return seeded(BatmannController, "xnor", width=8, dim=32)


def test_a_stopped_and_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    whole, parts = controller(), controller()
    log = EpisodicTrainer(whole, RECIPE, tmp_path / "whole").run()

    def stop(done: int, total: int, row: dict[str, float]) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EpisodicTrainer(parts, RECIPE, tmp_path / "parts").run(progress=stop)
    resumed = controller()
    assert EpisodicTrainer(resumed, RECIPE, tmp_path / "parts").run(resume=True) == log
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    EpisodicTrainer(controller(), RECIPE, tmp_path).run()
    other = RECIPE.model_copy(update={"learning_rate": 1e-3})
    with pytest.raises(CheckpointError, match="move this one away"):
        EpisodicTrainer(controller(), other, tmp_path).run(resume=True)


def test_it_learns(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"episodes": 60, "validate_every": 20})
    log = EpisodicTrainer(controller(), recipe, tmp_path).run()
    assert log[-1]["loss"] < log[0]["loss"] - 0.05


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    recipe = EpisodicRecipe(episodes=100, warm_up=10, learning_rate=1.0)
    assert recipe.rate_at(0, recipe.episodes) == pytest.approx(0.1)
    assert recipe.rate_at(50, recipe.episodes) == pytest.approx(0.5)
    assert recipe.rate_at(99, recipe.episodes) < 1e-3


def test_rotations_count_as_classes() -> None:
    pool = load_pool("glyphs", "train")
    recipe = RECIPE.model_copy(update={"way": 40, "queries": 2})
    images, labels = training_episode(pool, recipe, 3)
    assert images.shape == (40 * 3, 1, 32, 32)
    assert labels[:40].tolist() == list(range(40))
    assert labels[40:44].tolist() == [0, 0, 1, 1]
    upright = recipe.model_copy(update={"rotations_as_classes": False})
    assert not torch.equal(images, training_episode(pool, upright, 3)[0])


@pytest.mark.parametrize(("kind", "suffix"), [("float", SHUFFLED), ("xnor", "")])
def test_measuring_again_leaves_the_weights_unchanged(kind: str, suffix: str, tmp_path: Path) -> None:
    args = {"kind": kind, "width": 4, "dim": 8}
    card = ModelCard(name="m", summary="m", arch=Arch(name="batmann", args=args), recipe=RECIPE.to_dict())
    save_model(tmp_path / "m", seeded(BatmannController, **args), card, half=kind == "float")
    weights = tmp_path / "m" / f"weights.safetensors{suffix}"
    before = weights.read_bytes()
    measure_model(tmp_path / "m")
    assert weights.read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["model.yaml", weights.name]
