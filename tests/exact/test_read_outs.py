"""Read-outs that few-shot encoders are trained with, and options of recipes with binary blocks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imc_sim import InputError
from imc_sim.nn.networks import Conv4
from imc_sim.train import EpisodicRecipe, EpisodicTrainer, episode_loss

WAY, SHOT = 3, 2
RECIPE = EpisodicRecipe(
    dataset="glyphs", split="train", validation_split="test", way=WAY, episodes=4, warm_up=0, precision="float32",
    validate_every=4, validation_episodes=2, similarity="l2", read_out="attention", slope_every=1,
)  # fmt: skip


def episode() -> tuple[Tensor, Tensor, Tensor]:
    """Return features [keys + 4, 5], labels, and squared distances [4, keys] in float64."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(WAY * SHOT + 4, 5, generator=generator).double()
    labels = torch.cat([torch.arange(WAY).repeat_interleave(SHOT), torch.tensor([0, 1, 2, 1])])
    keys, queries = features[: WAY * SHOT], features[WAY * SHOT :]
    return features, labels, (queries[:, None] - keys[None]).square().sum(-1)


def test_attention_is_the_softmax_over_all_keys_summed_per_class() -> None:
    features, labels, distance = episode()
    attention = torch.softmax(-distance, 1).reshape(4, WAY, SHOT).sum(2)
    expected = -attention[torch.arange(4), labels[WAY * SHOT :]].log().mean()
    found = episode_loss(features, labels, RECIPE.model_copy(update={"shot": SHOT}))
    torch.testing.assert_close(found, expected)


def test_prototypes_are_the_mean_keys_of_the_classes() -> None:
    features, labels, _ = episode()
    means = features[: WAY * SHOT].reshape(WAY, SHOT, 5).mean(1)
    logits = -(features[WAY * SHOT :, None] - means[None]).square().sum(-1)
    expected = nn.functional.cross_entropy(logits, labels[WAY * SHOT :])
    recipe = RECIPE.model_copy(update={"shot": SHOT, "read_out": "prototypes"})
    torch.testing.assert_close(episode_loss(features, labels, recipe), expected)


def trained(folder: Path, estimator: str = "straight_through", **changes: Any) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Conv4(width=8, binary=[1], estimator=estimator, stochastic=True)  # type: ignore[arg-type]
    EpisodicTrainer(model, RECIPE.model_copy(update=changes), folder).run()
    return model.state_dict()["block1.conv.weight"]


@pytest.mark.parametrize(
    "changes",
    [
        {"similarity": "cosine"},
        {"read_out": "prototypes", "shot": 2},
        {"scaling": "unit"},
        {"slope_growth": 1.5},
        {"slope_growth": 1.5, "slope_every": 2},
    ],
)
def test_every_option_acts(tmp_path: Path, changes: dict[str, Any]) -> None:
    base: dict[str, Any] = {"shot": 2} if "shot" in changes else {}
    plain = trained(tmp_path / "plain", **base)
    if "slope_every" in changes:
        plain = trained(tmp_path / "grown", slope_growth=1.5)
    assert not torch.equal(plain, trained(tmp_path / "changed", **changes))


def test_a_baseline_acts_and_reinforce_reaches_the_first_block(tmp_path: Path) -> None:
    frozen, none, running = (
        trained(tmp_path / f"{estimator}{baseline}", estimator, baseline=baseline)
        for estimator, baseline in (("frozen", 0.9), ("reinforce", 1.0), ("reinforce", 0.5))
    )
    assert not torch.equal(none, running)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = Conv4(width=8, binary=[1]).state_dict()["block1.conv.weight"]
    assert torch.equal(frozen, start)
    assert not torch.equal(none, start)


def test_a_recipe_may_take_images_of_another_size(tmp_path: Path) -> None:
    model = Conv4(layout="relation", width=4, size=32)
    EpisodicTrainer(model, RECIPE.model_copy(update={"size": 32}), tmp_path / "a").run()
    with pytest.raises(InputError, match="1, 28, 28"):
        EpisodicTrainer(model, RECIPE.model_copy(update={"size": 28}), tmp_path / "b").run()
