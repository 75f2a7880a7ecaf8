"""Trains the model of a card by its recipe and evaluates it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.config import build, parse_setting, set_path, user_path
from imc_sim.evaluate import (
    Accuracy,
    ClassificationTask,
    FewShotData,
    FewShotTask,
    class_accuracy,
    configured,
    digital_accuracy_of,
    features_key,
    features_of,
    with_size,
)
from imc_sim.nn import product_layers
from imc_sim.nn.networks import arch_files
from imc_sim.nn.store import Measured, ModelCard, build_model, load_card, load_model, load_state, save_model
from imc_sim.train._checkpoint import Log, Progress
from imc_sim.train._classification import ClassificationTrainer
from imc_sim.train._continual import ContinualTrainer
from imc_sim.train._continual_recipe import ContinualRecipe
from imc_sim.train._ensemble import EnsembleTrainer
from imc_sim.train._episodic import EpisodicTrainer
from imc_sim.train._recipe import EnsembleRecipe, EpisodicRecipe, Measurement
from imc_sim.train._recipes import Recipe, build_recipe


def train_model(
    name: str, out: Path | None = None, resume: bool = False, device: str = "cpu", progress: Progress | None = None,
    settings: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Train the architecture of card `name` by its recipe into folder `out` (default: runs/<name>).

    The folder receives model.yaml and weights.safetensors, checkpoint.pt and training.jsonl. Every measurement of the
    recipe is made on the weights as saved. Returns the folder.

    settings: `recipe.…=value` and `arch.args.…=value` on top of the card; the trained card keeps them.
    """
    card, base = load_card(name)
    card = changed_card(card, map(parse_setting, settings), "--set")
    recipe = recipe_of(card, str(base))
    folder = Path("runs") / card.name if out is None else user_path(out, "out")
    model = initialised(card, recipe, base)
    log, length = trained_log(model, recipe, folder, device, resume, progress)
    done = {"recipe": recipe.to_dict(), **length, "measured": (), "weights": None}
    done |= {"command": shlex.join(["imc-sim", "train", card.name, *_options(settings)]), "curve": curve_of(log)}
    files = arch_files(card.arch.name, base)
    save_model(folder, model.cpu(), card.model_copy(update=done), half=_is_float(model), extra=files)
    return measure_model(folder)


def trained_log(
    model: nn.Module, recipe: Recipe, folder: Path, device: str, resume: bool, progress: Progress | None
) -> tuple[Log, dict[str, int]]:
    """Train the model in place; returns its log, and the length of the training as stated on cards."""
    if isinstance(recipe, EpisodicRecipe):
        log = EpisodicTrainer(model, recipe, folder, device).run(resume, progress)
        return log, {"episodes": recipe.episodes}
    if isinstance(recipe, EnsembleRecipe):
        log = EnsembleTrainer(model, recipe, folder, device).run(resume, progress)
    elif isinstance(recipe, ContinualRecipe):
        log = ContinualTrainer(model, recipe, folder, device).run(resume, progress)
    else:
        log = ClassificationTrainer(model, recipe, folder, device).run(resume, progress)
    return log, {"epochs": recipe.epochs}


def measure_model(folder: Path) -> Path:
    """Make every measurement of the recipe on the model saved in `folder`; write the results into its card."""
    model = load_model(folder)
    card, _ = load_card(folder)
    measured = _measured(model, recipe_of(card, str(folder)).measure)
    save_model(folder, model, card.model_copy(update={"measured": measured}), half=_is_float(model))
    return folder


def recipe_of(card: ModelCard, where: str) -> Recipe:
    """Return the validated recipe of a card."""
    if not card.recipe:
        raise InputError(f"{where}, recipe", "a card without a recipe", "a `recipe:` block", "Say how to train it.")
    return build_recipe(card.recipe, f"{where}, recipe")


def initialised(card: ModelCard, recipe: Recipe, base: Path) -> nn.Module:
    """Build the card's architecture with the weights that training starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_model(card, base)
    return model if recipe.start_from is None else started_from(model, recipe.start_from)


def started_from(model: nn.Module, name: str) -> nn.Module:
    """Return `model` with the weights of the trained model `name`, whose tensors must have the same names and
    shapes.
    """
    load_state(model, load_model(name).state_dict(), {}, f"recipe.start_from {name!r}")
    return model


def changed_card(card: ModelCard, settings: Iterable[tuple[str, Any]], where: str) -> ModelCard:
    """Return the card with (path, value) settings of its recipe and of its architecture's arguments."""
    data = card.to_dict()
    for path, value in settings:
        if not path.startswith(("recipe.", "arch.args.")):
            step = "Write for example recipe.episodes=100 or arch.args.rotation=frozen."
            raise InputError(where, repr(path), "recipe.… or arch.args.…", step)
        set_path(data, path, value, where)
    return build(ModelCard, data, where)


def _options(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def curve_of(log: Sequence[Mapping[str, float]]) -> dict[str, tuple[int | float, ...]]:
    """Return a training log as columns, to five significant digits, as a card keeps it."""
    names = list(log[0]) if log else []
    return {name: tuple(_short(row[name]) for row in log) for name in names}


def _short(value: float) -> int | float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _measured(model: nn.Module, wanted: Sequence[Measurement]) -> tuple[Measured, ...]:
    """Make every measurement; those on the same images share their features."""
    seen: dict[FewShotTask, tuple[FewShotData, Tensor]] = {}
    found: list[Measured] = []
    for each in wanted:
        accuracy = _accuracy(model, each, seen)
        low, high = accuracy.interval()
        figures = {"accuracy": accuracy.mean, "interval": (max(low, 0.0), min(high, 1.0))}
        found.append(Measured(task=each.task.to_dict(), published=each.published, note=each.note, **figures))
    return tuple(found)


def _accuracy(model: nn.Module, wanted: Measurement, seen: dict[FewShotTask, tuple[FewShotData, Tensor]]) -> Accuracy:
    """Make one measurement; `seen` holds the features of those before it."""
    size = getattr(model, "size", None)
    if isinstance(wanted.task, ClassificationTask):
        labelled = with_size(wanted.task, size)
        return class_accuracy(configured(model, labelled), labelled)
    task = with_size(wanted.task, size)
    key = features_key(task)
    if key not in seen:
        data = FewShotData.load(task)
        seen[key] = data, features_of(model, data.images, task.batch)
    return digital_accuracy_of(seen[key][1], task, seen[key][0])


def _is_float(model: nn.Module) -> bool:
    """Tell whether some of its product layers have float weights."""
    return any(layer.kind.stored == "plain" for layer in product_layers(model))
