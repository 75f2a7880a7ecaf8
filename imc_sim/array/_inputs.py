"""Word-line drives: how many levels a DAC has, how many passes an input takes.

Bit-serial inputs: Shafiee et al., ISAAC, ISCA 2016.
"""

from __future__ import annotations

from typing import Literal, final

from pydantic import Field
from torch import Tensor

from imc_sim.config import Spec


@final
class Inputs(Spec):
    """How real-valued inputs reach the word lines. Encodings with +-1 or ternary inputs state their own drives.

    kind: `ideal` applies any voltage; `levels` has a DAC of `bits` bits, sign included; `bit_serial` applies
    one bit of the magnitude after the other, converts each, shifts and adds. passes: both signs in one pass,
    or positive and negative inputs in a pass each, converted separately and subtracted.
    """

    kind: Literal["ideal", "levels", "bit_serial"] = "ideal"
    bits: int = Field(default=8, ge=2, le=16, description="bits of an input, its sign included")
    passes: Literal[1, 2] = 1

    @property
    def is_ideal(self) -> bool:
        """Tell whether word lines take any voltage."""
        return self.kind == "ideal"

    def idle(self) -> frozenset[str]:
        return self.all_but("kind") if self.is_ideal else frozenset()

    @property
    def top(self) -> int:
        """Largest code; inputs at the calibrated limit have it."""
        return 2 ** (self.bits - 1) - 1

    def quantise(self, x: Tensor, limit: float) -> Tensor:
        """x over its limit, as the DAC gives it: in [-1, 1], whole multiples of 1 / top."""
        return (x * (self.top / limit)).round_().clamp_(-self.top, self.top) / self.top

    @property
    def factors(self) -> list[float]:
        """Factor of every pass in the result."""
        bits = [2.0**bit / self.top for bit in range(self.bits - 1)] if self.kind == "bit_serial" else [1.0]
        return [sign * factor for factor in bits for sign in ((1.0,) if self.passes == 1 else (1.0, -1.0))]

    def plane(self, x: Tensor, number: int) -> Tensor:
        """Word-line drives of pass `number` for quantised inputs x."""
        bit, negative = divmod(number, self.passes)
        if self.kind == "bit_serial":
            codes = (x.abs() * self.top).round_()
            x = (codes / 2.0**bit).floor_().remainder_(2.0) * x.sign()
        if self.passes == 1:
            return x
        return (-x if negative else x).clamp_min(0.0)
