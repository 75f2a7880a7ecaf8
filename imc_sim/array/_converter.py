"""Analog-to-digital converters: bits, range and the shape of the code.

Source: CIM-Explorer, arXiv 2505.14303: `sym` has 2^b - 1 codes around zero (mid-tread, one code dropped),
`pos` has 2^b codes from zero; halves round away from zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.config import Spec

#: A result this close (relative) to a rounding tie counts as the tie, and a tie rounds away from zero.
_TIE = {torch.float32: 1e-6, torch.float64: 1e-12}


@final
class Converter(Spec):
    """One converter per column of a tile.

    kind: `ideal` passes its input; `sym` for signed inputs, `pos` for plain currents, `auto` whichever the
    encoding produces. bits: resolution. range: `max` takes the largest current that the tile's word lines
    could carry, all physical ones or those in use (`rows`); `calibrated` limits that the rule `limits` sets from the
    converter's inputs over calibration data; `unit` the interval [0, 1] of what a network's layer puts out, see
    `unit`. accumulator: whether the digital end adds real numbers or, like integer hardware, every conversion scaled
    to units of the weights' smallest step and rounded, halves away from zero.
    """

    kind: Literal["ideal", "auto", "sym", "pos"] = "ideal"
    bits: int = Field(default=8, ge=2, le=16, description="resolution")
    range: Literal["max", "calibrated", "unit"] = "max"
    limits: Literal["auto", "minmax", "percentile", "sigma", "mse"] = Field(
        default="auto",
        description="rule of calibrated limits: all, a share, mean -+ sigmas, least mean square error, wider of both",
    )
    percentile: float = Field(default=99.9, gt=50.0, le=100.0, description="of inputs within limits of that rule")
    sigmas: float = Field(
        default=3.0, gt=0.0, le=100.0, description="standard deviations within limits of sigma and auto"
    )
    accumulator: Literal["real", "integer"] = "real"
    rows: Literal["physical", "used"] = Field(default="physical", description="word lines that range max counts")

    @model_validator(mode="after")
    def _outputs_are_real(self) -> Self:
        if self.range == "unit" and self.accumulator == "integer":
            raise ValueError("accumulator real with range unit, after which there is nothing to add")
        return self

    @property
    def is_ideal(self) -> bool:
        return self.kind == "ideal"

    def idle(self) -> frozenset[str]:
        if self.is_ideal:
            return self.all_but("kind", "accumulator")
        if self.range != "calibrated":
            return frozenset({"limits", "percentile", "sigmas"} | (set() if self.range == "max" else {"rows"}))
        acts = {"auto": {"sigmas"}, "sigma": {"sigmas"}, "percentile": {"percentile"}}.get(self.limits, set())
        return frozenset({"rows", "percentile", "sigmas"} - acts)

    def check(self, signed: bool, encoding: str, where: str) -> None:
        """Refuse a converter that cannot take what the encoding gives."""
        if self.of_outputs:
            step = "Take range max or calibrated, or policy.memory: digital for a key memory."
            raise InputError(f"{where}, converter.range", "'unit' outside a network's layer", "max, calibrated", step)
        fits = "sym" if signed else "pos"
        if self.kind not in ("ideal", "auto", fits):
            step = f"Set converter.kind to {fits!r} or 'auto'."
            got, allowed = f"{self.kind!r} with encoding {encoding}", f"{fits!r}, 'auto' or 'ideal'"
            raise InputError(f"{where}, converter.kind", got, allowed, step)

    @property
    def of_outputs(self) -> bool:
        """The range is that of a layer's outputs, bias and scales included, and not one of columns alone."""
        return self.range == "unit" and not self.is_ideal

    def unit(self, z: Tensor) -> Tensor:
        """Outputs z of a layer, any shape -> the nearest multiple of 2^-bits in [0, 1].

        The full scale clips: this is clamp(z, 0, 1) in steps of 2^-bits. Code 2^bits, which stands for 1, is the
        converter's overflow. All sums of such values are exact in float32 up to 2^(24 - bits).
        """
        return Quantiser(2.0**-self.bits, 0.0, 0, 2**self.bits)(z)

    def quantiser(self, low: float, high: float, signed: bool) -> Quantiser:
        """The transfer between the limits `low` and `high` (same unit as the input)."""
        if signed:
            top = 2 ** (self.bits - 1) - 1
            limit = max(abs(low), abs(high))
            return Quantiser(limit / top, 0.0, -top, top)
        codes = 2**self.bits - 1
        return Quantiser((high - low) / codes, low, 0, codes)


@final
@dataclass(frozen=True)
class Quantiser:
    """q(u) = base + step * clip(round((u - base) / step), lowest, highest)."""

    step: float
    base: float
    lowest: int
    highest: int

    def codes_(self, u: Tensor, gain: float = 1.0, offset: Tensor | None = None) -> Tensor:
        """Codes of gain * u + offset, in place, as whole numbers of u's type."""
        factor, shift = self.scaled(u.dtype, gain, offset)
        u.mul_(factor)
        if isinstance(shift, Tensor) or shift:
            u.add_(shift)
        return u.round_().clamp_(self.lowest, self.highest)

    def scaled(self, dtype: torch.dtype, gain: float, offset: Tensor | None) -> tuple[float, Tensor | float]:
        """(factor, shift): codes are factor * u + shift of that type, rounded and clipped."""
        scale = (1.0 + _TIE[dtype]) / self.step
        return gain * scale, -self.base * scale if offset is None else (offset - self.base) * scale

    def __call__(self, u: Tensor) -> Tensor:
        """q(u), out of place."""
        return self.codes_(u.clone()) * self.step + self.base
