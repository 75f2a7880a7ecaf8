"""Calibrated ranges of a crossbar, and the word-line voltages that inputs become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array._plan import Plan


@final
@dataclass
class Ranges:
    """Hold the results of a calibration, which stay valid when cells are programmed again; None: not calibrated.

    Attributes:
        input_limit: magnitude of the largest input, which gets the DAC's largest code.
        limits: limits of the ADCs' inputs in windows.
    """

    input_limit: float | None = None
    limits: tuple[float, float] | None = None


@final
class WordLines:
    """Turn inputs into word-line voltages over the read voltage: the DAC, then the I-V curve of the cells.

    Both leave inputs of -1, 0 and +1 unchanged: their encoding states the voltages.
    """

    def __init__(self, plan: Plan, ranges: Ranges, layer: str) -> None:
        self._inputs, self._read, self._ranges, self._layer = plan.chip.inputs, plan.chip.device.read, ranges, layer
        real = plan.encoding.operands == "real"
        self._converts = real and not self._inputs.is_ideal
        self._bends = real and self._read.nonlinearity_per_V != 0.0

    @property
    def is_ideal(self) -> bool:
        """Tell whether voltages are the inputs themselves."""
        return not (self._converts or self._bends)

    @property
    def scale(self) -> float:
        """Return the factor from products of voltages to products of inputs."""
        return self._limit() if self._converts else 1.0

    def voltages(self, x: Tensor) -> Tensor:
        """Return the voltages of inputs x of any shape; x itself where `is_ideal`."""
        if self._converts:
            x = self._inputs.quantise(x, self._limit())
        if self._bends and self._inputs.kind != "bit_serial":
            x = self._read.drive(x)
        return x

    def _limit(self) -> float:
        if self._ranges.input_limit is None:
            step = "Call `calibrate` with representative inputs first, or set inputs.kind: ideal."
            raise InputError(f"layer {self._layer!r}, inputs", "no calibration", "the largest input of the DAC", step)
        return self._ranges.input_limit
