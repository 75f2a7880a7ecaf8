"""The DAC of a word line: its levels, and the passes of an input."""

from __future__ import annotations

from typing import Literal, final

from pydantic import Field
from torch import Tensor

from imc_sim.config import Spec


@final
class Inputs(Spec):
    """Describe the DAC that real-valued inputs pass. Encodings with +-1 or ternary inputs state their own voltages.

    Attributes:
        kind: `ideal` applies any voltage; `levels` is a DAC of `bits` bits, sign included; `bit_serial` applies one bit
            of the magnitude after the other, converts each, shifts and adds.
        passes: 1 applies both signs in one pass; 2 applies positive and negative inputs in a pass each, which are
            converted separately and subtracted.

    Reference:
        Bit-serial inputs: Shafiee et al., ISAAC, ISCA 2016.
    """

    kind: Literal["ideal", "levels", "bit_serial"] = "ideal"
    bits: int = Field(default=8, ge=2, le=16, description="bits of an input, its sign included")
    passes: Literal[1, 2] = 1

    @property
    def is_ideal(self) -> bool:
        """Tell whether word lines take any voltage."""
        return self.kind == "ideal"

    def idle(self) -> frozenset[str]:
        return frozenset({"bits"}) if self.is_ideal else frozenset()

    @property
    def top(self) -> int:
        """Return the largest code, which an input at the calibrated limit gets."""
        return 2 ** (self.bits - 1) - 1

    def quantise(self, x: Tensor, limit: float) -> Tensor:
        """Return the DAC's output for inputs, over the read voltage: whole multiples of 1 / top in [-1, 1].

        Args:
            x: inputs of any shape.
            limit: calibrated magnitude of the largest input.
        """
        return (x * (self.top / limit)).round_().clamp_(-self.top, self.top) / self.top

    @property
    def factors(self) -> list[float]:
        """Return the factor of every pass in the result."""
        bits = [2.0**bit / self.top for bit in range(self.bits - 1)] if self.kind == "bit_serial" else [1.0]
        return [sign * factor for factor in bits for sign in ((1.0,) if self.passes == 1 else (1.0, -1.0))]

    def plane(self, x: Tensor, number: int) -> Tensor:
        """Return the word-line voltages of one pass, over the read voltage.

        Args:
            x: quantised inputs of any shape.
            number: number of the pass.
        """
        bit, negative = divmod(number, self.passes)
        if self.kind == "bit_serial":
            codes = (x.abs() * self.top).round_()
            x = (codes / 2.0**bit).floor_().remainder_(2.0) * x.sign()
        if self.passes == 1:
            return x
        return (-x if negative else x).clamp_min(0.0)
