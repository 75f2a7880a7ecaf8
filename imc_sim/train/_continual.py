"""Continual training: tasks one after the other, and the accuracy on all tasks after each."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from imc_sim._errors import InputError, MissingDataError
from imc_sim._files import regular, write_folder
from imc_sim._rng import Stream
from imc_sim.config import digest
from imc_sim.data import LabelledImages, LabelledScaling, data_parts, data_state
from imc_sim.evaluate import drawn_rows, features_digest, viewed_images
from imc_sim.nn.networks import ContinualNet, calibrate_norms, load_norm_state, norm_state
from imc_sim.train._boosting import shuffled
from imc_sim.train._cells import CellArray
from imc_sim.train._checkpoint import FILE, Log, Progress, begin, save_checkpoint, share
from imc_sim.train._classification import ClassificationTrainer, TrainingSet
from imc_sim.train._consolidation import Hold
from imc_sim.train._continual_recipe import ContinualRecipe, ContinualTask
from imc_sim.train._metaplastic import MetaplasticAdam, metaplastic_groups
from imc_sim.train._optimizer import optimizer_of

NORMS = "norms.safetensors"
NormState = dict[str, Tensor]


@final
@dataclass
class ContinualTrainer:
    """Trains a network in place on a sequence of tasks.

    The model ends with the norms of the last task. Training of a `ContinualNet` starts with its first stage, and every
    task adds a stage.

    Attributes:
        model: classifier.
        recipe: recipe of the training.
        folder: folder that receives checkpoint.pt, training.jsonl, a folder per phase (a task, or a part of one) and,
            with norms for each task, norms.safetensors (see `load_norms`).
        device: device that trains, cpu or cuda.
    """

    model: nn.Module
    recipe: ContinualRecipe
    folder: Path
    device: str = "cpu"

    def __post_init__(self) -> None:
        r = self.recipe
        self._past = self.model if isinstance(self.model, ContinualNet) else None
        if self._past is not None:
            _check_stages(self._past, r)
            self.model = self._past.first()
        self._tests = [_test_set(task, r) for task in r.tasks]
        self._cells = CellArray(self.model, r.cells, r.seed) if r.cells is not None else None
        if self._cells is not None:
            self._cells.program()
        self._hold = Hold(self.model, r.method, r.penalty, r.seed) if r.method != "none" else None
        self._optimizer = self._fresh()
        self.norms: list[NormState] = []
        self._log: Log = []
        self._start = 0

    def run(self, resume: bool = False, progress: Progress | None = None) -> Log:
        """Train all tasks.

        Args:
            resume: whether to continue from the checkpoint of the folder; if false, a folder with one is rejected.
            progress: called with (steps done, total steps, last row of the log) as training proceeds.

        Returns:
            The log, one row per phase: task and part (from 1), loss of the last epoch, accuracy on the validation
            images of the phase, task1, task2, … (accuracy on every task, including later ones) and mean (over the tasks
            learned so far).

        Raises:
            CheckpointError: another recipe wrote the checkpoint, or the loss is not finite.
            InputError: the folder has a checkpoint and `resume` is false, or the network lacks an output for a label.
        """
        self.model.to(self.device)
        for number, (task, data) in enumerate(zip(self.recipe.tasks, self._tests, strict=True)):
            data.check_outputs(self.model, task, self.device, f"recipe.tasks.{number}")
        self._begin(resume)
        for number in range(self._start, len(self.recipe.phases)):
            self._phase(number, resume, progress)
        self.model.eval()
        return self._log

    def _phase(self, number: int, resume: bool, progress: Progress | None) -> None:
        """Train a phase, consolidate the task if it is complete, measure all accuracies, and save."""
        task, part = self.recipe.phases[number]
        if part == 0 and self.recipe.fresh_optimizer:
            self._optimizer = self._fresh()
        if self._cells is not None:
            self._cells.phase = number
        data, folder = _training_set(self.recipe, task, part), self.folder / f"phase{number + 1}"
        known = digest({"recipe": self.recipe.training_digest(), "phase": number})
        trainer = ClassificationTrainer(
            self.model, self.recipe, folder, self.device, data,
            lambda epoch: shuffled(data.train, self.recipe.seed, epoch, number), known, self._optimizer,
        )  # fmt: skip
        log = trainer.run(resume, share(progress, number, len(self.recipe.phases), self._log))
        if self.recipe.scenario == "task" and not self.recipe.interleaved:
            self.norms[task:] = [norm_state(self.model)]
        if self._hold is not None and part == self.recipe.subsets - 1:
            whole = training_images(self.recipe, task)
            self._hold.finish(self._optimizer, task, whole, self.recipe.fisher_images, self.device)
        if self._past is not None and part == self.recipe.subsets - 1:
            fitting = calibrated_norms(copy.deepcopy(self.model), self.recipe, self.norms, device=self.device)
            self._past.keep(task + 1, self.model, fitting)
        self._judge(task, part, log[-1])
        self._save(number + 1)
        (folder / FILE).unlink()  # the checkpoint just saved includes it

    def _judge(self, task: int, part: int, last: dict[str, float]) -> None:
        """Add the row of a finished phase to the log."""
        found = self._accuracies()
        learned = found if self.recipe.interleaved else found[: task + 1]
        named = {f"task{number}": each for number, each in enumerate(found, 1)}
        row = {"task": task + 1, "part": part + 1, "loss": last["loss"], "accuracy": last["accuracy"]}
        self._log.append({**row, **named, "mean": float(np.mean(learned))})

    def _accuracies(self) -> list[float]:
        """Return the accuracy on every task, with the norms of that task if there are any."""
        now, found = norm_state(self.model), []
        for number, data in enumerate(self._tests):
            load_norm_state(self.model, self.norms[number] if number < len(self.norms) else now)
            found.append(_accuracy(self.model, data, self.recipe.test_batch, self.device))
        load_norm_state(self.model, now)
        return found

    def _fresh(self) -> torch.optim.Optimizer:
        """Create an optimizer with the cells and the penalty attached."""
        r = self.recipe
        if r.optimizer == "sgd":
            made = optimizer_of(self.model, r)
        else:
            m = r.strengths if isinstance(r.m, tuple) else r.strengths[0]
            groups = metaplastic_groups(self.model, m)
            made = MetaplasticAdam(groups, lr=r.learning_rate, weight_decay=r.weight_decay)
        if self._cells is not None:
            self._cells.attach(made)  # before the penalty, whose path uses the weights as the cells moved them
        if self._hold is not None:
            self._hold.attach(made)
        return made

    def _save(self, done: int) -> None:
        """Write a checkpoint after `done` phases, and the norms of the tasks."""
        hold = None if self._hold is None else self._hold.state
        state = {
            "done": done, "model": self.model.state_dict(), "optimizer": self._optimizer.state_dict(),
            "norms": self.norms, "hold": hold, "past": None if self._past is None else self._past.state_dict(),
        }  # fmt: skip
        save_checkpoint(self.folder, self.recipe.training_digest(), self._log, state)
        if self.norms:
            save_norms(self.folder, self.norms)

    def _begin(self, resume: bool) -> None:
        """Restore the state from the checkpoint, if there is one."""
        state = begin(self.folder, self.recipe.training_digest(), resume, self._log)
        if state is None:
            return
        self.model.to(self.device).load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.norms, self._start = list(state["norms"]), int(state["done"])
        if self._hold is not None:
            self._hold.state = state["hold"]
        if self._past is not None:
            self._past.load_state_dict(state["past"])


def _check_stages(past: ContinualNet, recipe: ContinualRecipe) -> None:
    if len(past.stages) != len(recipe.tasks):
        step = f"Set arch.args.tasks: {len(recipe.tasks)}."
        raise InputError("arch.args.tasks", len(past.stages), f"{len(recipe.tasks)}, as recipe.tasks", step)
    if recipe.interleaved or recipe.scenario != "task":
        got = "interleaved: true" if recipe.interleaved else f"scenario: {recipe.scenario}"
        step = "Train the network itself instead of architecture continual."
        raise InputError("recipe", got, "tasks one after the other, each with its own norms", step)


def calibrated_norms(
    model: nn.Module, recipe: ContinualRecipe, norms: Sequence[NormState], images: int = 10_000, device: str = "cpu"
) -> list[NormState]:
    """Return the norms of every task with running statistics measured on the present weights; see `calibrate_norms`.

    The statistics stored at the end of a task fit the weights of that time. The published network normalises by the
    statistics of each batch instead. The model is left with the norms of the last task, using running statistics.

    Args:
        model: network with the present weights.
        recipe: recipe of its training.
        norms: norms of each task, from `norm_state`.
        images: largest number of training images of each task to measure on.
        device: device of the model, cpu or cuda.
    """
    found = []
    for number, state in enumerate(norms):
        load_norm_state(model, state)
        data = training_images(recipe, number)
        rows = data.train[drawn_rows(len(data.train), min(images, len(data.train)), recipe.seed)]
        batches = [data.batch(part, device)[0] for part in np.array_split(rows, -(-len(rows) // recipe.test_batch))]
        calibrate_norms(model, batches)
        found.append(norm_state(model))
    return found


def save_norms(folder: Path, norms: list[NormState]) -> None:
    """Write the norms of every task to norms.safetensors.

    Args:
        folder: folder of the training run.
        norms: norms of each task, from `norm_state`.
    """
    named = {f"{task}.{key}": value.cpu() for task, state in enumerate(norms, 1) for key, value in state.items()}
    write_folder(folder, {NORMS: safetensors.torch.save(named)})


def load_norms(folder: Path) -> list[NormState]:
    """Read the norms of every task of a continual training run.

    Args:
        folder: folder of the training run.

    Returns:
        The norms of each task, for `load_norm_state`.

    Raises:
        MissingDataError: the folder holds no norms.
    """
    if not (folder / NORMS).is_file():
        step = "Train with scenario: task, which stores the norms of each task."
        raise MissingDataError(str(folder), f"no {NORMS}", "a folder of continual training", step)
    named = safetensors.torch.load_file(regular(folder / NORMS))
    count = max(int(key.partition(".")[0]) for key in named)
    parts = [key.partition(".") for key in named]
    return [{key: named[f"{n}.{key}"] for n, _, key in parts if int(n) == task} for task in range(1, count + 1)]


def training_images(recipe: ContinualRecipe, number: int) -> TrainingSet:
    """Return the training and validation images of a task, split by the seed of the recipe."""
    task = recipe.tasks[number]
    source = _images(recipe, task, task.split or recipe.split)
    return TrainingSet.parted(source, recipe, task.images or recipe.images)


def _images(recipe: ContinualRecipe, task: ContinualTask, split: str) -> LabelledImages:
    seen = task.model_copy(update={"features": recipe.features_of(task)})
    dataset = task.dataset or recipe.dataset
    now = (*map(data_state, data_parts(dataset, split)), seen.features and features_digest(seen.features))
    return _viewed(seen.model_dump_json(), dataset, split, recipe.size, recipe.scaling, now)


@functools.lru_cache(maxsize=8)
def _viewed(
    task: str, dataset: str, split: str, size: int | None, scaling: LabelledScaling, _now: object
) -> LabelledImages:
    """Return a data set as transformed by a task (given as JSON); the cache depends on the state of its files."""
    return viewed_images(dataset, split, size, ContinualTask.model_validate_json(task), scaling, "recipe.tasks")


def _training_set(recipe: ContinualRecipe, number: int, part: int) -> TrainingSet:
    """Return the images of one part of a task, or of all tasks if they are interleaved."""
    whole = _joined(recipe) if recipe.interleaved else training_images(recipe, number)
    if recipe.subsets == 1:
        return whole
    if recipe.subsets > len(whole.train):
        step = "Set fewer parts."
        raise InputError("recipe.subsets", recipe.subsets, f"at most the {len(whole.train)} images", step)
    rows = whole.train[Stream(recipe.seed, "tasks", "parts").order(len(whole.train), epoch=number)]
    return TrainingSet(whole.source, np.sort(np.array_split(rows, recipe.subsets)[part]), whole.validation, recipe)


def _joined(recipe: ContinualRecipe) -> TrainingSet:
    """Return the images of all tasks as one set."""
    sets = [training_images(recipe, number) for number in range(len(recipe.tasks))]
    if len({each.source.images.shape[1:] for each in sets}) > 1:
        raise InputError("recipe.interleaved", "images of several sizes", "one size", "Set pad of the tasks.")
    if recipe.scaling != "unit" and len({each.source.name for each in sets}) > 1:
        raise InputError(
            "recipe.scaling", repr(recipe.scaling), "unit, for tasks of several sets", "Set scaling: unit."
        )
    images, labels = (np.concatenate([getattr(each.source, what) for each in sets]) for what in ("images", "labels"))
    first = np.cumsum([0, *(len(each.source.labels) for each in sets)])
    train, kept = (
        np.concatenate([getattr(each, what) + start for each, start in zip(sets, first, strict=False)])
        for what in ("train", "validation")
    )
    one = sets[0].source
    return TrainingSet(LabelledImages(one.name, one.split, images, labels, one.class_names), train, kept, recipe)


def _test_set(task: ContinualTask, recipe: ContinualRecipe) -> TrainingSet:
    """Return the images on which the accuracy of a task is measured: its test split, or its validation images."""
    split = task.test_split or recipe.test_split
    if split is None:
        whole = training_images(recipe, recipe.tasks.index(task))
        return TrainingSet(whole.source, whole.validation, whole.validation, recipe)
    source = _images(recipe, task, split)
    rows = np.arange(len(source.labels))
    return TrainingSet(source, rows, rows, recipe)


@torch.no_grad()
def _accuracy(model: nn.Module, data: TrainingSet, batch: int, device: str) -> float:
    model.eval()
    batches = data.batches(data.train, batch, device)
    return sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches) / len(data.train)
