"""A network with its past: as it was after each task, with the norms of every task that it had learned by then."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest
from imc_sim.config import ARCHS
from imc_sim.nn._norm import STATISTICS, Norm, Statistics
from imc_sim.nn.networks._archs import build_arch
from imc_sim.nn.networks._metaplastic_nets import load_norm_state


@final
class ContinualNet(nn.Module):
    """`tasks` stages of a network `arch` (by name) with `args`: stage k is the network after task k, k from 1.

    Every stage has norms for each task learned by then: scale and shift of that task's end, and running statistics
    that were measured on its training images with the weights of the stage (`ContinualTrainer` does both). statistics:
    of `at`; `running` uses these, as hardware must that sees one image at a time; `batch` normalises by the batch, as
    published. Training itself follows `args`. The network as such, [batch, …] -> [batch, classes], is the last stage
    with the norms of the last task.
    """

    def __init__(
        self, arch: str = "bnn_mlp", args: Mapping[str, Any] | None = None, tasks: int = 2,
        statistics: Statistics = "running",
    ) -> None:  # fmt: skip
        super().__init__()
        if arch not in ARCHS or arch in ("continual", "ensemble"):
            step = f"{nearest(arch, ARCHS)}Name a single network."
            raise InputError("arch.args.arch", repr(arch), ", ".join(ARCHS), step)
        if tasks < 1:
            raise InputError("arch.args.tasks", tasks, "1 or more", "Give the number of tasks.")
        _check_statistics("arch.args.statistics", statistics)
        self.statistics: Statistics = statistics
        # The card's folder is of use only to architectures in files.
        self.stages = nn.ModuleList(build_arch(arch, args or {}, Path(), "arch.args") for _ in range(tasks))
        #: heads[k][t]: norms of the earlier task t in stage k, both from 0; those of task k are in the stage itself
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.ModuleList(copy.deepcopy(norm) for norm in _norms(stage).values()) for _ in range(earlier))
            for earlier, stage in enumerate(self.stages)
        )

    @property
    def size(self) -> int | None:
        """Pixels a side that the network takes, where it states it."""
        size = getattr(self.stages[0], "size", None)
        return size if isinstance(size, int) else None

    def first(self) -> nn.Module:
        """A copy of the first stage: before training, the network that training begins with."""
        return copy.deepcopy(self.stages[0])

    def at(self, stage: int | None = None, head: int | None = None, statistics: Statistics | None = None) -> nn.Module:
        """A copy of the network as it was after task `stage` (None: the last), with the norms of task `head`.

        Both count from 1. None, and tasks that this stage has not learned yet: the norms of the last that it has.
        statistics: None for the network's own.
        """
        number = self._within("stage", stage)
        task = min(self._within("head", number if head is None else head), number)
        network = with_statistics(self.stages[number - 1], statistics or self.statistics)
        if task < number:
            kept = self.heads[number - 1].get_submodule(str(task - 1))
            for norm, own in zip(_norms(network).values(), kept.children(), strict=True):
                norm.load_state_dict(own.state_dict())
        return network.train(self.training)

    @torch.no_grad()
    def keep(self, stage: int, network: nn.Module, norms: Sequence[Mapping[str, Tensor]]) -> None:
        """Hold `network` as stage number `stage` (from 1), with `norms` (see `norm_state`) of its `stage` tasks."""
        kept = self.stages[self._within("stage", stage) - 1]
        kept.load_state_dict(network.state_dict())
        *earlier, last = norms
        load_norm_state(kept, last)
        for head, state in zip(self.heads[stage - 1].children(), earlier, strict=True):
            for name, norm in zip(_norms(kept), head.children(), strict=True):
                norm.load_state_dict({key: state[f"{name}.{key}".lstrip(".")] for key in norm.state_dict()})

    def forward(self, x: Tensor) -> Tensor:
        return self.at()(x)

    def _within(self, what: str, number: int | None) -> int:
        tasks = len(self.stages)
        if number is not None and not 1 <= number <= tasks:
            raise InputError(f"task.{what}", number, f"1 to {tasks}, or nothing", "The network has so many tasks.")
        return number or tasks


def with_statistics(network: nn.Module, statistics: Statistics) -> nn.Module:
    """A copy of the network whose norms use these statistics at inference."""
    _check_statistics("task.statistics", statistics)
    made = copy.deepcopy(network)
    norms = _norms(made)
    if not norms:
        got = f"{type(network).__name__} without norms"
        raise InputError("task.statistics", got, "a network with batch normalisation", "Leave task.statistics out.")
    for norm in norms.values():
        norm.statistics = statistics
    return made


def _norms(network: nn.Module) -> dict[str, Norm]:
    return {name: norm for name, norm in network.named_modules() if isinstance(norm, Norm)}


def _check_statistics(where: str, statistics: str) -> None:
    if statistics not in STATISTICS:
        raise InputError(where, repr(statistics), ", ".join(STATISTICS), "Choose one.")
