"""Training of classifiers; the weights after each epoch do not depend on interruptions and resumes."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._rng import Stream
from imc_sim.config import digest
from imc_sim.data import LabelledImages, View, check_labels, gather_labelled, load_classes
from imc_sim.evaluate import drawn_rows, output_count, viewed_images
from imc_sim.nn import constrain_weights
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of, set_slope, take_score
from imc_sim.nn.spiking import rate_loss
from imc_sim.train._augment import flip_crop
from imc_sim.train._checkpoint import (
    Log,
    Progress,
    SaveTimer,
    begin,
    random_states,
    save_checkpoint,
    set_random_states,
)
from imc_sim.train._optimizer import mixed_precision, optimizer_of, set_rate, update
from imc_sim.train._recipe import ClassifierTraining, ViewTraining
from imc_sim.train._score import ScoreFunction

Rows = NDArray[np.int64]
#: epoch, from 0 -> rows of the source in the order of training
Order = Callable[[int], Rows]
#: images per batch at inference
_BATCH = 250


@final
@dataclass(frozen=True)
class TrainingSet:
    """The training and validation images of a recipe.

    Attributes:
        source: labelled images.
        train: rows of the source for training, ascending.
        validation: rows of the source for validation, ascending.
        recipe: the recipe.
    """

    source: LabelledImages
    train: Rows
    validation: Rows
    recipe: ClassifierTraining

    @classmethod
    def load(cls, recipe: ClassifierTraining, size: int | None) -> TrainingSet:
        """Load the data set of a recipe and split it into training and validation images.

        Args:
            recipe: recipe, whose seed determines the split.
            size: side of the images in pixels if the recipe sets none; None: that of the data set.

        Returns:
            The training and validation images.

        Raises:
            InputError: the data set is missing, or has too few images.
        """
        of = (recipe.dataset, recipe.split, recipe.size or size)
        viewed = isinstance(recipe, ViewTraining)
        source = viewed_images(*of, recipe, recipe.scaling, "recipe") if viewed else load_classes(*of)
        return cls.parted(source, recipe, recipe.images)

    @classmethod
    def parted(cls, source: LabelledImages, recipe: ClassifierTraining, images: int | None) -> TrainingSet:
        """Split labelled images into training and validation images at random.

        Args:
            source: labelled images.
            recipe: recipe, whose seed and number of validation images determine the split.
            images: number of training images; None: all that are left.

        Returns:
            The training and validation images.

        Raises:
            InputError: the source has too few images.
        """
        count, aside = len(source.labels), recipe.validation
        if aside >= count:
            allowed = f"fewer than the {count} images of {source.name} {source.split}"
            raise InputError("recipe.validation", aside, allowed, "Set fewer validation images.")
        kept = drawn_rows(count, aside, recipe.seed)
        rest = np.setdiff1d(np.arange(count), kept)
        some = rest[drawn_rows(len(rest), images, recipe.seed)]
        return cls(source, some, kept, recipe)

    def batch(self, rows: Rows, device: str) -> tuple[Tensor, Tensor]:
        """Return images [batch, channels, height, width] and labels [batch].

        Args:
            rows: rows of the source [batch].
            device: device of the result, cpu or cuda.
        """
        images = torch.from_numpy(gather_labelled(self.source, rows, self.recipe.scaling))
        images = images.to(device, memory_format=self.memory_format)
        return images, torch.from_numpy(self.source.labels[rows]).to(device)

    def batches(self, rows: Rows, size: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels in batches, the last of which may be smaller.

        Args:
            rows: rows of the source.
            size: images per batch.
            device: device of the result, cpu or cuda.
        """
        return (self.batch(rows[start : start + size], device) for start in range(0, len(rows), size))

    def check_outputs(self, network: nn.Module, view: View, device: str, where: str = "recipe") -> None:
        """Check that a network has an output for every label of these images.

        Args:
            network: classifier.
            view: transformation of the data set, which may change labels.
            device: device of the network.
            where: place of the view, for errors.

        Raises:
            InputError: the network lacks an output.
        """
        outputs = output_count(network, self.batch(self.train[:2], device)[0])
        check_labels(view, len(self.source.class_names), outputs, where)

    @property
    def memory_format(self) -> torch.memory_format:
        """Return the memory format of kernels and activations."""
        return torch.channels_last if self.recipe.memory == "channels" else torch.contiguous_format


@final
@dataclass
class ClassificationTrainer:
    """Trains a classifier in place.

    Attributes:
        model: network, called with images [batch, channels, height, width] for logits [batch, classes].
        recipe: recipe of the training.
        folder: folder that receives checkpoint.pt and training.jsonl.
        device: device that trains, cpu or cuda.
        data: images; None: those of the recipe.
        order: rows of each epoch; None: all training rows in a permutation addressed by seed and epoch.
        digest: digest of everything that determines the weights; empty: that of the recipe.
        optimizer: optimizer of the model; None: a new one by the recipe.
    """

    model: nn.Module
    recipe: ClassifierTraining
    folder: Path
    device: str = "cpu"
    data: TrainingSet | None = None
    order: Order | None = None
    digest: str = ""
    optimizer: torch.optim.Optimizer | None = None

    def __post_init__(self) -> None:
        size = getattr(self.model, "size", None)
        self._data = self.data or TrainingSet.load(self.recipe, size if isinstance(size, int) else None)
        self._order = self.order or self._permutation
        self._digest = self.digest or self.recipe.training_digest()
        self._optimizer = self.optimizer or optimizer_of(self.model, self.recipe)
        self._neurons, self._score = neurons_of(self.model), ScoreFunction(self.recipe.baseline)
        self._log: Log = []
        self._best: dict[str, Any] = {"loss": float("inf"), "model": {}}
        self._start, self._timer = 0, SaveTimer()
        self._within: dict[str, Any] = {"step": 0, "total": 0.0, "random": []}

    def run(self, resume: bool = False, progress: Progress | None = None) -> Log:
        """Train all epochs.

        Args:
            resume: whether to continue from the checkpoint of the folder; if false, a folder with one is rejected.
            progress: called after every step with (steps done, total steps, last row of the log).

        Returns:
            The log, one row per epoch: epoch (from 1), loss, validation_loss and accuracy on the validation images.

        Raises:
            CheckpointError: another recipe wrote the checkpoint, or the loss is not finite.
            InputError: the folder has a checkpoint and `resume` is false, or the network lacks an output for a label.
        """
        self.model.to(self.device)
        if self.data is None:
            view = self.recipe if isinstance(self.recipe, ViewTraining) else View()
            self._data.check_outputs(self.model, view, self.device)
        self._begin(resume)
        nn.utils.convert_conv2d_weight_memory_format(self.model, self._data.memory_format)
        for epoch in range(self._start, self.recipe.epochs):
            with self._seeded(epoch):
                loss = self._epoch(epoch, progress)
            self._validate(epoch + 1, loss)
            self._save(epoch + 1)
        if self._best["model"]:
            self.model.load_state_dict(self._best["model"])
        self.model.eval()
        return self._log

    def _permutation(self, epoch: int) -> Rows:
        rows = self._data.train
        return rows[Stream(self.recipe.seed, "epochs", "order").order(len(rows), epoch=epoch)]

    @contextlib.contextmanager
    def _seeded(self, epoch: int) -> Iterator[None]:
        """Seed torch's random numbers, as for dropout, by the recipe and the epoch; restore them afterwards."""
        with torch.random.fork_rng(devices=[] if self.device == "cpu" else [torch.device(self.device)]):
            torch.manual_seed(int(digest([self._digest, epoch])[:15], 16))
            if self._within["step"]:
                set_random_states(self._within["random"], self.device)
            yield

    def _epoch(self, epoch: int, progress: Progress | None) -> float:
        """Train an epoch, or the rest of one; return its mean loss."""
        rows, size = self._order(epoch), self.recipe.batch
        self.model.train()
        set_slope(self.model, self.recipe.slope_growth**epoch)
        steps = -(-len(rows) // size)
        total = self._within["total"]
        for step in range(self._within["step"], steps):
            some = rows[step * size : (step + 1) * size]
            batch = self._augmented(some, epoch, step * size)
            total += self._step(batch, epoch * steps + step, self.recipe.epochs * steps) * len(some)
            if step + 1 < steps and self._timer.due():
                self._save(epoch, {"step": step + 1, "total": total, "random": random_states(self.device)})
            if progress is not None:
                progress(epoch * steps + step + 1, self.recipe.epochs * steps, self._log[-1] if self._log else {})
        constrain_weights(self.model)
        self._within = {"step": 0, "total": 0.0, "random": []}
        return total / len(rows)

    def _augmented(self, rows: Rows, epoch: int, first: int) -> tuple[Tensor, Tensor]:
        """Return augmented images and their labels; `first` is the position of the first image in the epoch."""
        images, labels = self._data.batch(rows, self.device)
        if self.recipe.augment == "flip_crop":
            images = flip_crop(images, self.recipe.seed, epoch, first)
        return images, labels

    def _step(self, batch: tuple[Tensor, Tensor], step: int, steps: int) -> float:
        """Update the weights on a batch; return its mean loss."""
        set_rate(self._optimizer, self.recipe.rate_at(step, steps))
        constrain_weights(self.model)
        images, labels = batch
        draw_neurons(self._neurons, Draws(self.recipe.seed, first=step * self.recipe.batch))
        with mixed_precision(self.device, self.recipe.precision):
            logits = self.model(images)
        losses = self._losses(logits.float(), labels)
        loss = self._score.added(losses, take_score(self._neurons))
        update(self._optimizer, loss, f"step {step + 1}")
        return float(losses.detach().mean())

    def _losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image [batch]."""
        if self.recipe.loss == "rate":
            return rate_loss(outputs, labels, reduction="none")
        return F.cross_entropy(outputs, labels, reduction="none")

    def _validate(self, done: int, loss: float) -> None:
        self.model.eval()
        logits, labels = self.logits(self._data.validation)
        found = float(self._losses(logits, labels).mean())
        accuracy = float((logits.argmax(1) == labels).double().mean())
        self._log.append({"epoch": done, "loss": loss, "validation_loss": found, "accuracy": accuracy})
        if self.recipe.keep == "best" and found < self._best["loss"]:
            self._best = {"loss": found, "model": copy.deepcopy(self.model.state_dict())}

    def logits(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return logits [n, classes] in float64 and labels [n] in inference mode.

        Args:
            rows: rows of the source [n].
        """
        logits, labels = zip(*self._inferred(rows), strict=True)
        return torch.cat(logits), torch.cat(labels)

    def missed(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether the model misclassifies each image, [n].

        Args:
            rows: rows of the source [n].
        """
        return torch.cat([logits.argmax(1) != labels for logits, labels in self._inferred(rows)]).numpy()

    @torch.no_grad()
    def _inferred(self, rows: Rows) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logits and labels of each batch, in inference mode."""
        self.model.eval()
        for number, (images, labels) in enumerate(self._data.batches(rows, _BATCH, self.device)):
            draw_neurons(self._neurons, Draws(self.recipe.seed, chip=0, first=number * _BATCH))
            yield self.model(images).double().cpu(), labels.cpu()

    def _save(self, done: int, within: dict[str, Any] | None = None) -> None:
        """Write a checkpoint after `done` epochs, and `within` the next one, in the form of `_within`."""
        state = {
            "epoch": done, "within": within or self._within, "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(), "best": self._best, "baseline": self._score.mean,
        }  # fmt: skip
        save_checkpoint(self.folder, self._digest, self._log, state)

    def _begin(self, resume: bool) -> None:
        """Restore the state from the checkpoint, if there is one."""
        state = begin(self.folder, self._digest, resume, self._log)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self._score.mean, self._start = state["best"], state["baseline"], int(state["epoch"])
        self._within = state.get("within", self._within)  # older checkpoints were written between epochs
