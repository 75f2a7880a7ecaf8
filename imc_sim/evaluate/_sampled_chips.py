"""The chips of one evaluation: a chip description and the numbers of its sampled instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from torch import nn

from imc_sim.analog import AnalogModel, AssociativeMemory
from imc_sim.array import Chip
from imc_sim.config import Engine, as_engine
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._measured_cells import measured_cells
from imc_sim.evaluate._results import ChipCost
from imc_sim.mapping import Probe, map_model


@final
@dataclass(frozen=True)
class Calibration:
    """Properties of layers that were measured on calibration data, by the name of the layer, `memory` for key memories.

    Args:
        ranges: limits of the ADCs' inputs, in windows.
        rows_on: fraction of the rows that inputs switch on, of every row of tiles and every pass.
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    rows_on: dict[str, list[list[float]]] = field(default_factory=dict)

    @classmethod
    def of_memory(cls, memory: AssociativeMemory) -> Calibration:
        """Return the calibration of a key memory."""
        ranges = {} if memory.limits is None else {memory.layer: memory.limits}
        return cls(ranges, {} if memory.driven_rows is None else {memory.layer: memory.driven_rows.shares.tolist()})

    def with_memory(self, other: Calibration) -> Calibration:
        """Return the calibration of these layers and of a key memory."""
        return Calibration(self.ranges | other.ranges, self.rows_on | other.rows_on)


#: accuracy of each chip, the calibration of their layers, and the cost of each chip (None: the chip states none)
Evaluated = tuple[list[Accuracy], Calibration, list[ChipCost] | None]


@final
@dataclass(frozen=True)
class SampledChips:
    """Chips `numbers` of a description, sampled by `seed`; `engine` computes the products (None: that of the chip).

    conductances: file of measured conductances of layers, whose chips these are; None: cells are simulated.
    """

    chip: Chip
    numbers: range
    seed: int
    engine: Engine | str | None = None
    conductances: str | None = None

    @property
    def searches(self) -> bool:
        """Tell whether the key memory is on crossbars."""
        return self.chip.policy.place("memory", "memory") == "crossbar"

    @property
    def priced(self) -> bool:
        """Tell whether the chips state what circuits take, and this package computes them."""
        native = (self.chip.engine if self.engine is None else as_engine(self.engine)).native
        return self.chip.cost is not None and native

    @property
    def writes(self) -> bool:
        """Tell whether the chips state what a programming pulse takes."""
        return self.chip.cost is not None and self.chip.cost.write is not None

    def alone(self, number: int) -> SampledChips:
        """Return chip `number` of the same description and seed."""
        return replace(self, numbers=range(number, number + 1))

    def program(
        self, network: nn.Module, images: Any = None, probe: Probe | None = None
    ) -> tuple[AnalogModel, Calibration]:  # fmt: skip
        """Map the network onto the chips, and calibrate it with the images where the chip needs that.

        images: a tensor, or a tuple or dict for several inputs. probe: products of a network of any modules.
        """
        analog = map_model(
            network, self.chip, self.numbers, self.seed, engine=self.engine, inputs=probe,
            conductances=measured_cells(self.conductances),
        )  # fmt: skip
        if images is None or not (self.chip.calibrates and analog.analog_layers):
            return analog, Calibration()
        several = images if isinstance(images, tuple | list) else [] if isinstance(images, Mapping) else [images]
        ranges = analog.calibrate(*several, **(images if isinstance(images, Mapping) else {}))
        return analog, Calibration(ranges, analog.rows_on)
