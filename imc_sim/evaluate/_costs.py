"""Energy, latency and area of an inference, of the very networks and key memories that a task evaluates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from imc_sim.analog import AnalogModel, AssociativeMemory
from imc_sim.cost import CostReport, count_actions, count_search, price
from imc_sim.evaluate._results import ChipCost
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask

#: images that go through a network, and queries through a memory, to count what they do
SAMPLE, QUERIES = 8, 16


def sampled_task(task: FewShotTask | ClassificationTask) -> dict[str, Any]:
    """Return the task reduced to the episode, or to the images, that costs are counted on.

    Args:
        task: the task.
    """
    if isinstance(task, FewShotTask):
        return {**task.to_dict(), "episodes": 1}
    return {**task.to_dict(), "images": min(SAMPLE, task.images or SAMPLE)}


def some(count: int, most: int) -> Tensor:
    """Return at most `most` of `count` positions, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, most)).long()


@final
@dataclass
class Costs:
    """Price what some chips do while they are programmed; do nothing for chips without a cost.

    Attributes:
        chips: the chips.
        report: costs so far; None where nothing was priced.
        not_counted: parts that could not be priced.
    """

    chips: SampledChips
    report: CostReport | None = None
    not_counted: list[str] = field(default_factory=list)

    def network(self, analog: AnalogModel, inputs: Any) -> None:
        """Price an inference of a network.

        Args:
            analog: the network on the chips.
            inputs: some images, or arguments of a network of any modules; None: there are none.
        """
        if not self.chips.priced:
            return
        if inputs is None:
            self.not_counted.append("network (the task states no inputs)")
            return
        chip = self.chips.chip
        self._join(price(chip, count_actions(analog, inputs, self.chips.writes)))

    def search(self, memory: AssociativeMemory, queries: Tensor) -> None:
        """Price a search in a key memory.

        Args:
            memory: the memory, with keys.
            queries: [batch, dim], or [chip, batch, dim].
        """
        if self.chips.priced:
            sample = queries[..., some(queries.shape[-2], QUERIES).to(queries.device), :]
            self._join(price(self.chips.chip, [count_search(memory, sample, self.chips.writes)]))

    def each(self) -> list[ChipCost] | None:
        """Return the cost of each chip; None for chips without a cost."""
        if not self.chips.priced:
            return None
        return [self._of(place) for place in range(len(self.chips.numbers))]

    def _join(self, other: CostReport) -> None:
        self.report = other if self.report is None else self.report.joined(other)

    def _of(self, place: int) -> ChipCost:
        """Return the cost of the chip at a position."""
        found = self.report
        if found is None:
            return ChipCost(not_counted=tuple(self.not_counted))
        components: dict[str, float] = {}
        layers: dict[str, dict[str, float]] = {}
        for layer in found.layers:
            energy = {name: values[place] for name, values in layer.energy_J.items()}
            for name, value in energy.items():
                components[name] = components.get(name, 0.0) + value
            sums = {"energy_J": energy, "latency_s": layer.latency_s, "area_m2": layer.area_m2}
            layers[layer.layer] = {name: sum(part.values()) for name, part in sums.items() if part}
            if layer.programming_J:
                layers[layer.layer]["programming_J"] = layer.programming_J[place]
        return ChipCost(
            found.energies_J[place] if found.energies_J else None, found.latency_s, found.area_m2,
            found.programming_J[place] if found.programming_J else None, layers, components,
            (*found.not_counted, *self.not_counted), found.scaled,
        )  # fmt: skip
