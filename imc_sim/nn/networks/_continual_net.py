"""A network as it was after each task of continual learning, with the norms of all tasks learned by then."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.config import ARCHS
from imc_sim.nn._checks import check_choice
from imc_sim.nn._norm import STATISTICS, Norm, Statistics
from imc_sim.nn.networks._archs import build_arch, size_of
from imc_sim.nn.networks._metaplastic_nets import load_norm_state


@final
class ContinualNet(nn.Module):
    """Keep one stage of a network per task: stage k is the network after task k, k from 1.

    Every stage has norms for each task learned by then: scale and shift from the end of that task, and running
    statistics measured on its training images with the weights of the stage (`ContinualTrainer` does both). Called with
    inputs [batch, …] it returns the logits [batch, classes] of the last stage with the norms of the last task.

    Args:
        arch: Architecture of the stages, a name of `imc-sim list archs`.
        args: Its arguments, which training uses too.
        tasks: Number of tasks.
        statistics: Of norms in `at`: `running`, as in hardware, which sees one image at a time; `batch`, as published.
    """

    def __init__(
        self, arch: str = "bnn_mlp", args: Mapping[str, Any] | None = None, tasks: int = 2,
        statistics: Statistics = "running",
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.args.arch", arch, [name for name in ARCHS if name not in ("continual", "ensemble")])
        if tasks < 1:
            raise InputError("arch.args.tasks", tasks, "1 or more", "Use the number of tasks.")
        check_choice("arch.args.statistics", statistics, STATISTICS)
        self.statistics: Statistics = statistics
        self.stages = nn.ModuleList(build_arch(arch, args or {}, Path(), "arch.args") for _ in range(tasks))
        #: heads[k][t]: norms of the earlier task t in stage k, both from 0; the stage holds those of task k
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.ModuleList(copy.deepcopy(norm) for norm in _norms(stage).values()) for _ in range(earlier))
            for earlier, stage in enumerate(self.stages)
        )

    @property
    def size(self) -> int | None:
        """Pixels a side of the images of the network, None where it does not state it."""
        return size_of(self.stages[0])

    def first(self) -> nn.Module:
        """Return a copy of the first stage: before training, the network that training begins with."""
        return copy.deepcopy(self.stages[0])

    def at(self, stage: int | None = None, head: int | None = None, statistics: Statistics | None = None) -> nn.Module:
        """Return a copy of the network as it was after a task, with the norms of a task.

        Args:
            stage: Number of the task after which, from 1; None for the last.
            head: Number of the task whose norms are used, from 1; None, and tasks that this stage has not learned yet,
                mean the last task of the stage.
            statistics: Of norms; None for those of this network.
        """
        number = self._within("stage", stage)
        task = self._within("head", number if head is None else head)
        network = with_statistics(self.stages[number - 1], statistics or self.statistics)
        if task < number:
            kept = self.heads[number - 1].get_submodule(str(task - 1))
            for norm, own in zip(_norms(network).values(), kept.children(), strict=True):
                norm.load_state_dict(own.state_dict())
        return network.train(self.training)

    @torch.no_grad()
    def keep(self, stage: int, network: nn.Module, norms: Sequence[Mapping[str, Tensor]]) -> None:
        """Store a network as a stage.

        Args:
            stage: Number of the stage, from 1.
            network: The network after that task.
            norms: Its norms for each of its tasks, see `norm_state`.
        """
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
            raise InputError(f"task.{what}", number, f"1 to {tasks}, or nothing", "Use a task of the network.")
        return number or tasks


def with_statistics(network: nn.Module, statistics: Statistics) -> nn.Module:
    """Return a copy of a network whose norms use these statistics at inference.

    Args:
        network: The network.
        statistics: `running` or `batch`, see `Norm`.

    Raises:
        InputError: There are no such statistics, or the network has no norms.
    """
    check_choice("task.statistics", statistics, STATISTICS)
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
