"""Training of ensembles: members one after the other, on samples chosen by bagging or boosting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.config import digest
from imc_sim.nn.networks import Ensemble, vote
from imc_sim.train._boosting import bagged_rows, boost, draw_rows, shuffled, start_weights, weighted_error
from imc_sim.train._checkpoint import Log, Progress, begin, save_checkpoint, share
from imc_sim.train._classification import ClassificationTrainer, Order, TrainingSet
from imc_sim.train._recipe import EnsembleRecipe


@final
@dataclass
class EnsembleTrainer:
    """Trains the members of an ensemble in place.

    Attributes:
        model: `Ensemble`.
        recipe: recipe of the training.
        folder: folder that receives checkpoint.pt, training.jsonl and a folder per member.
        device: device that trains, cpu or cuda.
    """

    model: nn.Module
    recipe: EnsembleRecipe
    folder: Path
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.model, Ensemble):
            got, step = type(self.model).__name__, "Set arch.name: ensemble."
            raise InputError("recipe.kind", f"ensemble for the architecture {got}", "the architecture ensemble", step)
        self._ensemble = self.model
        self._data = TrainingSet.load(self.recipe, self._ensemble.size)
        self._weights = start_weights(len(self._data.train))
        self._logits: list[Tensor] = []
        self._log: Log = []
        self._start = 0

    def run(self, resume: bool = False, progress: Progress | None = None) -> Log:
        """Train all members.

        Args:
            resume: whether to continue from the checkpoint of the folder; if false, a folder with one is rejected.
            progress: called with (steps done, total steps, last row of the log) as training proceeds.

        Returns:
            The log, one row per member: member (from 1), loss of its last epoch, error (weighted, on the training
            images), alpha, accuracy on the validation images, and ensemble (accuracy of the vote of all members so
            far).

        Raises:
            CheckpointError: another recipe wrote the checkpoint, or the loss is not finite.
            InputError: the folder has a checkpoint and `resume` is false, or the network lacks an output for a label.
        """
        self._data.check_outputs(self._ensemble.members[0].to(self.device), self.recipe, self.device)
        self._begin(resume)
        for member in range(self._start, len(self._ensemble.members)):
            self._member(member, resume, progress)
            self._save(member + 1)
        self._ensemble.eval()
        return self._log

    def _member(self, member: int, resume: bool, progress: Progress | None) -> None:
        """Train a member and add it to the vote."""
        network = self._ensemble.members[member]
        if member and self.recipe.start == "sequential":
            network.load_state_dict(self._ensemble.members[member - 1].state_dict())
        known = digest({"recipe": self.recipe.training_digest(), "member": member})
        trainer = ClassificationTrainer(
            network,
            self.recipe,
            self.folder / f"member{member + 1}",
            self.device,
            self._data,
            self._order(member),
            known,
        )
        log = trainer.run(resume, share(progress, member, len(self._ensemble.members), self._log))
        self._judge(member, trainer, log[-1]["loss"])

    def _order(self, member: int) -> Order:
        """Return the order of training of a member."""
        rows, seed = self._data.train, self.recipe.seed
        if self.recipe.rule == "bagging":
            bag = rows[bagged_rows(len(rows), seed, member)]
            return lambda epoch: shuffled(bag, seed, epoch, member)
        weights = self._weights
        return lambda epoch: rows[draw_rows(weights, len(rows), seed, epoch, member)]

    def _judge(self, member: int, trainer: ClassificationTrainer, loss: float) -> None:
        """Set the weight of a finished member in the vote and the sample weights of the next one; add a row."""
        logits, labels = trainer.logits(self._data.validation)
        missed = trainer.missed(self._data.train)
        error = weighted_error(self._weights, missed)
        independent = self.recipe.start == "independent"
        alpha, self._weights = boost(self.recipe.rule, self._weights, missed, logits.shape[1], independent)
        self._ensemble.votes[member] = alpha
        self._logits.append(logits)
        votes = self._ensemble.votes[: member + 1].double().cpu()
        together = vote(torch.stack(self._logits), votes, self._ensemble.vote)
        own, all_of_them = (float((x.argmax(1) == labels).double().mean()) for x in (logits, together))
        row = {"member": member + 1, "loss": loss, "error": error, "alpha": alpha}
        self._log.append({**row, "accuracy": own, "ensemble": all_of_them})

    def _save(self, done: int) -> None:
        state = {
            "done": done, "model": self._ensemble.state_dict(), "weights": torch.from_numpy(self._weights),
            "told": self._logits,
        }  # fmt: skip
        save_checkpoint(self.folder, self.recipe.training_digest(), self._log, state)

    def _begin(self, resume: bool) -> None:
        state = begin(self.folder, self.recipe.training_digest(), resume, self._log)
        if state is None:
            return
        self._ensemble.load_state_dict(state["model"])
        self._weights = np.asarray(state["weights"].numpy())
        self._logits, self._start = list(state["told"]), int(state["done"])
