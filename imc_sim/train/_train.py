"""Train the model of a card by its recipe, and measure its accuracies."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.config import (
    Origin,
    build,
    code_of,
    is_code,
    is_onnx,
    parse_setting,
    run_folder,
    set_path,
    trusting,
    user_path,
)
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
from imc_sim.nn.store import Measured, ModelCard, build_model, check_code_of, load_card, load_model, save_model
from imc_sim.train._checkpoint import Log, Progress
from imc_sim.train._classification import ClassificationTrainer
from imc_sim.train._continual import ContinualTrainer
from imc_sim.train._ensemble import EnsembleTrainer
from imc_sim.train._episodic import EpisodicTrainer
from imc_sim.train._recipe import EpisodicRecipe, Measurement
from imc_sim.train._recipes import Recipe, build_recipe
from imc_sim.train._start import start_from

_TRAINERS: dict[str, Callable[..., Any]] = {
    "episodic": EpisodicTrainer, "classification": ClassificationTrainer, "continual": ContinualTrainer,
    "ensemble": EnsembleTrainer,
}  # fmt: skip


@checked
def train_model(
    name: str, out: Path | None = None, resume: bool = False, device: str = "cpu", progress: Progress | None = None,
    settings: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Train the architecture of a card by its recipe, and measure the accuracies that the recipe lists.

    Args:
        name: name or path of a card.
        out: folder that receives model.yaml, weights.safetensors, checkpoint.pt and training.jsonl; None: runs/<name>.
        resume: whether to continue from the checkpoint of the folder; if false, a folder with one is rejected.
        device: device that trains, cpu or cuda.
        progress: called with (steps done, total steps, last row of the log) as training proceeds.
        settings: texts `recipe.…=value` and `arch.args.…=value` that replace settings of the card; the new card keeps
            them.

    Returns:
        The folder of the trained model.

    Raises:
        CheckpointError: another recipe wrote the checkpoint, or the loss is not finite.
        InputError: the card, its recipe or a setting is not valid, or the folder has a checkpoint and `resume` is
            false.
    """
    card, base = load_card(name)
    check_code_of(card, base, "arch", "recipe")
    changes = list(map(parse_setting, settings))
    origin = card.origin.with_settings(path for path, _ in changes)
    card = changed_card(card, changes, "--set", origin)
    recipe = recipe_of(card, str(base))
    check_models_of([recipe])
    folder = run_folder(card.name) if out is None else user_path(out, "out")
    model = initialised(card, recipe, base)
    log, length = trained_log(model, recipe, folder, device, resume, progress)
    done = {"recipe": recipe.to_dict(), **length, "measured": (), "weights": None}
    options = [word for setting in settings for word in ("--set", setting)]
    done |= {"command": shlex.join(["imc-sim", "train", card.name, *options]), "curve": curve_of(log)}
    files = {}
    if is_code(card.arch.name):
        code = code_of(card.arch.name, base)
        files, done["arch"] = code.files, card.arch.model_copy(update={"name": code.arch})
    save_model(folder, model.cpu(), card.model_copy(update=done), half=_is_float(model), extra=files)
    with trusting():  # the same code has been trained
        return measure_model(folder)


def trained_log(
    model: nn.Module, recipe: Recipe, folder: Path, device: str, resume: bool, progress: Progress | None
) -> tuple[Log, dict[str, int]]:
    """Train a model in place; return its log, and the length of the training as cards state it."""
    log = _TRAINERS[recipe.kind](model, recipe, folder, device).run(resume, progress)
    return log, {"episodes": recipe.episodes} if isinstance(recipe, EpisodicRecipe) else {"epochs": recipe.epochs}


@checked
def measure_model(folder: Path) -> Path:
    """Measure the accuracies that the recipe of a trained model lists, and write them to its card.

    Args:
        folder: folder of the trained model.

    Returns:
        The folder.
    """
    model = load_model(folder)
    card, base = load_card(folder)
    check_code_of(card, base, "recipe")
    measured = _measured(model, recipe_of(card, str(folder)).measure)
    save_model(folder, model, card.model_copy(update={"measured": measured}), half=_is_float(model))
    return folder


def recipe_of(card: ModelCard, where: str) -> Recipe:
    """Return the validated recipe of a card.

    Args:
        card: card of a model.
        where: place of the card, for errors.

    Raises:
        InputError: the card has no recipe, or one that is not valid.
    """
    with card.origin.naming(where):
        if not card.recipe:
            raise InputError(f"{where}, recipe", "a card without a recipe", "a `recipe:` block", "Add a recipe.")
        return build_recipe(card.recipe, f"{where}, recipe")


def check_models_of(recipes: Iterable[Recipe]) -> None:
    """Raise if a model that recipes name, to start from or for its features, has code that may not run.

    Args:
        recipes: recipes of training runs.

    Raises:
        InputError: the folder of the model is not trusted.
    """
    for name in sorted({name for recipe in recipes for name in _models_in(recipe.to_dict())}):
        check_code_of(*load_card(name), "arch")


def _models_in(data: Any) -> Iterator[str]:
    """Yield the names of models in the content of a recipe."""
    if isinstance(data, dict):
        yield from (name for key in ("start_from", "features") if (name := data.get(key)) is not None)
    if isinstance(data, dict | list | tuple):
        for part in data.values() if isinstance(data, dict) else data:
            yield from _models_in(part)


def initialised(card: ModelCard, recipe: Recipe, base: Path) -> nn.Module:
    """Build the architecture of a card with the weights that training starts from.

    Args:
        card: card of the model.
        recipe: its recipe, whose seed or `start_from` determines the weights.
        base: folder of the card, for relative paths.

    Returns:
        The network.

    Raises:
        InputError: the network is one of an ONNX file.
    """
    if is_onnx(card.arch.name):
        step = "Train the torch network that it was exported from, ./my_net.py:NAME."
        raise InputError(f"model {card.name!r}, arch", "an ONNX file", "an architecture that can be trained", step)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_model(card, base)
    if recipe.start_from is not None:
        start_from(model, recipe.start_from)
    return model


def changed_card(
    card: ModelCard, settings: Iterable[tuple[str, Any]], where: str, origin: Origin | None = None
) -> ModelCard:  # fmt: skip
    """Return the card with some settings (path, value) of its recipe and of its architecture replaced.

    Args:
        card: card of a model.
        settings: paths and values.
        where: place of the settings, for errors.
        origin: places of the values of the new card; None: those of the card.
    """
    data, origin = card.to_dict(), origin or card.origin
    with origin.naming(where):
        for path, value in settings:
            if not path.startswith(("recipe.", "arch.args.")):
                step = "Write for example recipe.episodes=100 or arch.args.rotation=frozen."
                raise InputError(where, repr(path), "recipe.… or arch.args.…", step)
            set_path(data, path, value, where)
        return build(ModelCard, data, where).with_origin(origin)


def curve_of(log: Sequence[Mapping[str, float]]) -> dict[str, tuple[int | float, ...]]:
    """Return the columns of a training log, rounded to five significant digits, as cards store them."""
    names = list(log[0]) if log else []
    return {name: tuple(_short(row[name]) for row in log) for name in names}


def _short(value: float) -> int | float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _measured(model: nn.Module, wanted: Sequence[Measurement]) -> tuple[Measured, ...]:
    """Measure all accuracies; those on the same images share their features."""
    seen: dict[FewShotTask, tuple[FewShotData, Tensor]] = {}
    found: list[Measured] = []
    for each in wanted:
        accuracy = _accuracy(model, each, seen)
        low, high = accuracy.interval()
        figures = {"accuracy": accuracy.mean, "interval": (max(low, 0.0), min(high, 1.0))}
        found.append(Measured(task=each.task.to_dict(), published=each.published, note=each.note, **figures))
    return tuple(found)


def _accuracy(model: nn.Module, wanted: Measurement, seen: dict[FewShotTask, tuple[FewShotData, Tensor]]) -> Accuracy:
    """Measure one accuracy; `seen` holds the features of earlier measurements."""
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
    """Return whether some product layers have float weights."""
    return any(layer.kind.stored == "plain" for layer in product_layers(model))
