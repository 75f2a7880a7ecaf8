"""Training of classifiers with resume: the state after epoch k depends on the recipe alone, not on interruptions."""

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
    diverged,
    random_states,
    save_checkpoint,
    set_random_states,
)
from imc_sim.train._optimizer import optimizer_of, set_rate
from imc_sim.train._recipe import ClassifierTraining, ViewTraining
from imc_sim.train._score import ScoreFunction

Rows = NDArray[np.int64]
#: epoch -> the rows of the training set in the order in which it goes over them
Order = Callable[[int], Rows]
#: images at once where nothing is learned
_BATCH = 250


@final
@dataclass(frozen=True)
class TrainingSet:
    """The images of a recipe: those for training and those for validation, as rows of the source."""

    source: LabelledImages
    train: Rows
    validation: Rows
    recipe: ClassifierTraining

    @classmethod
    def load(cls, recipe: ClassifierTraining, size: int | None) -> TrainingSet:
        """Split the data set by the recipe's seed."""
        of = (recipe.dataset, recipe.split, recipe.size or size)
        viewed = isinstance(recipe, ViewTraining)
        source = viewed_images(*of, recipe, recipe.scaling, "recipe") if viewed else load_classes(*of)
        return cls.parted(source, recipe, recipe.images)

    @classmethod
    def parted(cls, source: LabelledImages, recipe: ClassifierTraining, images: int | None) -> TrainingSet:
        """Sample validation images of `source`, and `images` of the others for training (None: all), by the recipe's
        seed.
        """
        count, aside = len(source.labels), recipe.validation
        if aside >= count:
            step = "Keep fewer images aside."
            raise InputError(
                "recipe.validation", aside, f"fewer than the {count} images of {source.name} {source.split}", step
            )
        kept = drawn_rows(count, aside, recipe.seed)
        rest = np.setdiff1d(np.arange(count), kept)
        some = rest[drawn_rows(len(rest), images, recipe.seed)]
        return cls(source, some, kept, recipe)

    def batch(self, rows: Rows, device: str) -> tuple[Tensor, Tensor]:
        """Return images [b, channels, H, W] and labels [b] of these rows of the source."""
        images = torch.from_numpy(gather_labelled(self.source, rows, self.recipe.scaling))
        images = images.to(device, memory_format=self.memory_format)
        return images, torch.from_numpy(self.source.labels[rows]).to(device)

    def check_outputs(self, network: nn.Module, view: View, device: str, where: str = "recipe") -> None:
        """Raise InputError if the network lacks an output for a label of these images, as transformed by `view`."""
        outputs = output_count(network, self.batch(self.train[:2], device)[0])
        check_labels(view, len(self.source.class_names), outputs, where)

    @property
    def memory_format(self) -> torch.memory_format:
        """Return the memory format of convolution weights and activations."""
        return torch.channels_last if self.recipe.memory == "channels" else torch.contiguous_format


@final
@dataclass
class ClassificationTrainer:
    """Trains `model` in place by `recipe`; `folder` receives checkpoint.pt and training.jsonl.

    order: rows of an epoch; None: all training rows in a permutation of (seed, epoch). digest: identifies all that
    decides the weights, if that is more than the recipe. optimizer: None for a new one of the recipe.
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
        """Train to the end; returns the log: epoch, loss, validation_loss, and accuracy on the validation images.

        resume: continue from the folder's checkpoint, if it has one. Without it, a folder with one is refused.
        """
        self.model.to(self.device)
        if self.data is None:
            view = self.recipe if isinstance(self.recipe, ViewTraining) else View()
            self._data.check_outputs(self.model, view, self.device)
        self._begin(resume)
        nn.utils.convert_conv2d_weight_memory_format(self.model, self._data.memory_format)
        for epoch in range(self._start, self.recipe.epochs):
            with self._drawn_by(epoch):
                loss = self._epoch(epoch, progress)
            self._validate(epoch + 1, loss)
            self._save(epoch + 1)
        if self._best["model"]:
            self.model.load_state_dict(self._best["model"])
        self.model.eval()
        return self._log

    def _permutation(self, epoch: int) -> Rows:
        rows = self._data.train
        keys = Stream(self.recipe.seed, "epochs", "order").words(4 * len(rows), chip=0, epoch=epoch).view(np.uint64)
        return rows[np.argsort(keys, kind="stable")]

    @contextlib.contextmanager
    def _drawn_by(self, epoch: int) -> Iterator[None]:
        """Let random numbers of torch itself, as for dropout, depend on training and epoch alone."""
        with torch.random.fork_rng(devices=[] if self.device == "cpu" else [torch.device(self.device)]):
            torch.manual_seed(int(digest([self._digest, epoch])[:15], 16))
            if self._within["step"]:
                set_random_states(self._within["random"], self.device)
            yield

    def _epoch(self, epoch: int, progress: Progress | None) -> float:
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
        """Return images and labels for training; `first` is the place of the first in the epoch."""
        images, labels = self._data.batch(rows, self.device)
        if self.recipe.augment == "flip_crop":
            images = flip_crop(images, self.recipe.seed, epoch, first)
        return images, labels

    def _step(self, batch: tuple[Tensor, Tensor], step: int, steps: int) -> float:
        set_rate(self._optimizer, self.recipe.rate_at(step, steps))
        constrain_weights(self.model)
        images, labels = batch
        draw_neurons(self._neurons, Draws(self.recipe.seed, first=step * self.recipe.batch))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            logits = self.model(images)
        losses = self._losses(logits.float(), labels)
        loss = self._score.added(losses, take_score(self._neurons))
        if not torch.isfinite(loss):
            raise diverged(f"step {step + 1}", float(loss.detach()))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(losses.detach().mean())

    def _losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image, [batch]."""
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
        """Return logits [n, classes] in float64 and labels [n] of rows of the source, in inference mode."""
        logits, labels = zip(*self._inferred(rows), strict=True)
        return torch.cat(logits), torch.cat(labels)

    def missed(self, rows: Rows) -> NDArray[np.bool_]:
        """Tell which of these rows of the source the model classifies wrongly, [n]."""
        return torch.cat([logits.argmax(1) != labels for logits, labels in self._inferred(rows)]).numpy()

    @torch.no_grad()
    def _inferred(self, rows: Rows) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logits and labels, batch after batch."""
        self.model.eval()
        for start in range(0, len(rows), _BATCH):
            images, wanted = self._data.batch(rows[start : start + _BATCH], self.device)
            draw_neurons(self._neurons, Draws(self.recipe.seed, chip=0, first=start))
            yield self.model(images).double().cpu(), wanted.cpu()

    def _save(self, done: int, within: dict[str, Any] | None = None) -> None:
        """Write the state after `done` epochs; within: the steps done in the next one, as `_within` holds them."""
        state = {
            "epoch": done, "within": within or self._within, "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(), "best": self._best, "baseline": self._score.mean,
        }  # fmt: skip
        save_checkpoint(self.folder, self._digest, self._log, state)

    def _begin(self, resume: bool) -> None:
        found = begin(self.folder, self._digest, resume)
        if found is None:
            return
        state, self._log = found
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self._score.mean, self._start = state["best"], state["baseline"], int(state["epoch"])
        self._within = state.get("within", self._within)  # older checkpoints were written between epochs
