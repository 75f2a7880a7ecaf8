"""Build recipes of every kind from plain data."""

from __future__ import annotations

from typing import Any

from imc_sim._errors import InputError, nearest
from imc_sim.config import build
from imc_sim.train._continual_recipe import ContinualRecipe
from imc_sim.train._recipe import ClassificationRecipe, EnsembleRecipe, EpisodicRecipe

Recipe = EpisodicRecipe | ClassificationRecipe | EnsembleRecipe | ContinualRecipe
RECIPES: dict[str, type[Recipe]] = {
    "episodic": EpisodicRecipe, "classification": ClassificationRecipe, "ensemble": EnsembleRecipe,
    "continual": ContinualRecipe,
}  # fmt: skip


def build_recipe(data: dict[str, Any], where: str) -> Recipe:
    """Build a recipe from plain data.

    Args:
        data: settings of the recipe; without `kind` it is episodic.
        where: place of the recipe, for errors.

    Returns:
        The recipe.

    Raises:
        InputError: a key or value is not valid.
    """
    kind = str(data.get("kind", "episodic"))
    if kind not in RECIPES:
        step = f"{nearest(kind, RECIPES)}Use one of these."
        raise InputError(f"{where}.kind", repr(kind), ", ".join(RECIPES), step)
    return build(RECIPES[kind], data, where)
