"""Training by recipe, with resume."""

from imc_sim.train._boosting import RULES as BOOSTING_RULES
from imc_sim.train._boosting import (
    Boosted,
    bagged_rows,
    boost,
    draw_rows,
    effective_size,
    shuffled,
    start_weights,
    weighted_error,
)
from imc_sim.train._boosting import Rule as BoostingRule
from imc_sim.train._checkpoint import Progress
from imc_sim.train._classification import ClassificationTrainer, TrainingSet
from imc_sim.train._ensemble import EnsembleTrainer
from imc_sim.train._episodic import EpisodicTrainer, episode_loss, training_episode
from imc_sim.train._recipe import (
    ClassificationRecipe,
    EnsembleRecipe,
    EpisodicRecipe,
    Measurement,
    Recipe,
    build_recipe,
)
from imc_sim.train._score import ScoreFunction
from imc_sim.train._train import initialised, measure_model, recipe_of, train_model
from imc_sim.train._variation import ChipNoise, Variation

__all__ = [
    "BOOSTING_RULES",
    "Boosted",
    "BoostingRule",
    "ChipNoise",
    "ClassificationRecipe",
    "ClassificationTrainer",
    "EnsembleRecipe",
    "EnsembleTrainer",
    "EpisodicRecipe",
    "EpisodicTrainer",
    "Measurement",
    "Progress",
    "Recipe",
    "ScoreFunction",
    "TrainingSet",
    "Variation",
    "bagged_rows",
    "boost",
    "build_recipe",
    "draw_rows",
    "effective_size",
    "episode_loss",
    "initialised",
    "measure_model",
    "recipe_of",
    "shuffled",
    "start_weights",
    "train_model",
    "training_episode",
    "weighted_error",
]
