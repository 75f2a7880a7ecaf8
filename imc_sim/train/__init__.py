"""Training by recipe, with resume."""

from imc_sim.train._episodic import EpisodicTrainer, Progress, episode_loss, training_episode
from imc_sim.train._recipe import EpisodicRecipe, Measurement
from imc_sim.train._train import initialised, measure_model, recipe_of, train_model
from imc_sim.train._variation import ChipNoise, Variation

__all__ = [
    "ChipNoise",
    "EpisodicRecipe",
    "EpisodicTrainer",
    "Measurement",
    "Progress",
    "Variation",
    "episode_loss",
    "initialised",
    "measure_model",
    "recipe_of",
    "train_model",
    "training_episode",
]
