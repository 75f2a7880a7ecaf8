"""Episodic training with resume: the state after episode k depends on the recipe alone, not on stops."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import CheckpointError, InputError
from imc_sim.data import CharacterPool, EpisodeShape, gather_images, load_pool, sample_episodes
from imc_sim.evaluate import FewShotTask, few_shot_accuracy
from imc_sim.nn import anneal, cosine, dot, improve_rotations, key_form, training_logits, write_folder
from imc_sim.train._recipe import EpisodicRecipe
from imc_sim.train._variation import ChipNoise

#: called after every episode with (episodes done, episodes in all, last row of the log)
Progress = Callable[[int, int, dict[str, float]], None]


@final
@dataclass
class EpisodicTrainer:
    """Trains `model` in place by `recipe`; `folder` receives checkpoint.pt and training.jsonl."""

    model: nn.Module
    recipe: EpisodicRecipe
    folder: Path
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._pool = load_pool(self.recipe.dataset, self.recipe.split)
        self._optimizer = _optimizer(self.model, self.recipe)
        variation = self.recipe.variation
        self._noise = ChipNoise(self.model, variation, self.recipe.seed) if variation else None
        self._log: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._start = 0

    def run(self, resume: bool = False, progress: Progress | None = None) -> list[dict[str, float]]:
        """Train to the end; returns the log: rows of episode, loss (mean since the last row), accuracy.

        resume: go on from the folder's checkpoint, if it has one. Without it, a folder with one is refused.
        """
        if resume:
            self._load()
        elif (self.folder / "checkpoint.pt").exists():
            step = "Go on with --resume, or train into another folder with --out."
            raise InputError(str(self.folder), "a training already there", "a folder without checkpoint.pt", step)
        self.model.to(self.device).train()
        for episode in range(self._start, self.recipe.episodes):
            self._losses.append(self._step(episode))
            done = episode + 1
            if done % self.recipe.validate_every == 0 or done == self.recipe.episodes:
                self._validate(done)
                self._save(done)
            if progress is not None:
                progress(done, self.recipe.episodes, self._log[-1] if self._log else {})
        self.model.eval()
        if self._noise is not None:
            self._noise.remove()
        return self._log

    def _step(self, episode: int) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.rate(episode)
        anneal(self.model, episode / self.recipe.episodes)
        if episode % self.recipe.rotate_every == 0:
            improve_rotations(self.model)
        if self._noise is not None:
            self._noise.draw(episode)
        images, labels = training_episode(self._pool, self.recipe, episode)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            features = self.model(images.to(self.device))
        loss = episode_loss(features.float(), labels.to(self.device), self.recipe)
        if not torch.isfinite(loss):
            step = "Take a smaller learning rate, or similarities that stay bounded (cosine)."
            raise CheckpointError(f"episode {episode + 1}", f"a loss of {loss:g}", "a training that converges", step)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _validate(self, done: int) -> None:
        r = self.recipe
        task = FewShotTask(
            dataset=r.dataset, split=r.validation_split, episodes=r.validation_episodes, queries=4, similarity="cosine",
            keys="float", sharpening="none", seed=r.seed, rotations=r.rotations,
        )  # fmt: skip
        self.model.eval()
        accuracy = few_shot_accuracy(self.model, task).mean
        self.model.train()
        loss = sum(self._losses) / len(self._losses)
        self._losses = []
        self._log.append({"episode": done, "loss": loss, "accuracy": accuracy})

    def _save(self, done: int) -> None:
        state = {
            "episode": done, "recipe": self.recipe.training_digest(), "log": json.dumps(self._log),
            "model": self.model.state_dict(), "optimizer": self._optimizer.state_dict(),
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save(state, buffer)
        rows = "".join(json.dumps(row) + "\n" for row in self._log)
        write_folder(self.folder, {"checkpoint.pt": buffer.getvalue(), "training.jsonl": rows.encode()})

    def _load(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        expected = self.recipe.training_digest()
        if state["recipe"] != expected:
            step = "Train into another folder, or without --resume."
            raise CheckpointError(str(path), f"recipe {state['recipe'][:12]}", f"recipe {expected[:12]}", step)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._start, self._log = int(state["episode"]), json.loads(state["log"])


def training_episode(pool: CharacterPool, recipe: EpisodicRecipe, episode: int) -> tuple[Tensor, Tensor]:
    """Images [way * (shot + queries), 1, H, W], support first, class-major, and their labels."""
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
        images.append(torch.from_numpy(gather_images(pool, triples.numpy())))
        labels.append(torch.arange(recipe.way).repeat_interleave(each))
    return torch.cat(images), torch.cat(labels)


def episode_loss(features: Tensor, labels: Tensor, recipe: EpisodicRecipe) -> Tensor:
    """Cross-entropy of the queries against the keys of the same pass."""
    count = recipe.way * recipe.shot
    keys = features[:count] if recipe.keys == "float" else key_form(features[:count], recipe.keys)
    values = F.one_hot(labels[:count], recipe.way).to(features.dtype)
    compare = cosine if recipe.similarity == "cosine" else dot
    logits = training_logits(compare(features[count:], keys), values, recipe.sharpening)
    return F.cross_entropy(logits, labels[count:])


def _optimizer(model: nn.Module, recipe: EpisodicRecipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
