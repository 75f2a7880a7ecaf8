"""Latent weights of a finished training run, and the sensitivity of the loss to their signs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._files import regular
from imc_sim.nn.store import build_model, check_code_of, load_card
from imc_sim.train._checkpoint import FILE
from imc_sim.train._continual import training_images
from imc_sim.train._continual_recipe import ContinualRecipe
from imc_sim.train._layers import named_layers
from imc_sim.train._probes import FlippedBin, sign_switch
from imc_sim.train._train import recipe_of


def hidden_network(folder: Path) -> tuple[nn.Module, ContinualRecipe]:
    """Load a network with its latent weights at the end of a continual training run.

    Latent weights are only in checkpoint.pt; weights.safetensors has their signs.

    Args:
        folder: folder of the training run.

    Returns:
        The network in inference mode, and the recipe.

    Raises:
        InputError: the folder holds no checkpoint, or one of another kind of training.
    """
    if not (folder / FILE).is_file():
        step = "Train the model: imc-sim train MODEL --out FOLDER"
        raise InputError(str(folder), f"no {FILE}", "the folder of a finished training run", step)
    card, base = load_card(folder)
    check_code_of(card, base, "recipe")
    recipe = recipe_of(card, str(folder))
    if not isinstance(recipe, ContinualRecipe) or card.arch.name == "continual":
        got, step = f"a {recipe.kind} recipe, {card.arch.name}", "Use a training run such as metaplastic_small_probe."
        raise InputError(str(folder), got, "a continual training run of a single network", step)
    network = build_model(card, base)
    network.load_state_dict(torch.load(regular(folder / FILE), map_location="cpu", weights_only=True)["model"])
    return network.eval(), recipe


@checked
def probe_folder(
    folder: Path, flips: Sequence[int], images: int = 1000, draws: int = 20, seed: int = 0
) -> dict[str, list[FlippedBin]]:  # fmt: skip
    """Measure the sensitivity to sign flips in every product layer of a continual training run; see `sign_switch`.

    Args:
        folder: folder of the training run.
        flips: number of weights flipped together, one per layer.
        images: largest number of training images of the last task, in batches of `test_batch` of the recipe.
        draws: number of random choices of weights per bin.
        seed: seed of these choices.

    Returns:
        Layer -> increase of the loss by bin of magnitudes.

    Raises:
        InputError: the folder holds no continual training run, or `flips` has another length.
    """
    network, recipe = hidden_network(folder)
    names = list(named_layers(network))
    if len(flips) != len(names):
        raise InputError("flips", list(flips), f"{len(names)} numbers, one per layer", "Give one number per layer.")
    data = training_images(recipe, len(recipe.tasks) - 1)
    rows = data.train[:images]
    batches = [data.batch(part, "cpu") for part in np.array_split(rows, -(-len(rows) // recipe.test_batch))]
    return {
        name: sign_switch(network, name, batches, count, draws=draws, seed=seed)
        for name, count in zip(names, flips, strict=True)
    }
