"""Episodic training of few-shot controllers; weights do not depend on interruptions and resumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim.data import CharacterPool, EpisodeShape, gather_images, load_pool, sample_episodes
from imc_sim.evaluate import SIMILARITIES, FewShotTask, few_shot_accuracy
from imc_sim.nn import anneal, improve_rotations
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of, set_slope, take_score
from imc_sim.nn.similarity import key_form, training_logits
from imc_sim.train._checkpoint import Log, Progress, SaveTimer, begin, save_checkpoint
from imc_sim.train._optimizer import mixed_precision, optimizer_of, set_rate, update
from imc_sim.train._recipe import EpisodicRecipe
from imc_sim.train._score import ScoreFunction
from imc_sim.train._variation import ChipNoise


@final
@dataclass
class EpisodicTrainer:
    """Trains a few-shot controller in place.

    Attributes:
        model: network that computes features [batch, dim] of images.
        recipe: recipe of the training.
        folder: folder that receives checkpoint.pt and training.jsonl.
        device: device that trains, cpu or cuda.
    """

    model: nn.Module
    recipe: EpisodicRecipe
    folder: Path
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._size = self.recipe.size or getattr(self.model, "size", None)
        self._pool = load_pool(self.recipe.dataset, self.recipe.split, self._size)
        self._neurons, self._score = neurons_of(self.model), ScoreFunction(self.recipe.baseline)
        self._optimizer = optimizer_of(self.model, self.recipe)
        variation = self.recipe.variation
        self._noise = ChipNoise(self.model, variation, self.recipe.seed) if variation else None
        self._log: Log = []
        self._losses: list[float] = []
        self._start, self._timer = 0, SaveTimer()

    def run(self, resume: bool = False, progress: Progress | None = None) -> Log:
        """Train all episodes.

        Args:
            resume: whether to continue from the checkpoint of the folder; if false, a folder with one is rejected.
            progress: called with (steps done, total steps, last row of the log) as training proceeds.

        Returns:
            The log, one row per validation: episode, loss (mean since the row before) and accuracy.

        Raises:
            CheckpointError: another recipe wrote the checkpoint, or the loss is not finite.
            InputError: the folder has a checkpoint and `resume` is false.
        """
        self.model.to(self.device)
        self._begin(resume)
        self.model.train()
        for episode in range(self._start, self.recipe.episodes):
            self._losses.append(self._step(episode))
            done = episode + 1
            if done % self.recipe.validate_every == 0 or done == self.recipe.episodes:
                self._validate(done)
                self._save(done)
            elif self._timer.due():
                self._save(done)
            if progress is not None:
                progress(done, self.recipe.episodes, self._log[-1] if self._log else {})
        self.model.eval()
        if self._noise is not None:
            self._noise.remove()
        return self._log

    def _step(self, episode: int) -> float:
        """Update the weights on an episode; return its loss."""
        set_rate(self._optimizer, self.recipe.rate_at(episode, self.recipe.episodes))
        set_slope(self.model, self.recipe.slope_growth ** (episode // self.recipe.slope_every))
        anneal(self.model, episode / self.recipe.episodes)
        if episode % self.recipe.rotate_every == 0:
            improve_rotations(self.model)
        if self._noise is not None:
            self._noise.draw(episode)
        images, labels = training_episode(self._pool, self.recipe, episode)
        draw_neurons(self._neurons, Draws(self.recipe.seed, first=episode * len(images)))
        with mixed_precision(self.device, self.recipe.precision):
            features = self.model(images.to(self.device))
        loss = episode_loss(features.float(), labels.to(self.device), self.recipe)
        loss = self._score.added(loss, take_score(self._neurons))
        update(self._optimizer, loss, f"episode {episode + 1}")
        return float(loss.detach())

    def _validate(self, done: int) -> None:
        """Add a row with the accuracy on validation episodes to the log."""
        r = self.recipe
        task = FewShotTask(
            dataset=r.dataset, split=r.validation_split, episodes=r.validation_episodes, queries=4,
            similarity="l2" if r.similarity == "l2" else "cosine", keys="float", sharpening="none", seed=r.seed,
            rotations=r.rotations, size=self._size, scaling=r.scaling,
        )  # fmt: skip
        self.model.eval()
        accuracy = few_shot_accuracy(self.model, task).mean
        self.model.train()
        loss = sum(self._losses) / len(self._losses)
        self._losses = []
        self._log.append({"episode": done, "loss": loss, "accuracy": accuracy})

    def _save(self, done: int) -> None:
        state = {"episode": done, "model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}
        state |= {"baseline": self._score.mean, "losses": self._losses}
        save_checkpoint(self.folder, self.recipe.training_digest(), self._log, state)

    def _begin(self, resume: bool) -> None:
        """Restore the state from the checkpoint, if there is one."""
        state = begin(self.folder, self.recipe.training_digest(), resume, self._log)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._start, self._score.mean = int(state["episode"]), state.get("baseline")
        self._losses = list(state.get("losses", []))  # checkpoints of earlier versions were written at validations


def training_episode(pool: CharacterPool, recipe: EpisodicRecipe, episode: int) -> tuple[Tensor, Tensor]:
    """Sample a training episode.

    Args:
        pool: images of all characters of the training split.
        recipe: recipe of the training.
        episode: number of the episode, from 0; addresses the random numbers.

    Returns:
        Images [way * (shot + queries), 1, height, width], support images first and ordered by class, and their labels
        from 0 to way - 1.
    """
    classes, instances = pool.images.shape[:2]
    turned = recipe.rotations and recipe.rotations_as_classes
    turns = 4 if turned else 1
    shape = EpisodeShape(way=recipe.way, shot=recipe.shot, queries=recipe.queries)
    e = sample_episodes(
        (classes * turns, instances), shape, range(episode, episode + 1), recipe.seed,
        rotations=recipe.rotations and not turned,
    )  # fmt: skip
    turn = torch.from_numpy(e.classes // classes + e.rotation[:, None])[0]
    character = torch.from_numpy(e.classes % classes)[0]
    images, labels = [], []
    for instance in (torch.from_numpy(e.support)[0], torch.from_numpy(e.query)[0]):
        each = instance.shape[1]
        triples = torch.stack(
            [character.repeat_interleave(each), instance.flatten(), turn.repeat_interleave(each)], dim=1
        )
        images.append(torch.from_numpy(gather_images(pool, triples.numpy(), recipe.scaling)))
        labels.append(torch.arange(recipe.way).repeat_interleave(each))
    return torch.cat(images), torch.cat(labels)


def episode_loss(features: Tensor, labels: Tensor, recipe: EpisodicRecipe) -> Tensor:
    """Return the mean cross-entropy of the queries, with the support features as keys.

    Args:
        features: features of an episode [way * (shot + queries), dim], in the order of `training_episode`.
        labels: their labels.
        recipe: recipe of the training.
    """
    count = recipe.way * recipe.shot
    keys = features[:count] if recipe.keys == "float" else key_form(features[:count], recipe.keys)
    values = F.one_hot(labels[:count], recipe.way).to(features.dtype)
    if recipe.read_out == "prototypes":
        keys, values = values.mT @ keys / recipe.shot, torch.eye(recipe.way).to(values)
    similarity = SIMILARITIES[recipe.similarity](features[count:], keys)
    if recipe.read_out == "memory":
        logits = training_logits(similarity, values, recipe.sharpening)
    else:  # the log of the attention to each class, up to a constant common to all classes
        logits = torch.logsumexp(similarity[:, :, None] + values.log(), 1)
    return F.cross_entropy(logits, labels[count:])
