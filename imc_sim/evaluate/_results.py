"""Result of one chip or of the digital network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from imc_sim._stats import Sample


@final
@dataclass(frozen=True)
class ChipCost:
    """Energy, latency and area of an inference on one chip; None where the chip does not state them.

    Args:
        energy_J: energy of an inference; of a few-shot task, of one query through network and key memory.
        latency_s: time of an inference, layer after layer.
        area_m2: area of tiles and circuits.
        programming_J: energy that programs all cells, the keys of one episode included.
        layers: these four by layer, the key memory as `memory`, where they are stated.
        components: energy of an inference by component.
        not_counted: what is missing in these numbers.
        scaled: components whose values are scaled from another node or supply.
    """

    energy_J: float | None = None
    latency_s: float | None = None
    area_m2: float | None = None
    programming_J: float | None = None
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    components: dict[str, float] = field(default_factory=dict)
    not_counted: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class ChipResult:
    """Result of one chip, or of the digital baseline.

    Args:
        chip: number of the chip; -1: the digital baseline.
        correct: number of right answers.
        total: number of answers; 0: the task counts none.
        seconds: time per chip.
        ranges: per layer, and of the key `memory`, the limits of the ADCs' inputs in windows, where calibrated.
        sample: sample that the accuracy of the digital network is a mean over; None for chips.
        loss: mean negative log-likelihood of the digital network, where outputs are classes.
        rows_on: per layer, and of the key `memory`, the fraction of rows that inputs switch on, for every row of tiles
            and pass, where wires depend on it.
        scores: numbers by name, as returned by a function of the user; empty where answers are counted.
        score: the score that tables and figures show.
        cost: what an inference takes; None for chips without a cost, other backends and the digital network.
    """

    chip: int
    correct: int
    total: int
    seconds: float
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    sample: Sample | None = None
    loss: float | None = None
    rows_on: dict[str, list[list[float]]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    score: float | None = None
    cost: ChipCost | None = None

    @property
    def accuracy(self) -> float:
        """Return the fraction of right answers."""
        return self.correct / self.total
