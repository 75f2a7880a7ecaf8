"""Cards of metaplastic networks: each can be built and has a recipe; trained ones have their results."""

import pytest
import torch

from imc_sim.config import content_names
from imc_sim.nn import product_layers
from imc_sim.nn.networks import ContinualNet
from imc_sim.nn.store import build_model, load_card, load_model
from imc_sim.train import ContinualRecipe, recipe_of
from imc_sim.train._sweep import load_trainings, points_of

NAMES = [name for name in content_names("model") if name.startswith("metaplastic_")]


@pytest.mark.parametrize("name", NAMES)
def test_every_card_builds_and_can_be_trained(name: str) -> None:
    card, base = load_card(name)
    recipe = recipe_of(card, name)
    assert isinstance(recipe, ContinualRecipe)
    with torch.device("meta"):
        network = build_model(card, base)
    if isinstance(network, ContinualNet):
        assert len(network.stages) == len(recipe.tasks)
    assert len(card.curve.get("task1", ())) in (0, len(recipe.phases))


def test_networks_have_their_published_sizes() -> None:
    for name, count in {"metaplastic_pmnist": 20_029_440, "metaplastic_pmnist10_width512": 668_672}.items():
        card, base = load_card(name)
        with torch.device("meta"):
            network = build_model(card, base)
        assert sum(layer.weight.numel() for layer in product_layers(network)) == count


def test_the_best_strength_retains_thirty_points_more() -> None:
    mean = {m: load_card(f"metaplastic_small_m{m}")[0].curve["mean"][-1] for m in (0, 10)}
    assert mean[10] > mean[0] + 0.30


@pytest.mark.parametrize("m", [0, 10, 25])
def test_stages_ship_with_the_weights_of_the_card(m: int) -> None:
    network = load_model(f"metaplastic_small_m{m}")
    assert isinstance(network, ContinualNet)
    first, last = ([layer.weight for layer in product_layers(network.at(stage))] for stage in (1, 4))
    assert all(set(w.unique().tolist()) == {-1.0, 1.0} for w in (*first, *last))
    flipped = [float((a != b).double().mean()) for a, b in zip(first, last, strict=True)]
    assert all(0.01 < share < 0.5 for share in flipped)


def test_training_sweeps_that_ship_have_their_points() -> None:
    for name in content_names("training"):
        points = list(points_of(load_trainings(name)))
        assert len({point.id for point in points}) > 1
