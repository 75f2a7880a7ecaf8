"""Latent weights of a finished training, which its card does not keep, and their sensitivity to sign flips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from imc_sim._errors import InputError
from imc_sim.nn import product_layers
from imc_sim.nn.store import build_model, load_card
from imc_sim.train._checkpoint import FILE
from imc_sim.train._continual import training_images
from imc_sim.train._continual_recipe import ContinualRecipe
from imc_sim.train._probes import FlippedBin, sign_switch
from imc_sim.train._train import recipe_of


def hidden_network(folder: Path) -> tuple[nn.Module, ContinualRecipe]:
    """Return the network as a continual training left it in `folder`, with its latent weights, and the recipe.

    Latent weights are only in the folder's checkpoint.pt; weights.safetensors has their signs.
    """
    if not (folder / FILE).is_file():
        step = "Train it: imc-sim train MODEL --out FOLDER"
        raise InputError(str(folder), f"no {FILE}", "the folder of a finished training", step)
    card, base = load_card(folder)
    recipe = recipe_of(card, str(folder))
    if not isinstance(recipe, ContinualRecipe) or card.arch.name == "continual":
        step = "Take a training such as that of metaplastic_small_probe."
        raise InputError(str(folder), f"a {recipe.kind} recipe, {card.arch.name}", "a plain continual training", step)
    network = build_model(card, base)
    network.load_state_dict(torch.load(folder / FILE, map_location="cpu", weights_only=True)["model"])
    return network.eval(), recipe


def probe_folder(
    folder: Path, flips: Sequence[int], images: int = 1000, draws: int = 20, seed: int = 0
) -> dict[str, list[FlippedBin]]:  # fmt: skip
    """Return `sign_switch` of every product layer after a training: layer -> cost by bin of magnitudes.

    flips: weights flipped together, one number per layer. images: of the last task's training set, at most, in batches
    of the recipe's test_batch, on which statistics of the batch depend.
    """
    network, recipe = hidden_network(folder)
    names = [name for name, layer in network.named_modules() if layer in product_layers(network)]
    if len(flips) != len(names):
        raise InputError("flips", list(flips), f"{len(names)} numbers, one a layer", "Give one for each.")
    data = training_images(recipe, len(recipe.tasks) - 1)
    rows = data.train[:images]
    batches = [data.batch(part, "cpu") for part in np.array_split(rows, -(-len(rows) // recipe.test_batch))]
    return {
        name: sign_switch(network, name, batches, count, draws=draws, seed=seed)
        for name, count in zip(names, flips, strict=True)
    }
