"""Train networks by recipe, with checkpoints: episodic, classification, continual and ensemble training."""

from imc_sim.train._augment import flip_crop
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
from imc_sim.train._cells import CellArray, Cells
from imc_sim.train._checkpoint import Progress
from imc_sim.train._classification import ClassificationTrainer, TrainingSet
from imc_sim.train._consolidation import Hold, fisher
from imc_sim.train._continual import ContinualTrainer, calibrated_norms, load_norms, save_norms
from imc_sim.train._continual_recipe import ContinualRecipe, ContinualTask
from imc_sim.train._ensemble import EnsembleTrainer
from imc_sim.train._episodic import EpisodicTrainer, episode_loss, training_episode
from imc_sim.train._hidden import hidden_network, probe_folder
from imc_sim.train._metaplastic import MetaplasticAdam, f_meta, metaplastic_groups
from imc_sim.train._probes import FlippedBin, QuadraticTask, sign_switch
from imc_sim.train._queue import Queue, QueueEntry, QueueRow, load_queue, run_queue
from imc_sim.train._recipe import ClassificationRecipe, EnsembleRecipe, EpisodicRecipe, Measurement
from imc_sim.train._recipes import Recipe, build_recipe
from imc_sim.train._score import ScoreFunction
from imc_sim.train._sweep import Trainings, load_trainings, run_trainings, sweep_status
from imc_sim.train._train import initialised, measure_model, recipe_of, train_model
from imc_sim.train._variation import ChipNoise, Variation

__all__ = [
    "BOOSTING_RULES",
    "Boosted",
    "BoostingRule",
    "CellArray",
    "Cells",
    "ChipNoise",
    "ClassificationRecipe",
    "ClassificationTrainer",
    "ContinualRecipe",
    "ContinualTask",
    "ContinualTrainer",
    "EnsembleRecipe",
    "EnsembleTrainer",
    "EpisodicRecipe",
    "EpisodicTrainer",
    "FlippedBin",
    "Hold",
    "Measurement",
    "MetaplasticAdam",
    "Progress",
    "QuadraticTask",
    "Queue",
    "QueueEntry",
    "QueueRow",
    "Recipe",
    "ScoreFunction",
    "TrainingSet",
    "Trainings",
    "Variation",
    "bagged_rows",
    "boost",
    "build_recipe",
    "calibrated_norms",
    "draw_rows",
    "effective_size",
    "episode_loss",
    "f_meta",
    "fisher",
    "flip_crop",
    "hidden_network",
    "initialised",
    "load_norms",
    "load_queue",
    "load_trainings",
    "measure_model",
    "metaplastic_groups",
    "probe_folder",
    "recipe_of",
    "run_queue",
    "run_trainings",
    "save_norms",
    "shuffled",
    "sign_switch",
    "start_weights",
    "sweep_status",
    "train_model",
    "training_episode",
    "weighted_error",
]
